"""This file holds the candidates, the block that they compute, and its right results."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from ....kernels.call import Call
from ....kernels.conv1 import conv1
from ....kernels.conv3 import conv3
from ....kernels.forms import ResidentForm, choose_form
from ....kernels.layout import PlanesLayout
from ....kernels.resident import arguments
from ....kernels.stage import stage
from ....kernels.targets import Target
from ....kernels.tiles import MIN_BLOCK, TileConfig
from ....reference import twins

MANIFEST = "manifest.json"  # of a folder of compiled candidates
SIDE, C, SPLITS = 14, 104, 3
MANY = 256  # images that a GPU is given
INSIDE, OUTSIDE = (SPLITS + 1) * C, 1024  # channels inside a block, and between blocks
MACS = {  # useful ones of an image
    "chain": SPLITS * SIDE * SIDE * 9 * C * C,
    "conv1": SIDE * SIDE * INSIDE * OUTSIDE,
    "conv3": SIDE * SIDE * INSIDE * OUTSIDE,
}
# block_m, block_n, block_k, warps, stages, register limit; first what the rules take on sm_90
CHAINS = ((128, 128, 64, 8, 3), (128, 128, 64, 8, 3, 128), (256, 128, 64, 8, 3))
GEMMS = (
    (256, 128, 64, 8, 3), (128, 128, 64, 8, 3), (128, 128, 64, 8, 3, 128), (128, 128, 64, 8, 4),
    (256, 128, 64, 16, 3), (128, 256, 64, 8, 3), (128, 128, 32, 8, 4), (128, 64, 64, 4, 4),
)  # fmt: skip
CONV1 = ((*GEMMS[0], 0, 1, 32), *GEMMS)  # 416 = 2 * 128 + 160: x is loaded once less
# 416 = 6.5 * 64: the rules take 32, which pads nothing
CONV3 = ((256, 128, 32, 8, 3), *GEMMS)


@dataclass(frozen=True)
class Candidate:
    """A Candidate is a kernel. kind: in MACS. It has a tile, or it is a chain and has a form."""

    name: str
    kind: str
    tile: TileConfig | None = None
    form: ResidentForm | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(found: dict[str, Any]) -> Candidate:
        tile, form = found["tile"], found["form"]
        made = {"tile": tile and TileConfig(**tile), "form": form and ResidentForm(**form)}
        return Candidate(**{**found, **made})


def candidates(target: Target) -> list[Candidate]:
    """List all candidates for a target, today's of each kind first."""
    found = list(resident(target))
    for kind, shapes in (("chain", CHAINS), ("conv1", CONV1), ("conv3", CONV3)):
        for shape in shapes:
            t = TileConfig(*shape)
            limit = f" r{t.registers}" if t.registers else f" +{t.extra}" if t.extra else ""
            size = f"{t.block_m}x{t.block_n}x{t.block_k}"
            found.append(Candidate(f"{kind} {size} w{t.warps} s{t.stages}{limit}", kind, t))
    return found


def resident(target: Target) -> Iterator[Candidate]:
    """Yield the target's resident chain, if any, that of few images, and it with one column part.

    Where a CTA keeps an image anyway, the first two are the same, and there is one of them.
    """
    many, one = (
        choose_form(PlanesLayout(n, SIDE, SIDE, C, MIN_BLOCK), 2, target)[0] for n in (MANY, 1)
    )
    if many is None or one is None:
        return
    for form in dict.fromkeys((many, one, dataclasses.replace(one, parts=1))):
        columns = "+".join(map(str, form.columns(C)))
        name = f"chain resident, {form.block_m} rows, {columns} columns"
        yield Candidate(name, "chain", form=form)


@dataclass
class Block:
    """A Block holds the tensors of N images that a conv1, a chain or a conv3 reads and writes."""

    layout: PlanesLayout
    x: Tensor  # [M, OUTSIDE]
    w1: Tensor
    b1: Tensor
    planes: Tensor  # [SPLITS, rows, C]
    lines: Tensor  # the chain's weights by kernel lines
    bias: Tensor
    y: Tensor  # [M, INSIDE]
    w3: Tensor
    b3: Tensor
    out: Tensor  # [M, OUTSIDE]
    given: dict[str, Tensor] = field(default_factory=dict)  # planes and y before a launch

    @staticmethod
    def of(images: int, device: torch.device, block_k: int = 64) -> Block:
        """Fill with seeded noise; on the meta device make shapes alone."""
        layout, m = PlanesLayout(images, SIDE, SIDE, C, block_k), images * SIDE * SIDE
        generator = torch.Generator().manual_seed(0)

        def noise(*shape: int, scale: float = 1.0) -> Tensor:
            if device.type == "meta":
                return torch.empty(shape, device=device)
            return torch.randn(shape, generator=generator) * scale

        with device if device.type == "meta" else torch.device("cpu"):
            kernel = noise(SPLITS, 3, 3, C, C, scale=1.4 / (9 * C) ** 0.5)  # line, tap, in, out
            lines = torch.zeros(SPLITS, 3, layout.k, 128)
            lines[:, :, : 3 * C, :C] = kernel.reshape(SPLITS, 3, 3 * C, C)
            bias = torch.zeros(SPLITS, 128)
            bias[:, :C] = noise(SPLITS, C, scale=0.1)
            planes = torch.zeros(SPLITS, layout.rows, C)
            for plane in planes:
                twins.images_of(plane, layout).copy_(noise(images, SIDE, SIDE, C).relu())
            w1, w3 = torch.zeros(OUTSIDE, 512), torch.zeros(448, OUTSIDE)
            w1[:, :INSIDE] = noise(OUTSIDE, INSIDE, scale=OUTSIDE**-0.5)
            w3[:INSIDE] = noise(INSIDE, OUTSIDE, scale=INSIDE**-0.5)
            half = {
                "x": noise(m, OUTSIDE).relu(), "w1": w1, "planes": planes, "lines": lines,
                "y": noise(m, INSIDE).relu(), "w3": w3, "out": torch.zeros(m, OUTSIDE),
            }  # fmt: skip
            single = {"b1": noise(512), "bias": bias, "b3": noise(OUTSIDE)}
        tensors: dict[str, Any] = {n: t.to(device, torch.float16) for n, t in half.items()}
        tensors |= {name: t.to(device) for name, t in single.items()}
        block = Block(layout, **tensors)
        block.given = {name: getattr(block, name).clone() for name in ("planes", "y")}
        return block

    def reset(self, kind: str) -> None:
        """Reset all tensors to before a launch, with NaN where it must write."""
        self.planes.copy_(self.given["planes"])
        self.y.copy_(self.given["y"])
        if kind == "chain":
            self.y[:, : SPLITS * C].fill_(torch.nan)
        elif kind == "conv1":
            self.planes.zero_()
            self.y.fill_(torch.nan)
        else:
            self.out.fill_(torch.nan)

    def written(self, kind: str) -> Tensor:
        """Return what a launch writes, [M, columns]."""
        if kind == "chain":
            return self.y[:, : SPLITS * C]
        if kind == "conv3":
            return self.out
        groups = [twins.images_of(p, self.layout).reshape(-1, C) for p in self.planes]
        return torch.cat([*groups, self.y[:, SPLITS * C :]], 1)

    def to(self, dtype: torch.dtype) -> Block:
        """Return a copy."""
        names = [name for name in vars(self) if name not in ("layout", "given")]
        copies = {name: getattr(self, name).to(dtype, copy=True) for name in names}
        given = {name: tensor.to(dtype) for name, tensor in self.given.items()}
        return Block(self.layout, **copies, given=given)


def call_of(candidate: Candidate, block: Block) -> Call:
    """Return the launch; a resident chain's lacks its kernel, which older Tritons cannot import."""
    b, form, tile = block, candidate.form, candidate.tile
    if form is not None:
        args = arguments(b.planes, b.lines, b.bias, b.y, b.layout)
        return Call(None, form.ctas(b.layout.N), args, {}, form.warps)
    assert tile is not None
    if candidate.kind == "chain":
        (call,) = stage(b.planes, b.lines, b.bias, b.y, layout=b.layout, tile=tile, chained=True)
    elif candidate.kind == "conv1":
        (call,) = conv1(b.x, b.w1, b.b1, b.planes, b.y, layout=b.layout, tile=tile)
    else:
        (call,) = conv3(b.y, b.w3, b.b3, b.x, b.out, tile=tile)
    return call


def run_twin(kind: str, block: Block) -> None:
    """Compute the kind in plain PyTorch, on the block's own tensors."""
    b = block
    if kind == "chain":
        twins.stage(b.planes, b.lines, b.bias, b.y, layout=b.layout)
    elif kind == "conv1":
        twins.conv1(b.x, b.w1, b.b1, b.planes, b.y, layout=b.layout)
    else:
        twins.conv3(b.y, b.w3, b.b3, b.x, b.out)
