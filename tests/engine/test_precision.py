from __future__ import annotations

import warnings

import pytest
import torch

from r2n_kernels.engine import precision
from r2n_kernels.engine.precision import exact, ieee_float32

backends = torch.backends
CUDA = torch.device("cuda")
newer = pytest.mark.skipif(not hasattr(backends.cudnn, "conv"), reason="torch before 2.9")


def holders() -> list[object]:
    """Of the newer style: all, cuDNN's, each operator's."""
    if not hasattr(backends.cudnn, "conv"):
        return []
    cudnn, products = backends.cudnn, (backends.cuda.matmul, backends.mkldnn.matmul)
    return [backends, cudnn, cudnn.conv, cudnn.rnn, *products]


def read(ask) -> object:
    """torch refuses to tell where the two styles disagree."""
    try:
        return ask()
    except RuntimeError:
        return "refused"


def older() -> list[object]:
    flags = (backends.cudnn, backends.cuda.matmul)
    return [
        *(read(lambda h=h: h.allow_tf32) for h in flags),
        read(torch.get_float32_matmul_precision),
    ]


def settings() -> list[object]:
    return [*(holder.fp32_precision for holder in holders()), *older()]


@pytest.fixture(autouse=True)
def as_torch_starts():
    """Settings return to torch's own, which both styles can tell."""
    yield
    backends.cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("highest")
    if holders():
        newer_style("none", "none", "tf32", "tf32", "none", "none")()


def flags(convolutions, products):
    def write():
        backends.cudnn.allow_tf32 = convolutions
        torch.set_float32_matmul_precision(products)

    return write


def newer_style(*values):
    """None: left as it is."""

    def write():
        for holder, value in zip(holders(), values, strict=True):
            if value is not None:
                holder.fp32_precision = value

    return write


def mixed():
    flags(True, "medium")()
    backends.cudnn.conv.fp32_precision = backends.cuda.matmul.fp32_precision = "ieee"


WRITTEN = {
    "nothing": lambda: None,
    "flags off": flags(False, "highest"),
    "flags on": flags(True, "high"),
    "flags medium": flags(False, "medium"),
    "only matmul": lambda: setattr(backends.cuda.matmul, "allow_tf32", True),
    "all": newer_style("tf32", None, None, None, None, None),
    "cudnn": newer_style(None, "ieee", "none", "none", None, None),
    "operators": newer_style(None, None, "ieee", "ieee", "tf32", None),
    "one operator": newer_style("ieee", None, "ieee", None, None, "bf16"),
    "mixed": mixed,
}


@pytest.mark.parametrize("style", [*list(WRITTEN)[:5], *(
    pytest.param(name, marks=newer) for name in list(WRITTEN)[5:])])  # fmt: skip
def test_settings_return_also_after_an_error(style):
    WRITTEN[style]()
    before = settings()
    for _ in range(2):
        with ieee_float32():
            assert both_styles_say_ieee()
        assert settings() == before
    with pytest.raises(KeyError), ieee_float32():
        raise KeyError
    assert settings() == before


def both_styles_say_ieee() -> bool:
    """Inside another such block too."""
    inner = [*older(), *(holder.fp32_precision for holder in holders()[2:])]
    with ieee_float32():
        assert [*older(), *(holder.fp32_precision for holder in holders()[2:])] == inner
    return inner == [False, False, "highest", *["ieee"] * len(holders()[2:])]


@newer
def test_hidden_flags_return():
    """Those that torch does not tell, because the newer style disagrees."""
    mixed()
    assert older() == ["refused", "refused", "medium"]
    with ieee_float32():
        pass
    backends.cudnn.conv.fp32_precision = backends.cuda.matmul.fp32_precision = "tf32"
    assert older() == [True, True, "medium"]


@newer
def test_what_is_inherited_goes_on_being_so():
    backends.fp32_precision = "tf32"
    with ieee_float32():
        assert backends.cuda.matmul.fp32_precision == "ieee"
    assert backends.cuda.matmul.fp32_precision == "tf32"
    backends.fp32_precision = "ieee"
    assert backends.cuda.matmul.fp32_precision == "ieee"


def test_flags_of_an_older_torch(monkeypatch):
    """torch before 2.9 has nothing else."""
    monkeypatch.delattr(type(backends.cudnn), "conv", raising=False)
    flags(True, "high")()
    before = [backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32]
    with ieee_float32():
        assert not backends.cudnn.allow_tf32
        assert not backends.cuda.matmul.allow_tf32
    assert [backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32] == before == [True, True]


@newer
def test_torchs_warning_is_not_shown(monkeypatch):
    """torch 2.9 warns once that the older style is old; warnings may be errors."""
    ask, told = torch.get_float32_matmul_precision, []

    def warn_once():
        if not told:
            told.append(True)
            warnings.warn("please use the new API settings", UserWarning, stacklevel=2)
        return ask()

    monkeypatch.setattr(torch, "get_float32_matmul_precision", warn_once)
    precision._spend_the_warning.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with ieee_float32():
            assert both_styles_say_ieee()
    assert told == [True]


@pytest.mark.parametrize(("dtype", "expected"), [(torch.float32, False), (torch.float16, True)])
def test_on_cuda_the_compiler_may_ask_by_the_older_style(dtype, expected):
    with exact(CUDA, dtype):
        assert backends.cudnn.allow_tf32 == expected


def test_autocast_is_off_inside():
    a = torch.randn(4, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with exact(torch.device("cpu"), torch.float32):
            assert (a @ a).dtype == torch.float32
        assert (a @ a).dtype == torch.bfloat16


@pytest.mark.parametrize("allowed", [True, False])
def test_a_graph_for_cuda_warns_of_tf32_while_it_is_made(allowed, monkeypatch, caplog):
    monkeypatch.setattr(precision, "_allows_tf32", lambda: allowed)

    def add(x: torch.Tensor) -> torch.Tensor:
        with exact(torch.device("cuda"), torch.float32):
            return x + 1

    torch.compiler.reset()
    program = torch.compile(add, fullgraph=True, backend="eager")
    assert program(torch.zeros(1)) == 1
    assert ("run in TF32" in caplog.text) is allowed
    caplog.clear()
    program(torch.zeros(1))
    assert not caplog.text
