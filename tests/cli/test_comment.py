from __future__ import annotations

import pytest

from r2n_kernels.cli.comment import escaped, github_annotations, markdown, verdict_line


def found(verdict: str, name: str = "r2n_kernels, batch 8", **changes) -> dict:
    return {
        "name": name, "verdict": verdict, "why": "", "ratio": 1.1, "relative to": "timm",
        "interval": [1.05, 1.15], "p": 1e-5, "noise": 0.01,
        "base": {"seconds": 0.1}, "new": {"seconds": 0.11}, **changes,
    }  # fmt: skip


def document(*compared: dict, lacking: tuple[dict, ...] = ()) -> dict:
    return {"compared": list(compared), "not comparable": list(lacking)}


@pytest.mark.parametrize(
    ("verdicts", "told"),
    [
        (["same", "regression", "peer"], "Slower: 1 regression, 1 same"),
        (["same", "unclear"], "Cannot tell: 1 unclear, 1 same"),
        (["improvement"], "Faster: 1 improvement"),
        (["same", "same"], "Not slower: 2 same"),
        ([], "Cannot tell: nothing was compared"),
    ],
)
def test_the_verdict_in_a_sentence(verdicts, told):
    assert verdict_line(document(*map(found, verdicts))) == told


def test_markdown_has_the_verdict_first_and_folds_what_is_quiet():
    lacking = ({"name": "a", "why": "another machine (cpu: a and b)"},)
    same = found("same", "quiet", interval=None, p=None, noise=None)
    lines = markdown(document(same, found("regression"), lacking=lacking))
    assert lines[0] == "### Slower: 1 regression, 1 same, 1 not comparable"
    row = "| r2n_kernels, batch 8 | 100.000 | 110.000 | 1.100 | 1.050 to 1.150 | 1.0e-05 | 1.0% |"
    assert lines[4] == f"{row} 🔴 regression |"
    folded = lines.index("<details><summary>1 more</summary>")
    assert lines.index("| quiet | 100.000 | 110.000 | 1.100 |  |  |  | same |") > folded
    assert "- not comparable: a: another machine (cpu: a and b)" in lines
    assert lines[-1].startswith("Ratios are relative to timm")
    assert sum(line.count("<details>") - line.count("</details>") for line in lines) == 0


def test_a_name_cannot_break_the_comment():
    evil = "a | b\n# c <img src=x> [d](e) `f` @me </details>"
    text = "\n".join(markdown(document(found("regression", evil))))
    assert not {"<img", "@me", "`", "[d]"} & set(text.split())
    assert text.count("</details>") == 0
    assert all(line.count("|") == 9 for line in text.splitlines() if line.startswith("|"))
    assert escaped("res2net_a, 1 (2)") == "res2net_a, 1 (2)"


def test_annotations_are_escaped_as_github_reads_them():
    evil = found("regression", "50% \n::error::x", why="a\rb")
    unclear = found("unclear", why="needs 5 runs")
    first, second, last = github_annotations(document(unclear, evil), "a,b:c.jsonl")
    head = "::error file=a%2Cb%3Ac.jsonl,title=regression::"
    assert first == head + "50%25 %0A::error::x: 1.100 times as long. a%0Db"
    assert second.startswith("::warning file=")
    assert second.endswith("needs 5 runs")
    assert last.startswith("::notice ")
