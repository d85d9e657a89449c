"""Checks and their results: one runs after the other, each becomes a line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

OK, FAIL, SKIPPED, MEASURED = "ok", "FAIL", "skipped", "measured"


@dataclass(frozen=True)
class Outcome:
    """status: "ok", "FAIL", "skipped" (detail says why) or "measured" (there is no limit)."""

    status: str
    detail: str
    figures: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, passed: bool, detail: str, **figures: float) -> Outcome:
        return cls(OK if passed else FAIL, detail, figures)


@dataclass(frozen=True)
class Check:
    name: str
    run: Callable[[], Outcome]


@dataclass(frozen=True)
class Result:
    name: str
    outcome: Outcome

    @property
    def failed(self) -> bool:
        return self.outcome.status == FAIL

    def __str__(self) -> str:
        return f"{self.name:32} {self.outcome.detail:46} {self.outcome.status}"

    def as_json(self) -> dict[str, object]:
        outcome = self.outcome
        return {"check": self.name, "status": outcome.status, "detail": outcome.detail,
                "figures": dict(outcome.figures)}  # fmt: skip


def run_checks(checks: Iterable[Check]) -> Iterator[Result]:
    """Run each check in turn; one that raises has failed, and the others still run."""
    for check in checks:
        try:
            outcome = check.run()
        # Whatever a strange GPU, driver or compiler raises belongs in the report, beside what the
        # other checks found. Ctrl-C is no Exception, and ends the run.
        except Exception as error:  # noqa: BLE001
            reason = " ".join(str(error).split()) or "no message"
            outcome = Outcome(FAIL, f"{type(error).__name__}: {reason[:200]}")
        yield Result(check.name, outcome)
