"""A Runner runs sections one after the other, each in its time; none stops the rest."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from .folder import Folder
from .process import Log, Process, ending, last_line, reason
from .section import FAILED, LATE, OK, SKIPPED, Outcome, Section

LEAST = 5.0  # seconds: less is not worth a start
PATIENCE = 40.0  # seconds, in all, that timed sections wait for what builds beside them
WIDTH = 150  # characters of a line


class Stopped(KeyboardInterrupt):
    """A Stopped says that a signal asked the run to end; what was found is kept."""

    def __init__(self, number: int, name: str) -> None:
        super().__init__(name)
        self.number, self.name = number, name


class Runner:
    """A Runner runs once. outcomes: of the sections that had their turn."""

    def __init__(
        self, sections: Sequence[Section], folder: Folder, env: Mapping[str, str], cwd: Path, *,
        deadline: float, missing: Callable[[str], str], only: str = "", least: float = LEAST,
    ) -> None:  # fmt: skip
        """Keep the sections to run. Raises re.error for an `only` that is no regular expression.

        only: for whole names, or "" for all; deadline: seconds in all; missing: why a need is not
        there, or "".
        """
        picked = re.compile(only or ".*")
        self.sections = [s for s in sections if s.setup or picked.fullmatch(s.name)]
        self.folder, self.env, self.cwd, self.missing = folder, dict(env), cwd, missing
        self.began, self.least, self.patience = time.monotonic(), least, PATIENCE
        self.end = self.began + deadline
        self.outcomes: list[Outcome] = []
        self.stopped: Stopped | None = None
        self._broken = ""  # the part without which nothing runs
        self._beside: dict[str, tuple[Process, Log]] = {}
        self._current: Process | None = None

    def run(self) -> None:
        try:
            for section in self.sections:
                self._start_beside(section)
                outcome = self._turn(section)
                if outcome.bad and section.otherwise:
                    other = section.otherwise
                    if self._turn(other).state == OK:
                        self.env |= other.env
        except Stopped as stop:
            self.stopped = stop
        finally:
            for process in (self._current, *(process for process, _ in self._beside.values())):
                if process is not None:
                    process.close()
        done = {outcome.name for outcome in self.outcomes}
        for section in self.sections:
            if self.stopped is not None and section.name not in done:
                self._note(Outcome(section.name, SKIPPED, 0.0, f"stopped by {self.stopped.name}"))

    @property
    def exit_code(self) -> int:
        """Return the exit code, as run.sh lists them."""
        setup = {section.name for section in self.sections if section.setup}
        ran = [o.name for o in self.outcomes if o.state != SKIPPED]
        if self.stopped is not None:
            return 128 + self.stopped.number
        if setup.issuperset(ran):
            return 2
        return 1 if any(outcome.bad for outcome in self.outcomes) else 0

    def _turn(self, section: Section) -> Outcome:
        why = self._refusal(section)
        outcome = Outcome(section.name, SKIPPED, 0.0, why) if why else self._see(section)
        if section.setup and outcome.state != OK:
            self._broken = self._broken or section.name
        self._note(outcome)
        return outcome

    def _refusal(self, section: Section) -> str:
        """Say why the section is not run; "" where it is."""
        if self._broken:
            return f"{self._broken} failed"
        for need in section.needs:
            if why := self.missing(need):
                return why
        if self.end - time.monotonic() < self.least:
            return f"no time left of {self.end - self.began:.0f} s"
        return ""

    def _see(self, section: Section) -> Outcome:
        """Run the section, or see the end of it where it runs beside others."""
        if section.times:
            self._wait_for_builds()
        turn = time.monotonic()
        try:
            beside = section.name in self._beside
            process, log = self._beside.pop(section.name) if beside else self._start(section)
        except OSError as error:
            return Outcome(section.name, FAILED, 0.0, str(error))
        self._current = process
        process.go()
        until = max(turn + section.seconds, process.started + section.build)
        in_time = process.wait(min(until, self.end))
        code = process.close()
        self._current = None
        seconds, last = time.monotonic() - turn, last_line(log.lines())
        if not in_time:
            return Outcome(section.name, LATE, seconds, f"last: {last}")
        if code:
            return Outcome(section.name, FAILED, seconds, reason(log.lines()) or ending(code))
        lacking = [path.name for path in section.leaves if not path.exists()]
        if lacking:
            why = f"left no {', '.join(lacking)}; last: {last}"
            return Outcome(section.name, FAILED, seconds, why)
        return Outcome(section.name, OK, seconds, last)

    def _start(self, section: Section) -> tuple[Process, Log]:
        log = self.folder.log(section.name)
        return Process(section.commands, {**self.env, **section.env}, log, self.cwd), log

    def _start_beside(self, section: Section) -> None:
        """Start sections that begin with this one, or with one that is not run."""
        names = {s.name for s in self.sections}
        done = {outcome.name for outcome in self.outcomes}
        for other in self.sections:
            due = other.begins_with == section.name or other.begins_with not in names
            waiting = other.name not in done | {section.name} and other.name not in self._beside
            if section.setup or not (other.begins_with and due and waiting):
                continue
            if not self._refusal(other):
                try:
                    self._beside[other.name] = self._start(other)
                except OSError as error:  # at its turn it is tried again, and told
                    self.folder.tell(f"{other.name}: {error}")

    def _wait_for_builds(self) -> None:
        building = [
            self._beside[s.name][0] for s in self.sections if s.build and s.name in self._beside
        ]
        start = time.monotonic()
        until = min(start + self.patience, self.end)
        while time.monotonic() < until:
            if all(process.ready.is_set() or process.ended() for process in building):
                break
            time.sleep(0.05)
        self.patience -= time.monotonic() - start

    def _note(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self.folder.tell(f"[{time.monotonic() - self.began:3.0f} s] {outcome}"[:WIDTH])
        self.folder.save_json("sections.json", list(map(asdict, self.outcomes)))
