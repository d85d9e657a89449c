"""The command `r2n`. Each file here is one subcommand; this one finds and runs it.

Exit codes: 0 success; 1 the command's verdict is no (parity failed, or images failed under
--strict); 2 wrong usage, or an input that makes the whole run impossible; 130 interrupted.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys

from ..errors import R2NError
from . import classify, demo, embed, features, models, parity

COMMANDS = (demo, classify, embed, features, parity, models)


def build_parser() -> argparse.ArgumentParser:
    from .. import __version__

    parser = argparse.ArgumentParser(
        prog="r2n",
        description="Res2Net inference: folded, fused, held to timm's outputs.",
        epilog="Exit codes: 0 success, 1 the verdict is no, 2 wrong usage or input, 130 stopped.",
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
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run a command line and return its exit code."""
    args = build_parser().parse_args(argv)
    # names of files may hold bytes that are no text; printing them must not end a run
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for noisy in ("httpx", "huggingface_hub"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        code = args.run(args)
        sys.stdout.flush()
    except R2NError as error:
        print(f"r2n: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("r2n: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # the reader of our output left, as `| head` does; keep Python from complaining at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code
