"""Where pixels lie in memory: the planes layout, in which a 3x3 convolution is a plain GEMM.

`planes` is [P, rows, C]: one plane a split, C its channels padded to a multiple of 8. Pixel
(n, h, w) is row

    front + n * image_rows + h * (W + 1) + w

so that one zero column lies between the lines of an image, one zero line below it, and a few more
zero rows between images. A tap of a 3x3 convolution is then a constant row shift, and the three
taps of one kernel line are contiguous: K = 3 * C. Zero rows are written once, and never again.
"""

from __future__ import annotations

from dataclasses import dataclass

CHANNEL_ALIGN = 8  # elements: 16-byte loads and stores in half precision


def pad_channels(channels: int) -> int:
    """Channels of a split as stored: the next multiple of 8."""
    return -(-channels // CHANNEL_ALIGN) * CHANNEL_ALIGN


def pad_to(size: int, block: int) -> int:
    return -(-size // block) * block


@dataclass(frozen=True)
class PlanesLayout:
    """Rows of one plane for N images of H x W pixels and C stored channels.

    block_k: of the GEMM that reads the planes. It runs over K = 3 * C rounded up to block_k, so an
    image's last pixel reads up to block_k - 1 elements more; they must be zeros of its own, as a
    zero weight times another image's NaN is NaN.
    """

    N: int
    H: int
    W: int
    C: int
    block_k: int

    @property
    def pitch(self) -> int:
        """Rows from a pixel to the one below it."""
        return self.W + 1

    @property
    def k_pad(self) -> int:
        return pad_to(3 * self.C, self.block_k)

    @property
    def overrun(self) -> int:
        """Rows that a padded K reaches beyond the last tap."""
        return -(-(self.k_pad - 3 * self.C) // self.C)

    @property
    def front(self) -> int:
        return self.pitch + 1

    @property
    def image_rows(self) -> int:
        return (self.H + 1) * self.pitch + max(1, self.overrun)

    @property
    def tile_rows(self) -> int:
        """Rows that tiles cover in an image: the dense lines and the gaps between them."""
        return self.H * self.pitch

    @property
    def rows(self) -> int:
        return self.front + self.N * self.image_rows

    def row(self, n: int, h: int, w: int) -> int:
        return self.front + n * self.image_rows + h * self.pitch + w
