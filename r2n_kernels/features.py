"""What the feature maps of a network are: channels, reduction, module; in timm's words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from .config import EXPANSION, Res2NetConfig
from .errors import ConfigError


class FeatureInfo:
    """A sequence of dicts with `num_chs`, `reduction`, `module` and `index`; one a feature map.

    Index 0 is taken after the stem's activation, before the max-pool; i is the end of stage i.

    Maps come in the network's order, each once, whatever the order of `out_indices`, as timm's do.
    Here `out_indices` and what is said of them are in that order too; in timm they stay in the
    order asked for, and so do not fit the maps of out_indices=(4, 1).
    """

    def __init__(self, config: Res2NetConfig, out_indices: Sequence[int] | None = None) -> None:
        """Raises ConfigError for an index that the network does not have; -1 is the last one."""
        channels = [config.stem_channels, *(EXPANSION * planes for planes in config.planes)]
        modules = ["act1", *(f"layer{i + 1}" for i in range(len(config.planes)))]
        self._all = [
            {"num_chs": c, "reduction": 2 ** (i + 1), "module": m, "index": i}
            for i, (c, m) in enumerate(zip(channels, modules, strict=True))
        ]
        count = len(self._all)
        indices = range(count) if out_indices is None else out_indices
        for index in indices:
            if not -count <= index < count:
                raise ConfigError(
                    f"out_indices must lie in {-count}..{count - 1}, got {tuple(indices)}"
                )
        if len(indices) == 0:
            raise ConfigError("out_indices is empty; expected at least one feature index")
        self.out_indices = tuple(sorted({index % count for index in indices}))

    def __len__(self) -> int:
        return len(self._all)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._all[index]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._all)

    def __repr__(self) -> str:
        return f"FeatureInfo(out_indices={self.out_indices}, {self._all})"

    def channels(self, idx: int | Sequence[int] | None = None) -> int | list[int]:
        """Channels of each chosen map; or of map `idx` of the network's (a list for several)."""
        return self._get("num_chs", idx)

    def reduction(self, idx: int | Sequence[int] | None = None) -> int | list[int]:
        """Input pixels per feature pixel, along one axis; `idx` as in `channels`."""
        return self._get("reduction", idx)

    def module_name(self, idx: int | Sequence[int] | None = None) -> str | list[str]:
        """The module that yields a map; `idx` as in `channels`."""
        return self._get("module", idx)

    def get_dicts(self) -> list[dict[str, Any]]:
        return [self._all[i] for i in self.out_indices]

    def _get(self, key: str, idx: int | Sequence[int] | None) -> Any:
        if isinstance(idx, int):
            return self._all[idx][key]
        return [self._all[i][key] for i in (self.out_indices if idx is None else idx)]
