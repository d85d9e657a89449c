"""A tensor map says where a tensor lies in global memory, and which boxes of it TMA copies (sm_90).

CUDA's own 128 bytes are opaque; here they are FIELDS, which tensormap.replace edits one by one.
Dimensions go from the innermost to the outermost, as PTX counts them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import EmulationError, UnsupportedError
from .types import Array, type_bits

BYTES, UNIT = 128, 16  # of a tensor map; of what TMA writes to shared memory at once
FIELDS = np.dtype(
    {
        "names": ["global_address", "rank", "elemtype", "interleave_layout", "swizzle_mode",
                  "fill_mode", "swizzle_atomicity", "global_dim", "global_stride", "box_dim",
                  "element_stride"],
        "formats": ["<u8", "u1", "u1", "u1", "u1", "u1", "u1", ("<u4", 5), ("<u8", 4),
                    ("<u4", 5), ("<u4", 5)],
        "offsets": [0, 8, 9, 10, 11, 12, 13, 16, 40, 72, 92],
        "itemsize": BYTES,
    }
)  # fmt: skip
# Element types as tensormap.replace numbers them, and bytes of an element
TYPES = {
    0: "u8", 1: "u16", 2: "u32", 3: "s32", 4: "u64", 5: "s64", 6: "f16", 7: "f32", 8: "f32",
    9: "f64", 10: "bf16", 11: "tf32", 12: "tf32",
}  # fmt: skip
SIZES = {number: type_bits(t) // 8 for number, t in TYPES.items()}
PADDED_FP4 = 14  # 16 elements of 4 bits, 8 bytes, which take 16 bytes in shared memory
TF32 = 11
SWIZZLES = {0: 16, 1: 32, 2: 64, 3: 128}  # bytes that the rows of a box are swizzled within
NAN = {2: 0x7FFF, 4: 0x7FFFFFFF, 8: 0x7FFFFFFFFFFFFFFF}  # what is out of bounds, by size


@dataclass(frozen=True)
class TensorMap:
    """A TensorMap is a tensor descriptor made by the host: pass it where a kernel takes one.

    base: a numpy array or CPU tensor; dims and box in elements, strides (of all but the innermost
    dimension) in bytes, innermost first. elemtype and swizzle as tensormap.replace numbers them.
    """

    base: Any
    elemtype: int
    dims: Sequence[int]
    strides: Sequence[int]
    box: Sequence[int]
    swizzle: int = 0
    nan: bool = False

    def encode(self, address: int) -> Array:
        """Return the 128 bytes, of a tensor that lies at `address`."""
        fields = np.zeros(1, FIELDS)
        fields["global_address"], fields["rank"] = address, len(self.dims) - 1
        fields["elemtype"], fields["swizzle_mode"] = self.elemtype, self.swizzle
        fields["fill_mode"], fields["element_stride"] = self.nan, 1
        for name, values in (("global_dim", self.dims), ("global_stride", self.strides),
                             ("box_dim", self.box)):  # fmt: skip
            fields[name][0, : len(values)] = values
        return fields.view(np.uint8)


def host_arguments(descriptor: Any, meta: Mapping[str, Any] | None) -> list[Any]:
    """Return what a launch passes for a host's TensorDescriptor, as Triton's launcher does.

    meta: the descriptor's entry of the compiled kernel's `tensordesc_meta`; without it (before
    sm_90) a descriptor is a pointer with its shape, strides and options.
    """
    d = descriptor
    shape, strides = [int(n) for n in d.shape], [int(n) for n in d.strides]
    nan = getattr(d, "padding", "zero") == "nan"  # Triton 3.4 has neither
    rounded = bool(getattr(d, "round_f32_to_tf32", False))
    if meta is None:
        return [d.base, *shape, *strides, nan, rounded, *shape, *strides]
    if meta.get("is_im2col", False):
        raise UnsupportedError("a tensor descriptor in im2col mode")
    dims, size = list(shape), int(meta["elem_size"])
    if meta["fp4_padded"]:
        dims[-1] *= 2
    outer = [stride * size for stride in strides[:-1]]
    made = TensorMap(
        d.base, TF32 if rounded else int(meta["elem_type"]), dims[::-1], outer[::-1],
        [int(n) for n in meta["block_size"]][::-1], int(meta["swizzle"]), nan,
    )  # fmt: skip
    return [made, *shape, *strides]


@dataclass(frozen=True)
class Box:
    """A Box is a part of a tensor: rows of contiguous elements, some of them out of bounds.

    starts: global addresses of the rows; inside: which of them are in bounds; columns: the range
    of elements in bounds of every row; count: elements of a row; size: bytes of one.
    """

    starts: Array
    inside: Array
    columns: tuple[int, int]
    count: int
    size: int
    spread: int  # bytes in shared memory per byte in global memory
    swizzle: int
    elemtype: int
    fill: int  # an element out of bounds

    @property
    def row_bytes(self) -> int:
        """Return the bytes of a row in shared memory."""
        return self.count * self.size * self.spread

    @property
    def nbytes(self) -> int:
        """Return the bytes of the box in shared memory."""
        return len(self.starts) * self.row_bytes

    @property
    def counted(self) -> int:
        """Return the bytes that an mbarrier counts: padding is none."""
        return self.nbytes // self.spread


def box_of(raw: Array, coordinates: Sequence[int], *, rows: Sequence[int] | None = None) -> Box:
    """Return the box of the tensor map `raw`, 128 bytes. rows: of a gather or scatter, instead."""
    fields = raw.view(FIELDS)[0]
    rank, elemtype, swizzle = (int(fields[n]) for n in ("rank", "elemtype", "swizzle_mode"))
    rank += 1
    dims, box, step = (
        [int(x) for x in fields[n][:rank]] for n in ("global_dim", "box_dim", "element_stride")
    )
    strides = [int(x) for x in fields["global_stride"][: rank - 1]]
    padded = elemtype == PADDED_FP4
    if fields["interleave_layout"] or fields["swizzle_atomicity"]:
        raise UnsupportedError("a tensor map with an interleaved layout or swizzle atomicity")
    if not (padded or elemtype in SIZES) or swizzle not in SWIZZLES:
        raise UnsupportedError(f"a tensor map of element type {elemtype}, swizzle {swizzle}")
    if rank > 5 or not all(box) or not all(step) or not all(dims):
        raise EmulationError("a tensor map with an empty dimension: was it ever filled in?")
    size, count, first, limit = 1 if padded else SIZES[elemtype], box[0], coordinates[0], dims[0]
    if padded:  # two elements per byte
        count, first, limit = count // 2, first // 2, limit // 2
    at = [c + np.arange(-(-n // s)) * s for c, n, s in
          zip(coordinates[1:], box[1:], step[1:], strict=False)]  # fmt: skip
    if rows is not None:
        at = [np.asarray(rows, np.int64)]
    starts, inside = np.zeros(1, np.int64), np.ones(1, np.bool_)
    for places, dim, stride in zip(at, dims[1:], strides, strict=True):
        starts = (places[:, None] * stride + starts).reshape(-1)
        inside = (((places >= 0) & (places < dim))[:, None] & inside).reshape(-1)
    return Box(
        starts + int(fields["global_address"]) + first * size, inside,
        (min(max(-first, 0), count), max(min(limit - first, count), 0)), count, size,
        2 if padded else 1, SWIZZLES[swizzle], elemtype,
        NAN.get(size, 0) if fields["fill_mode"] else 0,
    )  # fmt: skip
