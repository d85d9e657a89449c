"""Local memory is each lane's own: arrays that need an address, and what calls pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .types import LANES, UINT, Array

if TYPE_CHECKING:
    from .batch import Batch
    from .group import Group
    from .parse import Instruction

LOCAL_BASE = 1 << 30  # above all shared memory of a cluster, and within 32 bits


class LocalMemory:
    """A LocalMemory holds the lanes of a batch, `size` bytes each; nobody else can race there."""

    def __init__(self, batch: Batch, size: int) -> None:
        self.batch, self.used = batch, size
        self.stride = -(-size // 16) * 16
        warps = len(batch.places) * batch.launch.kernel.num_warps
        self.data = np.full(warps * LANES * self.stride, 0xFF, np.uint8)

    def locate(
        self, g: Group, ins: Instruction, address: Array, width: int, lanes: Array
    ) -> tuple[Array, Array]:
        """Return accesses' offsets and lanes; misaligned or out of bounds ones are left out."""
        off = address - LOCAL_BASE
        bad = (off < 0) | (off + width > self.used) | (off % width != 0)
        if bad.any():
            lane = int(lanes[bad][0])
            kind = "alignment" if (off[bad][0] % width) else "bounds"
            text = f"byte {off[bad][0]} of a lane's local memory ({self.used} bytes, width {width})"
            self.batch.launch.report(kind, g, ins, lane // LANES, lane % LANES, text)
            off, lanes = off[~bad], lanes[~bad]
        row = g.lane_row[lanes]
        warp = g.cta[row] * self.batch.launch.kernel.num_warps + g.warp[row]
        return off + (warp * LANES + lanes % LANES) * self.stride, lanes

    def load(
        self, g: Group, ins: Instruction, off: Array, elem: int, n: int, lanes: Array, kind: str
    ) -> Array:
        """Load [lanes, n] unsigned integers of `elem` bytes."""
        return self._rows(elem, n).take(off // (elem * n), axis=0)

    def store(
        self, g: Group, ins: Instruction, off: Array, values: Array, lanes: Array, kind: str
    ) -> None:
        """Store values [lanes, n] at byte offsets `off`."""
        n, elem = values.shape[1], values.dtype.itemsize
        self._rows(elem, n)[off // (elem * n)] = values

    def _rows(self, elem: int, n: int) -> Array:
        return self.data.view(UINT[8 * elem]).reshape(-1, n)
