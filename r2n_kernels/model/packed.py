"""Packed weights are a cache of a model's modules that knows when it is stale."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn.modules import module as every_module

from ..config import Res2NetConfig, pool_kind
from ..engine import Backend
from ..errors import ConfigError
from ..reference.pool import GlobalPool
from ..tracing import tracing
from ..weights import HEAD, faults_of_trunk, join_faults, replaced_methods, trunk_names
from .snapshot import Snapshot, modules_of

Build = Callable[[Res2NetConfig, dict[str, Tensor]], Backend]  # config, canonical weights


class Packed:
    """Packed is a backend, and what the modules were that its weights were folded from.

    faults: where the trunk computes something else than a Res2Net. Then there is no backend: the
    network runs module by module.
    """

    def __init__(self, network: nn.Module, config: Res2NetConfig, build: Build) -> None:
        """Build the backend. Raises ConfigError or WeightsError where that cannot be done."""
        self.judged: tuple[bool, bool] | None = None  # how far it reaches, of a frozen model
        self._names, config = trunk_names(config), with_its_stem(network, config)
        self.watch(network)  # before folding: a write meanwhile is seen
        self.faults = faults_of_trunk(network, config)
        # what other first modules take is for them to say
        others = any(fault.startswith("conv1") for fault in self.faults)
        self.in_chans = None if others else config.in_chans
        pool, fc = (network._modules.get(name) for name in HEAD)
        self._fuses_head = _is_plain(pool, fc, config.num_features)
        config, state = _canonical(network, config, self._names, self._fuses_head)
        self._backend = None if self.faults else build(config, state)
        self.output = "logits" if config.num_classes else "embedding"  # of the backend's head

    @property
    def backend(self) -> Backend:
        """Return the backend. Raises ConfigError where faults leave none."""
        if self._backend is None:
            reason = join_faults(self.faults)
            raise ConfigError(f"no plan: the network runs module by module: {reason}")
        return self._backend

    def watch(self, network: nn.Module) -> None:
        """Take what the modules are now for what was folded, as after they were moved."""
        self._trunk, self._head = Snapshot(network, self._names), Snapshot(network, HEAD)
        trunk, head = modules_of(network, self._names), modules_of(network, HEAD)
        self._trunk_dicts, self._head_dicts = tuple(map(vars, trunk)), tuple(map(vars, head))
        self.trunk_parameters, self._head_parameters = (
            tuple(p for m in part for p in m.parameters(recurse=False)) for part in (trunk, head)
        )

    def holds(self) -> bool:
        """Return whether the modules in front of the head are what was folded."""
        return self._trunk.holds()

    def holds_in_graph(self) -> bool:
        """Return the same while a graph is traced: others may stand in for the parameters."""
        return self._trunk.holds_but_for_tensors()

    def why_unfused(self) -> str:
        """Return why the network must run module by module, or nothing."""
        if self.faults:
            return join_faults(self.faults)
        if _hooked(self._trunk_dicts):
            return "a module has a forward hook"
        return "PyTorch has forward hooks of all modules" if _hooks_of_all() else ""

    def runs_head(self) -> bool:
        """Return whether the backend's head does what the modules would.

        Never again once it was trained: fused optimizers write without counting. A graph reads the
        modules' parameters, which it names and sees change, unless a backend's kernels break it.
        """
        if any(p.requires_grad for p in self._head_parameters):
            self._fuses_head = False
        if not self._fuses_head or _hooked(self._head_dicts) or _hooks_of_all():
            return False
        if tracing():
            own_kernels = self._backend is not None and self._backend.own_kernels
            return own_kernels and self._head.holds_but_for_tensors()
        return self._head.holds()


def with_its_stem(network: nn.Module, config: Res2NetConfig) -> Res2NetConfig:
    """Return the config with the input channels of a first convolution that people put in."""
    name = "conv1.0" if config.deep_stem else "conv1"
    stem = dict(network.named_modules()).get(name)
    if type(stem) is nn.Conv2d and stem._parameters.get("weight") is not None:
        return config.replace(in_chans=stem.weight.shape[1])
    return config


def _is_plain(pool: nn.Module | None, fc: nn.Module | None, features: int) -> bool:
    """Return whether a backend's head computes this: the mean, and a classifier or none."""
    return (
        type(pool) is GlobalPool
        and pool_kind(pool.pool_type) == "avg"
        and is_classifier(fc, features)
        and not any(replaced_methods(part) for part in (pool, fc) if part is not None)
    )


def is_classifier(fc: nn.Module | None, features: int) -> bool:
    """Return whether this is a linear layer of so many inputs, with a bias, or none at all."""
    if type(fc) is not nn.Linear:
        return type(fc) is nn.Identity
    weight, bias = fc._parameters.get("weight"), fc._parameters.get("bias")
    return weight is not None and bias is not None and weight.shape[1] == features


def _canonical(
    network: nn.Module, config: Res2NetConfig, trunk: list[str], plain_head: bool
) -> tuple[Res2NetConfig, dict[str, Tensor]]:
    """Return the network that a backend runs, and its weights: the trunk's on the CPU.

    The classifier's are the modules' own memory: who reads it there sees every write.
    """
    tensors = (
        *network.named_parameters(remove_duplicate=False),
        *network.named_buffers(remove_duplicate=False),
    )
    state = {}
    for name, tensor in tensors:
        child = name.partition(".")[0]
        if child in trunk:
            state[name] = tensor.detach().cpu()
        elif child == "fc" and plain_head:
            state[name] = tensor.detach()
    classes = state["fc.weight"].shape[0] if "fc.weight" in state else 0
    return config.replace(num_classes=classes, global_pool="avg"), state


def _hooked(dicts: tuple[dict[str, Any], ...]) -> bool:
    return any(own["_forward_hooks"] or own["_forward_pre_hooks"] for own in dicts)


def _hooks_of_all() -> bool:
    return bool(every_module._global_forward_hooks or every_module._global_forward_pre_hooks)
