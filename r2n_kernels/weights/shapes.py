"""A configuration and the shapes of its state dict are each read off the other."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import lru_cache

import torch
from torch import Size, Tensor

from ..config import EXPANSION, STEM_CHANNELS, Res2NetConfig
from ..errors import ConfigError
from ..reference import Res2Net
from ..text import printable, show

_BLOCK = re.compile(r"layer(\d{1,4})\.(\d{1,4})\.")
_MAX_NAMED = 8
_MAX_CONVS = 1500  # 198 in the largest of timm; a network of 1500 takes a second to make
_MAX_PARAMETERS = 1_000_000_000  # 45 million in the largest published


@lru_cache(maxsize=4)  # loading asks three times, and building takes a tenth of a second
def meta_network(config: Res2NetConfig) -> Res2Net:
    """Build the reference without storage: names, shapes, hyper-parameters. Do not change it."""
    return Res2Net(config, device="meta", dtype=torch.float32)


def expected_shapes(config: Res2NetConfig) -> dict[str, Size]:
    """Return name -> shape of every parameter and buffer, in the reference's order."""
    return {name: tensor.shape for name, tensor in meta_network(config).state_dict().items()}


def is_counter(name: str) -> bool:
    """Tell BatchNorm's count of training steps: unused in inference, absent from old files."""
    return name.endswith(".num_batches_tracked")


def format_shape(shape: Size | tuple[int, ...]) -> str:
    return str(tuple(shape))


def check_buildable(config: Res2NetConfig, where: str) -> None:
    """Raise ConfigError for a network that nobody means: it would take minutes, or all memory."""
    convs = sum(config.layers) * (config.num_convs + 3)
    if convs > _MAX_CONVS:
        raise ConfigError(
            f"{where}: layers {show(list(config.layers))} at scale {config.scale} make {convs} "
            f"convolutions, expected {_MAX_CONVS} at most"
        )
    if config.parameters > _MAX_PARAMETERS:
        raise ConfigError(
            f"{where}: the network would have {config.parameters} parameters, expected "
            f"{_MAX_PARAMETERS} at most"
        )


def config_from_state(state: Mapping[str, Tensor]) -> Res2NetConfig:
    """Return the configuration whose network has exactly these entries (timm's names) and shapes.

    base_width is the smallest integer that gives the widths of all stages. Raises ConfigError
    that names what does not fit a Res2Net.
    """
    layers = _layers(state)
    first = [f"layer{stage + 1}.0." for stage in range(len(layers))]
    planes = tuple(_shape(state, f"{block}conv3.weight")[0] // EXPANSION for block in first)
    convs = {block: _shape(state, f"{block}convs.0.weight") for block in first}
    splits = {
        _divide(_shape(state, f"{block}conv1.weight")[0], conv[0], f"{block}conv1.weight")
        for block, conv in convs.items()
    }
    groups = {_divide(conv[0], conv[1], f"{b}convs.0.weight") for b, conv in convs.items()}
    if len(splits) > 1 or len(groups) > 1:
        raise ConfigError(
            f"expected one scale and one cardinality in all stages, found scales {sorted(splits)} "
            f"and cardinalities {sorted(groups)}"
        )
    cardinality = groups.pop()
    deep = "conv1.0.weight" in state
    stem = _shape(state, "conv1.0.weight" if deep else "conv1.weight")
    fc = state.get("fc.weight")
    config = Res2NetConfig(
        layers=layers,
        planes=planes,
        base_width=_base_width(planes, [conv[0] for conv in convs.values()], cardinality),
        scale=splits.pop(),
        cardinality=cardinality,
        stem_width=stem[0] if deep else Res2NetConfig.stem_width,
        deep_stem=deep,
        avg_down=any(f"{block}downsample.1.weight" in state
                     and state[f"{block}downsample.1.weight"].ndim == 4 for block in first),
        in_chans=stem[1],
        num_classes=0 if fc is None or fc.ndim == 0 else fc.shape[0],
        global_pool=_pool(fc, planes[-1] * EXPANSION),
    )  # fmt: skip
    check_buildable(config, "not a Res2Net")
    _require_exact(state, config)
    return config


def _layers(state: Mapping[str, Tensor]) -> tuple[int, ...]:
    depths: dict[int, set[int]] = {}
    for name in state:
        if match := _BLOCK.match(name):
            depths.setdefault(int(match[1]), set()).add(int(match[2]))
    if not depths:
        raise ConfigError("not a Res2Net: the state dict has no entry 'layer1.0.*'")
    stages = sorted(depths)
    gaps = [s for s in stages if sorted(depths[s]) != list(range(len(depths[s])))]
    if stages != list(range(1, len(stages) + 1)) or gaps:
        found = {f"layer{s}": sorted(depths[s]) for s in stages}
        raise ConfigError(f"stages and blocks must be numbered without gaps, found {found}")
    return tuple(len(depths[s]) for s in stages)


def _shape(state: Mapping[str, Tensor], name: str) -> tuple[int, ...]:
    if name not in state:
        raise ConfigError(f"not a Res2Net: the state dict has no '{name}'")
    shape = tuple(state[name].shape)
    if len(shape) != 4 or min(shape) < 1:
        raise ConfigError(f"not a Res2Net: '{name}' has shape {shape}, expected rank 4")
    return shape


def _divide(whole: int, part: int, name: str) -> int:
    if whole % part:
        raise ConfigError(f"not a Res2Net: '{name}' has {whole} channels, not a multiple of {part}")
    return whole // part


def _base_width(planes: tuple[int, ...], widths: list[int], cardinality: int) -> int:
    # floor(planes * base_width / 64) * cardinality == width bounds base_width from both sides.
    low = max(math.ceil(w // cardinality * 64 / p) for w, p in zip(widths, planes, strict=True))
    high = min(
        math.ceil((w // cardinality + 1) * 64 / p) - 1 for w, p in zip(widths, planes, strict=True)
    )
    if low > high or any(w % cardinality for w in widths):
        raise ConfigError(
            f"no base_width gives splits of {widths} channels at planes {list(planes)} and "
            f"cardinality {cardinality}"
        )
    return low


def _pool(fc: Tensor | None, features: int) -> str:
    """Name the pooling: only a classifier that reads two vectors tells its own from the others."""
    twice = fc is not None and fc.ndim == 2 and fc.shape[1] == 2 * features
    return "catavgmax" if twice else "avg"


def _require_exact(state: Mapping[str, Tensor], config: Res2NetConfig) -> None:
    expected = expected_shapes(config)
    faults = [
        f"{name} {format_shape(shape)} is missing"
        for name, shape in expected.items()
        if name not in state and not is_counter(name)
    ]
    for name, tensor in state.items():
        if name not in expected:
            faults.append(
                f"{printable(name)} {format_shape(tensor.shape)} has no place in a Res2Net"
            )
        elif tensor.shape != expected[name]:
            shapes = f"{format_shape(tensor.shape)}, expected {format_shape(expected[name])}"
            faults.append(f"{name} is {shapes}")
    if not config.deep_stem and state["conv1.weight"].shape[0] != STEM_CHANNELS:
        faults.insert(0, f"a plain stem has {STEM_CHANNELS} channels")
    if faults:
        raise ConfigError(f"not a Res2Net: {join_faults(faults)}")


def join_faults(faults: list[str]) -> str:
    """Return the first of the faults, and how many more there are."""
    more = f"; and {len(faults) - _MAX_NAMED} more" if len(faults) > _MAX_NAMED else ""
    return "; ".join(faults[:_MAX_NAMED]) + more
