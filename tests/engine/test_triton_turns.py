"""Who waits for whom, and when a graph is captured: the backend on a CUDA of the tests' own.

Kernels run at once, in the interpreter; `log` holds what a GPU would have been told.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
import torch

from r2n_kernels import ConfigError
from r2n_kernels.config import Res2NetConfig
from r2n_kernels.engine import TritonOptions, kernel_backend, triton_ops, workspace
from r2n_kernels.engine.kernel_backend import WORKSPACES
from r2n_kernels.engine.triton_backend import TritonBackend
from r2n_kernels.kernels.device import interpreted
from r2n_kernels.reference import Res2Net, randomize

pytestmark = pytest.mark.skipif(not interpreted(), reason="there is a GPU, with a CUDA of its own")
CONFIG = Res2NetConfig(layers=(1,), planes=(13,), num_classes=5)
CPU = torch.device("cpu")
STEPS = 7  # launches after the first: stem, max pool, three of a block, global pool, classifier


@dataclass(frozen=True)
class Stream:
    name: str
    log: list[str] = field(compare=False)

    @property
    def cuda_stream(self) -> str:
        return self.name

    def record_event(self) -> str:
        self.log.append(f"{self.name}: record")
        return self.name

    def wait_event(self, event: str) -> None:
        self.log.append(f"{self.name}: wait for {event}")


class Cuda:
    """What the backend uses of torch.cuda, and its launches."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.now = Stream("A", self.log)
        self.captured: list | None = None
        self.runs = True  # whether it launches; False where only the log is looked at

    @contextmanager
    def stream(self, stream: Stream) -> Iterator[None]:
        before, self.now = self.now, stream
        try:
            yield
        finally:
            self.now = before

    @contextmanager
    def graph(self, graph, stream: Stream, capture_error_mode: str = "global") -> Iterator[None]:
        with self.stream(stream):
            self.captured = graph.calls
            try:
                yield
            finally:
                self.captured = None

    def CUDAGraph(self) -> SimpleNamespace:
        calls = []
        return SimpleNamespace(calls=calls, replay=lambda: self.launch(calls, "replay"))

    def launch(self, calls, what: str = "launch") -> None:
        if self.captured is not None:
            self.captured.extend(calls)
            return
        self.log.append(f"{self.now.name}: {what} {len(calls)}")
        for call in calls if self.runs else ():
            call.launch()

    def told(self) -> list[str]:
        """The log since the last time."""
        told, self.log[:] = [*self.log], []
        return told


@pytest.fixture
def cuda(monkeypatch) -> Cuda:
    cuda = Cuda()
    for name, fake in {
        "current_stream": lambda device: cuda.now,
        "is_current_stream_capturing": lambda: cuda.captured is not None,
        "Stream": lambda device, priority: Stream("capture", cuda.log),
        "stream": cuda.stream,
        "graph": cuda.graph,
        "CUDAGraph": cuda.CUDAGraph,
    }.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: None)
    monkeypatch.setattr(workspace, "launch", cuda.launch)
    make = triton_ops.allocate
    monkeypatch.setattr(workspace, "allocate", lambda plan, device, some: make(plan, CPU, some))
    monkeypatch.setattr(kernel_backend, "current", lambda device: nullcontext())
    return cuda


@pytest.fixture
def backend() -> TritonBackend:
    state = randomize(Res2Net(CONFIG)).state_dict()
    made = TritonBackend(CONFIG, state, torch.float16, CPU, TritonOptions(graphs=(2,)))
    made.device = SimpleNamespace(type="cuda")
    return made


def run(backend: TritonBackend, batch: int = 2, wanted: str = "logits") -> torch.Tensor:
    x = torch.randn(batch, 3, 32, 32, generator=torch.Generator().manual_seed(0)).half()
    return backend.run(backend.plan(batch, 32, 32), x, [wanted])[0]


def test_plain_launches_then_a_capture_then_replays(cuda, backend):
    first = run(backend)
    new = ["A: record"]  # the buffers' zeros
    assert cuda.told() == [*new, "A: launch 1", f"A: launch {STEPS}", "A: record"]
    for _ in range(2):
        assert torch.equal(run(backend), first)
        assert cuda.told() == ["A: launch 1", f"A: replay {STEPS}", "A: record"]
    cuda.runs = False
    run(backend, wanted="stem")  # fewer steps are a graph of their own
    assert cuda.told() == ["A: launch 1", "A: launch 1", "A: record"]
    for _ in range(3):
        run(backend, batch=3)  # not among `graphs`
    assert not any("replay" in line for line in cuda.told())


def test_a_stream_waits_for_the_one_before(cuda, backend):
    cuda.runs = False
    run(backend)
    cuda.told()
    other = Stream("B", cuda.log)
    with cuda.stream(other):
        run(backend)
        assert cuda.told()[0] == "B: wait for A"
        run(backend)
        assert not any("wait" in line for line in cuda.told())
        run(backend, batch=1)  # new buffers, on the stream that had the last turn
        assert not any("wait" in line for line in cuda.told())
    run(backend, batch=1)
    assert cuda.told()[0] == "A: wait for B"


def test_new_buffers_are_waited_for(cuda, backend):
    cuda.runs = False
    x = torch.randn(2, 3, 32, 32).half()
    backend.prepare(backend.plan(2, 32, 32), x)
    assert cuda.told() == ["A: record"]
    with cuda.stream(Stream("B", cuda.log)):
        run(backend)
    assert cuda.told()[0] == "B: wait for A"


def test_a_failed_capture_is_tried_again(cuda, backend, monkeypatch):
    expected = run(backend)
    with monkeypatch.context() as patch:
        patch.setattr(workspace, "launch", fail_in_a_capture(cuda))
        with pytest.raises(RuntimeError, match="capture invalidated"):
            run(backend)
    assert cuda.now.name == "A"
    cuda.told()
    assert torch.equal(run(backend), expected)
    assert f"A: replay {STEPS}" in cuda.told()


def fail_in_a_capture(cuda: Cuda):
    def launch(calls) -> None:
        if cuda.captured is not None:
            raise RuntimeError("capture invalidated")
        cuda.launch(calls)

    return launch


def test_a_users_capture_needs_a_warm_model_and_keeps_its_buffers(cuda, backend):
    cuda.runs = False
    graph = cuda.CUDAGraph()
    with pytest.raises(ConfigError, match=r"run the model once on \[2, 3, 32, 32\] before"), \
            cuda.graph(graph, Stream("user", cuda.log)):  # fmt: skip
        run(backend)
    run(backend)
    cuda.told()
    with cuda.graph(graph, Stream("user", cuda.log)):
        run(backend)
    assert len(graph.calls) == 1 + STEPS
    assert cuda.told() == []  # neither an event nor a graph of ours in the user's
    for batch in range(3, 4 + WORKSPACES):
        run(backend, batch)
    assert (2, 32, 32) in backend._workspaces
    assert len(backend._workspaces) == 1 + WORKSPACES
