"""The command `r2n` finds the file named after a subcommand, and runs it.

Only the chosen command's file is imported, and no file imports torch before its command runs: help,
the version and mistakes in the command line are answered at once.

Exit codes: 0 success; 1 the command's verdict is no (parity failed, or images failed under
--strict); 2 wrong usage, or an input that makes the whole run impossible; 128 + n stopped by
signal n (130 Ctrl-C, 141 the reader of standard output left, 143 terminated).
"""

from __future__ import annotations

import argparse
import difflib
import re
import signal
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any

from ..errors import R2NError
from ..version import __version__
from .terminal import discard_output, process_settings, say

COMMANDS = {
    "demo": "classify handwritten digits, check and time the headline model; offline",
    "classify": "classify images: one row per input, in input order",
    "validate": "count how often a model is right on a labelled set; compare it with timm",
    "embed": "write an embedding (pooled features) of each image, in input order",
    "convert": "write weights and their preprocessing as a folder that timm reads, too",
    "quantize": "write weights as such a folder for int8, held to an accuracy",
    "features": "show the shapes of an image's feature maps",
    "parity": "compare every feature map and the logits with timm or the reference",
    "models": "list the variants with parameters, GMACs and activations",
    "serve": "answer over HTTP what a model says of an image",
    "build": "compile a network once, into one file that runs without Triton",
    "inspect": "compile a model's kernels ahead of time and show their cost; describe a bundle",
    "prove": "run a bundle's code in the emulator, and put the proof into it",
    "selftest": "check every kernel, and whole networks, on this machine's GPU",
    "warm": "compile a model's kernels into Triton's cache, many at once",
    "tune": "measure tiles on this machine's GPU and write the faster ones to a table",
    "bench": "time a model, or each of its steps, beside timm and other peers",
    "compare": "compare two files of benchmark records: is the newer one slower?",
    "history": "find where benchmark records became slower over many commits",
    "report": "turn benchmark records into one HTML page, and its charts into PNGs",
    "gate": "compare what the kernels compile to with what was accepted",
    "roofline": "predict throughput on GPUs, without one: a roofline of each step",
}
EXIT_CODES = """exit codes: 0 success; 1 the verdict is no; 2 wrong usage or input; 130 stopped

`r2n COMMAND --help` has examples
"""
# What torch says when an allocation on the CPU fails; it has no exception of its own for that.
CPU_ALLOCATOR = "DefaultCPUAllocator"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line (default: the process's own) and return its exit code."""
    with process_settings():
        try:
            code = _run(list(sys.argv[1:] if argv is None else argv))
            if sys.stdout is not None:
                sys.stdout.flush()
            return code
        except R2NError as error:
            return _refuse(str(error))
        except KeyboardInterrupt as stop:
            say("r2n: stopped")
            return 128 + getattr(stop, "number", signal.SIGINT)
        except BrokenPipeError:  # the reader of our output left, as `| head` does
            discard_output()
            return 128 + getattr(signal, "SIGPIPE", 13)
        except OSError as error:  # a full disk, and its like
            discard_output()
            where = f": {error.filename}" if error.filename else ""
            return _refuse(f"{error.strerror or error}{where}")
        except (MemoryError, RuntimeError) as error:
            if not _out_of_memory(error):
                raise
            return _refuse("not enough memory; try a smaller batch or image size")


def _run(argv: list[str]) -> int:
    name = chosen(argv)
    parser, command = build_parsers(name)
    try:
        args = parser.parse_args(argv)
    except SystemExit as end:  # argparse has printed the help, the version or what is wrong
        near = nearest(argv, name, command) if end.code else None
        if near:
            say(f"r2n: did you mean {near}?")
        return int(end.code or 0)
    return args.run(args)


def chosen(argv: Sequence[str]) -> str | None:
    """Return the word that stands in the command's place; None where there is none."""
    return next((word for word in argv if not word.startswith("-")), None)


class Parser(argparse.ArgumentParser):
    """A parser keeps the lines of its texts, and takes no abbreviations."""

    def __init__(self, **kwargs: Any) -> None:
        style = argparse.RawDescriptionHelpFormatter
        super().__init__(formatter_class=style, allow_abbrev=False, **kwargs)


def build_parsers(chosen: str | None) -> tuple[Parser, Parser | None]:
    """Return the parser of all commands, and that of the chosen one: it alone has arguments."""
    described = "Res2Net inference: folded, fused, held to timm's outputs."
    parser = Parser(prog="r2n", description=described, epilog=EXIT_CODES)
    parser.add_argument("--version", action="version", version=f"r2n_kernels {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, purpose in COMMANDS.items():
        command = commands.add_parser(name, help=purpose, description=purpose)
        if name == chosen:
            module = import_module(f".{name}", __name__)
            command.epilog = module.EXAMPLES
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    return parser, commands.choices.get(chosen or "")


def nearest(argv: Sequence[str], name: str | None, command: Parser | None) -> str | None:
    """Return what was probably meant by the first command or option that is not known."""
    if command is None:
        return _closest(name or "", COMMANDS)
    options = ["--help", *re.findall(r"--[\w-]+", command.format_usage())]
    words = [word.partition("=")[0] for word in argv if word.startswith("-")]
    guesses = (_closest(word, options) for word in words if word not in options)
    return next(filter(None, guesses), None)


def _closest(word: str, known: Iterable[str]) -> str | None:
    return next(iter(difflib.get_close_matches(word, list(known), n=1)), None)


def _out_of_memory(error: Exception) -> bool:
    import torch  # here: where memory ran out, it is loaded

    known = isinstance(error, (MemoryError, torch.OutOfMemoryError))
    return known or CPU_ALLOCATOR in str(error)


def _refuse(reason: str) -> int:
    say(f"r2n: error: {reason}")
    return 2
