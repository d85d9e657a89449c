"""This file makes models of bundles: which backend runs one, and which weights it runs on."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from ..bundle import Bundle, open_bundle
from ..bundle.backend import BundleBackend, device_target
from ..engine import EMULATED, Backend, TritonOptions, backend_class, choose_backend
from ..engine.kernel_backend import pack
from ..errors import BundleError, ConfigError, NoCodeError, UnknownModelError
from ..fold.triton_layout import PackedConv
from ..model import CANONICAL
from ..model.bundled import BundledModel
from ..model.folded import available
from ..reference import Res2Net
from ..text import printable
from ..weights import config_from_timm, load_weights, read_config
from ..weights.sources import Source
from .architecture import architecture_of
from .pretrained import weights_of

logger = logging.getLogger("r2n_kernels.engine")

Packed = Mapping[str, PackedConv]
PTX = "r2n_kernels.compiled.network:BundlePtxBackend"  # by its place: it lies above this room
NAMES = ("auto", "bundle", "triton", *EMULATED)


def bundled_model(
    path: str | os.PathLike, *, pretrained: bool = False, checkpoint: str | None = None,
    cache_dir: str | None = None, sha256: str | None = None, backend: str = "auto",
    dtype: torch.dtype | None = None, device: torch.device | str | None = None,
    triton: TritonOptions | None = None, **how: Any,
) -> BundledModel:  # fmt: skip
    """Open a bundle, and make a model of it on a device.

    pretrained, checkpoint: where the weights are, for a bundle that has none; without either they
    are random. backend: "auto" takes the bundle's code, and Triton where it has none that fits;
    "bundle" never does; "triton" always; "ptx:<arch>" emulates the bundle's code on the CPU.
    Raises BundleError, ConfigError, WeightsError.
    """
    if backend not in NAMES:
        raise ConfigError(
            f"a bundle's weights are packed for kernels: backend must be one of "
            f"{', '.join(NAMES)}, got '{backend}'"
        )
    if triton is not None and backend not in ("auto", "triton"):
        raise ConfigError(f"options of the triton backend were given for backend '{backend}'")
    bundle, place = open_bundle(path, sha256=sha256), available(device)
    if dtype not in (None, bundle.manifest.dtype):
        raise ConfigError(f"{bundle} is in {bundle.manifest.dtype}, asked was {dtype}")
    packed, cfg = _weights(bundle, pretrained, checkpoint, cache_dir)
    if (proof := bundle.proof()) is not None and not proof.get("passed"):
        logger.warning("%s: its proof found faults; `r2n inspect` shows them", bundle)
    target, makers = _backends(bundle, packed, place, backend, triton)
    return BundledModel(bundle, makers, packed.get("fc"), target=target, described=cfg, **how)


def _weights(
    bundle: Bundle, pretrained: bool, checkpoint: str | None, cache_dir: str | None
) -> tuple[Packed, dict[str, Any] | None]:
    """Return the packed weights, and the pretrained_cfg of a checkpoint that has its own."""
    manifest = bundle.manifest
    if manifest.weights is not None:
        if checkpoint is not None:
            raise ConfigError(f"{bundle} has weights of its own; a checkpoint is for one without")
        return bundle.weights(), None
    source: Source | None = checkpoint
    if checkpoint is None and pretrained:
        source = _published(bundle, cache_dir)
    config, cfg = manifest.config, None
    if checkpoint is not None and (stated := read_config(checkpoint, cache_dir)) is not None:
        theirs, cfg, name = config_from_timm(stated)
        if theirs.replace(global_pool="avg") != config:
            raise ConfigError(f"{checkpoint} holds a '{name}' of another shape than {bundle}")
    if source is None:
        state = Res2Net(config, **CANONICAL).state_dict()
    else:
        state = load_weights(source, config, cache_dir=cache_dir).state
    return pack(config, state, manifest.dtype)[1], cfg


def _published(bundle: Bundle, cache_dir: str | None) -> Source:
    """Return where the weights are that belong to the network's name."""
    name = bundle.manifest.name
    try:
        return weights_of(architecture_of(name, cache_dir=cache_dir)[1])
    except UnknownModelError as error:
        raise BundleError(
            f"{bundle} has no weights, and there are none by its name, '{printable(name)}': pass a "
            "checkpoint"
        ) from error


def _backends(
    bundle: Bundle, packed: Packed, device: torch.device, name: str, triton: TritonOptions | None
) -> tuple[str | None, Sequence[Callable[[], Backend]]]:
    """Return the target whose code runs, None where Triton compiles, and what makes backends."""
    if triton is not None and triton.int8 is not None:
        raise ConfigError("a bundle's weights are float: int8 needs a model of a checkpoint")
    if name in EMULATED:
        emulator = partial(backend_class(PTX), bundle, packed, device, name)
        return name.partition(":")[2], [emulator]

    graphs = (triton or TritonOptions()).graphs
    on_device: dict[str, PackedConv] = {}  # once, for both backends

    def jit() -> Backend:
        from ..engine.triton_backend import JitBackend

        if name == "auto":
            logger.warning("%s has no code for this: Triton compiles, which may take long", bundle)
        manifest = bundle.manifest
        weights = on_device or packed
        return JitBackend(manifest.config, weights, manifest.dtype, device, triton)

    def own() -> Backend:
        backend = BundleBackend(bundle, packed, device, target, graphs)
        on_device.update(backend.weights)
        return backend

    if name == "triton":
        backend_class(name)  # raises ConfigError without Triton
        return None, [jit]
    can_jit = name == "auto" and device.type == "cuda" and choose_backend(device)[0] == "triton"
    try:
        target = device_target(bundle, device)
    except NoCodeError:
        if not can_jit:
            raise
        return None, [jit]
    return target, [own, jit] if can_jit else [own]
