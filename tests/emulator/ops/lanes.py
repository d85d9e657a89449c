"""Single instructions on registers of every shape, held against a reference that sees one lane."""

from __future__ import annotations

import math
import random
import struct
import zlib
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np

from r2n_kernels.emulator import Kernel
from r2n_kernels.emulator.batch import Batch
from r2n_kernels.emulator.launch import Launch
from r2n_kernels.emulator.types import LANES, UINT

WARPS, CTAS = 2, 3
ROWS = WARPS * CTAS
REGISTER = {1: "%p", 16: "%rs", 32: "%r", 64: "%rd"}
OUT = 8  # results are in register number 8, operands in 0, 1, 2, ...
# of an operand: different everywhere, uniform in a warp, the same in all warps, uniform
SHAPES = ((ROWS, LANES), (ROWS, 1), (1, LANES), (1, 1))
Draw = Callable[[random.Random], int]


def mask(bits: int) -> int:
    return (1 << bits) - 1


def signed(x: int, bits: int) -> int:
    return x - (1 << bits) if x >> (bits - 1) & 1 else x


def f32(bits: int) -> float:
    return struct.unpack("f", struct.pack("I", bits))[0]


def b32(x: float | Fraction) -> int:
    if isinstance(x, float) and math.isnan(x):
        return 0x7FFFFFFF
    try:
        return struct.unpack("I", struct.pack("f", float(x)))[0]
    except OverflowError:
        return 0x7F800000 if x > 0 else 0xFF800000


def f16(bits: int) -> float:
    return struct.unpack("e", struct.pack("H", bits))[0]


def b16(x: float) -> int:
    if math.isnan(x):
        return 0x7FFF
    try:
        return struct.unpack("H", struct.pack("e", float(x)))[0]
    except OverflowError:
        return 0x7C00 if x > 0 else 0xFC00


def bf16(bits: int) -> float:
    return f32(bits << 16)


def bbf16(x: float) -> int:
    """The nearer of the two neighbours, the even one of equally near ones."""
    if math.isnan(x):
        return 0x7FFF
    low = b32(x) >> 16
    if bf16(low) == x:
        return low
    below, above = bf16(low), bf16(low + 1)
    if math.isinf(above):
        above = math.copysign(2.0**128, x)
    nearer = abs(x - below) - abs(above - x)
    return low if nearer < 0 or (nearer == 0 and low % 2 == 0) else low + 1


def pairs(decode: Callable[[int], float], encode: Callable[[float], int], bits: int, fn: Callable):
    """fn of numbers -> the same of packed pairs."""

    def packed(*operands: int) -> int:
        halves = ([decode(x >> at & mask(bits)) for x in operands] for at in (0, bits))
        low, high = (encode(fn(*half)) for half in halves)
        return low | high << bits

    return packed


# What operands are drawn from, where random bits would be no good numbers


def floats(low: float = -20, high: float = 20) -> Draw:
    return lambda r: b32(r.choice([-1, 1]) * 2.0 ** r.uniform(low, high))


def halves(r: random.Random) -> int:
    return b16(r.choice([-1, 1]) * 2.0 ** r.uniform(-10, 10))


def half_pairs(r: random.Random) -> int:
    return halves(r) | halves(r) << 16


def float_pairs(r: random.Random) -> int:
    return floats()(r) | floats()(r) << 32


def brains(r: random.Random) -> int:
    return floats(-10, 10)(r) >> 16


def brain_pairs(r: random.Random) -> int:
    return brains(r) | brains(r) << 16


def odd_floats(r: random.Random) -> int:
    """Zeros, infinities, a NaN, halves, and what no integer holds."""
    special = (0, 0x80000000, 0x7F800000, 0xFF800000, 0x7FC00000)
    return r.choice([*special, *map(b32, (1e10, -1e10, 0.5, 1.5, 2.5, -0.5, r.uniform(-3, 3)))])


def below(n: int) -> Draw:
    return lambda r: r.randrange(n)


def nonzero(bits: int) -> Draw:
    return lambda r: r.getrandbits(bits) | 1


def nan_or(draw: Draw, nan: int = 0x7FFFFFFF) -> Draw:
    return lambda r: r.choice([draw(r), nan])


def _anything(bits: int) -> Draw:
    edges = [0, 1, mask(bits), 1 << (bits - 1), mask(bits) >> 1, 31 & mask(bits), 32 & mask(bits)]
    return lambda r: r.choice(edges) if r.random() < 0.2 else r.getrandbits(bits)


def ptx(body: str) -> str:
    """A kernel without parameters."""
    registers = " ".join(f".reg .{'pred' if n == 1 else f'b{n}'} {r}<100>;"
                         for n, r in REGISTER.items())  # fmt: skip
    return f".visible .entry t()\n{{\n{registers}\n{body}\nret;\n}}\n"


def execute(body: str, registers: dict[str, np.ndarray], *results: str) -> list[np.ndarray]:
    """Run with registers set, all warps of all CTAs at once: results [ROWS, LANES]."""
    kernel = Kernel(ptx(body), 0, WARPS)
    launch = Launch(
        kernel, (CTAS,), [], schedule="lockstep", seed=0, strict=True, track=True, ctas=None,
        side_by_side=None,
    )  # fmt: skip
    batch = Batch(launch, range(CTAS))
    (group,) = batch.groups
    for name, value in registers.items():
        group.regs[kernel.slots[name]] = value
    with np.errstate(all="ignore"):
        batch.run()
    for name in results:  # the invariants of registers
        value = group.regs[kernel.slots[name]]
        bits = kernel.bits(name)
        assert value.dtype == UINT[bits]
        assert value.shape in SHAPES
    return [group.value(kernel.slots[name]) for name in results]


def check(
    text: str, operands: Sequence[int], result: int, reference: Callable,
    draws: Sequence[Draw | None] | None = None, *, whole: bool = False, rounds: int = 4,
) -> None:  # fmt: skip
    """operands, result: bits of registers. whole: the reference gets lists over a warp's lanes."""
    rng = random.Random(zlib.crc32(text.encode()))
    names = [f"{REGISTER[bits]}{i}" for i, bits in enumerate(operands)]
    pick = [d or _anything(bits) for d, bits in
            zip(draws or [None] * len(operands), operands, strict=True)]  # fmt: skip
    out = f"{REGISTER[result]}{OUT}"
    for round_ in range(rounds + len(SHAPES)):
        shapes = [SHAPES[round_] if round_ < len(SHAPES) else rng.choice(SHAPES) for _ in operands]
        values = [
            np.array([draw(rng) for _ in range(h * w)], UINT[bits]).reshape(h, w)
            for draw, bits, (h, w) in zip(pick, operands, shapes, strict=True)
        ]
        (found,) = execute(text, dict(zip(names, values, strict=True)), out)
        wide = [np.broadcast_to(value, (ROWS, LANES)).tolist() for value in values]
        for row in range(ROWS):
            lanes = [value[row] for value in wide]
            wanted = reference(*lanes) if whole else [reference(*x) for x in zip(*lanes)]  # noqa: B905
            wanted = [int(x) & mask(result) for x in wanted]
            assert found[row].tolist() == wanted, (text, shapes, row, lanes)
