"""`python -m r2n_kernels.benchmarks.serving` loads a server, and holds every answer to its image.

It starts `r2n serve` on this machine, or takes a running one (--url), and sends images from 1, 8
and 32 threads, asking in turns for classes and for an embedding. What a local model says of an
image is what the answer must be, within the tolerance rule, whichever batch it was computed in.
Client and server share this machine's cores, and the figures are of this machine.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..create import create_model
from ..data import create_transform, find_images, read_image, resolve_model_data_config
from ..errors import ConfigError, R2NError
from ..measure.machine import describe_machine
from ..proof.tolerance import FACTOR, NETWORK_FLOAT32, relative_error
from ..text import counted, text_table
from .load import Request, Volley, fire
from .percentiles import percentiles

CONCURRENCY = (1, 8, 32)
BARE_SECONDS = 1.0


@dataclass(frozen=True)
class Expected:
    """It is what a local model says of an image."""

    logits: Tensor
    embedding: Tensor

    def holds(self, answer: dict[str, Any]) -> bool:
        """Return whether an answer is right, within twice what float32 may err in a network.

        A probability moves by at most as much as its logits do. Where classes are closer than
        that, either may come first.
        """
        if "embedding" in answer:
            found = torch.tensor(answer["embedding"])
            return relative_error(found, self.embedding) <= FACTOR * NETWORK_FLOAT32
        limit = FACTOR * NETWORK_FLOAT32 * max(1.0, float(self.logits.abs().max()))
        probabilities = self.logits.softmax(dim=0)
        told = [(float(probabilities[c["index"]]), c["probability"]) for c in answer["topk"]]
        best = float(probabilities.max())
        return (
            bool(told) and best - told[0][0] <= limit and all(abs(a - b) <= limit for a, b in told)
        )


def expectations(model: Any, contents: Sequence[bytes]) -> list[Expected]:
    """Return what the model says of each image by itself."""
    transform = create_transform(**resolve_model_data_config(model))
    found = []
    with torch.no_grad():
        for content in contents:
            x = transform(read_image(content, transform.mode))[None].to(model.device, model.dtype)
            logits, embedding = model.outputs(x, (), ("logits", "embedding"))
            found.append(Expected(logits[0].float().cpu(), embedding[0].float().cpu()))
    return found


def bare_rate(model: Any, batch: int) -> float:
    """Return images per second of the model alone, on bytes that are decoded already."""
    channels, height, width = resolve_model_data_config(model)["input_size"]
    x = torch.zeros(batch, height, width, channels, dtype=torch.uint8, device=model.device)
    with torch.no_grad():
        for _ in range(3):
            model(x).cpu()
        start, calls = time.perf_counter(), 0
        while time.perf_counter() - start < BARE_SECONDS:
            model(x).cpu()
            calls += 1
    return calls * batch / (time.perf_counter() - start)


@contextlib.contextmanager
def started(*arguments: str) -> Iterator[str]:
    """Run `r2n serve` with these arguments on a free port; yield its address, then stop it.

    Raises ConfigError with what it said where it does not start, or does not stop with 0.
    """
    command = [sys.executable, "-m", "r2n_kernels.cli", "serve", *arguments, "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            yield address_of(server)
        finally:
            server.terminate()
            said = server.communicate()[1]
    if server.returncode:
        raise ConfigError(f"r2n serve ended with {server.returncode}: {said.strip()}")


def address_of(server: subprocess.Popen[str]) -> str:
    """Return where a server says that it listens. Raises ConfigError with what else it says."""
    said = []
    assert server.stderr is not None  # a pipe
    for line in server.stderr:
        said.append(line)
        if found := re.search(r"serving .* on (http://\S+);", line):
            return found[1]
    raise ConfigError(f"r2n serve did not start: {''.join(said).strip()}")


def wrong(volley: Volley, requests: Sequence[Request], expected: Sequence[Expected]) -> int:
    """Count answers that are none, or of another image. Image i is asked in i and i + N."""
    return sum(
        shot.status != 200
        or shot.answer is None
        or not expected[shot.place % len(requests) % len(expected)].holds(shot.answer)
        for shot in volley.shots
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Return 0 if every answer was right, 1 if one was wrong, 2 where nothing could be measured."""
    args = parse(argv)
    try:
        rows = measure(args)
    except (R2NError, OSError, http.client.HTTPException) as error:
        print(f"serving: error: {error}", file=sys.stderr)
        return 2
    if args.json:
        Path(args.json).write_text(json.dumps({"machine": describe_machine(), "rows": rows}))
    return int(any(row["wrong"] for row in rows))


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("images", nargs="+", help="files, or folders of them")
    add("--model", required=True, help="what the server has: a name, local-dir:... or hf-hub:...")
    add("--url", help="of a running server; default: one is started here")
    add("--concurrency", type=int, nargs="+", default=CONCURRENCY, metavar="N")
    add("--requests", type=int, default=400, metavar="N", help="each (default: 400)")
    add("--seconds", type=float, default=60, metavar="S", help="each, at most (default: 60)")
    add(
        "--threads",
        type=int,
        default=torch.get_num_threads(),
        help="of the model (default: %(default)s)",
    )
    add("--json", metavar="FILE", help="write the figures there, too")
    return parser.parse_args(argv)


def measure(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure the bare model, then the server, and print a row for each concurrency."""
    torch.set_num_threads(args.threads)
    contents = [Path(path).read_bytes() for path in find_images(args.images)]
    model = create_model(args.model, pretrained=True)
    expected = expectations(model, contents)
    bare = {n: bare_rate(model, n) for n in args.concurrency}
    paths = ("/predict", "/embed")
    requests = [Request(path, content) for path in paths for content in contents]
    words = ("--model", args.model, "--threads", str(args.threads))
    rows = []
    with contextlib.nullcontext(args.url) if args.url else started(*words) as url:
        for count in args.concurrency:
            volley = fire(url, requests, count, args.requests, args.seconds)
            rows.append(row_of(volley, bare[count], wrong(volley, requests, expected)))
    print(f"{args.model}, {counted(len(contents), 'image')}; {describe_machine()}")
    print("\n".join(table(rows)))
    return rows


def row_of(volley: Volley, bare: float, wrong: int) -> dict[str, Any]:
    """Return the figures of a volley."""
    within = percentiles([shot.seconds for shot in volley.shots])
    return {
        "concurrency": volley.concurrency,
        "answers": len(volley.shots),
        "wrong": wrong,
        "rate": volley.rate,
        "bare": bare,
        "p50": within["p50"],
        "p99": within["p99"],
        "batch": volley.batch,
    }


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the figures as lines of text."""
    titles = ["threads", "answers", "wrong", "img/s", "bare model", "p50 ms", "p99 ms", "batch"]
    cells = [
        [
            *(str(row[name]) for name in ("concurrency", "answers", "wrong")),
            *(f"{row[name]:.0f}" for name in ("rate", "bare")),
            *(f"{1000 * row[name]:.1f}" for name in ("p50", "p99")),
            f"{row['batch']:.1f}",
        ]
        for row in rows
    ]
    return text_table([titles, *cells])


if __name__ == "__main__":
    sys.exit(main())
