"""Long commands show progress on standard error: a bar on a terminal, else a line per minute."""

from __future__ import annotations

import io
import logging
import os
import shutil
import sys

from tqdm import tqdm

PERIOD = 60.0  # seconds between two lines in the log; a shorter run has none

logger = logging.getLogger(__name__)


class Bar(tqdm):
    monitor_interval = 0  # no thread of tqdm's: `miniters=1` leaves it nothing to do


class LogLines(io.StringIO):
    """LogLines is a file of which each write is a line in the log."""

    def write(self, text: str) -> int:
        if line := text.strip():
            logger.info("%s", line)
        return len(text)


def progress(total: int | None, unit: str) -> Bar:
    """Return a bar that counts to `total` (None: nobody knows yet) and goes when it is closed.

    Print within its `external_write_mode()`, which hides it meanwhile. Where standard error is no
    terminal, a run of more than a minute logs a line per minute and a last one.
    """
    shared = {"total": total, "unit": unit, "miniters": 1, "disable": sys.stderr is None}
    if sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        columns, rows = shutil.get_terminal_size()  # tqdm's own draws nothing where none is known
        return Bar(leave=False, ncols=columns - 1, nrows=rows, **shared)
    return Bar(file=LogLines(), ncols=0, mininterval=PERIOD, delay=PERIOD, **shared)
