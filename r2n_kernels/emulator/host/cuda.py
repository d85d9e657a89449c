"""torch.cuda's answers for a device that is emulated, so that host code for a GPU runs without."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch

from .devices import REGISTERS, Device
from .torch_mode import CUDA, here

VERSION = "12.8"  # of CUDA, where torch was built without


class Stream:
    """A Stream does everything at once."""

    cuda_stream, device, stream_id = 0, CUDA, 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take what torch's takes."""

    def synchronize(self) -> None:
        """Do nothing: all is done."""

    def wait_stream(self, stream: Any) -> None:
        """Do nothing: all is done."""

    def wait_event(self, event: Any) -> None:
        """Do nothing: all is done."""

    def query(self) -> bool:
        return True

    def record_event(self, event: Event | None = None) -> Event:
        made = event or Event()
        made.record()
        return made


class Chosen:
    """A Chosen is the device, or that of a tensor, made the current one: there is no other."""

    def __init__(self, *args: Any) -> None:
        self.idx = 0

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, *error: Any) -> None:
        """Do nothing."""


class Event:
    """An Event keeps the time of the host: nothing here tells how fast a GPU is."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._at = 0.0

    def record(self, stream: Any = None) -> None:
        self._at = time.perf_counter()

    def wait(self, stream: Any = None) -> None:
        """Do nothing: all is done."""

    def synchronize(self) -> None:
        """Do nothing: all is done."""

    def query(self) -> bool:
        return True

    def elapsed_time(self, end: Event) -> float:
        return 1e3 * (end._at - self._at)


class _AnyGenerator(type):
    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, _GENERATOR)


_GENERATOR = torch.Generator


class Generator(metaclass=_AnyGenerator):
    """A Generator for a GPU is one for the CPU."""

    def __new__(cls, device: Any = "cpu") -> Any:
        return _GENERATOR(here(device))


def answers(device: Device) -> dict[str, Any]:
    """Return what replaces names of torch.cuda."""
    major, minor = device.capability
    properties = SimpleNamespace(
        name=device.name, major=major, minor=minor, total_memory=device.memory, warp_size=32,
        multi_processor_count=device.sms, max_threads_per_multi_processor=device.threads_per_sm,
        shared_memory_per_block=49152, shared_memory_per_block_optin=device.shared,
        shared_memory_per_multiprocessor=device.shared_per_sm, L2_cache_size=device.l2,
        regs_per_multiprocessor=REGISTERS, is_integrated=False, is_multi_gpu_board=False,
    )  # fmt: skip
    stream = Stream()

    nothing = ("init", "_lazy_init", "synchronize", "set_device", "set_stream", "empty_cache",
               "ipc_collect", "reset_peak_memory_stats", "reset_max_memory_allocated",
               "reset_accumulated_memory_stats")  # fmt: skip
    zero = ("current_device", "memory_allocated", "memory_reserved", "max_memory_allocated",
            "max_memory_reserved")  # fmt: skip
    sure = ("is_available", "is_initialized", "is_bf16_supported")
    # a function of its own for each name: torch._dynamo tells them apart
    return {
        **{name: constant(None) for name in nothing}, **{name: constant(0) for name in zero},
        "stream": constant(nullcontext()), "device": Chosen, "device_of": Chosen,
        **{name: constant(True) for name in sure},
        **{name: constant(stream) for name in ("current_stream", "default_stream")},
        "device_count": constant(1), "is_current_stream_capturing": constant(False),
        "get_device_capability": constant(device.capability),
        "get_device_name": constant(device.name), "get_device_properties": constant(properties),
        "mem_get_info": constant((device.memory, device.memory)),
        # random numbers are the CPU's
        "get_rng_state": lambda device=None: torch.default_generator.get_state(),
        "set_rng_state": lambda state, device=None: torch.default_generator.set_state(state),
        **{name: lambda seed: torch.default_generator.manual_seed(seed)
           for name in ("manual_seed", "manual_seed_all")},
        **{name: lambda: torch.default_generator.seed() for name in ("seed", "seed_all")},
        "Stream": Stream, "Event": Event,
    }  # fmt: skip


def _loader(load: Any) -> Any:
    """Return torch.load with what it would put on a GPU on the CPU."""

    def loaded(f: Any, map_location: Any = None, *args: Any, **kwargs: Any) -> Any:
        return load(f, here(map_location), *args, **kwargs)

    return loaded


def constant(value: Any) -> Any:
    """Return a function that has this answer, whatever it is asked."""
    return lambda *args, **kwargs: value


@contextmanager
def as_cpu(device: Device) -> Iterator[None]:
    """Let torch.cuda answer for a device, for the whole process."""
    with ExitStack() as stack:
        for name, answer in answers(device).items():
            stack.enter_context(patch.object(torch.cuda, name, answer))
        stack.enter_context(patch.object(torch, "Generator", Generator))
        stack.enter_context(patch.object(torch, "load", _loader(torch.load)))
        if torch.version.cuda is None:
            stack.enter_context(patch.object(torch.version, "cuda", VERSION))
        if hasattr(torch, "accelerator"):
            for name, value in (("is_available", True), ("current_accelerator", CUDA),
                                ("device_count", 1), ("synchronize", None),
                                ("current_device_index", 0)):  # fmt: skip
                if hasattr(torch.accelerator, name):
                    stack.enter_context(patch.object(torch.accelerator, name, constant(value)))
        yield
