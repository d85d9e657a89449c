"""One launch takes the split chain of a block, with its images in shared memory: a `ResidentForm`.

    z = planes[0]
    for g in splits:
        y_g = relu(conv3x3(z) + b_g)
        z = y_g + planes[g + 1]                 # where there is one

The planes are only read. `gluon.images` and `gluon.windows` are the kernels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .call import Arguments, Call, Calls
from .device import interpreted
from .forms import ResidentForm, image_rows
from .layout import PlanesLayout
from .op import Faults, Op
from .op_checks import AtLeast, shape, three_by_three
from .targets import target_of
from .tiles import power_of_two
from .versions import missing_gluon

# rows, and elements, that go between memories at a time, if threads are not too many for so few
CHUNK, CHUNK_ELEMENTS = 64, 8192
WIDE = 8  # elements that a thread moves at a time: 16 bytes


def resident_stage(
    planes: Tensor, w: Tensor, b: Tensor, y: Tensor, *, layout: PlanesLayout, form: ResidentForm
) -> Calls:
    """Chain planes [splits, rows, C] into groups 0 .. splits - 1 of y [N * H * W, groups * C].

    w [splits, 3, K_PAD, N_PAD] in the planes' dtype, of 16 bits, and b [splits, N_PAD] in float32,
    zero-filled. Raises ImportError where the installed Triton has no such Gluon.
    """
    if missing := missing_gluon():
        raise ImportError(missing)
    # here: older Tritons cannot import them
    from .gluon.images import stage_images_kernel
    from .gluon.windows import stage_windows_kernel

    columns = power_of_two(layout.C)
    chunk = max(min(CHUNK, CHUNK_ELEMENTS // columns), 32 * form.warps * WIDE // columns)
    constants = {
        "IMAGE_ROWS": layout.image_rows, "H": layout.H, "W": layout.W, "C": layout.C,
        "SPLITS": planes.shape[0], "Y_WIDTH": y.shape[1], "K_PAD": w.shape[2],
        "N_PAD": w.shape[3], "BUFFER": form.buffer, "BLOCK_M": form.block_m,
        "BLOCK_N": columns, "BLOCK_K": form.block_k,
        "PARTS": form.products(layout.C), "WARPS": form.warps, "CHUNK": chunk,
        "WGMMA": bool(form.wgmma),
    }  # fmt: skip
    if form.images:
        kernel, rows = stage_images_kernel, image_rows(layout.H, layout.W)
        constants |= {"IMAGES": form.images, "ROWS": rows, "STAGES": form.stages}
    else:
        kernel = stage_windows_kernel
        constants["TILES"] = form.tiles
    args = arguments(planes, w, b, y, layout)
    return (Call(kernel, form.ctas(layout.N), args, constants, form.warps, form.registers),)


def arguments(planes: Tensor, w: Tensor, b: Tensor, y: Tensor, layout: PlanesLayout) -> Arguments:
    """Return what either kernel takes that is no constant."""
    tensors: Arguments = {"planes_ptr": planes, "w_ptr": w, "b_ptr": b, "y_ptr": y}
    return tensors | {"N": layout.N, "plane": planes.stride(0)}


def contract(
    planes: Tensor, w: Tensor, b: Tensor, y: Tensor, *, layout: PlanesLayout, form: ResidentForm
) -> Faults:
    if missing := "Triton's interpreter does not run Gluon" if interpreted() else missing_gluon():
        yield missing
    yield from three_by_three(layout)
    if fault := form.fault(layout) or _misplaced(form, planes):
        yield fault
    yield from shape("planes", planes, None, layout.rows, layout.C)
    splits, c = planes.shape[0], layout.C
    yield from shape("y", y, layout.N * layout.H * layout.W, AtLeast(splits * c))
    columns = max(sum(widths) for _, widths in form.products(c))
    yield from shape("w", w, splits, 3, AtLeast(3 * c), AtLeast(columns))
    yield from shape("b", b, splits, w.shape[3])
    if planes.element_size() != 2:
        yield f"planes must have 16 bits an element, got {planes.dtype}"


def _misplaced(form: ResidentForm, planes: Tensor) -> str:
    """Say why the planes' GPU does not run the form; "" where it may, or where there is none."""
    if planes.device.type != "cuda" or not torch.cuda.is_available():
        return ""
    target = target_of(planes.device)
    if target is None or target.no_gluon:
        return f"{planes.device} does not run it: {target.no_gluon if target else 'it is too old'}"
    if bool(form.wgmma) != target.wgmma:
        return f"wgmma is for sm_90 alone, got {form.wgmma} on {target.name}"
    held = form.shared_bytes(planes.shape[-1], planes.element_size())
    if held > target.shared_bytes:
        return f"the form takes {held} bytes of shared memory, {target.name} has less"
    return ""


OP = Op(
    resident_stage, contract, reads=("planes",), writes=("y",), kernel_options=("form",), half=True,
    gluon=True,
)  # fmt: skip
