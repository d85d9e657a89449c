from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from r2n_kernels.compiled.inspection import inspect
from r2n_kernels.compiled.run import (
    RunOptions,
    conflicts,
    efficiency,
    execute,
    macs,
    read_images,
    run_work,
    unique_bytes,
    work_of,
)
from r2n_kernels.emulator import Counters, GlobalTraffic, SharedTraffic
from r2n_kernels.errors import InputError
from r2n_kernels.kernels.targets import TARGETS
from r2n_kernels.plan import build_plan


@pytest.fixture(scope="module")
def run(request_for, pool):
    """run(rows, **options) -> the result of each, or its error, by its step."""

    def run(rows, **options):
        work = work_of([request_for()], list(rows), RunOptions(**options))
        outcomes = execute(work, pool, run_work)
        return {o.step: o.error or o.found for o in outcomes}

    return run


@pytest.fixture(scope="module")
def tried(run, rows):
    return run(rows.values())


def broken(row, old: str, new: str):
    """The instance with other code: `new` for the first `old` of its PTX."""
    ptx = row.compiled.texts["ptx"]
    assert old in ptx
    texts = {**row.compiled.texts, "ptx": ptx.replace(old, new, 1)}
    return dataclasses.replace(row, compiled=dataclasses.replace(row.compiled, texts=texts))


def test_every_instance_is_right_and_legal(tried, rows):
    assert set(tried) == set(rows)
    assert {step: found.faults for step, found in tried.items() if found.faults} == {}
    assert all(found.counters.instructions.total() for found in tried.values())


def test_counters_equal_what_the_plan_says(tried, request_for):
    """Multiply-accumulates of every step, padding included; bytes that are written."""
    config = request_for().config
    plan = build_plan(config, 2, 33, 40, torch.float16, "triton", target=TARGETS["sm_90"])
    for step in plan.steps:
        if step.name not in tried:
            continue
        counters = tried[step.name].counters
        assert counters.macs == step.executed_macs, step.name
        assert sum(t.useful for k, t in counters.global_.items() if k == "st") == (
            step.bytes_written
        ), step.name


def test_float32_is_right_too(request_for, pool, cache):
    request = request_for(dtype=torch.float32)
    rows = inspect([request], pool, cache=cache, kernel="stage*")
    for outcome in execute(work_of([request], rows, RunOptions()), pool, run_work):
        assert outcome.found.faults == ()
        assert outcome.found.counters.macs == 0
        assert outcome.found.counters.fmas > 0


def test_wrong_code_is_seen(run, rows):
    """A maximum that became a minimum, in the ReLU."""
    found = run([broken(rows["layer1.0.conv1"], "max.NaN", "min.NaN")])
    (fault,) = found["layer1.0.conv1"].faults
    assert fault.startswith("wrong: error ")


def test_an_access_out_of_bounds_is_seen(run, rows):
    row = rows["layer1.0.conv1"]
    ptx = row.compiled.texts["ptx"]
    store = next(line for line in ptx.splitlines() if "st.global" in line)
    found = run([broken(row, store, store.replace("+ 0 ]", "+ 1073741824 ]"))])
    assert found["layer1.0.conv1"].report_counts.keys() == {"bounds"}
    assert "conv1.py:" in found["layer1.0.conv1"].reports[0]


def test_code_that_cannot_run_is_named(run, rows):
    found = run([broken(rows["fc"], "ret;", "brkpt;\nret;")])
    assert "brkpt" in found["fc"]


def test_orders_and_seeds_agree(run, rows, tried):
    row = rows["layer1.1.convs"]
    for options in ({"order": "reverse"}, {"order": "random", "seeds": (1, 2)}):
        found = run([row], **options)[row.step]
        assert found.faults == ()
        assert found.verdict.error == tried[row.step].verdict.error
        assert found.counters.instructions == tried[row.step].counters.instructions


def test_two_images_stand_for_a_large_batch(request_for, pool, cache):
    request = request_for(batch=500)
    rows = inspect([request], pool, cache=cache, kernel="stage*")
    outcomes = execute(work_of([request], rows, RunOptions()), pool, run_work)
    ctas = {o.instance.kernel: o.found.ctas for o in outcomes}
    assert ctas == {"stage_images": 1}  # which has both images
    assert [(o.found.images, o.found.faults) for o in outcomes] == [(2, ())]


def test_a_file_of_images_runs_through_the_network(run, rows, tried, tmp_path):
    path = tmp_path / "images.npy"
    np.save(path, np.random.default_rng(0).standard_normal((3, 3, 33, 40), np.float32))
    found = run(rows.values(), data=str(path))
    assert {step: t.faults for step, t in found.items() if t.faults} == {}
    assert {t.images for t in found.values()} == {3}
    assert found["fc"].verdict.error != tried["fc"].verdict.error


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((1, 3, 32, 40), np.float32), r"expected floats of shape \[N, 3, 33, 40\], got"),
        (np.zeros((3, 33, 40), np.float32), r"got float32 \[3, 33, 40\]"),
        (np.zeros((1, 3, 33, 40), np.int64), r"got int64"),
    ],
)
def test_images_must_fit(array, message, request_for, tmp_path):
    path = tmp_path / "images.npy"
    np.save(path, array)
    with pytest.raises(InputError, match=message):
        read_images(str(path), request_for())


def test_images_must_be_there(request_for, tmp_path):
    with pytest.raises(InputError, match=r"none\.npy is no \.npy file of numbers"):
        read_images(str(tmp_path / "none.npy"), request_for())
    (tmp_path / "text.npy").write_text("hello")
    with pytest.raises(InputError, match=r"text\.npy is no \.npy file of numbers"):
        read_images(str(tmp_path / "text.npy"), request_for())


def test_work_is_plain_data(rows, request_for):
    (work,) = work_of([request_for()], [rows["fc"]], RunOptions())
    assert hash(work) == hash(dataclasses.replace(work))


def test_steps_share_their_data_in_one_piece_of_work(rows, request_for):
    pieces = work_of([request_for()], list(rows.values()), RunOptions(data="images.npy"))
    assert [len(piece.executables) for piece in pieces] == [len(rows)]


def test_shares_by_hand():
    counters = Counters(macs=0)
    counters.instructions["fma.rn.f32"] = 3
    assert macs(counters) == 96
    counters.macs = 7
    assert macs(counters) == 7
    counters.global_["ld"] = GlobalTraffic(requests=1, bytes=64, useful=64, sectors=4)
    counters.global_["cp.async"] = GlobalTraffic(requests=1, bytes=64, useful=32, sectors=2)
    assert efficiency(counters, ("ld", "cp.async")) == 0.5
    assert efficiency(counters, ("st",)) == 1.0
    assert conflicts(counters) == 0.0
    counters.shared["ld"] = SharedTraffic(requests=1, bytes=128, wavefronts=4, conflicts=3)
    assert conflicts(counters) == 0.75
    counters.unique = {0: (10, 0), 2: (0, 4)}
    assert unique_bytes(counters) == 14
