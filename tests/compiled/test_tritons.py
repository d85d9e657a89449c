"""Kernels on other Tritons than the installed: the oldest, 3.6, the newest.

Each is a wheel in a folder of its own, before the installed one on the path; torch stays.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from r2n_kernels.kernels.versions import OLDEST

# The most bytes a thread that an instance of a target keeps in local memory: docs/gpu.md has it.
SPILLED = {
    "3.4.0": {"sm_80": 24, "sm_90": 0},
    "3.6.0": {"sm_80": 8, "sm_90": 0},
    "3.9.0": {"sm_80": 0, "sm_90": 88},
}
BETWEEN = pytest.param("3.6.0", marks=pytest.mark.weekly)  # the others are the ends
PAGE = Path(__file__).parents[2] / "docs" / "gpu.md"
PIP = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module", params=["3.4.0", BETWEEN, "3.9.0"])
def triton(request) -> Iterator[tuple[str, dict[str, str]]]:
    """(version, environment of a process that imports it)."""
    with tempfile.TemporaryDirectory(prefix="r2n-triton-") as folder:
        unbound = {k: v for k, v in os.environ.items() if k != "PIP_CONSTRAINT"}
        wanted = f"triton=={request.param}"
        done = subprocess.run([*PIP, folder, wanted], env=unbound, capture_output=True, text=True)
        if done.returncode:
            assert not os.environ.get("CI"), done.stderr
            pytest.skip(f"pip cannot install {wanted}: {done.stderr.strip()[-100:]}")
        rest = {k: v for k, v in unbound.items() if k != "TRITON_INTERPRET"}
        yield request.param, {**rest, "PYTHONPATH": folder}


def r2n(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "r2n_kernels.cli", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_the_oldest_is_among_them_and_the_page_names_all():
    oldest, *_ = SPILLED
    assert oldest == ".".join(map(str, (*OLDEST, 0)))
    assert "with Triton 3.4.0, 3.6.0 and 3.9.0," in " ".join(PAGE.read_text().split())


def compiled(
    triton,
    report: Path,
    targets: Sequence[str],
    batches: Sequence[str],
    *more: str,
    least: int = 25,
) -> None:
    """Assert that a network's instances compile, and spill no more than is known.

    more: words that ask for another than the headline, or for some kernels.
    """
    version, environment = triton
    words = ["--jobs", "1", "--target", *targets, "--batch", *batches, "--json", str(report), *more]
    done = r2n(environment, "inspect", "--no-cache", *words)
    assert report.exists(), done.stderr
    found = json.loads(report.read_text())
    assert found["triton"] == version
    assert len(found["instances"]) > least * len(targets) * len(batches)
    failed = [i["name"] for i in found["instances"] if "error" in i]
    assert not failed
    for instance in found["instances"]:
        others = [fault for fault in instance["faults"] if not fault.startswith("spills")]
        assert not others, instance["name"]
        assert instance["spill"] <= SPILLED[version][instance["target"]], instance["name"]


def test_every_kernel_compiles(triton, tmp_path):
    """Of the digits' network, whose instances are small, and the headline's chains."""
    target = "sm_90" if triton[0] == "3.9.0" else "sm_80"  # where older ones spill
    digits = "--model", "digits", "--size", "32"
    compiled(triton, tmp_path / "digits.json", [target], ["256"], *digits)
    compiled(triton, tmp_path / "report.json", [target], ["256"], "--kernel", "stage*", least=3)


@pytest.mark.weekly
def test_every_instance_of_the_headline_compiles(triton, tmp_path):
    compiled(triton, tmp_path / "report.json", ["sm_80", "sm_90"], ["1", "256"])


@pytest.mark.parametrize("words", [["--quick"], pytest.param([], marks=pytest.mark.weekly)])
@pytest.mark.parametrize(
    "triton", ["3.4.0", *(pytest.param(v, marks=pytest.mark.weekly) for v in ("3.6.0", "3.9.0"))],
    indirect=True,
)  # fmt: skip
def test_the_self_test_passes_in_its_interpreter(words, triton):
    """Each kernel in float16 with the oldest; weekly in all dtypes, with all."""
    version, environment = triton
    done = r2n({**environment, "TRITON_INTERPRET": "1"}, "selftest", *words)
    assert f"triton       {version}" in done.stdout, done.stderr
    assert "selftest: PASS" in done.stdout
    assert done.returncode == 0
