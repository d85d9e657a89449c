"""The option --triton-emulate, on a project with GPU tests of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = {
    "conftest.py": """
        import pytest, torch
        @pytest.fixture
        def device():
            if not torch.cuda.is_available():
                pytest.skip("no GPU")
            return torch.device("cuda")
        """,
    "kernels.py": """
        import torch, triton, triton.language as tl
        @triton.jit
        def add_kernel(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
            at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
            x, y = tl.load(x_ptr + at, mask=at < n), tl.load(y_ptr + at, mask=at < n)
            tl.store(out_ptr + at, x + y, mask=at < n)
        def add(x, y):
            assert x.is_cuda
            out = torch.empty_like(x)
            add_kernel[(triton.cdiv(x.numel(), 64),)](x, y, out, x.numel(), BLOCK=64)
            return out
        """,
    "test_add.py": """
        import pytest, torch, unittest
        from kernels import add
        NEW = torch.cuda.is_available() and torch.cuda.get_device_capability() >= (9, 0)
        @pytest.mark.parametrize("n", [1, 100])
        def test_add(device, n):
            x = torch.randn(n, device=device)
            torch.testing.assert_close(add(x, x), 2 * x)
        @pytest.mark.skipif(not NEW, reason="needs sm_90")
        def test_new(device, triton_emulate_arch):
            assert torch.cuda.get_device_capability() == (9, 0)
            assert triton_emulate_arch == "sm_90"
        def test_too_far(device):
            add(torch.ones(100, device=device), torch.ones(90, device=device))
        @unittest.skipUnless(torch.cuda.is_available(), "no GPU")
        class TestMore(unittest.TestCase):
            def test_more(self):
                assert add(torch.ones(2).cuda(), torch.ones(2).cuda()).sum() == 4
        """,
}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    for name, text in FILES.items():
        (folder / name).write_text("\n".join(line[8:] for line in text.splitlines()))
    return folder


def run(project: Path, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """pytest, with this plug-in as an installed one would be found."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("TRITON", "PYTEST"))}
    environment |= {
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": f"{ROOT}{os.pathsep}{project}",
        "TRITON_CACHE_DIR": str(project / "cache"), **variables,
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "r2n_kernels.pytest_emulate", "-rA", "--tb=short",
         *options], cwd=project, env=environment, capture_output=True, text=True,
    )  # fmt: skip


def results(output: str) -> dict[str, str]:
    """Return the outcome of each test, as the summary has it."""
    lines = [line.split(maxsplit=1) for line in output.splitlines() if "test_add.py" in line]
    named = [(line[1].split(" - ")[0], line[0]) for line in lines if len(line) == 2]
    return {
        name.partition("::")[2]: what for name, what in named if name.startswith("test_add.py::")
    }


@pytest.mark.slow
def test_once_per_architecture(project):
    done = run(project, "--triton-emulate", "sm_80,sm_90")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "triton-emulate: sm_80, sm_90; no time measured" in done.stdout
    assert results(done.stdout) == {
        "test_add[sm_80-1]": "PASSED", "test_add[sm_80-100]": "PASSED",
        "test_add[sm_90-1]": "PASSED", "test_add[sm_90-100]": "PASSED",
        "test_new[sm_90]": "PASSED", "TestMore::test_more": "PASSED",
        "test_too_far[sm_80]": "FAILED", "test_too_far[sm_90]": "FAILED",
    }  # fmt: skip
    assert "SKIPPED [1] test_add.py:9: needs sm_90" in done.stdout
    assert "kernels.py:6: outside: byte 360 of argument y_ptr (360 bytes), y_ptr[90]" in done.stdout
    assert "2 failed, 7 passed, 1 skipped" in done.stdout


@pytest.mark.slow
def test_a_test_by_its_id(project):
    done = run(project, "--triton-emulate", "90,80", "test_add.py::test_add[sm_80-1]")
    assert results(done.stdout) == {"test_add[sm_80-1]": "PASSED"}, done.stdout + done.stderr


def test_without_the_option_nothing_changes(project):
    done = run(project)
    assert "5 skipped" in done.stdout
    assert "triton-emulate" not in done.stdout


@pytest.mark.parametrize(
    ("archs", "interpret", "text"),
    [("sm_80,sm_75", "0", "--triton-emulate: unknown architecture 'sm_75'; expected one of sm_80"),
     ("sm_80", "1", "--triton-emulate needs kernels compiled: unset TRITON_INTERPRET")],
)  # fmt: skip
def test_what_cannot_be_emulated(project, archs, interpret, text):
    done = run(project, "--triton-emulate", archs, TRITON_INTERPRET=interpret)
    assert done.returncode == 4
    assert text in done.stderr


def test_the_module_that_pytest_loads_is_light():
    heavy = "{'numpy', 'torch', 'triton'}"
    code = f"import sys, r2n_kernels.pytest_emulate; print({heavy} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr
