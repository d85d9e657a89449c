"""In the planes layout an R x R convolution is a plain GEMM.

`planes` is [P, rows, C]: one plane per split, C its channels padded. Pixel (n, h, w) is row

    front + n * image_rows + h * pitch + w

with R // 2 zero columns between the lines of an image, as many zero lines below it, and a few more
zero rows between images. A tap of the convolution is then a constant row shift, and the R taps of
one kernel line are contiguous: K = R * C. Zero rows are written once, and never again.
"""

from __future__ import annotations

from dataclasses import dataclass

CHANNEL_ALIGN = 8  # elements: 16-byte loads and stores in half precision
TABLE_ROWS = 3  # of an int8 kernel's b: bias, scale of the sums, ratio of what is added


def pad_channels(channels: int) -> int:
    """Return the channels of a split as stored: the next multiple of 8."""
    return pad_to(channels, CHANNEL_ALIGN)


def pad_image_channels(channels: int) -> int:
    """Return the channels of an input image as stored: 4, or the next multiple of 8."""
    return 4 if channels <= 4 else pad_channels(channels)


def pad_to(size: int, block: int) -> int:
    return -(-size // block) * block


@dataclass(frozen=True)
class PlanesLayout:
    """A plane has rows for N images of H x W pixels and C stored channels.

    block_k: of the GEMM that reads the planes. It runs over K = R * C rounded up to block_k, so an
    image's last pixel reads up to block_k - 1 elements more; they must be zeros of its own, as a
    zero weight times another image's NaN is NaN.
    R: height and width of the convolution that reads the planes.
    """

    N: int
    H: int
    W: int
    C: int
    block_k: int
    R: int = 3

    @property
    def pad(self) -> int:
        return self.R // 2

    @property
    def align(self) -> int:
        """Count the rows in 16 bytes of half precision: 2 where a pixel has 4 channels, else 1."""
        return max(1, CHANNEL_ALIGN // self.C)

    @property
    def left(self) -> int:
        """Count the zero columns before a line: padding, rounded up so that lines start aligned."""
        return pad_to(self.pad, self.align)

    @property
    def lead(self) -> int:
        """Count the taps of weight zero before the first, so that a line of taps starts aligned."""
        return self.left - self.pad

    @property
    def pitch(self) -> int:
        """Count the rows from a pixel to the one below it."""
        return pad_to(self.W + self.left, self.align)

    @property
    def line(self) -> int:
        """Count the contiguous elements of the taps of one kernel line."""
        return (self.lead + self.R) * self.C

    @property
    def k(self) -> int:
        """Return what the GEMM runs over for one kernel line."""
        return pad_to(self.line, self.block_k)

    @property
    def overrun(self) -> int:
        """Count the rows that a padded K reaches beyond the last tap."""
        return -(-(self.k - self.line) // self.C)

    @property
    def front(self) -> int:
        """Count the rows before the first pixel. Its first tap is row 0."""
        return self.pad * self.pitch + self.left

    @property
    def image_rows(self) -> int:
        return pad_to((self.H + self.pad) * self.pitch + max(1, self.overrun), self.align)

    @property
    def tile_rows(self) -> int:
        """Count the rows that tiles cover in an image: dense lines and the gaps between them."""
        return self.H * self.pitch

    @property
    def pixels(self) -> int:
        return self.H * self.W

    @property
    def rows(self) -> int:
        """Round to an even number, so that a plane keeps its alignment whatever the batch."""
        return pad_to(self.front + self.N * self.image_rows, 2)

    def row(self, n: int, h: int, w: int) -> int:
        return self.front + n * self.image_rows + h * self.pitch + w
