from __future__ import annotations

import pytest
import torch

from r2n_kernels.engine.precision import exact, ieee_float32


def settings() -> list[object]:
    conv = getattr(torch.backends.cudnn, "conv", None)
    names = (torch.backends.cuda.matmul, *([conv] if conv else []))
    found = [getattr(holder, "fp32_precision", None) for holder in names]
    return [*found, torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32]


@pytest.mark.parametrize("precision", ["highest", "high"])
def test_settings_return_also_after_an_error(precision):
    original = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        before = settings()
        with ieee_float32():
            assert settings_say_ieee()
        assert settings() == before
        with pytest.raises(KeyError), ieee_float32():
            raise KeyError
        assert settings() == before
    finally:
        torch.set_float32_matmul_precision(original)


def settings_say_ieee() -> bool:
    if hasattr(torch.backends.cudnn, "conv"):
        values = (torch.backends.cudnn.conv, torch.backends.cuda.matmul)
        return all(holder.fp32_precision == "ieee" for holder in values)
    return not (torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32)


def test_autocast_is_off_inside():
    a = torch.randn(4, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with exact(torch.device("cpu"), torch.float32):
            assert (a @ a).dtype == torch.float32
        assert (a @ a).dtype == torch.bfloat16
