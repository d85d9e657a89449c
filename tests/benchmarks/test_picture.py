"""The README's picture says what the table on the page of benchmarks says."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from r2n_kernels.benchmarks.picture import draw, main, read
from r2n_kernels.errors import ConfigError

DOCS = Path(__file__).parents[2] / "docs"


def test_the_picture_is_that_of_the_page():
    drawn = draw(*read(DOCS.joinpath("benchmarks.md").read_text(encoding="utf-8")))
    assert DOCS.joinpath("throughput.svg").read_text(encoding="utf-8") == drawn


def test_every_row_is_a_bar_in_the_right_proportion(tmp_path):
    page = """<!-- r2n bench: begin -->
2027-01-31, A <CPU>, 2 threads.

float32, batch 1, 224x224, model; 20 rounds.
Speed-up over a.

| subject | img/s | p50 ms |
|---|--:|--:|
| r2n_kernels, torch | 20.00 | 1 |
| a & b | 5.00 | 2 |

not timed: c
<!-- r2n bench: end -->"""
    (tmp_path / "page.md").write_text(page)
    assert main([str(tmp_path / "page.md"), str(tmp_path / "out.svg")]) == 0
    root = ElementTree.parse(tmp_path / "out.svg").getroot()
    bars = [node for node in root if node.tag.endswith("rect")]
    texts = [node.text for node in root if node.tag.endswith("text")]
    assert [bar.get("class") for bar in bars] == ["peer", "ours"]
    assert float(bars[1].get("width")) == pytest.approx(4 * float(bars[0].get("width")), abs=4)
    assert {"a & b", "5.00", "r2n_kernels, torch", "20.00"} <= set(texts)
    assert "A <CPU>" in texts[-1]


def test_a_page_without_tables_is_refused():
    with pytest.raises(ConfigError, match="expected tables of r2n bench --markdown"):
        read("# nothing")
