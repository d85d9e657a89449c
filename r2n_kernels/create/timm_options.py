"""timm's create_model options that say nothing about inference are harmless, or refused by name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from numbers import Real
from types import MappingProxyType
from typing import Any

from ..errors import ConfigError

_NETWORK = frozenset(
    {
        "act_layer", "aa_layer", "avg_down", "base_width", "block", "block_args",
        "block_reduce_first", "cardinality", "channels", "down_kernel_size", "layers",
        "norm_layer", "pruned", "replace_stem_pool", "stem_type", "stem_width",
    }
)  # fmt: skip
_REFUSED = MappingProxyType(
    {
        "feature_cls": "features_only gives a list here, as timm's default does",
        "pretrained_filter_fn": "filter the weights yourself and pass them as "
        "pretrained_cfg_overlay={'state_dict': ...}",
        "pretrained_strict": "weights must always fit whole; only num_classes and in_chans adapt",
    }
)


def check_flags(**flags: Any) -> None:
    """Raise TypeError unless each is True, False or None."""
    for name, value in flags.items():
        if value not in (None, False, True):
            raise TypeError(f"{name} must be True or False, got {value!r}")


def check_rates(**rates: float | None) -> None:
    """Raise TypeError or ConfigError unless each is None or lies in 0..1."""
    for name, value in rates.items():
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, Real):
            raise TypeError(f"{name} must be a number, got {value!r}")
        if not 0 <= value <= 1:  # also where it is NaN
            raise ConfigError(f"{name} must lie in 0..1, got {value}")


def refuse_scripting(scriptable: bool | None) -> None:
    if scriptable:
        raise ConfigError(
            "scriptable=True: TorchScript cannot script this model; use torch.export.export or "
            "torch.jit.trace"
        )


def check_output_stride(output_stride: int | None) -> None:
    if output_stride not in (None, 32):
        raise ConfigError(
            f"output_stride={output_stride!r} needs dilated convolutions, which are not built "
            "here; expected 32"
        )


def refuse_others(options: Mapping[str, Any], accepted: Iterable[str]) -> None:
    """Raise for every option that is not None, as timm ignores those that are.

    ConfigError for an option of timm's, TypeError, naming the nearest of those accepted, otherwise.
    """
    for name, value in options.items():
        if value is None:
            continue
        if name in _NETWORK:
            raise ConfigError(
                f"{name} changes the network, which create_model does not: build it with timm and "
                "pass it to from_timm, which says whether it can run here"
            )
        if name in _REFUSED:
            raise ConfigError(f"{name} is not supported: {_REFUSED[name]}")
        near = difflib.get_close_matches(name, list(accepted), n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise TypeError(f"create_model() got an unexpected keyword argument '{name}'{hint}")
