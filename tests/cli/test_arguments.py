from __future__ import annotations

import argparse

import pytest

from r2n_kernels import engine, plan
from r2n_kernels.benchmarks import material, peers, steps
from r2n_kernels.cli import arguments, bench, parity
from r2n_kernels.cli.arguments import add_shared, image_size, positive
from r2n_kernels.create import bundled
from r2n_kernels.proof.parity import PEERS


def test_names_that_are_written_twice_are_the_same():
    """Where they come from imports torch, for which `--help` does not wait."""
    assert arguments.BACKENDS == engine.BACKENDS
    assert set(arguments.LOADED) == {*engine.BACKENDS, *bundled.NAMES}
    assert arguments.SCHEDULES == plan.SCHEDULES
    assert parity.PEERS == PEERS
    assert tuple(peers.PEERS) == bench.PEERS
    assert bench.COMPILE_SECONDS == peers.COMPILE_SECONDS
    assert tuple(material.BY_NAME) == bench.SCOPES
    assert bench.STEP_SECONDS == steps.SECONDS


def test_shared_arguments_may_be_changed():
    parser = argparse.ArgumentParser()
    add_shared(parser, "--batch", "--dtype")
    add_shared(parser, "--size", default=(32, 64), help="of the image")
    args = parser.parse_args(["--batch", "3"])
    assert (args.batch, args.dtype, args.size) == ([3], "float32", (32, 64))


def test_positive():
    assert positive("12") == 12
    for text in ("0", "-3", "x", "1.5", "", "1_0", " 1", "²"):
        with pytest.raises(argparse.ArgumentTypeError, match=f"of at least 1, got '{text}'"):
            positive(text)


def test_image_size():
    assert image_size("224") == (224, 224)
    assert image_size("160x192") == (160, 192)
    for text in ("abc", "32x", "x32", "32x32x32", "-64", "", "6４"):
        with pytest.raises(argparse.ArgumentTypeError, match=r"expected PX or HxW"):
            image_size(text)
    for text in ("16", "0", "31x224", "224x31"):
        with pytest.raises(argparse.ArgumentTypeError, match=r"at least 32x32"):
            image_size(text)
