"""r2n serve answers over HTTP what a model says of an image."""

from __future__ import annotations

import argparse
import re
from functools import partial
from typing import TYPE_CHECKING

from .arguments import add_loaded_model, add_num_classes, add_shared, check_num_classes, positive
from .preprocessing import add_preprocessing
from .reading import seconds
from .terminal import say

if TYPE_CHECKING:
    from ..model.bundled import Model

EXAMPLES = """examples:
  r2n serve --model digits
  r2n serve --model res2net50d --weights tuned.pth --num-classes 12
  r2n serve --model model.r2n --device cuda --max-batch 64 --host 0.0.0.0

  curl --data-binary @cat.jpg -H content-type:image/jpeg localhost:8000/predict
  curl -F image=@cat.jpg 'localhost:8000/predict?topk=3'
  curl -F image=@cat.jpg localhost:8000/embed
  curl localhost:8000/health localhost:8000/info localhost:8000/metrics

--device auto, the default here, is a GPU if there is one. It listens when the
model is loaded. SIGTERM or Ctrl-C: what is under way is answered first; a
second Ctrl-C does not wait. There is no TLS; LIT_SERVER_API_KEY asks clients
for an X-API-Key.

exit codes:
  0 stopped, all answered; 1 a worker died, or requests were left; 2 wrong
  usage, model, weights or address; 130 stopped by a second Ctrl-C
"""

UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}


def byte_count(text: str) -> int:
    """Return the bytes of "20MB", "512KB" or "1000000"."""
    found = re.fullmatch(r"([0-9]{1,12})([KMG]B|)", text, re.ASCII)
    if not found or int(found[1]) == 0:
        raise argparse.ArgumentTypeError(f"expected a size as 20MB or 512KB, got '{text}'")
    return int(found[1]) * UNITS[found[2]]


def milliseconds(text: str) -> float:
    """Return a number of milliseconds from 0."""
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"expected milliseconds from 0, got '{text}'")
    return float(text)


def port(text: str) -> int:
    """Return a port's number; 0 is any free one."""
    if not (text.isascii() and text.isdecimal() and int(text) < 2**16):
        raise argparse.ArgumentTypeError(f"expected a port from 0 to 65535, got '{text}'")
    return int(text)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_loaded_model(parser)
    add_preprocessing(parser)
    add = parser.add_argument
    add_num_classes(parser)
    add("--host", default="127.0.0.1", help="0.0.0.0 for every interface (default: %(default)s)")
    add("--port", type=port, default=8000, help="0: any free one (default: %(default)s)")
    add("--max-batch", type=positive, default=32, metavar="N",
        help="images at once (default: %(default)s)")  # fmt: skip
    add("--timeout-ms", type=milliseconds, default=5.0, metavar="MS",
        help="that a batch's first request waits for others (default: 5)")  # fmt: skip
    add("--topk", type=positive, default=5, metavar="K",
        help="classes per answer, where a request does not say (default: 5)")  # fmt: skip
    add("--max-bytes", type=byte_count, default=20 * 10**6, metavar="SIZE",
        help="of a request; more is refused with 413 (default: 20MB)")  # fmt: skip
    add("--max-pixels", type=positive, default=50_000_000, metavar="N",
        help="of an image; more is refused with 400 (default: 50000000)")  # fmt: skip
    add("--image-seconds", type=seconds, default=2.0, metavar="S", help="that an image may take "
        "to decode; 400 after that (default: 2)")  # fmt: skip
    add("--max-waiting", type=positive, metavar="N", help="requests under way; one more is "
        "refused with 503 (default: 8 batches per worker)")  # fmt: skip
    add("--workers-per-device", type=positive, default=1, metavar="N",
        help="processes, each with the model (default: 1)")  # fmt: skip
    add_shared(parser, "--threads", help="of the CPU, per worker (default: its share of the cores)")
    add("--request-seconds", type=positive, default=30, metavar="S",
        help="to arrive (else 408), and to be queued (else 504; default: 30)")  # fmt: skip
    add("--stop-seconds", type=positive, default=10, metavar="S",
        help="for what is under way when it is told to stop (default: 10)")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    from ..extras import load

    for module in ("litserve", "prometheus_client"):
        load(module, "serve", "r2n serve")
    from ..serve.options import Options
    from ..serve.running import serve

    check_num_classes(args)
    options = Options(
        host=args.host, port=args.port, max_batch=args.max_batch, timeout_ms=args.timeout_ms,
        topk=args.topk, max_bytes=args.max_bytes, max_pixels=args.max_pixels,
        image_seconds=args.image_seconds, max_waiting=args.max_waiting,
        workers=args.workers_per_device, threads=args.threads,
        request_seconds=args.request_seconds, stop_seconds=args.stop_seconds,
    )  # fmt: skip
    name = args.model.removeprefix("local-dir:").rstrip("/").rpartition("/")[2]
    return serve(partial(load_model, args), name, options, lambda line: say(f"r2n: {line}"))


def load_model(args: argparse.Namespace) -> tuple[Model, tuple[str, ...] | None]:
    """Make the model that arguments describe, in a worker. Raises create_model's errors."""
    from .load import model_from
    from .preprocessing import labels_from, prepare

    model = model_from(args, num_classes=args.num_classes)
    prepare(args, model)
    return model, labels_from(args, model) if model.num_classes else None
