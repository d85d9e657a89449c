"""The functions of Triton's libdevice with their types, and what PyTorch says of them."""

from __future__ import annotations

import importlib.util
import math
import re
from collections.abc import Callable
from pathlib import Path

import torch

DTYPES = {
    "int32": torch.int32, "int64": torch.int64, "uint32": torch.int32, "uint64": torch.int64,
    "fp32": torch.float32, "fp64": torch.float64, "int1": torch.bool,
}  # fmt: skip
MODULE = "triton.language.extra.cuda.libdevice"
OVERLOAD = re.compile(
    r'\(((?:core\.dtype\("\w+"\)(?:, )?)+),? ?\): \("\w+", core\.dtype\("(\w+)"\)\)'
)
Function = tuple[str, tuple[str, ...], str]  # its name, types of its operands, and of its result


def functions() -> list[Function]:
    """Return every overload of every function."""
    spec = importlib.util.find_spec(MODULE)
    assert spec is not None
    assert spec.origin is not None
    text = Path(spec.origin).read_text(encoding="utf-8")
    return [
        (name, tuple(re.findall(r'"(\w+)"', operands)), result)
        for name, body in re.findall(r"^def (\w+)\(.*?\n(.*?)(?=^@|\Z)", text, re.M | re.S)
        for operands, result in OVERLOAD.findall(body)
    ]


def each(fn: Callable[..., float]) -> Callable[..., torch.Tensor]:
    """Apply a function of Python's to tensors."""

    def apply(*tensors: torch.Tensor) -> torch.Tensor:
        rows = zip(*(t.tolist() for t in tensors), strict=True)
        return torch.tensor([fn(*row) for row in rows], dtype=torch.float64)

    return apply


def away(x: torch.Tensor) -> torch.Tensor:
    """Round to nearest, ties away from zero."""
    return x.sign() * (x.abs() + 0.5).floor()


def exponent(x: torch.Tensor) -> torch.Tensor:
    return x.abs().log2().floor()


def norm(*x: torch.Tensor) -> torch.Tensor:
    return torch.stack(x).square().sum(0).sqrt()


def unsigned(bits: int) -> Callable[[int], int]:
    return lambda x: x % (1 << bits)


special = torch.special
ORACLES: dict[str, Callable[..., torch.Tensor]] = {
    **{name: getattr(torch, name) for name in (
        "abs", "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "ceil", "copysign",
        "cos", "cosh", "erf", "erfc", "erfinv", "exp", "exp2", "expm1", "floor", "fmod", "hypot",
        "lgamma", "log", "log10", "log1p", "log2", "pow", "rsqrt", "sin", "sinh", "sqrt", "tan",
        "tanh", "trunc",
    )},
    "cbrt": lambda x: x.sign() * x.abs().pow(1 / 3), "cospi": lambda x: (math.pi * x).cos(),
    "cyl_bessel_i0": special.i0, "cyl_bessel_i1": special.i1, "erfcx": special.erfcx,
    "erfcinv": lambda x: torch.erfinv(1 - x), "exp10": lambda x: 10.0**x,
    "fast_cosf": torch.cos, "fast_dividef": torch.div, "fast_exp10f": lambda x: 10.0**x,
    "fast_expf": torch.exp, "fast_log10f": torch.log10, "fast_log2f": torch.log2,
    "fast_logf": torch.log, "fast_powf": torch.pow, "fast_sinf": torch.sin,
    "fast_tanf": torch.tan, "fast_tanhf": torch.tanh, "fdim": lambda a, b: (a - b).clamp(min=0),
    "fma": lambda a, b, c: a * b + c, "ilogb": exponent, "logb": exponent,
    "isinf": torch.isinf, "isnan": torch.isnan, "signbit": torch.signbit,
    "finitef": torch.isfinite, "isfinited": torch.isfinite,
    "j0": special.bessel_j0, "j1": special.bessel_j1, "y0": special.bessel_y0,
    "y1": special.bessel_y1, "ldexp": lambda x, n: x * 2.0**n, "scalbn": lambda x, n: x * 2.0**n,
    "llrint": torch.round, "llround": away, "round": away, "nearbyint": torch.round,
    "rint": torch.round, "norm3d": norm, "norm4d": norm, "rhypot": lambda *x: 1 / norm(*x),
    "rnorm3d": lambda *x: 1 / norm(*x), "rnorm4d": lambda *x: 1 / norm(*x),
    "normcdf": special.ndtr, "normcdfinv": special.ndtri, "remainder": each(math.remainder),
    "rcbrt": lambda x: x.sign() * x.abs().pow(-1 / 3), "saturatef": lambda x: x.clamp(0, 1),
    "sinpi": lambda x: (math.pi * x).sin(), "tgamma": each(math.gamma), "rcp": torch.reciprocal,
    "add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div,
    "popc": each(lambda x: unsigned(64)(x).bit_count()),
    "ffs": each(lambda x: (x & -x).bit_length()), "hadd": each(lambda a, b: (a + b) >> 1),
    "rhadd": each(lambda a, b: (a + b + 1) >> 1), "sad": each(lambda a, b, c: abs(a - b) + c),
}  # fmt: skip
ROUND = {"rd": torch.floor, "ru": torch.ceil, "rz": torch.trunc, "rn": torch.round}
# where a function is defined, or is no overflow
DOMAINS = {
    "acos": (-1, 1), "asin": (-1, 1), "acosh": (1, 9), "atanh": (-0.99, 0.99),
    "erfinv": (-0.99, 0.99), "erfcinv": (0.01, 1.99), "normcdfinv": (0.01, 0.99),
    "log1p": (-0.9, 9), "y0": (0.1, 20), "y1": (0.1, 20), "j0": (-20, 20), "j1": (-20, 20),
    "sin": (-1e6, 1e6), "cos": (-1e6, 1e6), "tan": (-100, 100), "tgamma": (0.1, 6),
}  # fmt: skip
POSITIVE = ("log", "log2", "log10", "fast_logf", "fast_log2f", "fast_log10f", "sqrt", "rsqrt",
            "pow", "fast_powf")  # fmt: skip


def oracle(name: str) -> Callable[..., torch.Tensor] | None:
    """Return a function of float64, or of integers; a directed result is near the nearest one."""
    stem, _, mode = name.rpartition("_")
    if mode not in ROUND:
        return ORACLES.get(name)
    if "2" in stem and stem.rpartition("2")[2] in ("int", "uint", "ll", "ull"):
        return ROUND[mode]
    return (lambda x: x) if "2" in stem else ORACLES[stem]


def operands(function: Function, n: int) -> list[torch.Tensor]:
    """Return numbers that the function is defined for."""
    name, types, _ = function
    g = torch.Generator().manual_seed(0)
    stem = name.rpartition("_")[0] if name.rpartition("_")[2] in ROUND else name
    low, high = (0.1, 3) if stem in POSITIVE else DOMAINS.get(stem, (-6, 6))
    if "2u" in stem:  # to an unsigned integer
        low, high = 0, 1000
    out = []
    for t in types:
        if t.startswith("fp"):
            x = torch.rand(n, generator=g, dtype=torch.float64) * (high - low) + low
        elif any(other.startswith("fp") for other in types):  # an exponent
            x = torch.randint(0 if name in ("pow", "jn", "yn") else -5, 6, (n,), generator=g)
        else:
            x = torch.randint(0, 1 << 30, (n,), generator=g)
        out.append(x.to(DTYPES[t]))
    return out
