"""Looks at a pass are few, and between two that hold nothing overflows."""

from __future__ import annotations

import math

import pytest
import torch

from r2n_kernels.config import VARIANTS, Res2NetConfig
from r2n_kernels.engine.looks import ROOM, Look, looks
from r2n_kernels.engine.overflow import LIMIT, Growth, Line, growths
from r2n_kernels.fold import fold
from r2n_kernels.reference import Res2Net


def growth(gain: float, offset: float = 0.0) -> Growth:
    return Growth(Line(gain, offset), Line(gain, offset))


def test_one_look_is_enough_for_a_gentle_network():
    assert looks({"a": growth(10.0), "b": growth(100.0)}) == (
        Look("a", pytest.approx(LIMIT / 1e3)),
    )


def test_a_look_is_placed_where_the_room_would_end():
    found = looks({"a": growth(1e20), "b": growth(1e10), "c": growth(1e5)})
    assert [look.step for look in found] == ["a", "c"]
    assert [look.limit for look in found] == [pytest.approx(1e8), pytest.approx(1e33)]


def test_what_is_added_counts():
    (look,) = looks({"a": growth(1.0, 5.0), "b": growth(2.0, 7.0)})
    assert 2 * (look.limit + 5) + 7 == pytest.approx(LIMIT)


@pytest.mark.parametrize("bad", [growth(1.0, math.inf), growth(1.0, math.nan), growth(0.0, 1e39)])
def test_where_nothing_is_safe_no_value_passes(bad):
    (look,) = looks({"a": bad})
    assert not look.limit >= 0.0


def test_a_part_without_room_has_a_look_of_its_own_with_a_small_limit():
    found = looks({"a": growth(1.0), "b": growth(1e36), "c": growth(1.0)})
    assert [look.step for look in found] == ["a", "b", "c"]
    assert found[1].limit == pytest.approx(100.0)
    assert found[1].limit < ROOM


@pytest.mark.parametrize("name", ["res2net101_26w_4s", "res2net50_26w_8s", "res2next50"])
def test_the_variants_need_few(name, randomize):
    state = randomize(Res2Net(VARIANTS[name])).state_dict()
    found = looks(growths(fold(VARIANTS[name], state, torch.float32)))
    assert 2 <= len(found) <= 8
    assert all(look.limit >= ROOM for look in found)
    assert found[0].step == "conv1"


def test_bounds_hold_from_look_to_look(randomize):
    config = Res2NetConfig(layers=(2, 2), planes=(9, 14), num_classes=5)
    parts = growths(fold(config, randomize(Res2Net(config)).state_dict(), torch.float32))
    limits = {look.step: look.limit for look in looks(parts)}
    bound = math.inf
    for step, part in parts.items():
        bound = min(bound, limits.get(step, math.inf))
        assert part.inside.at(bound) <= LIMIT * (1 + 1e-9)
        bound = part.output.at(bound)
