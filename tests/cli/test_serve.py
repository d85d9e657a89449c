"""What `r2n serve` says before a server is there; tests/serve has the servers."""

from __future__ import annotations

import argparse
import pickle
import socket
import sys

import pytest

from r2n_kernels.cli import build_parsers, main
from r2n_kernels.cli.serve import byte_count, load_model, milliseconds, port


def arguments(*words: str) -> argparse.Namespace:
    return build_parsers("serve")[0].parse_args(["serve", *words])


@pytest.mark.parametrize(
    ("text", "count"), [("20MB", 20_000_000), ("512KB", 512_000), ("1GB", 10**9), ("7", 7)]
)
def test_sizes(text, count):
    assert byte_count(text) == count


@pytest.mark.parametrize("text", ["", "0", "20mb", "MB", "-1", "1.5MB", "20 MB", "1TB"])
def test_no_sizes(text):
    with pytest.raises(argparse.ArgumentTypeError, match="expected a size as 20MB or 512KB"):
        byte_count(text)


def test_other_numbers():
    assert (milliseconds("0"), milliseconds("2.5"), port("0")) == (0.0, 2.5, 0)
    for text in ("", "-1", "nan", "1e3"):
        with pytest.raises(argparse.ArgumentTypeError, match="expected milliseconds"):
            milliseconds(text)
    for text in ("65536", "-1", "http"):
        with pytest.raises(argparse.ArgumentTypeError, match="expected a port"):
            port(text)


@pytest.mark.parametrize("missing", ["litserve", "prometheus_client"])
def test_a_missing_extra_is_one_sentence(missing, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, missing, None)
    assert main(["serve", "--model", "digits"]) == 2
    said = capsys.readouterr().err
    assert said == (f"r2n: error: r2n serve needs {missing}: pip install 'r2n_kernels[serve]'\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--num-classes", "3"], "--num-classes describes --weights"),
        (["--host", "no.such.host.invalid"], "cannot listen on no.such.host.invalid:8000"),
        (["--timeout-ms", "2000", "--request-seconds", "1"], "timeout_ms must be"),
    ],
)
def test_wrong_usage(words, said, capsys):
    assert main(["serve", "--model", "digits", *words]) == 2
    assert f"r2n: error: {said}" in capsys.readouterr().err


def test_a_port_that_is_taken(capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        assert main(["serve", "--model", "digits", "--port", str(taken)]) == 2
    assert f"cannot listen on 127.0.0.1:{taken}: " in capsys.readouterr().err


def test_the_model_is_made_from_pickled_arguments():
    """A worker is told no more than that; "auto" is decided where the GPU would be."""
    args = pickle.loads(pickle.dumps(arguments("--model", "digits", "--dtype", "bfloat16")))
    assert args.device == "auto"
    model, labels = load_model(args)
    assert str(model.dtype) == "torch.bfloat16"
    assert labels == tuple("0123456789")
