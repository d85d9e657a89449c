"""These arguments say which images are read, and how."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING

from ..errors import ConfigError
from .arguments import number, positive
from .terminal import say

if TYPE_CHECKING:
    from ..batch import Feeding
    from ..sources import Inputs

WAYS = ("exact", "turbo")  # decode.DECODES
MOST_IN_A_THREAD = 178_956_970  # twice Pillow's MAX_IMAGE_PIXELS
seconds = number("a positive number", lambda value: 0 < value < math.inf)


def shard(text: str) -> tuple[int, int]:
    """Return (i, n) of "i/n"."""
    from ..sources import shard_of

    try:
        return shard_of(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def add_images(parser: argparse.ArgumentParser) -> None:
    """Add the images, and how they are read."""
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="an image; a folder, searched with its subfolders; a quoted glob pattern, where ** is "
        "any depth; @FILE, a list of paths; - for such a list on standard input; a webdataset tar; "
        "a Parquet file or a folder of Hugging Face's datasets; a URL that fsspec knows",
    )
    add = parser.add_argument_group("reading").add_argument
    add("--column", metavar="NAME", help="of Parquet: the one with the images (default: by name)")
    add(
        "--shard",
        type=shard,
        default=(0, 1),
        metavar="I/N",
        help="every N-th image from the I-th on, counted from 0: one of N machines",
    )
    add("--batch-size", type=positive, metavar="N",
        help="images at once (default: 8 on a CPU, by the memory on a GPU; of a bundle the "
        "largest up to that)")  # fmt: skip
    add("--workers", type=positive, metavar="N", help="threads that read images (default: cores)")
    add("--decode", choices=WAYS, default=WAYS[0],
        help="exact: timm's bits; turbo: large JPEGs several times faster, pixels differ a little "
        "(default: exact)")  # fmt: skip
    add(
        "--max-pixels",
        type=positive,
        metavar="N",
        help="an image of more is an error row (default: 89478485)",
    )
    add(
        "--isolate",
        action="store_true",
        help="decode in processes that can be stopped: for images from anyone",
    )
    add(
        "--image-seconds",
        type=seconds,
        metavar="S",
        help="with --isolate: an image that takes longer is an error row (default: 30)",
    )
    add(
        "--image-memory",
        type=positive,
        metavar="MIB",
        help="with --isolate: so much memory for each process (default: by --max-pixels)",
    )
    add("--strict", action="store_true", help="exit with 1 if an image could not be read")


def inputs_from(args: argparse.Namespace, *, labelled: bool = False) -> Inputs:
    """Find what the arguments name, and tell what was passed over. Raises ConfigError."""
    from ..sources import find_inputs, passed_over_text

    found = find_inputs(args.paths, column=args.column, shard=args.shard, labelled=labelled)
    if told := passed_over_text(found.passed_over):
        say(told)
    return found


def feeding_from(args: argparse.Namespace) -> Feeding:
    """Return how images are read. Raises ConfigError for a limit that nothing would hold."""
    from ..batch import Feeding
    from ..decode import Limits

    for option, value in (("seconds", args.image_seconds), ("memory", args.image_memory)):
        if value is not None and not args.isolate:
            raise ConfigError(f"--image-{option} needs --isolate: a thread cannot be stopped")
    if args.max_pixels and args.max_pixels > MOST_IN_A_THREAD and not args.isolate:
        raise ConfigError(
            f"--max-pixels {args.max_pixels}: above {MOST_IN_A_THREAD} Pillow needs --isolate"
        )
    given = {
        "pixels": args.max_pixels,
        "seconds": args.image_seconds,
        "memory": args.image_memory and args.image_memory << 20,
    }
    limits = Limits(**{name: value for name, value in given.items() if value is not None})
    if args.isolate:
        say(f"each decoding process takes at most {limits.worker_bytes / 2**30:.1f} GiB")
    return Feeding(args.workers, args.decode, args.isolate, limits)
