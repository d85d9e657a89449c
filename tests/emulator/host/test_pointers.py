"""Tensors are found by the addresses that lie in others."""

from __future__ import annotations

import torch

from r2n_kernels.emulator.host.pointers import reached


def places(found) -> list[int]:
    return sorted(one.untyped_storage().data_ptr() for one in found)


def test_tensors_behind_addresses():
    rows = [torch.zeros(64) for _ in range(3)]
    table = torch.tensor([row.data_ptr() for row in rows[:2]])
    assert places(reached([table, 7])) == places(rows[:2])


def test_an_address_within_a_tensor():
    whole = torch.zeros(100)
    table = torch.tensor([whole[40:].data_ptr()])
    assert places(reached([table])) == places([whole])


def test_arguments_and_numbers_are_none():
    x = torch.zeros(64)
    table = torch.tensor([x.data_ptr()])
    assert reached([table, x]) == []
    assert reached([torch.arange(5), None, 3]) == []
    assert reached([torch.tensor([0, x.data_ptr() % 1000])]) == []


def test_tensors_that_are_gone_are_not_found():
    table = torch.tensor([torch.zeros(1 << 20).data_ptr()])
    assert reached([table]) == []
