"""Tiles to try, from a bundle: run by the emulator, timed by a clock that reads their code."""

from __future__ import annotations

import pytest
import torch

from r2n_kernels.bundle import Bundle, open_bundle
from r2n_kernels.compiled.build import Cache, default_folder
from r2n_kernels.compiled.bundling import SETTINGS, Contents, build, requests_for
from r2n_kernels.compiled.pool import Pool
from r2n_kernels.compiled.proving import EmulatedKernel
from r2n_kernels.config import Res2NetConfig
from r2n_kernels.errors import ConfigError
from r2n_kernels.kernels.targets import TARGETS
from r2n_kernels.plan import build_plan
from r2n_kernels.proof.tune import Measurement, Recorder, tune_stored

pytestmark = pytest.mark.slow  # forty kernels

CONFIG = Res2NetConfig((1,), planes=(9,), scale=2, num_classes=3)
CPU, HALF, SIZE = torch.device("cpu"), torch.float16, (32, 32)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    path = tmp_path_factory.mktemp("bundle") / "tiles.r2n"
    requests = requests_for(CONFIG, HALF, ["sm_80"], [1], [SIZE])
    with Pool(2, SETTINGS) as pool:
        cache = Cache(default_folder(), SETTINGS)
        build(path, Contents("tiny", {}, None, None), requests, pool, cache, candidates=True)
    return open_bundle(path)


def tuned(bundle: Bundle, timer, wrong: int | None = None) -> dict[str, Measurement]:
    """Measure all; code of so many bytes of shared memory gives wrong results."""

    class Kernel(EmulatedKernel):
        def launch(self, call):
            super().launch(call)
            if self.code.shared == wrong:
                call.args["w_ptr"].add_(1)
                super().launch(call)

    found = tune_stored(bundle, "sm_80", CPU, lambda code: Kernel(code, bundle, []), timer)
    return {result.key: result for result in found}


def shared(run) -> float:
    (calls,) = run.args
    return sum(call.kernel.code.shared + 1.0 for call in calls)


def test_every_geometry_and_its_neighbours(bundle):
    recorder = Recorder()
    target = TARGETS["sm_80"]
    build_plan(CONFIG, 1, *SIZE, HALF, "triton", target=target, tiles=recorder)
    assert {c.geometry for c in bundle.manifest.candidates} == recorder.rules.keys()
    bundle.file.check()
    for candidate in bundle.manifest.candidates:
        assert candidate.tile != recorder.rules[candidate.geometry]
        steps = bundle.candidate(candidate).plan.steps
        assert candidate.tile in [step.options.get("tile") for step in steps]


def test_the_cheapest_right_tile_of_each_geometry(bundle):
    results = tuned(bundle, shared)
    assert results.keys() == {c.geometry for c in bundle.manifest.candidates}
    for key, result in results.items():
        assert result.improved, key
        assert result.refused == 0
        assert result.tried == 1 + sum(c.geometry == key for c in bundle.manifest.candidates)
        assert result.best_ms < result.rule_ms
    key, result = next(iter(results.items()))
    wrong = int(result.best_ms) - 1
    again = tuned(bundle, shared, wrong)[key]
    assert again.refused > 0
    assert again.best_ms > result.best_ms


def test_a_target_without_candidates(bundle):
    with pytest.raises(ConfigError, match="no tiles to try on sm_90: build it with --candidates"):
        list(tune_stored(bundle, "sm_90", CPU, lambda code: None, shared))
