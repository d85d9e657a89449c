"""Commands share these arguments: how images are prepared, and which class has which index.

What they say is kept in the model's own pretrained_cfg, as if its config.json had said it.
"""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError
from .arguments import image_size, number
from .terminal import say

if TYPE_CHECKING:
    from ..data import ClassMap
    from ..model.bundled import Model

# As data.transform has them, which imports torch: tests/cli/test_preprocessing.py compares them.
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos")
CROP_MODES = ("center", "squash", "border")
OPTIONS = ("--img-size", "--crop-pct", "--crop-mode", "--mean", "--std", "--interpolation")
share = number("a number above 0", lambda value: 0 < value < math.inf)  # above 1 there is padding


def add_preprocessing(parser: argparse.ArgumentParser) -> None:
    """Add arguments that win over what the model's config.json says of images and classes."""
    group = parser.add_argument_group("preprocessing (default: the model's own)")
    add = group.add_argument
    add("--img-size", type=image_size, metavar="PX|HxW", help="of the crop that the model sees")
    add("--crop-pct", type=share, metavar="X",
        help="share of the resized image that the crop keeps, as 0.875")  # fmt: skip
    modes = "center (short edge resized), squash (both) or border (long edge; padding)"
    add("--crop-mode", choices=CROP_MODES, help=modes)
    per_channel = "per channel, or one for all, on the scale 0 to 1"
    add("--mean", type=float, nargs="+", metavar="X", help=per_channel)
    add("--std", type=float, nargs="+", metavar="X", help=per_channel)
    add("--interpolation", choices=INTERPOLATIONS, metavar="NAME", help=", ".join(INTERPOLATIONS))
    add("--class-map", metavar="FILE",
        help="names of the classes: a name per line, in index order; a name and an index per line; "
        "or .json, a list of names, name to index, or index to name")  # fmt: skip


def preprocessing_from(args: argparse.Namespace, in_chans: int) -> dict[str, Any]:
    """Return what the options say, in timm's words, for images of so many channels.

    Raises ConfigError that names the option that does not fit.
    """
    said: dict[str, Any] = {
        "crop_pct": args.crop_pct, "crop_mode": args.crop_mode,
        "interpolation": args.interpolation,
    }  # fmt: skip
    if args.img_size is not None:
        said["input_size"] = (in_chans, *args.img_size)
    for key in ("mean", "std"):
        values = getattr(args, key)
        if values is None:
            continue
        if len(values) not in (1, in_chans):
            wanted = "1 value" if in_chans == 1 else f"1 or {in_chans} values"
            raise ConfigError(f"--{key}: expected {wanted}, got {len(values)}")
        if not all(map(math.isfinite, values)) or (key == "std" and min(map(abs, values)) == 0):
            raise ConfigError(f"--{key}: expected finite numbers, a std not 0, got {values}")
        said[key] = tuple(values) * (in_chans if len(values) == 1 else 1)
    said = {key: value for key, value in said.items() if value is not None}
    return {"in_chans": in_chans, **said} if said else {}


def prepare(args: argparse.Namespace, model: Model) -> dict[str, Any]:
    """Return how images are prepared, and keep it, and the classes' names, with the model.

    Warns of weights that say nothing of it, for which the variant's defaults count. Raises
    ConfigError where nothing says it, and for options that do not fit.
    """
    from ..data import resolve_model_data_config

    said = preprocessing_from(args, model.in_chans)
    try:
        config = resolve_model_data_config(model, said)
    except ConfigError as error:
        raise ConfigError(f"{error} ({', '.join(OPTIONS)})") from error
    check_agreed(args, {key: value for key, value in config.items() if key not in said})
    keep(model.pretrained_cfg, config, class_map_from(args), model.num_classes)
    if is_bare(args):
        warn_of_defaults(args, {key: value for key, value in config.items() if key not in said})
    return config


def check_agreed(args: argparse.Namespace, config: dict[str, Any]) -> None:
    """Raise ConfigError where a model's own config.json and that of --weights contradict."""
    from ..weights import config_from_timm, read_config

    if not args.weights or not has_config(args.model):
        return
    stated = read_config(args.weights)
    cfg = {} if stated is None else config_from_timm(stated)[1]
    for key, ours in config.items():
        theirs = cfg.get(key)
        if theirs is not None and theirs != (list(ours) if isinstance(theirs, list) else ours):
            raise ConfigError(
                f"{args.model} says {key} {_shown(ours)}, the config.json of {args.weights} says "
                f"{_shown(theirs)}: which counts, is said by options ({', '.join(OPTIONS)})"
            )


def keep(
    cfg: dict[str, Any], config: dict[str, Any], class_map: ClassMap | None, num_classes: int
) -> None:
    """Put a data config, and the names of classes where there are any, into a pretrained_cfg."""
    for key, value in config.items():
        if cfg.get(key) != value:
            cfg.pop(f"test_{key}", None)  # timm's advice for the checkpoint as it was
        cfg[key] = value
    if class_map is not None and num_classes:
        cfg.pop("label_descriptions", None)
        cfg |= {"label_names": class_map.labels(num_classes), "num_classes": num_classes}


def class_map_from(args: argparse.Namespace) -> ClassMap | None:
    """Return the class map, if one was given. Raises ConfigError for a file that is none."""
    from ..data import read_class_map

    return read_class_map(args.class_map) if args.class_map else None


def labels_from(args: argparse.Namespace, model: Model) -> tuple[str, ...] | None:
    """Return the names of the classes: the class map's, or those of the model, if it has any."""
    from ..batch import labels_of

    class_map = class_map_from(args)
    return class_map.labels(model.num_classes) if class_map else labels_of(model)


def is_bare(args: argparse.Namespace) -> bool:
    """Tell whether no config.json says how images are prepared for --weights."""
    from ..names import is_bundle
    from ..weights import read_config

    if not args.weights or is_bundle(args.model) or has_config(args.model):
        return False
    return read_config(args.weights) is None


def has_config(model: str) -> bool:
    """Tell whether a model's name is that of a folder or repository, with a config.json."""
    from ..names import is_bundle, split_source
    from .bundled import expand

    return not is_bundle(model) and split_source(expand(model))[0] is not None


def warn_of_defaults(args: argparse.Namespace, defaults: dict[str, Any]) -> None:
    """Say which values nobody stated, and count as the variant's own weights want them."""
    if defaults:
        values = ", ".join(f"{key} {_shown(value)}" for key, value in defaults.items())
        say(
            f"r2n: warning: {args.weights} has no config.json, so that {args.model}'s own defaults "
            f"count: {values} (`r2n convert` writes a folder with both)"
        )


def _shown(value: Any) -> str:
    return "x".join(map(str, value)) if _is_size(value) else str(value)


def _is_size(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(one, int) for one in value)
