"""Where the records come from: machines, commits, and the parity that each record passed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..compare import MACHINE, machine_of
from ..records import Record
from .data import grouped, moment, parity_use, worst_parity
from .page import Section
from .words import NOTHING, Table, amount, day, percent, plain

Letters = Mapping[tuple[str, ...], str]


def environment(records: Sequence[Record], letters: Letters) -> Section:
    text = (
        "Every record had passed its parity gate before it was kept; error and limit are relative, "
        "of the record that used most of its limit.",
    )
    return Section("Environment", text, (_machines(records, letters), _commits(records, letters)))


def _machines(records: Sequence[Record], letters: Letters) -> Table:
    """What was stated of each, first what the comparison asks for."""
    names = dict.fromkeys([*MACHINE, *(name for record in records for name in record.machine)])
    rows = tuple(
        (letters[machine], *(_values(same, name) for name in names), str(len(same)))
        for machine, same in grouped(records, machine_of).items()
    )
    columns = ("machine", *map(plain, names), "records")
    return Table("Machines and versions", columns, rows)


def _commits(records: Sequence[Record], letters: Letters) -> Table:
    rows = []
    by_code = grouped(records, lambda r: (r.commit, r.dirty, r.kernels, machine_of(r)))
    for (commit, dirty, kernels, machine), same in by_code.items():
        worst = worst_parity(same)
        ordered = sorted(same, key=moment)
        rows.append(
            (
                plain(commit)[:12], "yes" if dirty else "no", plain(kernels), letters[machine],
                day(ordered[0]), day(ordered[-1]), str(len(same)),
                amount(worst.parity["error"]) if worst else NOTHING,
                amount(worst.parity["limit"]) if worst else NOTHING,
                percent(parity_use(worst)) if worst else NOTHING,
            )
        )  # fmt: skip
    columns = (
        "commit", "work tree changed", "kernels", "machine", "first day", "last day", "records",
        "worst parity error", "its limit", "used",
    )  # fmt: skip
    return Table("Commits and parity", columns, tuple(rows))


def _values(records: Sequence[Record], name: str) -> str:
    """Usually one; r2n_kernels' version may differ between runs on one machine."""
    return ", ".join(dict.fromkeys(plain(record.machine.get(name)) for record in records))
