from __future__ import annotations

import copy
import multiprocessing
import pickle
import threading

import pytest
import torch

from r2n_kernels.engine.cpu_streams import GROUP, CpuStreams, _groups


@pytest.fixture(autouse=True)
def _restore_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


class Recorder:
    """x -> [2 x, mean per image], noting the size of each part, its thread and thread count."""

    def __init__(self) -> None:
        self.parts: list[tuple[int, str, int]] = []

    def __call__(self, x: torch.Tensor) -> list[torch.Tensor]:
        thread = threading.current_thread().name
        self.parts.append((len(x), thread, torch.get_num_threads()))
        return [2 * x, x.mean(dim=1)]


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("batch", [1, 2, 3, 5, 8, 17])
def test_outputs_are_in_order_and_complete(threads, batch):
    torch.set_num_threads(threads)
    x = torch.randn(batch, 6)
    double, mean = CpuStreams().map(Recorder(), x)
    assert torch.equal(double, 2 * x)
    assert torch.equal(mean, x.mean(dim=1))


def test_streams_share_the_threads_and_the_rest_uses_all():
    torch.set_num_threads(2)
    streams, record = CpuStreams(), Recorder()
    for _ in range(3):  # again, because torch sets a thread's count once more on its first use
        record.parts.clear()
        streams.map(record, torch.randn(2 * GROUP + 3, 6))
        inside = [p for p in record.parts if p[1].startswith("r2n-stream")]
        outside = [p for p in record.parts if not p[1].startswith("r2n-stream")]
        assert sorted(size for size, _, _ in inside) == [2, 2, 3, 3]
        assert {count for _, _, count in inside} == {1}
        assert [(size, count) for size, _, count in outside] == [(1, 2)]
    assert torch.get_num_threads() == 2
    seen: list[int] = []
    fresh = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    fresh.start()
    fresh.join()
    assert seen == [2], "a new thread inherited a stream's share"


def test_small_batches_do_not_start_threads():
    torch.set_num_threads(2)
    record = Recorder()
    CpuStreams().map(record, torch.randn(3, 6))
    assert record.parts == [(3, threading.current_thread().name, 2)]


def test_groups_are_even():
    for images in range(1, 40):
        groups = _groups(images)
        assert sum(groups) == images
        assert max(groups) <= GROUP
        assert max(groups) - min(groups) <= 1


def test_errors_reach_the_caller_and_the_streams_go_on():
    torch.set_num_threads(2)
    streams = CpuStreams()

    def fail(x: torch.Tensor) -> list[torch.Tensor]:
        raise RuntimeError("in a stream")

    with pytest.raises(RuntimeError, match="in a stream"):
        streams.map(fail, torch.randn(8, 6))
    assert len(streams.map(Recorder(), torch.randn(8, 6))[0]) == 8


def test_copies_and_pickles_start_their_own_threads():
    torch.set_num_threads(2)
    streams = CpuStreams()
    streams.map(Recorder(), torch.randn(8, 6))
    for twin in (copy.deepcopy(streams), pickle.loads(pickle.dumps(streams))):
        assert len(twin.map(Recorder(), torch.randn(8, 6))[0]) == 8


def test_a_fork_starts_its_own_threads():
    """One torch thread a stream: OpenMP's own threads do not survive a fork."""
    streams = CpuStreams()
    torch.set_num_threads(2)
    streams.map(_first_row, torch.ones(8, 6))
    context = multiprocessing.get_context("fork")
    with context.Pool(1) as pool:
        pool_result = pool.apply_async(_in_fork, (8,))
        assert pool_result.get(timeout=60) == 8


def _first_row(x: torch.Tensor) -> list[torch.Tensor]:
    return [x[:, :1].clone()]


def _in_fork(batch: int) -> int:
    return len(CpuStreams().map(_first_row, torch.ones(batch, 6))[0])
