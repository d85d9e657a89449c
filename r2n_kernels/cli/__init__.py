"""The command `r2n`. Each file named after a subcommand holds it; this one finds and runs it.

Exit codes: 0 success; 1 the command's verdict is no (parity failed, or images failed under
--strict); 2 wrong usage, or an input that makes the whole run impossible; 128 + n stopped by
signal n (130 Ctrl-C, 141 the reader of standard output left, 143 terminated).
"""

from __future__ import annotations

import argparse
import signal
import sys

import torch

from ..errors import R2NError
from . import (
    bench,
    classify,
    compare,
    demo,
    embed,
    features,
    gate,
    inspect,
    models,
    parity,
    report,
    roofline,
    selftest,
    tune,
    warm,
)
from .process import discard_output, process_settings
from .text import say

COMMANDS = (
    demo,
    classify,
    embed,
    features,
    parity,
    models,
    inspect,
    selftest,
    warm,
    tune,
    bench,
    compare,
    report,
    gate,
    roofline,
)
EXIT_CODES = """exit codes: 0 success; 1 the verdict is no; 2 wrong usage or input; 130 stopped

`r2n COMMAND --help` has examples
"""
# What torch says when an allocation on the CPU fails; it has no exception of its own for that.
CPU_ALLOCATOR = "DefaultCPUAllocator"


def build_parser() -> argparse.ArgumentParser:
    from ..version import __version__

    parser = argparse.ArgumentParser(
        prog="r2n",
        description="Res2Net inference: folded, fused, held to timm's outputs.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"r2n_kernels {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in COMMANDS:
        command = commands.add_parser(
            module.__name__.rpartition(".")[2],
            help=module.HELP,
            description=module.HELP,
            epilog=module.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run a command line (default: the process's own) and return its exit code."""
    with process_settings():
        try:
            code = _run(argv)
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
        except (MemoryError, torch.OutOfMemoryError):
            return _refuse("not enough memory; try a smaller batch or image size")
        except RuntimeError as error:
            if CPU_ALLOCATOR not in str(error):
                raise
            return _refuse("not enough memory; try a smaller batch or image size")


def _run(argv: list[str] | None) -> int:
    try:
        args = build_parser().parse_args(argv)
    except SystemExit as end:  # argparse has printed the help, the version or what is wrong
        return end.code
    return args.run(args)


def _refuse(reason: str) -> int:
    say(f"r2n: error: {reason}")
    return 2
