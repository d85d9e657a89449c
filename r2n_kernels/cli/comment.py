"""A comparison, as `r2n compare --json` writes it, becomes Markdown or GitHub's annotations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

SIGNS = {"regression": "🔴", "improvement": "🟢", "unclear": "🟡"}
LOUD = ("regression", "improvement", "unclear")  # in this order; the rest is folded away
HEAD = "| what | base ms | new ms | ratio | interval | p | noise | verdict |"
RULE = "|---|--:|--:|--:|--:|--:|--:|---|"
SPECIAL = frozenset("\\`*[]<>#|~&$@")  # a name's underscores are inside of words


def verdict_line(document: Mapping[str, Any]) -> str:
    """Return the comparison in one sentence: the worst first."""
    verdicts = [found["verdict"] for found in document["compared"] if found["verdict"] != "peer"]
    counts = [f"{verdicts.count(one)} {one}" for one in dict.fromkeys([*LOUD, *verdicts])
              if one in verdicts]  # fmt: skip
    lacking = len(document["not comparable"])
    counts += [f"{lacking} not comparable"] if lacking else []
    if "regression" in verdicts:
        told = "Slower"
    elif "unclear" in verdicts or lacking or not verdicts:
        told = "Cannot tell"
    else:
        told = "Faster" if "improvement" in verdicts else "Not slower"
    return f"{told}: {', '.join(counts) or 'nothing was compared'}"


def markdown(document: Mapping[str, Any]) -> list[str]:
    """Return lines for a comment on a pull request: the verdict, what changed, the rest folded."""
    compared = sorted(document["compared"], key=_rank)
    loud = [found for found in compared if found["verdict"] in LOUD]
    quiet = [found for found in compared if found["verdict"] not in LOUD]
    found = [f"### {escaped(verdict_line(document))}", ""]
    if loud:
        found += [*_table(loud), ""]
    notes = [f"- {escaped(c['name'])}: {escaped(c['why'])}" for c in compared if c["why"]]
    notes += [
        f"- not comparable: {escaped(one['name'])}: {escaped(one['why'])}"
        for one in document["not comparable"]
    ]
    for title, lines in ((f"{len(quiet)} more", _table(quiet) if quiet else []), ("Why", notes)):
        if lines:
            found += [f"<details><summary>{title}</summary>", "", *lines, "", "</details>", ""]
    relative = dict.fromkeys(c["relative to"] for c in compared if c["relative to"])
    if relative:
        peers = ", ".join(map(escaped, relative))
        found.append(f"Ratios are relative to {peers}, timed in the same runs; above 1 is slower.")
    return found


def github_annotations(document: Mapping[str, Any], file: str) -> list[str]:
    """Return workflow commands, which GitHub shows beside a file: a regression is an error."""
    found = []
    for one in sorted(document["compared"], key=_rank):
        if one["verdict"] in ("regression", "unclear"):
            kind = "error" if one["verdict"] == "regression" else "warning"
            told = f"{one['name']}: {one['ratio']:.3f} times as long"
            found.append(_command(kind, file, one["verdict"], f"{told}. {one['why']}".strip()))
    for one in document["not comparable"]:
        found.append(_command("warning", file, "not comparable", f"{one['name']}: {one['why']}"))
    return [*found, _command("notice", file, "r2n compare", verdict_line(document))]


def escaped(text: str) -> str:
    """Return text that Markdown shows as it is, on one line, and that mentions nobody."""
    line = " ".join(text.split())
    return "".join(f"&#{ord(c)};" if c in SPECIAL else c for c in line)


def _command(kind: str, file: str, title: str, message: str) -> str:
    return f"::{kind} file={_property(file)},title={_property(title)}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _rank(found: Mapping[str, Any]) -> int:
    verdict = found["verdict"]
    return LOUD.index(verdict) if verdict in LOUD else len(LOUD)


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return [HEAD, RULE, *(f"| {' | '.join(_cells(row))} |" for row in rows)]


def _cells(one: Mapping[str, Any]) -> list[str]:
    low_high = "{:.3f} to {:.3f}".format(*one["interval"]) if one["interval"] else ""
    verdict = f"{SIGNS.get(one['verdict'], '')} {escaped(one['verdict'])}".strip()
    return [
        escaped(one["name"]),
        *(f"{one[side]['seconds'] * 1e3:.3f}" for side in ("base", "new")),
        f"{one['ratio']:.3f}",
        low_high,
        "" if one["p"] is None else f"{one['p']:.1e}",
        "" if one["noise"] is None else f"{one['noise']:.1%}",
        verdict,
    ]
