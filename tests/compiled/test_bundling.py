"""Bundles are built: the same inputs make the same bytes, and what has no code is told."""

from __future__ import annotations

import hashlib

import pytest
import torch

from r2n_kernels.bundle import open_bundle
from r2n_kernels.bundle.file import part_sizes
from r2n_kernels.compiled import bundling, drafts
from r2n_kernels.compiled.bundling import Contents, build, requests_for
from r2n_kernels.compiled.instances import FORMS
from r2n_kernels.compiled.pool import Pool
from r2n_kernels.errors import ConfigError, KernelError

from ..bundle import handmade
from ..bundle.handmade import CONFIG, SIZE
from .conftest import build_tiny

HALF = torch.float16
NOTHING = Contents("small", {}, None, None)


@pytest.fixture
def fakes(monkeypatch):
    """Code is made up, here."""
    monkeypatch.setattr(drafts, "specialise", handmade.specialise)
    monkeypatch.setattr(bundling, "compile_all", handmade.compile_all)
    return monkeypatch


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_same_inputs_same_bytes(tmp_path):
    paths = [tmp_path / name for name in ("a.r2n", "b.r2n")]
    for path in paths:
        handmade.make(path)
    assert digest(paths[0]) == digest(paths[1])
    handmade.make(paths[1], labels=None)
    assert digest(paths[0]) != digest(paths[1])


def test_the_order_of_compilation_does_not_matter(fakes, tmp_path):
    paths = [tmp_path / name for name in ("a.r2n", "b.r2n")]
    requests = requests_for(CONFIG, HALF, ("sm_80", "sm_90"), (1, 2), (SIZE,))
    build(paths[0], NOTHING, requests, handmade.Here(), None)

    def backwards(wanted, pool, cache):
        return handmade.compile_all(reversed([*wanted]), pool, cache)

    fakes.setattr(bundling, "compile_all", backwards)
    build(paths[1], NOTHING, requests, handmade.Here(), None)
    assert digest(paths[0]) == digest(paths[1])


@pytest.mark.weekly  # tests/cli/test_build.py builds a bundle by one worker, and by two
def test_compiled_bundles_are_the_same_bytes_whatever_the_jobs(tiny_bundle, tmp_path):
    """The fixture's was built by one worker."""
    build_tiny(tmp_path / "two.r2n", jobs=2)
    assert digest(tmp_path / "two.r2n") == digest(tiny_bundle)


@pytest.mark.slow
def test_drafts_in_workers_are_those_made_here(fakes):
    """A worker's launches name real instances; their places and grids are what was made up here."""
    requests = requests_for(CONFIG, HALF, ("sm_90",), (3,), (SIZE,))
    here = drafts.draft_all(requests, handmade.Here())
    with Pool(1) as pool:
        there = drafts.draft_all(requests, pool)
    assert here.keys() == there.keys() == {(requests[0], 3), (requests[0], 2)}
    for key, drafted in there.items():
        assert drafted.plan == here[key].plan
        assert drafted.facts == here[key].facts
        for one, other in zip(
            drafts.launches_of(drafted), drafts.launches_of(here[key]), strict=True
        ):
            assert (one.instance.function, one.grid) == (other.instance.function, other.grid)
            args = dict(other.args)
            assert all(args[name] == value for name, value in one.args)


def test_what_is_in_it(fakes, tmp_path):
    path, told = tmp_path / "a.r2n", []
    requests = requests_for(CONFIG, HALF, ("sm_90",), (8,), (SIZE,))
    cfg = {**handmade.CFG, "file": "/some/where", "state_dict": {}}
    contents = Contents("small", cfg, handmade.LABELS, None)
    manifest = build(path, contents, requests, handmade.Here(), None,
                     started=told.append, done=lambda: told.append("done"))  # fmt: skip
    bundle = open_bundle(path)
    assert bundle.manifest == manifest
    assert manifest.pretrained_cfg == handmade.CFG
    assert bundle.labels() == handmade.LABELS
    assert manifest.weights is None
    assert not any(name.startswith("weights/") for name, _ in part_sizes(bundle.file))
    count, *done = told
    assert done == ["done"] * count
    assert len(manifest.codes) == count
    stored = bundle.plan(manifest.shapes[0])
    assert set(stored.launches["input"]) == set(FORMS)
    assert {code.key for code in stored.codes} == manifest.codes.keys()


def test_requests_are_every_pass_once():
    requests = requests_for(CONFIG, HALF, ("sm_80", "sm_80"), (1, 2, 1), ((33, 40), (64, 64)))
    assert [(r.batch, r.height, r.width) for r in requests] == [
        (1, 33, 40), (2, 33, 40), (1, 64, 64), (2, 64, 64)
    ]  # fmt: skip
    assert {r.forms for r in requests} == {FORMS}


def test_a_batch_whose_few_images_run_on_other_code(fakes, tmp_path):
    """What is proven on few images must be what runs on all of them."""
    real = drafts.plan_of

    def by_images(request, images=None):
        return real(request if images == request.batch else
                    requests_for(CONFIG, HALF, ("sm_90",), (128,), (SIZE,))[0], images)  # fmt: skip

    fakes.setattr(drafts, "plan_of", by_images)
    requests = requests_for(CONFIG, HALF, ("sm_90",), (8,), (SIZE,))
    with pytest.raises(KernelError, match="is launched on some numbers of images alone"):
        build(tmp_path / "a.r2n", NOTHING, requests, handmade.Here(), None)
    assert not (tmp_path / "a.r2n").exists()


def test_a_pass_without_a_plan(tmp_path):
    requests = requests_for(CONFIG, HALF, ("sm_90",), (2**20,), ((1024, 1024),))
    with Pool(1) as pool, pytest.raises(ConfigError, match=r"sm_90, batch 1048576: .*pixels after"):
        build(tmp_path / "a.r2n", NOTHING, requests, pool, None)


def test_a_kernel_that_does_not_compile(fakes, tmp_path):
    def failing(wanted, pool, cache):
        for instance in wanted:
            yield instance, KernelError("ptxas says no"), False

    fakes.setattr(bundling, "compile_all", failing)
    requests = requests_for(CONFIG, HALF, ("sm_90",), (2,), (SIZE,))
    with pytest.raises(KernelError, match=r"sm_90 prepare .*: ptxas says no"):
        build(tmp_path / "a.r2n", NOTHING, requests, handmade.Here(), None)
    assert not (tmp_path / "a.r2n").exists()


def test_a_full_disk(fakes, full_disk, tmp_path):
    requests = requests_for(CONFIG, HALF, ("sm_90",), (2,), (SIZE,))
    with pytest.raises(OSError, match="No space left"):
        build(tmp_path / "a.r2n", NOTHING, requests, handmade.Here(), None)
    assert list(tmp_path.iterdir()) == []
