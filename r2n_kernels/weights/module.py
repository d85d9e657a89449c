"""A live module tells its configuration, and where it computes other than the reference."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ..config import POOLS, Res2NetConfig
from ..errors import ConfigError
from ..reference import Bottle2neck, Res2Net
from .shapes import config_from_state, expected_shapes, format_shape, join_faults, meta_network

HEAD = ("global_pool", "fc")
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
_BLOCK = "Bottle2neck"


def unwrap_module(module: nn.Module) -> nn.Module:
    """Return the network inside DataParallel, DistributedDataParallel or torch.compile."""
    while True:
        inner = getattr(module, "_orig_mod", None)
        if inner is None and type(module).__name__.endswith("DataParallel"):
            inner = getattr(module, "module", None)
        if not isinstance(inner, nn.Module):
            return module
        module = inner


def config_from_module(module: nn.Module) -> Res2NetConfig:
    """Return the configuration of a live timm Res2Net, or of the reference.

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
    if faults := _differences(module, config, is_own=False):
        raise ConfigError(f"{name} does not fit: {join_faults(faults)}")
    if isinstance(module, Res2Net):
        changes = {"num_classes": config.num_classes, "global_pool": config.global_pool}
        own = module.config.replace(**changes)
        # Shapes do not tell every base_width; the reference does, unless it was changed since.
        return own if expected_shapes(own) == expected_shapes(config) else config
    return config


def _pool(module: nn.Module, config: Res2NetConfig) -> str:
    """Name the module's pooling; a module without one takes means, as the papers do."""
    part = getattr(module, "global_pool", None)
    if part is None:
        return config.global_pool
    name = "" if type(part) is nn.Identity else getattr(part, "pool_type", None)
    if name not in POOLS:
        raise ConfigError(f"global_pool is {type(part).__name__}, whose pooling is not known")
    pooled = config.replace(global_pool=name).pooled_features
    if config.num_classes and pooled != config.pooled_features:
        raise ConfigError(f"the classifier does not fit global_pool '{name}'")
    return name


def _extra_parts(module: nn.Module) -> list[str]:
    """Name the parts that timm may put into a block or stem, and that are not here."""
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
    """Name what acts on numbers, and cannot be taken along."""
    faults = []
    for name, part in module.named_modules():
        if part._forward_hooks or part._forward_pre_hooks:
            faults.append(f"{name or 'it'} has a forward hook: remove it")
        faults += [f"{name or 'it'} has another {method}" for method in replaced_methods(part)]
    return faults


def replaced_methods(module: nn.Module) -> list[str]:
    """Name the methods of its class that the module itself has others in place of."""
    return [key for key in vars(module) if callable(getattr(type(module), key, None))]


def trunk_names(config: Res2NetConfig) -> list[str]:
    """Name the children of a network that stand in front of its head, in order."""
    return [name for name, _ in meta_network(config).named_children() if name not in HEAD]


def faults_of_trunk(network: nn.Module, config: Res2NetConfig) -> list[str]:
    """Tell where a network made here computes something else in front of its head now."""
    return _differences(network, config, is_own=True)


def _differences(network: nn.Module, config: Res2NetConfig, *, is_own: bool) -> list[str]:
    """Compare a network with the reference of `config`, part by part.

    is_own: it was made here. Then all in front of its head must still be what was made; of other
    networks, timm's too, the layers that decide must compute the same.
    """
    trunk = trunk_names(config) if is_own else ()
    found = dict(network.named_modules(remove_duplicate=False))
    wanted = {
        name: part
        for name, part in meta_network(config).named_modules(remove_duplicate=False)
        if (name.partition(".")[0] in trunk if is_own else type(part) in DECISIVE)
    }
    faults = [f"{name} is new" for name in found
              if name not in wanted and name.partition(".")[0] in trunk]  # fmt: skip
    others: set[str] = set()
    for name, part in wanted.items():
        have = found.get(name)
        if name.rpartition(".")[0] in others:  # a fault of its parent was said already
            others.add(name)
        elif have is None or not _is_alike(have, part, is_own):
            others.add(name)
            is_what = "missing" if have is None else type(have).__name__
            faults.append(f"{name} is {is_what}, expected {type(part).__name__}")
        else:
            if is_own:
                faults += [f"{name}.{key} was replaced" for key in replaced_methods(have)]
            faults += _other_attributes(name, have, part)
            if is_own:
                faults += _other_tensors(name, have, part)
    return faults


def _is_alike(found: nn.Module, wanted: nn.Module, is_own: bool) -> bool:
    """Tell whether a part is of the kind that the reference has in its place."""
    if type(found) is type(wanted):
        return True
    # timm has its own class of blocks; SyncBatchNorm is BatchNorm at inference.
    same = (nn.SyncBatchNorm, nn.BatchNorm2d)
    return not is_own and (type(wanted) is Bottle2neck or (type(found), type(wanted)) == same)


def _other_attributes(name: str, found: nn.Module, wanted: nn.Module) -> list[str]:
    """Tell where a part has another geometry than the reference's."""
    faults = []
    for attribute in DECISIVE.get(type(wanted), ()):
        have, want = (_pair(getattr(part, attribute)) for part in (found, wanted))
        if have != want:
            faults.append(f"{name}.{attribute} is {have}, expected {want}")
    return faults


def _pair(value: Any) -> Any:
    # Pools keep one number where convolutions keep two.
    return value[0] if isinstance(value, tuple) and len(set(value)) == 1 else value


def _other_tensors(name: str, found: nn.Module, wanted: nn.Module) -> list[str]:
    """Tell other shapes of what a layer reads, and BatchNorm that would take statistics.

    Other tensors of a layer's change nothing, as those in which tools count.
    """
    faults = []
    for table in ("_parameters", "_buffers"):
        for key, want in getattr(wanted, table).items():
            have, expected = _shape(getattr(found, table).get(key)), _shape(want)
            if have != expected:
                faults.append(f"{name}.{key} is {have}, expected {expected}")
    if type(found) is nn.BatchNorm2d and found.training:
        faults.append(f"{name} is in training mode")
    return faults


def _shape(tensor: Tensor | None) -> str:
    return "none" if tensor is None else format_shape(tensor.shape)
