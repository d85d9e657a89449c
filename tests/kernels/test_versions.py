"""Which Tritons are taken, and what is said of those that leave a fence out."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from r2n_kernels.kernels import versions
from r2n_kernels.kernels.targets import TARGETS
from r2n_kernels.kernels.versions import missing_fence, require_triton, triton_version


@pytest.fixture
def installed(monkeypatch):
    return lambda version: monkeypatch.setattr(versions.triton, "__version__", version)


@pytest.mark.parametrize(
    ("text", "version"),
    [("3.6.0", (3, 6, 0)), ("3.7.1+git8f2a3c4d", (3, 7, 1)), ("3.10.0.post20", (3, 10, 0))],
)
def test_the_numbers_of_a_version(installed, text, version):
    installed(text)
    assert triton_version() == version


@pytest.mark.parametrize("version", ["2.3.1", "3.2.0", "3.3.1"])
def test_an_old_triton_is_refused_by_name(installed, version):
    installed(version)
    expected = rf"need Triton 3\.4 or newer \(torch 2\.8 brings it\), found {version}"
    with pytest.raises(ImportError, match=expected):
        require_triton()


@pytest.mark.parametrize("version", ["3.4.0", "3.6.0", "3.8.0", "3.10.0", "4.0.0"])
def test_newer_ones_are_taken(installed, version):
    installed(version)
    require_triton()


@pytest.mark.parametrize(
    ("version", "without"),
    [("3.6.0", {"sm_90", "sm_100"}), ("3.7.0", {"sm_90", "sm_100"}), ("3.7.1", set()),
     ("3.10.0", set())],
)  # fmt: skip
def test_targets_whose_code_lacks_the_fence(installed, version, without):
    installed(version)
    said = {name: missing_fence(target) for name, target in TARGETS.items()}
    assert {name for name, text in said.items() if text} == without
    for name in without:
        assert said[name].startswith(f"Triton {version} leaves out fence.proxy.async")
        assert said[name].endswith(f"of {name}, so that PTX does not define their results; "
                                   "Triton 3.7.1 has it")  # fmt: skip


@pytest.mark.slow
def test_an_old_triton_leaves_the_package_and_its_torch_backend(tmp_path):
    """As a user meets it: one sentence where the kernels are asked for, none elsewhere."""
    code = (
        "import triton; triton.__version__ = '3.2.0'\n"
        "import torch, r2n_kernels\n"
        "model = r2n_kernels.create_model('res2net50_14w_8s')\n"
        "print(model(torch.zeros(1, 3, 32, 32)).shape)\n"
        "r2n_kernels.create_model('res2net50_14w_8s', backend='triton')\n"
    )
    env = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout == "torch.Size([1, 1000])\n"
    assert "ConfigError: backend 'triton' needs Triton: the kernels need Triton 3.4" in done.stderr
