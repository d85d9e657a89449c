"""The report in headless Chromium: a phone and a desk, light and dark."""

from __future__ import annotations

import dataclasses
import shutil
import signal
from pathlib import Path

import pytest

from r2n_kernels.benchmarks.report.output import build

from . import browser as driver
from .browser import Browser, Page
from .samples import colours, project

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.timeout(180)
SIZES = {"phone": (390, 844), "desk": (1280, 800)}
LEAST_TEXT = 9  # pixels that a chart's letters are high on a phone

# Colours as the browser computes them, sizes as it lays them out.
PROBE = """(() => {
  const rgb = (element, name) => getComputedStyle(element)[name];
  const charts = [...document.querySelectorAll("figure svg")]
    .filter((svg) => svg.clientWidth);
  const lines = charts[0].querySelectorAll("path");
  const texts = charts.flatMap((svg) => [...svg.querySelectorAll("text")]);
  return {
    overflow: document.documentElement.scrollWidth - innerWidth,
    charts: charts.map((svg) => {
      const box = svg.getBoundingClientRect();
      return [box.width, box.height, svg.querySelectorAll("path").length];
    }),
    outside: texts.filter((text) => {
      const box = text.getBoundingClientRect();
      const svg = text.ownerSVGElement.getBoundingClientRect();
      return box.left < svg.left - 1 || box.right > svg.right + 1 || box.top < svg.top - 1
        || box.bottom > svg.bottom + 1;
    }).map((text) => text.textContent),
    letters: Math.min(...texts.map((text) => parseFloat(rgb(text, "fontSize"))
      * text.ownerSVGElement.clientWidth / text.ownerSVGElement.viewBox.baseVal.width)),
    page: rgb(document.body, "backgroundColor"),
    ink: rgb(document.body, "color"),
    background: rgb(lines[0], "fill"),
    strokes: [...new Set(charts.flatMap((svg) => [...svg.querySelectorAll("path")])
      .map((line) => rgb(line, "stroke")))],
    cut: [...document.querySelectorAll("section > .scroll")]
      .filter((one) => one.scrollWidth > one.clientWidth).length,
    used: Math.max(...charts.map((svg) => svg.clientWidth)) / innerWidth,
    bars: [...document.querySelectorAll(".bar")].map((bar) => [
      bar.clientWidth / bar.parentElement.clientWidth, rgb(bar, "backgroundColor"),
      !!bar.closest(".ours")]),
    title: document.title,
  };
})()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if CHROMIUM is None:
        pytest.skip("no chromium on PATH")
    with Browser(CHROMIUM, tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def report(record, tmp_path) -> Path:
    evil = dataclasses.replace(
        record, subject="<script>document.title='evil'</script>", model="<img src=/x onerror=y>"
    )
    path = tmp_path / "report.html"
    path.write_text(build([*project(record), evil], ["records.jsonl"]).html, encoding="utf-8")
    return path


def rgb(colour: str) -> str:
    return "rgb({}, {}, {})".format(*(int(colour[i : i + 2], 16) for i in (1, 3, 5)))


def opened(browser: Browser, report: Path, size: str, *, dark: bool) -> Page:
    page = browser.open(report.as_uri(), *SIZES[size], dark=dark)
    assert page.requests == [report.as_uri()]
    assert page.complaints == []
    return page


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_as_it_is_shown(browser, report, size, dark):
    page = opened(browser, report, size, dark=dark)
    found = page.evaluate(PROBE)
    assert found["title"] == "Res2Net benchmark report"
    assert found["overflow"] <= 0
    assert len(found["charts"]) == 1 + 1 + 3 + 1 + 1
    for width, height, paths in found["charts"]:
        assert min(width, height) > 200
        assert paths > 10
    assert found["outside"] == []
    assert found["letters"] >= LEAST_TEXT
    assert found["used"] > 0.9
    assert found["cut"] == 0 or size == "phone"
    shown = colours(report.read_text(encoding="utf-8"))[dark]
    assert found["page"] == found["background"] == rgb(shown["page"])
    assert found["ink"] == rgb(shown["ink"])
    assert {rgb(shown["s0"]), rgb(shown["s1"])} <= set(found["strokes"])
    for share, colour, ours in found["bars"]:
        assert colour == rgb(shown["s0" if ours else "line"])
        assert 0 < share <= 1
    assert any(ours for *_, ours in found["bars"])


def test_open_tables_scroll_within_themselves(browser, report):
    page = opened(browser, report, "phone", dark=False)
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert page.evaluate(PROBE)["overflow"] <= 0
    wide = "[...document.querySelectorAll('.scroll')].filter((e) => e.scrollWidth > e.clientWidth)"
    assert page.evaluate(f"{wide}.length") > 0
    assert page.evaluate(f"{wide}.every((e) => getComputedStyle(e).overflowX === 'auto')")


def test_a_script_does_not_run(browser, report):
    """Even one that got into the page: its policy forbids them."""
    html = report.read_text(encoding="utf-8")
    report.write_text(html.replace("</body>", "<script>document.title = 'evil'</script></body>"))
    page = browser.open(report.as_uri(), *SIZES["desk"])
    assert page.evaluate("document.title") == "Res2Net benchmark report"
    assert "Content Security Policy" in page.complaints[0]


def test_a_browser_that_hangs_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(driver, "SECONDS", 0.5)
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\nexec sleep 600\n")
    silent.chmod(0o755)
    with Browser(str(silent), tmp_path) as browser, pytest.raises(TimeoutError, match="no answer"):
        browser.open("about:blank", 100, 100)
    assert browser.process.returncode == -signal.SIGKILL
