"""Whether the trunk of a model that was made here still is what was made."""

from __future__ import annotations

from torch import Tensor, nn

from ..config import Res2NetConfig
from .module import other_attributes, replaced_methods
from .shapes import format_shape, meta_network

HEAD = ("global_pool", "fc")


def trunk_names(config: Res2NetConfig) -> list[str]:
    """The children of a network that stand in front of its head, in order."""
    return [name for name, _ in meta_network(config).named_children() if name not in HEAD]


def faults_of_trunk(network: nn.Module, config: Res2NetConfig) -> list[str]:
    """Where a network made as the reference computes something else in front of its head now."""
    trunk = trunk_names(config)
    wanted, found = (
        {n: m for n, m in of.named_modules(remove_duplicate=False) if n.partition(".")[0] in trunk}
        for of in (meta_network(config), network)
    )
    faults = [f"{name} is new" for name in found if name not in wanted]
    other: set[str] = set()
    for name, part in wanted.items():
        have = found.get(name)
        if type(have) is not type(part):
            other.add(name)
        if name.rpartition(".")[0] in other:  # said of what it is in
            other.add(name)
            continue
        if have is None:
            faults.append(f"{name} is missing, expected {type(part).__name__}")
        elif type(have) is not type(part):
            faults.append(f"{name} is {type(have).__name__}, expected {type(part).__name__}")
        else:
            faults += [f"{name}.{key} was replaced" for key in replaced_methods(have)]
            faults += other_attributes(name, have, part)
            faults += _other_tensors(name, have, part)
    return faults


def _other_tensors(name: str, found: nn.Module, wanted: nn.Module) -> list[str]:
    """Shapes that differ of what a layer reads, and BatchNorm that would take statistics.

    Other tensors of a layer's change nothing, as those in which tools count.
    """
    faults = []
    for table, keys in (("_parameters", wanted._parameters), ("_buffers", wanted._buffers)):
        for key, want in keys.items():
            have = getattr(found, table).get(key)
            if _shape(have) != _shape(want):
                faults.append(f"{name}.{key} is {_shape(have)}, expected {_shape(want)}")
    if type(found) is nn.BatchNorm2d and found.training:
        faults.append(f"{name} is in training mode")
    return faults


def _shape(tensor: Tensor | None) -> str:
    return "none" if tensor is None else format_shape(tensor.shape)
