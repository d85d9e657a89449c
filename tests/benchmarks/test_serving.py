"""The load test's judgement; tests/serve/test_running.py runs all of it."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from r2n_kernels.benchmarks.load import Request, Shot, Volley
from r2n_kernels.benchmarks.serving import Expected, address_of, main, row_of, table, wrong
from r2n_kernels.cli.bundled import DIGITS
from r2n_kernels.errors import ConfigError

EXPECTED = Expected(torch.tensor([1.0, 3.0, 2.0]), torch.tensor([0.5, -1.0]))


def told(*classes: int, off: float = 0.0) -> dict:
    probabilities = EXPECTED.logits.softmax(dim=0).tolist()
    return {"topk": [{"index": c, "probability": probabilities[c] + off} for c in classes]}


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        (told(1, 2), True),
        (told(1, off=5e-5), True),
        (told(1, off=1e-4), False),
        (told(2, 1), False),
        ({"topk": []}, False),
        ({"embedding": [0.5, -1.00001]}, True),
        ({"embedding": [0.5, -1.001]}, False),
        ({"embedding": [float("nan"), -1.0]}, False),
    ],
)
def test_what_holds(answer, right):
    assert EXPECTED.holds(answer) is right


def test_classes_that_are_equal_may_change_places():
    expected = Expected(torch.tensor([2.0, 2.0, 0.0]), torch.tensor([1.0]))
    probability = float(expected.logits.softmax(dim=0)[0])
    for first in (0, 1):
        assert expected.holds({"topk": [{"index": first, "probability": probability}]})


def test_another_images_answer_is_counted():
    """Two images, asked for classes and then for embeddings: requests 0 to 3."""
    other = Expected(torch.tensor([3.0, 1.0, 2.0]), torch.tensor([-1.0, 0.5]))
    requests = [Request(path, b"") for path in ("/predict", "/predict", "/embed", "/embed")]
    embeddings = [{"embedding": e.embedding.tolist()} for e in (EXPECTED, other)]
    shots = [
        Shot(0, 200, {}, told(1), 0.1),  # right
        Shot(5, 200, {}, told(1), 0.1),  # image 1 is another
        Shot(2, 200, {}, embeddings[0], 0.1),  # right
        Shot(3, 200, {}, embeddings[0], 0.1),  # its neighbour's
        Shot(7, 503, {}, {"detail": "full"}, 0.1),
    ]
    assert wrong(Volley(1, shots, 1.0), requests, [EXPECTED, other]) == 3


def test_table():
    times = (0.0, 0.1, 0.2, 0.3)
    shots = [Shot(0, 200, {"x-batch": "0/4"}, None, seconds) for seconds in times]
    volley = Volley(8, shots, 0.5)
    titles, line = table([row_of(volley, 100.0, 0)])
    assert titles.split() == [
        "threads",
        "answers",
        "wrong",
        "img/s",
        "bare",
        "model",
        "p50",
        "ms",
        "p99",
        "ms",
        "batch",
    ]
    assert line.split() == ["8", "4", "0", "8", "100", "150.0", "297.0", "4.0"]


def test_a_server_that_does_not_start():
    command = [sys.executable, "-c", "import sys; print('no model', file=sys.stderr)"]
    with (
        subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server,
        pytest.raises(ConfigError, match="r2n serve did not start: no model"),
    ):
        address_of(server)


def test_what_cannot_be_measured(capsys):
    images = str(DIGITS / "images")
    assert main([images, "--model", f"local-dir:{DIGITS}", "--url", "http://127.0.0.1:9",
                 "--concurrency", "1"]) == 2  # fmt: skip
    assert "serving: error: " in capsys.readouterr().err
