"""NNCF quantizes a network's graph, and leaves as much of it in float as the accuracy needs."""

from __future__ import annotations

import contextlib
import io
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
import torch

from ..config import pool_kind
from ..errors import ConfigError
from ..extras import load
from ..fold import fold
from ..fold.quantization import Quantization, hash_trunk
from ..inputs import scale_and_shift, stated_normalization
from ..model import Res2NetModel
from ..plan import cached_plan
from .calibration import Calibration, Tick

EXTRA = "quantize"
HEAD = ("global_pool", "fc")  # nodes: PyTorch computes them, in float


def packages() -> ModuleType:
    """Return NNCF, which phones nobody and writes nothing. Raises ConfigError without an extra."""
    load("openvino", EXTRA, "quantizing")
    before = os.environ.get("NNCF_CI")
    os.environ["NNCF_CI"] = "1"  # read while it is imported: then it has no telemetry
    try:
        nncf = load("nncf", EXTRA, "quantizing")
    finally:
        os.environ.pop("NNCF_CI")
        if before is not None:
            os.environ["NNCF_CI"] = before
    return nncf


def on_openvino(model: Res2NetModel, quantization: Quantization | None = None) -> Res2NetModel:
    """Return a model of the same weights that OpenVINO runs: in float32, or quantized."""
    return Res2NetModel(
        model.config, {name: tensor.clone() for name, tensor in model.state_dict().items()},
        pretrained_cfg=model.pretrained_cfg, backend="openvino",
        quantization=quantization,
    )  # fmt: skip


def quantize(
    model: Res2NetModel, calibration: Calibration, *, images: int = 300, max_drop: float = 0.5,
    tick: Tick = lambda count: None,
) -> Quantization:  # fmt: skip
    """Return a quantization of a model's weights.

    Ranges are those of so many `images`, spread over the set. Top-1, over the whole set, may then
    be lower by `max_drop` percentage points: layers go back to float, the most sensitive first,
    until it is not. Where no targets are known, agreement with the float network is what counts.

    Raises ConfigError for a model without a classifier on an average, and where NNCF is missing.
    """
    classes = 0 if model.features_only else model.num_classes
    if classes == 0 or pool_kind(model.config.global_pool) != "avg":
        raise ConfigError(
            "quantizing needs a classifier behind global_pool='avg', got "
            f"{classes} classes and global_pool='{model.config.global_pool}'"
        )
    if images < 1 or not max_drop >= 0:
        raise ConfigError(
            f"expected images of at least 1 and max_drop of at least 0, got {images} and {max_drop}"
        )
    nncf = packages()
    from ..engine.openvino_compile import own_signal_stack
    from .recipe import read_recipe  # needs OpenVINO

    state = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    graph = _graph(model, state, calibration)
    pixels = calibration.images.numpy()
    chosen = calibration.spread(images)
    calibrating = nncf.Dataset([pixels[i : i + 1] for i in chosen], _ticking(tick))
    everything = nncf.Dataset(range(len(pixels)))
    with _quiet(), own_signal_stack() as stack_back:
        made = nncf.quantize_with_accuracy_control(
            graph, calibrating, everything, _judge(graph, calibration, tick, stack_back),
            max_drop=max_drop / 100, drop_type=nncf.DropType.ABSOLUTE,
            preset=nncf.QuantizationPreset.MIXED, target_device=nncf.TargetDevice.CPU,
            subset_size=len(chosen), advanced_quantization_parameters=_parameters(nncf),
            ignored_scope=nncf.IgnoredScope(names=list(HEAD)),
        )  # fmt: skip
    recipe = read_recipe(made)
    facts = {
        "nncf": nncf.__version__,
        "calibration_images": len(chosen),
        "controlled": "agreement" if calibration.targets is None else "accuracy",
        "max_drop": max_drop,
        "convolutions": len(recipe.scales) + len(recipe.in_float),
        "in_float": recipe.in_float,
    }
    return Quantization(recipe.scales, recipe.ranges, hash_trunk(state), facts)


def _graph(model: Res2NetModel, state: dict[str, torch.Tensor], calibration: Calibration) -> Any:
    """Return the float graph of one image's bytes."""
    from ..engine.openvino_graph import GraphInput, build_graph, weights_by_step

    _, height, width, channels = calibration.images.shape
    plan = cached_plan(model.config, 1, height, width, torch.float32, "openvino")
    weights = weights_by_step(fold(model.config, state, torch.float32), state)
    stated = stated_normalization(model.pretrained_cfg, channels)
    normalization = scale_and_shift(*stated, torch.device("cpu"))
    images = GraphInput((1, height, width, channels), normalization)
    return build_graph(weights, plan.steps, images, ("logits",), ())


def _ticking(tick: Tick) -> Callable[[np.ndarray], np.ndarray]:
    def passed(images: np.ndarray) -> np.ndarray:
        tick(len(images))
        return images

    return passed


def _judge(
    graph: Any, calibration: Calibration, tick: Tick, stack_back: Callable[[], object]
) -> Callable[..., Any]:
    """Return what NNCF asks of a compiled network: top-1, and of which images it is right."""
    import openvino

    pixels = calibration.images.numpy()

    def best(network: Any, number: int) -> int:
        tick(1)
        return int(network(pixels[number : number + 1])[0].argmax())

    if calibration.targets is not None:
        targets = calibration.targets.tolist()
    else:
        exact = openvino.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        targets = [best(exact, number) for number in range(len(pixels))]

    def judge(network: Any, numbers: Iterable[int]) -> tuple[float, list[float]]:
        stack_back()  # NNCF has compiled this network, and will drop the last one
        right = [float(best(network, number) == targets[number]) for number in numbers]
        return sum(right) / len(right), right

    return judge


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep NNCF's bars and lines from standard output, which may be our report's."""
    logger = logging.getLogger("nncf")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)


def _parameters(nncf: ModuleType) -> Any:
    """Return what differs from NNCF's own choice, which clips and then corrects biases.

    Ranges are the widest that any image had. On the digits the logits' cosine with float32 is
    0.9999 so, and 0.9965 with NNCF's means of the images' ranges and corrected biases.
    """
    advanced, ranges = nncf.quantization.advanced_parameters, nncf.quantization.range_estimator

    def widest(name: str) -> Any:
        kind, aggregator = ranges.StatisticsType[name], ranges.AggregatorType[name]
        return ranges.StatisticsCollectorParameters(
            statistics_type=kind, aggregator_type=aggregator
        )

    estimator = ranges.RangeEstimatorParameters(min=widest("MIN"), max=widest("MAX"))
    return advanced.AdvancedQuantizationParameters(
        activations_range_estimator_params=estimator, disable_bias_correction=True
    )
