"""Two commits are timed side by side, each in a work tree and in processes of its own.

Processes alternate, one run of `r2n bench` each: what differs from one process to the next, as the
layout of memory does, is then part of the noise that is seen.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..errors import ConfigError, R2NError
from ..measure.checkout import PARTS, checkout, git
from .records import Record, read

TAIL = 2000  # characters of a failed process's messages that are shown


class WrongOutputs(R2NError):
    """The work tree's network, or one of its steps, misses the tolerance rule."""


def time_both(
    revision: str, arguments: Sequence[str], rounds: int,
    done: Callable[[], None] = lambda: None,
) -> tuple[list[Record], list[Record]]:  # fmt: skip
    """Return records of `revision` and of the work tree as it is, of `rounds` processes each.

    arguments: `r2n bench`'s. Raises ConfigError outside of a checkout, for an unknown revision,
    and where a process fails, with what it said; WrongOutputs where the work tree's are wrong.
    """
    here = checkout()
    if here is None:
        raise ConfigError("--against needs r2n_kernels to run from a checkout of git")
    commit = _git(here, "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}")
    with tempfile.TemporaryDirectory(prefix="r2n-bench-") as name, _tree(here, commit) as base:
        folder = Path(name)
        sites = {"base": base, "new": here}
        for side, tree in sites.items():
            lay_out(tree, folder / side)
        found: dict[str, list[Record]] = {"base": [], "new": []}
        for i in range(rounds):
            for side in ("base", "new") if i % 2 == 0 else ("new", "base"):
                file = folder / f"{side}{i}.jsonl"
                _run(folder / side, [*arguments, "--record", str(file)], revision, side)
                found[side] += read(file).records
                done()
    if any(record.commit != commit for record in found["base"]):
        raise ConfigError(f"the benchmark of '{revision}' ran another commit than {commit}")
    return found["base"], found["new"]


@contextmanager
def _tree(here: Path, commit: str) -> Iterator[Path]:
    """Make a second work tree of the commit, which is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="r2n-tree-") as name:
        tree = Path(name) / "tree"
        _git(here, "worktree", "add", "--detach", str(tree), commit)
        try:
            yield tree
        finally:
            _git(here, "worktree", "remove", "--force", str(tree))


def lay_out(tree: Path, site: Path) -> None:
    """Make `site` a folder to import a work tree's package from; old commits have no links."""
    package = site / "r2n_kernels"
    package.mkdir(parents=True)
    sources = {entry.name: entry for entry in (tree / "r2n_kernels").iterdir()}
    for name, source in ({part: tree / part for part in PARTS} | sources).items():
        (package / name).symlink_to(source)


def _run(site: Path, arguments: Sequence[str], revision: str, side: str) -> None:
    """Run `r2n bench` in the site's folder: Python looks for modules there, then in PYTHONPATH."""
    command = [sys.executable, "-m", "r2n_kernels.cli", "bench", *arguments]
    done = subprocess.run(
        command, cwd=site, env={**os.environ, "PYTHONPATH": str(site)}, capture_output=True,
        text=True,
    )  # fmt: skip
    if done.returncode:
        wrong = "\n".join(line for line in done.stdout.splitlines() if "not timed" in line)
        which = f"'{revision}'" if side == "base" else "the work tree"
        said = "\n".join(filter(None, (wrong, done.stderr.strip()[-TAIL:])))
        text = f"the benchmark of {which} ended with {done.returncode}:\n{said}"
        raise WrongOutputs(text) if wrong and side == "new" else ConfigError(text)


def _git(folder: Path, *words: str) -> str:
    try:
        return git(folder, *words)
    except OSError as error:
        raise ConfigError(f"--against needs git: {error}") from error
    except subprocess.CalledProcessError as error:
        raise ConfigError(f"git {' '.join(words)}: {error.stderr.strip()}") from error
