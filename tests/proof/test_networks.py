from __future__ import annotations

import pytest
import torch

from r2n_kernels.errors import ConfigError
from r2n_kernels.kernels.device import interpreted
from r2n_kernels.proof import networks
from r2n_kernels.proof.networks import default_setup


@pytest.mark.skipif(not interpreted(), reason="asks for what a machine without a GPU says")
def test_default_setup(monkeypatch):
    small, quick = default_setup(None), default_setup(None, quick=True)
    assert small.dtypes == (torch.float16, torch.bfloat16, torch.float32)
    assert quick.dtypes == (torch.float16,)
    with pytest.raises(ConfigError, match="TRITON_INTERPRET=1 runs kernels on the CPU, got"):
        default_setup(torch.device("cuda", 0))
    monkeypatch.setattr(networks, "interpreted", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"no GPU here; `TRITON_INTERPRET=1 r2n selftest` runs"):
        default_setup(None)
    with pytest.raises(ConfigError, match="needs a GPU, and the device is cpu"):
        default_setup(torch.device("cpu"))
