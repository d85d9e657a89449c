"""A form says how the split chain of a block keeps its images in shared memory, on one GPU."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from .layout import PlanesLayout, pad_to
from .targets import Target
from .tiles import LIMITS, MIN_BLOCK, PARTS, column_parts, power_of_two

WHOLE, WINDOW = 256, 64  # most channels of a split in whole images, and in windows of one
WHOLES = (128, 256, 512)  # rows of whole images, the last with wgmma alone
BUFFERS = (512, 1024, 256)  # rows of a window with its halo, in the order of trial
WARP_ROWS, WARP_COLUMNS = 16, 8  # of a product, the least of a warp
GROUP_ROWS = 64  # that wgmma multiplies together
# (channels of a place in the ring, places), in the order of trial
RINGS = ((64, 3), (64, 2), (32, 3), (32, 2), (16, 3))
# most float32 sums of a thread, without and with wgmma, which reads weights in shared memory alone:
# with more, it spills
SUMS = 112, 184
BESIDE = 72  # registers a thread for operands and addresses, beside the sums
ROW_PAD = 8  # elements after a row in shared memory
SLACK = 1024  # bytes that alignment may take
SECTOR = 32  # bytes
Sizes = tuple[int, int, int, int, int, int, int]  # of a form: images to warps
REGISTERS = 65536  # of an SM: CUDA programming guide, technical specifications, 8.0 to 12.0


@dataclass(frozen=True)
class ResidentForm:
    """A form is of whole images, several to a CTA, or of windows of one image.

    images: whole ones of a CTA; 0 for windows. tiles: products of a window; 0 for whole images.
    buffer: rows in shared memory. block_m: rows of the products, of a window's tile or of all
    images; these are cut into parts, as columns are, of which the last may be lower than all warps
    are tall: then they stand side by side. block_k, stages: channels of a place
    in the ring of weights, and places; 0 stages where the weights of a split are there at once.
    parts: most parts that a product's columns are cut into. wgmma: 1 for sm_90's instruction, 0 for
    mma.sync. registers: the most that a thread may use.
    """

    images: int
    tiles: int
    buffer: int
    block_m: int
    block_k: int
    stages: int
    warps: int
    parts: int
    wgmma: int
    registers: int

    def columns(self, channels: int) -> tuple[int, ...]:
        """Return the widths of a product's parts, as `column_parts` does."""
        return column_parts(channels, self.parts)

    def products(self, channels: int) -> tuple[tuple[int, tuple[int, ...]], ...]:
        """Return the height of each part of rows, and the widths of its parts of columns."""
        columns = self.columns(channels)

        def widths(rows: int) -> tuple[int, ...]:
            across = max(1, WARP_ROWS * self.warps // rows)
            return tuple(max(width, WARP_COLUMNS * across) for width in columns)

        return tuple((rows, widths(rows)) for rows in column_parts(self.block_m, PARTS))

    def area(self, channels: int) -> int:
        """Count the sums of block_m rows."""
        return sum(rows * sum(widths) for rows, widths in self.products(channels))

    def sums(self, channels: int) -> int:
        """Return the float32 sums of a thread, each in a register."""
        return self.area(channels) // (32 * self.warps)

    def blocks(self, layout: PlanesLayout) -> int:
        """Return how often a CTA multiplies block_m rows."""
        return 1 if self.images else -(-layout.tile_rows // self.block_m)

    def busiest(self, layout: PlanesLayout, sms: int) -> int:
        """Count the rows of products of the SM that has the most of them."""
        return -(-self.ctas(layout.N) // sms) * self.blocks(layout) * self.block_m

    def macs(self, layout: PlanesLayout, convs: int) -> int:
        """Count the multiply-accumulates of all chains of `convs` convolutions, with padding."""
        blocks, depth = self.ctas(layout.N) * self.blocks(layout), pad_to(layout.C, MIN_BLOCK)
        return convs * blocks * self.area(layout.C) * 9 * depth

    def bytes_l2(self, layout: PlanesLayout, convs: int, itemsize: int) -> int:
        """Count what all CTAs load and store: weights as often as CTAs are."""
        c, pixels = layout.C, layout.N * layout.H * layout.W
        weights = self.ctas(layout.N) * convs * 9 * c * pad_to(c * itemsize, SECTOR)
        loaded = convs * pixels
        if not self.images:  # of x, and of y from the second split on
            loaded = (2 * convs - 1) * layout.N * self._window_pixels(layout)
        return weights + (loaded + convs * pixels) * c * itemsize

    def fault(self, layout: PlanesLayout) -> str:
        """Say what keeps the kernels from running a layout's chain so; "" where nothing does."""
        whole = self.images > 0
        most = WHOLE if whole else WINDOW
        if not MIN_BLOCK <= layout.C <= most:
            return f"splits must have {MIN_BLOCK} to {most} channels, got {layout.C}"
        powers = (self.buffer, self.block_k, self.warps)
        if min(powers) < 1 or any(size & (size - 1) for size in powers):
            return f"buffer, block_k and warps must be powers of two, got {powers}"
        if self.block_k < MIN_BLOCK or self.parts < 1:
            return "block_k must be at least 16, parts 1"
        least, most = LIMITS
        if self.warps not in (4, 8) or self.wgmma not in (0, 1):
            return f"warps must be 4 or 8, wgmma 0 or 1, got {self.warps} and {self.wgmma}"
        if not least <= self.registers <= most:
            return f"registers must be {least} to {most} a thread, got {self.registers}"
        low = GROUP_ROWS if whole and self.wgmma else WARP_ROWS * self.warps
        if self.block_m < low or self.block_m % low or self.block_m.bit_count() > PARTS:
            wanted = f"up to {PARTS} powers of two, each at least {low}"
            return f"block_m must be {wanted}, got {self.block_m}"
        if whole:
            rows = (self.images - 1) * image_rows(layout.H, layout.W) + held_rows(layout)
            if self.tiles or self.stages < 2 or self.block_m < rows - layout.pitch:
                return "whole images need 0 tiles, 2 or more stages, and all their rows in block_m"
        else:
            rows = self.tiles * self.block_m + halo_rows(layout.W)
            if self.images < 0 or self.stages or self.tiles < 1 or self.block_k < layout.C:
                return "windows need 1 or more tiles, 0 stages, and all channels in block_k"
        return f"{rows} rows do not fit a buffer of {self.buffer}" if rows > self.buffer else ""

    def ctas(self, images: int) -> int:
        return -(-images // max(self.images, 1))

    def shared_bytes(self, channels: int, itemsize: int) -> int:
        """Return about what a CTA takes of shared memory."""
        columns = power_of_two(channels)
        rows = self.buffer + (0 if self.images else self.block_m)
        weights = (self.stages or 9) * self.block_k * columns
        return (rows * (columns + ROW_PAD) + weights) * itemsize

    def _window_pixels(self, layout: PlanesLayout) -> int:
        """Count the pixels that the windows of an image hold, those of halos as often as held."""
        size, (pitch, last) = self.tiles * self.block_m, (layout.pitch, layout.tile_rows)

        def before(row: int) -> int:
            """Count the pixels in the rows before this one."""
            row = min(max(row, 0), last)
            return row // pitch * layout.W + min(row % pitch, layout.W)

        starts = range(0, last, size)
        return sum(before(s + size + pitch + 1) - before(s - pitch - 1) for s in starts)


def choose_form(
    layout: PlanesLayout, itemsize: int, target: Target
) -> tuple[ResidentForm | None, str]:
    """Return the form whose busiest SM has the fewest products, and why; or None, and why not."""
    if target.no_gluon:
        return None, target.no_gluon
    if itemsize == 1:
        return None, "its Gluon is for elements of 16 bits, and these are int8"
    if itemsize != 2:
        return None, "matrix instructions for float32 are not IEEE"
    if layout.C < MIN_BLOCK:
        return None, f"splits of {layout.C} channels are less than a product is deep"
    found = [*_of_whole_images(layout, target), *_of_windows(layout, target)]
    if not found:
        what = f"{layout.H}x{layout.W} pixels of {layout.C} channels"
        return None, f"{what} do not fit the shared memory or the registers of {target.name}"
    form = min(found, key=lambda form: form.busiest(layout, target.sms))
    kept = {0: "windows of an image", 1: "an image"}.get(form.images, f"{form.images} images")
    return form, f"a CTA keeps {kept} in shared memory"


def _of_whole_images(layout: PlanesLayout, target: Target) -> Iterator[ResidentForm]:
    c, warps = layout.C, 8
    if c > WHOLE:
        return
    low = GROUP_ROWS if target.wgmma else WARP_ROWS * warps
    every, held = image_rows(layout.H, layout.W), held_rows(layout)
    for buffer in WHOLES if target.wgmma else WHOLES[:-1]:
        images = 1 + (buffer - held) // every
        if images < 1:
            continue
        rows = (images - 1) * every + layout.tile_rows
        block_m = pad_to(rows, low)
        for block_k, stages in RINGS:
            block_k = min(block_k, power_of_two(c))
            if form := _fitted((images, 0, buffer, block_m, block_k, stages, warps), c, target):
                yield form
                break


def _of_windows(layout: PlanesLayout, target: Target) -> Iterator[ResidentForm]:
    c, block_m = layout.C, 128
    if c > WINDOW:
        return
    warps, block_k = (4 if c <= 32 else 8), power_of_two(c)
    for buffer in BUFFERS:
        tiles = (buffer - halo_rows(layout.W)) // block_m
        if tiles * block_m < halo_rows(layout.W):  # a window that is mostly halo saves nothing
            continue
        if form := _fitted((0, tiles, buffer, block_m, block_k, 0, warps), c, target):
            yield form
            return


def _fitted(sizes: Sizes, channels: int, target: Target) -> ResidentForm | None:
    """Make a form of its sizes; None where shared memory or the registers do not hold it.

    It may use what registers an SM has for the CTAs that shared memory allows: left to itself, the
    compiler saves them for more CTAs than there is room for, and spills.
    """
    form = ResidentForm(*sizes, parts=PARTS, wgmma=int(target.wgmma), registers=LIMITS[1])
    held = form.shared_bytes(channels, 2) + SLACK
    if held > target.shared_bytes or form.sums(channels) > SUMS[target.wgmma]:
        return None
    threads = 32 * form.warps * (target.sm_shared_bytes // held)
    least = form.sums(channels) + BESIDE
    registers = min(max(REGISTERS // threads, least) // 8 * 8, LIMITS[1])
    return dataclasses.replace(form, registers=registers)


def image_rows(H: int, W: int) -> int:
    """Return the rows in shared memory from one whole image to the next."""
    return (H + 1) * (W + 1)


def held_rows(layout: PlanesLayout) -> int:
    """Return the rows from an image's first pixel to its last, and of zeros as rows wrap around."""
    return layout.tile_rows + layout.pitch


def halo_rows(W: int) -> int:
    """Return the rows that a window holds beside its own."""
    return 2 * (W + 1) + 2
