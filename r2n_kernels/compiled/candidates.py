"""Tiles to try are compiled ahead: `r2n tune` times a bundle of them on a GPU without Triton."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from ..errors import ConfigError, KernelError
from ..kernels.targets import TARGETS
from ..kernels.tiles import TileConfig, TileTable
from ..proof.search import neighbours
from ..proof.tune import Recorder, steps_of
from .drafts import Draft, draft
from .instances import Request, meta_weights, plan_of
from .pool import Pool

Drafted = tuple[str, TileConfig, Draft]  # a geometry, and a plan with this tile for it


def draft_candidates(
    requests: Sequence[Request], pool: Pool
) -> Iterator[tuple[Request, list[Drafted]]]:
    """Yield the plans with one tile changed, by request; a geometry belongs to the first of them.

    Raises ConfigError where a request has no plan.
    """
    seen: dict[str, set[str]] = {}  # geometries by target
    answers: dict[Request, Any] = dict(pool.map(draft_tiles, requests))
    for request in requests:
        if isinstance(answers[request], KernelError):
            raise ConfigError(f"{request.target}, batch {request.batch}: {answers[request]}")
        known = seen.setdefault(request.target, set())
        found = [one for one in answers[request] if one[0] not in known]
        known |= {geometry for geometry, *_ in found}
        yield request, found


def draft_tiles(request: Request) -> list[Drafted]:
    """List the rule's neighbours for each geometry of a request's plan. Runs in a worker."""

    def planned(tiles: TileTable) -> Any:
        return plan_of(dataclasses.replace(request, tiles=tiles))

    recorder = Recorder()
    planned(tiles=recorder)
    found = []
    for geometry, rule in recorder.rules.items():
        step = next(iter(steps_of(planned, geometry, rule)))
        columns = meta_weights(request.config, request.dtype)[step].weight.shape[-1]
        near = partial(
            neighbours, n=columns, itemsize=request.dtype.itemsize, target=TARGETS[request.target]
        )
        for tile in near(rule):
            tiled = dataclasses.replace(request, tiles=TileTable({geometry: tile}))
            found.append((geometry, tile, draft((tiled, request.batch))))
    return found
