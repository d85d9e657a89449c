"""Feature maps are described in timm's words: channels, reduction, module."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from numbers import Integral
from typing import Any, TypeGuard

from .config import EXPANSION, Res2NetConfig
from .errors import ConfigError

OutIndices = int | Sequence[int]


class FeatureInfo:
    """A sequence has one dict per feature map: `num_chs`, `reduction`, `module` and `index`.

    Index 0 is taken after the stem's activation, before the max-pool; i is the end of layer i.

    `out_indices` says which maps are chosen: the last n for an int, these for several (-1 is the
    last one), all for None. Maps come in the network's order, each once, whatever the order asked
    for, as timm's do. Here `out_indices` and what is said of the chosen maps are in that order too,
    and count from the front; in timm they stay as they were asked for, and so do not fit the maps
    of out_indices=(4, 1).

    Where a method takes `idx`, it is one map of the network's, or a list of them, chosen or not;
    None stands for the chosen ones.
    """

    def __init__(self, config: Res2NetConfig, out_indices: OutIndices | None = None) -> None:
        """Choose maps. Raises ConfigError for an index that is not there, TypeError for no int."""
        channels = [config.stem_channels, *(EXPANSION * planes for planes in config.planes)]
        modules = ["act1", *(f"layer{i + 1}" for i in range(len(config.planes)))]
        self.info = [
            {"num_chs": c, "reduction": 2 ** (i + 1), "module": m, "index": i}
            for i, (c, m) in enumerate(zip(channels, modules, strict=True))
        ]
        self.out_indices = _chosen(out_indices, len(self.info))

    def from_other(self, out_indices: OutIndices | None) -> FeatureInfo:
        """Copy this with other maps chosen."""
        other = copy.deepcopy(self)
        other.out_indices = _chosen(out_indices, len(self.info))
        return other

    def __len__(self) -> int:
        return len(self.info)

    def __getitem__(self, index: int | slice) -> Any:
        return self.info[index]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.info)

    def __repr__(self) -> str:
        return f"FeatureInfo(out_indices={self.out_indices}, {self.info})"

    def channels(self, idx: int | Sequence[int] | None = None) -> Any:
        """Return the channels of a map."""
        return self.get("num_chs", idx)

    def reduction(self, idx: int | Sequence[int] | None = None) -> Any:
        """Return input pixels per feature pixel, along one axis."""
        return self.get("reduction", idx)

    def module_name(self, idx: int | Sequence[int] | None = None) -> Any:
        """Return the name of the module that yields a map."""
        return self.get("module", idx)

    def get(self, key: str, idx: int | Sequence[int] | None = None) -> Any:
        """Return a value of a map; a list of them where `idx` is a list or None.

        Raises KeyError, IndexError and TypeError, naming what was asked.
        """
        dicts = self.get_dicts((key,), idx)
        return dicts[key] if isinstance(dicts, dict) else [d[key] for d in dicts]

    def get_dicts(
        self, keys: Sequence[str] | None = None, idx: int | Sequence[int] | None = None
    ) -> Any:
        """Return the dict of a map, or its `keys`; a list of them where `idx` is a list or None."""
        if unknown := [key for key in keys or () if key not in self.info[0]]:
            raise KeyError(f"no {unknown} in feature_info; it has {list(self.info[0])}")
        asked = self.out_indices if idx is None else idx
        if isinstance(asked, (tuple, list)):
            return [self._part(keys, i) for i in asked]
        return self._part(keys, asked)

    def _part(self, keys: Sequence[str] | None, idx: object) -> dict[str, Any]:
        if not _is_index(idx):
            raise TypeError(f"idx must be an int, or a list or tuple of ints, got {idx!r}")
        if not -len(self.info) <= idx < len(self.info):
            raise IndexError(f"no feature map {idx}; there are {len(self.info)}")
        return self.info[idx] if keys is None else {key: self.info[idx][key] for key in keys}


def _chosen(out_indices: OutIndices | None, count: int) -> tuple[int, ...]:
    """Return which of `count` maps are meant, in the network's order, each once."""
    if out_indices is None:
        return tuple(range(count))
    if _is_index(out_indices):
        if not 1 <= out_indices <= count:
            raise ConfigError(
                f"out_indices as an int is the last n maps: 1..{count}, got {out_indices}"
            )
        return tuple(range(count - int(out_indices), count))
    indices = tuple(out_indices) if hasattr(out_indices, "__iter__") else (out_indices,)
    if isinstance(out_indices, str) or not all(map(_is_index, indices)):
        raise TypeError(f"out_indices must be an int or several, got {out_indices!r}")
    if not indices:
        raise ConfigError("out_indices is empty; expected at least one feature index")
    if not all(-count <= index < count for index in indices):
        raise ConfigError(f"out_indices must lie in {-count}..{count - 1}, got {indices}")
    return tuple(sorted({int(index) % count for index in indices}))


def _is_index(value: object) -> TypeGuard[int]:
    """Return whether this is an int, also numpy's; a bool is a slip."""
    return isinstance(value, Integral) and not isinstance(value, bool)
