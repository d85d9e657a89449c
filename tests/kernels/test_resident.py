"""What `resident_stage` launches and refuses. tests/compiled/test_resident.py runs its code."""

from __future__ import annotations

import dataclasses
from itertools import islice
from types import SimpleNamespace

import pytest
import torch

from r2n_kernels.config import Res2NetConfig
from r2n_kernels.engine.triton_target import kernel_target
from r2n_kernels.kernels import ops, resident, versions  # noqa: F401  registers operators
from r2n_kernels.kernels.forms import choose_form
from r2n_kernels.kernels.layout import PlanesLayout
from r2n_kernels.kernels.targets import TARGETS
from r2n_kernels.kernels.versions import GLUON, triton_version
from r2n_kernels.plan import build_plan
from r2n_kernels.proof.steps import cases

SPLITS, HALF = 3, torch.float16


def given(side: int, channels: int, images: int = 3) -> dict[str, object]:
    """What a chain is told, on the meta device."""
    layout = PlanesLayout(images, side, side, channels, 16)
    form, _ = choose_form(layout, 2, TARGETS["sm_90"])
    with torch.device("meta"):
        return {
            "planes": torch.empty(SPLITS, layout.rows, channels, dtype=HALF),
            "w": torch.empty(SPLITS, 3, 1024, 256, dtype=HALF),
            "b": torch.empty(SPLITS, 256),
            "y": torch.empty(images * side * side, 4 * channels, dtype=HALF),
            "layout": layout, "form": form,
        }  # fmt: skip


@pytest.mark.skipif(triton_version() < GLUON, reason="this Triton has no such Gluon")
def test_a_launch_is_told_its_form():
    (call,) = resident.resident_stage(**given(7, 208))
    assert (call.name, call.grid, call.warps, call.registers) == ("stage_images_kernel", 2, 8, 255)
    told = call.constants
    assert (told["IMAGES"], told["ROWS"], told["BLOCK_M"]) == (2, 64, 128)
    assert (told["PARTS"], told["BLOCK_N"]) == (((128, (128, 64, 16)),), 256)
    assert (told["SPLITS"], told["Y_WIDTH"], told["WGMMA"]) == (3, 832, True)
    assert call.args["N"] == 3
    (call,) = resident.resident_stage(**given(28, 56))
    assert (call.name, call.grid) == ("stage_windows_kernel", 3)
    assert (call.constants["TILES"], call.constants["CHUNK"]) == (3, 64)


@pytest.mark.skipif(triton_version() < GLUON, reason="this Triton has no such Gluon")
def test_threads_are_never_more_than_a_chunk_has_room_for():
    (call,) = resident.resident_stage(**given(8, 16))
    assert call.constants["CHUNK"] * 16 == call.warps * 32 * 8


def faults(monkeypatch, **changes) -> list[str]:
    monkeypatch.setattr(resident, "interpreted", lambda: False)
    found = resident.contract(**{**given(14, 104), **changes})
    return list(islice(found, 1))  # nobody reads on after the first


def test_what_fits_has_no_fault(monkeypatch):
    assert faults(monkeypatch) == []


FORM = choose_form(PlanesLayout(3, 14, 14, 104, 16), 2, TARGETS["sm_90"])[0]


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("planes", torch.empty(3, 9, 104), "planes must have shape [any, "),
        ("y", torch.empty(588, 200), "y must have shape [588, >= 312], got [588, 200]"),
        ("w", torch.empty(3, 3, 300, 128), "w must have shape [3, 3, >= 312, >= 104], got"),
        ("b", torch.empty(2, 256), "b must have shape [3, 256], got [2, 256]"),
        ("layout", PlanesLayout(3, 14, 14, 104, 16, 1), "layout must have R = 3"),
        (
            "form",
            dataclasses.replace(FORM, images=2, block_m=448),
            "450 rows do not fit a buffer of 256",
        ),
        ("form", dataclasses.replace(FORM, parts=0), "block_k must be at least 16, parts 1"),
        (
            "layout",
            PlanesLayout(3, 14, 14, 512, 16),
            "splits must have 16 to 256 channels, got 512",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isalpha() else "",
)
def test_refused(name, value, fault, monkeypatch):
    assert faults(monkeypatch, **{name: value})[0].startswith(fault)


def test_float32_is_refused(monkeypatch):
    planes = given(14, 104)["planes"].float()
    assert faults(monkeypatch, planes=planes) == [
        "planes must have 16 bits an element, got torch.float32"
    ]


def test_the_interpreter_refuses(monkeypatch):
    monkeypatch.setattr(resident, "interpreted", lambda: True)
    found = [next(resident.contract(**given(14, 104)))]
    assert found == ["Triton's interpreter does not run Gluon"]


def test_another_gpus_form_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    planes = SimpleNamespace(
        device=torch.device("cuda", 0), shape=(3, 9, 104), element_size=lambda: 2
    )

    def refused(form, name: str) -> str:
        monkeypatch.setattr(resident, "target_of", lambda device: TARGETS.get(name))
        return resident._misplaced(form, planes)

    assert refused(FORM, "sm_90") == ""
    assert refused(FORM, "sm_80") == "wgmma is for sm_90 alone, got 1 on sm_80"
    assert refused(FORM, "none") == "cuda:0 does not run it: it is too old"
    assert refused(FORM, "sm_100").endswith("sums in tensor memory are yet to be done")
    plain = dataclasses.replace(FORM, wgmma=0)
    assert refused(plain, "sm_120").endswith("bytes of shared memory, sm_120 has less")


def test_an_older_triton_is_told(monkeypatch):
    reason = "Triton 3.6.0 has no gather of shared memory, 3.8 has it"
    monkeypatch.setattr(versions.triton, "__version__", "3.6.0")
    with pytest.raises(ImportError, match=reason):
        resident.resident_stage(**given(14, 104))
    assert faults(monkeypatch) == [reason]
    assert versions.served(TARGETS["sm_90"]).no_gluon == reason
    assert versions.served(TARGETS["sm_100"]) == TARGETS["sm_100"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_a_gpu_is_right_by_launcher_and_by_operator(dtype):
    device = torch.device("cuda", 0)
    target = kernel_target(device)
    if target.no_gluon:
        pytest.skip(target.no_gluon)
    config = Res2NetConfig((2, 2, 2, 2))
    plan = build_plan(config, 5, 224, 224, dtype, "triton", target=target, schedule="throughput")
    found = list(cases(plan, device, only=lambda step: step.op == "resident_stage"))
    assert found
    for case in found:
        verdict = case.verdict()
        assert verdict.passed, verdict
        ours, tensors = case.run(), case.copied().bound.tensors
        options = {k: list(dataclasses.astuple(v)) for k, v in case.step.options.items()}
        torch.ops.r2n_kernels.resident_stage(**tensors, **options)
        (written,) = case.step.writes
        assert torch.equal(tensors["y"], ours[written])
