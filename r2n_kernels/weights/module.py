"""Read a network's configuration off a live module, and refuse what would compute otherwise."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..config import POOLS, Res2NetConfig
from ..errors import ConfigError
from ..reference import Bottle2neck, Res2Net
from .infer import config_from_state
from .shapes import expected_shapes, meta_network

_MAX_NAMED = 8
# Layers of which the reference has one: the attributes that decide what they compute.
DECISIVE: dict[type[nn.Module], tuple[str, ...]] = {
    nn.Conv2d: ("kernel_size", "stride", "padding", "dilation", "groups", "padding_mode"),
    nn.BatchNorm2d: ("eps", "affine", "track_running_stats"),
    nn.ReLU: (),
    nn.Identity: (),
    nn.MaxPool2d: ("kernel_size", "stride", "padding", "dilation", "ceil_mode"),
    nn.AvgPool2d: ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad",
                   "divisor_override"),
    nn.Linear: (),
    Bottle2neck: ("width", "scale", "is_first"),
}  # fmt: skip
_SAME = {nn.SyncBatchNorm: nn.BatchNorm2d}  # equal at inference
_BLOCK = "Bottle2neck"


def unwrap_module(module: nn.Module) -> nn.Module:
    """The network inside DataParallel, DistributedDataParallel or torch.compile."""
    while True:
        inner = getattr(module, "_orig_mod", None)
        if inner is None and type(module).__name__.endswith("DataParallel"):
            inner = getattr(module, "module", None)
        if not isinstance(inner, nn.Module):
            return module
        module = inner


def config_from_module(module: nn.Module) -> Res2NetConfig:
    """The configuration of a live timm Res2Net, or of the reference.

    timm is not imported: the module must have the parts of a timm ResNet with Bottle2neck blocks,
    each computing what the reference's part of that name computes. Stochastic depth and dropout
    are allowed: they do nothing at inference.

    Raises ConfigError that names all that does not fit.
    """
    module = unwrap_module(module)
    name = type(module).__name__
    parts = [part for part in ("conv1", "bn1", "act1", "maxpool", "layer1", "fc")
             if not isinstance(getattr(module, part, None), nn.Module)]  # fmt: skip
    if parts:
        raise ConfigError(f"{name} is not a timm Res2Net: it has no module {', '.join(parts)}")
    blocks = [b for key, b in module.named_modules() if key.startswith("layer") and
              key.count(".") == 1]  # fmt: skip
    other = sorted({type(block).__name__ for block in blocks} - {_BLOCK})
    if other or not blocks:
        found = ", ".join(other) or "no blocks"
        raise ConfigError(f"{name} is not a Res2Net: expected {_BLOCK} blocks, found {found}")
    # Differences of parts say more than differences of shapes, so extra parts come first.
    if extra := [*_extra_parts(module), *_listeners(module)]:
        raise ConfigError(f"{name} does not fit: {join_faults(extra)}")
    try:
        config = config_from_state(module.state_dict())
        config = config.replace(global_pool=_pool(module, config))
    except ConfigError as cause:
        raise ConfigError(f"{name} does not fit: {cause}") from cause
    if faults := _faults(module, config):
        raise ConfigError(f"{name} does not fit: {join_faults(faults)}")
    if isinstance(module, Res2Net):
        changes = {"num_classes": config.num_classes, "global_pool": config.global_pool}
        own = module.config.replace(**changes)
        # Shapes do not tell every base_width; the reference does, unless it was changed since.
        return own if expected_shapes(own) == expected_shapes(config) else config
    return config


def _pool(module: nn.Module, config: Res2NetConfig) -> str:
    """What the module's pooling is called; a module without one takes means, as the papers do."""
    part = getattr(module, "global_pool", None)
    if part is None:
        return config.global_pool
    name = "" if type(part) is nn.Identity else getattr(part, "pool_type", None)
    if name not in POOLS:
        raise ConfigError(f"global_pool is {type(part).__name__}, whose pooling is not known")
    if (
        config.num_classes
        and config.replace(global_pool=name).pooled_features != config.pooled_features
    ):
        raise ConfigError(f"the classifier does not fit global_pool '{name}'")
    return name


def _extra_parts(module: nn.Module) -> list[str]:
    """Parts that timm may put into a block or stem, and that are not here."""
    faults = []
    for name, part in module.named_modules():
        leaf, kind = name.rpartition(".")[2], type(part).__name__
        if leaf == "se":
            faults.append(f"{name} is {kind}: attention is not supported")
        elif leaf == "drop_block" and type(part) is not nn.Identity:
            faults.append(f"{name} is {kind}: replace it by nn.Identity (it acts in training only)")
        elif leaf == "maxpool" and type(part) is not nn.MaxPool2d:
            faults.append(f"{name} is {kind}, expected MaxPool2d")
    return faults


def _listeners(module: nn.Module) -> list[str]:
    """What acts on numbers, and cannot be taken along."""
    faults = []
    for name, part in module.named_modules():
        if part._forward_hooks or part._forward_pre_hooks:
            faults.append(f"{name or 'it'} has a forward hook: remove it")
        faults += [f"{name or 'it'} has another {method}" for method in replaced_methods(part)]
    return faults


def _faults(module: nn.Module, config: Res2NetConfig) -> list[str]:
    """Leaf by leaf, where the module computes something other than the reference."""
    faults = []
    for name, wanted in meta_network(config).named_modules():
        if type(wanted) not in DECISIVE:
            continue
        try:
            found: Any = module.get_submodule(name)
        except AttributeError:
            faults.append(f"{name} is missing, expected {type(wanted).__name__}")
            continue
        kind = type(wanted)
        if kind is Bottle2neck:  # timm's class, or the reference's: what shapes do not tell
            faults += other_attributes(name, found, wanted)
            continue
        if _SAME.get(type(found), type(found)) is not kind:
            faults.append(f"{name} is {type(found).__name__}, expected {kind.__name__}")
            continue
        faults += other_attributes(name, found, wanted)
    return faults


def replaced_methods(module: nn.Module) -> list[str]:
    """Methods of its class that the module itself has others in place of."""
    return [key for key in vars(module) if callable(getattr(type(module), key, None))]


def other_attributes(name: str, found: nn.Module, wanted: nn.Module) -> list[str]:
    """Where a layer `found` has another geometry than the reference's, which it is in kind."""
    faults = []
    for attribute in DECISIVE.get(type(wanted), ()):
        have, want = (_pair(getattr(part, attribute)) for part in (found, wanted))
        if have != want:
            faults.append(f"{name}.{attribute} is {have}, expected {want}")
    return faults


def _pair(value: Any) -> Any:
    # Pools keep one number where convolutions keep two.
    return value[0] if isinstance(value, tuple) and len(set(value)) == 1 else value


def join_faults(faults: list[str]) -> str:
    """The first of them, and how many there are."""
    more = f"; and {len(faults) - _MAX_NAMED} more" if len(faults) > _MAX_NAMED else ""
    return "; ".join(faults[:_MAX_NAMED]) + more
