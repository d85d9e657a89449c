"""Plans become data: what a plan holds, as JSON has it, and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..config import Res2NetConfig
from ..kernels.forms import ResidentForm
from ..kernels.layout import PlanesLayout
from ..kernels.tiles import TileConfig
from ..plan import Buffer, ConvGeometry, Launch, Plan, Step

# options of a step that are more than a number, tagged with their kind
KINDS: Mapping[str, Any] = {"layout": PlanesLayout, "tile": TileConfig, "form": ResidentForm}


def encode_plan(plan: Plan) -> dict[str, Any]:
    """Return the plan but for its config and dtype, which a bundle states once."""
    return {
        "batch": plan.batch,
        "height": plan.height,
        "width": plan.width,
        "backend": plan.backend,
        "features": list(plan.features),
        "buffers": [_fields(buffer) for buffer in plan.buffers.values()],
        "steps": [_encode_step(step) for step in plan.steps],
    }


def decode_plan(data: Mapping[str, Any], config: Res2NetConfig, dtype: torch.dtype) -> Plan:
    """Invert `encode_plan`. Raises KeyError, TypeError, ValueError for what is no plan."""
    buffers = [_decode_buffer(*fields) for fields in data["buffers"]]
    for buffer in buffers:
        if buffer.itemsize != dtype.itemsize:
            raise ValueError(f"buffer {buffer.name}: {buffer.itemsize} bytes an element")
    batch, height, width = whole([data["batch"], data["height"], data["width"]])
    return Plan(
        config, batch, height, width, dtype, _name(data["backend"]),
        tuple(map(_decode_step, data["steps"])), {buffer.name: buffer for buffer in buffers},
        names(data["features"]),
    )  # fmt: skip


def _decode_buffer(name: Any, shape: Any, itemsize: Any, planes: Any) -> Buffer:
    if type(planes) is not bool:
        raise TypeError(f"planes is {planes!r}")
    return Buffer(_name(name), whole(shape), itemsize, planes)


def _encode_step(step: Step) -> dict[str, Any]:
    return {
        "name": step.name,
        "op": step.op,
        "reads": list(step.reads),
        "writes": list(step.writes),
        "frees": list(step.frees),
        "convs": [_fields(conv) for conv in step.convs],
        "moved": [_fields(launch) for launch in step.launches],
        "executed_macs": step.executed_macs,
        "bytes_l2": step.bytes_l2,
        "note": step.note,
        "aside": step.aside,
        "options": {name: _encode_option(value) for name, value in step.options.items()},
    }


def _decode_step(data: Mapping[str, Any]) -> Step:
    executed_macs, bytes_l2 = whole([data["executed_macs"], data["bytes_l2"]])
    return Step(
        name=_name(data["name"]),
        op=_name(data["op"]),
        reads=names(data["reads"]),
        writes=names(data["writes"]),
        frees=names(data["frees"]),
        convs=tuple(map(_decode_conv, data["convs"])),
        launches=tuple(Launch(_name(what), *whole(moved)) for what, *moved in data["moved"]),
        executed_macs=executed_macs,
        bytes_l2=bytes_l2,
        note=_name(data.get("note", "")),
        aside=_name(data.get("aside", "")),
        options={name: _decode_option(value) for name, value in data["options"].items()},
    )


def _decode_conv(values: Any) -> ConvGeometry:
    if 0 in whole(values):
        raise ValueError(f"a convolution of {values}")
    return ConvGeometry(*values)


def _encode_option(value: Any) -> Any:
    for kind, cls in KINDS.items():
        if isinstance(value, cls):
            return {kind: _fields(value)}
    return value


def _decode_option(value: Any) -> Any:
    if isinstance(value, dict):
        ((kind, fields),) = value.items()
        return KINDS[kind](*whole(fields))
    if value is not None and type(value) not in (bool, int):
        raise TypeError(f"an option is {value!r}")
    return value


def _fields(value: Any) -> list[Any]:
    """Return a flat dataclass's values in their order."""
    return list(dataclasses.astuple(value))


def whole(values: Sequence[Any]) -> tuple[int, ...]:
    """Return these numbers. Raises TypeError or ValueError where one is none, or below 0."""
    for value in values:
        if type(value) is not int:
            raise TypeError(f"expected a whole number, got {value!r}")
        if value < 0:
            raise ValueError(f"expected no negative number, got {value}")
    return tuple(values)


def _name(value: Any) -> str:
    if type(value) is not str:
        raise TypeError(f"expected a name, got {value!r}")
    return value


def names(values: Any) -> tuple[str, ...]:
    if type(values) is not list:
        raise TypeError(f"expected names, got {values!r}")
    return tuple(map(_name, values))
