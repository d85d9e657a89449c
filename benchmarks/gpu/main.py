"""run.sh runs this: it reads the environment's settings, runs sections, prints one short table."""

from __future__ import annotations

import os
import re
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import NoReturn

from .day import sections
from .folder import SUMMARY, Folder, claim
from .place import Place
from .runner import Runner, Stopped
from .summary import summarise

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = 470.0  # seconds: with the summary, under eight minutes
DRY_DEADLINE = 1800.0  # of a dry run, which tests no speed
CUDA_FOLDERS = ("/usr/local/cuda/bin",)  # where its tools are, often off the path
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(env: Mapping[str, str] = os.environ) -> int:
    """Return the exit code. env: OUT, DEADLINE, ONLY, DRY, NOINSTALL, as run.sh says."""
    usual = DRY_DEADLINE if env.get("DRY") else DEADLINE
    try:
        deadline = float(env.get("DEADLINE") or usual)
        if not 0 < deadline < 86400:
            raise ValueError
    except ValueError:
        return refuse(f"DEADLINE must be seconds above 0, got '{env['DEADLINE']}'")
    try:
        folder = Folder(claim(Path(env.get("OUT") or "gpu_day").resolve()))
        scratch = tempfile.TemporaryDirectory(prefix="r2n-gpu-", ignore_cleanup_errors=True)
    except OSError as error:
        return refuse(f"cannot write: {error}")
    before = {number: signal.signal(number, stop) for number in SIGNALS}
    with scratch:
        try:
            return run(env, folder, Path(scratch.name), deadline)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def run(env: Mapping[str, str], folder: Folder, scratch: Path, deadline: float) -> int:
    dry, children = bool(env.get("DRY")), environment(env, scratch)
    place = Place(sys.executable, ROOT, folder, scratch, children["PATH"], os.cpu_count() or 1, dry,
                  links=bool(env.get("NOINSTALL")))  # fmt: skip
    listed = sections(place)
    try:
        # not in ROOT: from there Python would import the folder r2n_kernels/ without its parts
        runner = Runner(listed, folder, children, scratch, deadline=deadline, missing=place.missing,
                        only=env.get("ONLY", ""))  # fmt: skip
    except re.error as error:
        return refuse(f"ONLY is no regular expression: {error}")
    if all(section.setup for section in runner.sections):
        names = " ".join(section.name for section in listed if not section.setup)
        return refuse(f"ONLY='{env['ONLY']}' matches none of: {names}")
    folder.tell(f"results: {folder.path}; {deadline:.0f} s at most" + (", dry" if dry else ""))
    runner.run()
    text = "\n".join(summarise(folder.parts, folder.records))
    folder.save(SUMMARY, text + "\n")
    folder.tell(f"\n{text}")
    folder.pack()
    return runner.exit_code


def environment(env: Mapping[str, str], scratch: Path) -> dict[str, str]:
    """Return what sections run in. Nothing is fetched; caches are where they always are."""
    known = env.get("PATH", os.defpath).split(os.pathsep)
    folders = [*known, *(f for f in CUDA_FOLDERS if f not in known and Path(f).is_dir())]
    links = [str(scratch / "site"), *filter(None, [env.get("PYTHONPATH")])]
    return {
        **env,
        "PATH": os.pathsep.join(folders),
        "PYTHONPATH": os.pathsep.join(links),  # where `install` may put links
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "ignore",
        "HF_HUB_OFFLINE": "1",
    }


def stop(number: int, frame: FrameType | None) -> NoReturn:
    for each in SIGNALS:  # the summary is still written: once is enough
        signal.signal(each, signal.SIG_IGN)
    raise Stopped(number, signal.Signals(number).name)


def refuse(reason: str) -> int:
    print(f"gpu: error: {reason}", file=sys.stderr)
    return 2
