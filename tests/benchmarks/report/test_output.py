"""The page as a whole; test_browser.py shows it to a browser."""

from __future__ import annotations

import dataclasses
import io
import re
import subprocess
import sys
from html.parser import HTMLParser

import matplotlib
import pytest
from jinja2 import UndefinedError
from PIL import Image

from r2n_kernels.benchmarks.records import append
from r2n_kernels.benchmarks.report.drawing import SERIES
from r2n_kernels.benchmarks.report.links import Links
from r2n_kernels.benchmarks.report.output import build, render, write
from r2n_kernels.benchmarks.report.svg import LIGHT
from r2n_kernels.errors import ConfigError

from .samples import PEAK, colours, project, steps_of, timed

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "$\\frac{1}{2}$ #1447a8 url(#x) &amp;",
    "\x00\x1b[31m \u202e \ud800",
    "模型",
    "a name that never ends " * 9,
)
VOID = {"meta", "link"}


class Outline(HTMLParser):
    """Elements in their order; fails where one is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        assert len(dict(attributes)) == len(attributes), f"twice the same attribute: {tag}"
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        if self.open and text.strip():
            self.texts.append((self.open[-1], text.strip()))

    def texts_of(self, tag: str) -> list[str]:
        return [text for name, text in self.texts if name == tag]


@pytest.fixture(scope="module")
def page(record) -> str:
    return build(project(record), ["records.jsonl"]).html


def rows(html: str, caption: str) -> list[list[str]]:
    """Of the first table with such a caption, its heading first."""
    _, found, rest = html.partition(f"<caption><span>{caption}")
    assert found, f"no table '{caption}'"
    table, _, _ = rest.partition("</table>")
    cells = (re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in table.split("<tr>")[1:])
    return [[re.sub(r"<.*?>", "", cell) for cell in row] for row in cells]


class TestPage:
    def test_is_sound_html(self, page):
        assert page.startswith('<!DOCTYPE html>\n<html lang="en">')
        outline = Outline(page)
        ids = [attributes["id"] for _, attributes in outline.elements if "id" in attributes]
        assert len(ids) == len(set(ids))
        pointed = re.findall(r'(?:href="|url\()#([\w-]+)', page)
        assert set(pointed) <= set(ids)
        headings = [tag for tag, _ in outline.elements if re.fullmatch("h[1-6]", tag)]
        assert headings[:2] == ["h1", "h2"]
        assert headings.count("h1") == 1
        assert outline.texts_of("title")[0] == "Res2Net benchmark report"

    def test_asks_for_nothing_else(self, page):
        outline = Outline(page)
        assert not {"script", "img", "iframe", "object"} & {tag for tag, _ in outline.elements}
        for _, attributes in outline.elements:
            for name in ("src", "href", "xlink:href", "srcset"):
                assert attributes.get(name, "#").startswith(("#", "data:,"))
        assert "@import" not in page
        assert "http" not in page.replace("http-equiv", "")

    def test_its_sections(self, page):
        assert Outline(page).texts_of("h2") == [
            "Speed", "History", "All figures", "Roofline of the steps", "Time by step",
            "Environment",
        ]  # fmt: skip

    def test_its_first_words_and_bars(self, page):
        outline = Outline(page)
        (lead,) = outline.texts_of("h1")
        assert lead == "1.30x to 1.43x as fast as timm eager"
        bars = re.findall(r'<li( class="ours")? title="([^"]*)">(.*?)</li>', page, re.DOTALL)
        assert len(bars) == 6
        for ours, title, content in bars:
            assert title.startswith("r2n_kernels:" if ours else "timm eager:")
            (share,) = re.findall(r"width: ([\d.]+)%", content)
            assert (float(share) == 100) == bool(ours)

    def test_says_that_it_is_measured(self, page):
        assert "Measured data only: every figure here comes from records in records.jsonl" in page

    def test_each_chart_has_its_data(self, page):
        figures = re.findall(r"<figure.*?</figure>", page, re.DOTALL)
        assert len(figures) == 1 + 3 + 1 + 1
        for figure in figures:
            assert figure.count("<svg ") == 2  # for a phone, and for a desk
            assert re.search(r"<details><summary>.*</summary>\s*<div.*<table>", figure)
            assert 'role="img" aria-label="res2net101_26w_4s, float32' in figure
            assert re.search(r"<text [^>]*>[^<]+</text>", figure)

    def test_colours_follow_the_mode(self, page):
        figures = "".join(re.findall(r"<svg.*?</svg>", page, re.DOTALL))
        assert set(re.findall(r"var\(--([\w-]+)\)", figures)) <= set(LIGHT)
        assert not re.findall(r"#[0-9a-f]{6}", figures)

    def test_same_records_same_bytes(self, record, tmp_path):
        records = project(record)
        first, second = (build(records, ["r.jsonl"], pngs=True) for _ in range(2))
        assert first == second

    def test_matplotlib_is_left_as_it_was(self, record):
        with matplotlib.rc_context({"font.size": 33, "svg.fonttype": "path"}):
            before = dict(matplotlib.rcParams)
            theirs = build([record], ["r.jsonl"]).html
            assert dict(matplotlib.rcParams) == before
        assert theirs == build([record], ["r.jsonl"]).html


class TestLinks:
    def test_commits_in_tables_and_charts(self, record):
        links = Links("https://forge.example/c/{sha}?a=1&b")
        html = build(project(record), ["r"], links).html
        outline = Outline(html)
        told = [a["href"] for tag, a in outline.elements if tag == "a" and a["href"][0] != "#"]
        assert set(told) == {f"https://forge.example/c/{c * 40}?a=1&b" for c in "012"}
        drawn = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
        assert sum(f'href="https://forge.example/c/{"2" * 40}?a=1&amp;b"' in svg for svg in drawn)

    def test_a_commit_that_is_no_hash_has_none(self, record):
        odd = dataclasses.replace(record, commit="javascript:alert(1)")
        assert "forge" not in build([odd], ["r"], Links("https://forge.example/{sha}")).html


class TestFigures:
    def test_summary(self, page):
        heading, *found = rows(page, "res2net101_26w_4s, float32, 224x224, machine A: a chip, 2")
        assert len(found) == 6
        last = dict(zip(heading, found[-1], strict=True))
        seconds = 0.1 * 8 * 0.7 * 1.1 * (1 + 0.0005 * 4)  # the newest, its middle round
        assert (last["subject"], last["batch"]) == ("r2n_kernels", "8")
        assert last["img/s"] == f"{8 / seconds:.2f}"
        assert last["speed-up"] == "1.30x"
        assert last["GMAC/s"] == f"{8.066974464 * 8 / seconds:.1f}"
        assert last["of peak"] == f"{2 * 8.066974464 * 8 / seconds / 200:.1%}".replace("%", " %")
        assert last["memory MB"] == "268.4"
        assert last["p50 ms"] == f"{seconds * 1e3:.1f}"
        assert "45.2 M parameters, 8.1 GMACs, 18.4 M activations" in page

    def test_the_card_is_of_the_headline_alone(self, record):
        assert "model card" not in build([record], ["r.jsonl"]).html

    def test_history(self, page):
        heading, change = rows(page, "Changes that are more than noise")
        found = dict(zip(heading, change, strict=True))
        assert found["verdict"] == "▲ regression"
        assert found["ratio"] == "1.100"
        assert found["commits"] == "1111111 to 2222222"
        assert re.fullmatch(r"1\.\d{3} to 1\.\d{3}", found["95 % interval"])
        assert "Regressions: 1; improvements: 0; same: 1" in page
        marked = [f for f in re.findall(r"<figure.*?</figure>", page, re.DOTALL) if ">+10%<" in f]
        assert len(marked) == 1
        assert ">regression</text>" in marked[0]
        assert "batch 8" in marked[0]

    def test_steps_in_the_order_of_the_network(self, page):
        _, *found = rows(page, "Time by step")
        assert [row[0] for row in found][::2] == [
            "conv1", "layer1.0.conv1", "layer1.1.stage", "layer3.1.stage"
        ]  # fmt: skip
        assert found[-1][2:5] == ["22", "28.06", "617.2"]
        assert ">layer3.1.stage ×22</text>" in page

    def test_roofline(self, page):
        _, *found = rows(page, "Arithmetic intensity")
        assert found[0][:3] == ["conv1", "timm eager", "20.00"]
        assert ">peak: 200 GFLOP/s, 20 GB/s</text>" in page
        assert "<title>conv1, timm eager: 19.96 GFLOP/s</title>" in page

    @pytest.mark.parametrize("lacking", ["bytes", "peak"])
    def test_no_roofline_without(self, record, lacking):
        steps = [dataclasses.replace(r, **{lacking: None}) for r in steps_of(record)]
        html = build(steps, ["r.jsonl"]).html
        assert f"no roofline, because the records do not state '{lacking}'" in html
        assert "achieved GFLOP/s</text>" not in html

    def test_a_roofline_of_what_there_is(self, record):
        first, *others = steps_of(record)
        peak = {**PEAK, "bandwidth": None}
        steps = [dataclasses.replace(r, peak=peak) for r in others]
        pooling = dataclasses.replace(steps[0], step="maxpool", macs=0)
        html = build([dataclasses.replace(first, bytes=None), *steps, pooling], ["r.jsonl"]).html
        assert "do not state its bandwidth, so there is no slope" in html
        assert "Not drawn, without multiply-accumulates, bytes or peak: conv1, maxpool." in html

    def test_environment(self, record):
        dirty = dataclasses.replace(record, dirty=True, batch=1)
        gpu = dataclasses.replace(record, machine={"gpu": "a GPU", "driver": "570", "isa": "x"})
        html = build([record, dirty, gpu], ["r.jsonl"]).html
        heading, first, second = rows(html, "Machines")
        assert heading == [
            "machine", "cpu", "gpu", "driver", "threads", "torch", "triton", "cores", "isa",
            "records",
        ]  # fmt: skip
        assert first == ["A", "a chip", "–", "–", "2", "2.14.1", "3.8.0", "–", "–", "2"]
        assert second == ["B", "–", "a GPU", "570", "–", "–", "–", "–", "x", "1"]
        _, *commits = rows(html, "Commits")
        assert [row[1] for row in commits] == ["no", "yes", "no"]
        assert commits[0][2:] == [
            "0123456789abcdef", "A", "2026-11-25", "2026-11-25", "1", "1e-06", "1e-05", "10.0 %"
        ]  # fmt: skip


class TestRecordsOfAllKinds:
    def test_a_single_record(self, record):
        built = build([record], ["r.jsonl"], pngs=True)
        assert (built.charts, built.regressions) == (1, 0)
        assert "there is no history yet" in built.html
        assert list(built.pngs) == [
            "throughput-res2net50_26w_4s-float32-224x224-machine-a.png"
        ]  # fmt: skip

    def test_steps_alone(self, record):
        titles = Outline(build(list(steps_of(record)), ["r"]).html).texts_of("h2")
        assert titles == ["History", "Roofline of the steps", "Time by step", "Environment"]

    def test_several_machines_and_models(self, record):
        gpu = {"gpu": "NVIDIA H100", "cpu": "a host"}
        records = [
            record, dataclasses.replace(record, machine=gpu, dtype="float16"),
            dataclasses.replace(record, model="res2net50d"),
            dataclasses.replace(record, scope="preprocessing and model"),
        ]  # fmt: skip
        assert Outline(build(records, ["r"]).html).texts_of("h3")[4:] == [
            "res2net50_26w_4s, float32, 224x224, machine A",
            "res2net50_26w_4s, float16, 224x224, machine B",
            "res2net50d, float32, 224x224, machine A",
            "res2net50_26w_4s, float32, 224x224, preprocessing and model, machine A",
        ]

    def test_many_subjects_and_batches(self, record):
        records = [
            timed(record, 0.1 + 0.01 * i, subject=f"subject {i}", batch=batch)
            for i in range(20) for batch in (1, 2, 3, 4, 5, 6, 7, 8, 255, 256)
        ]  # fmt: skip
        html = build(records, ["r"]).html
        ticks = re.findall(r">(\d+)</text>", html)
        assert {"1", "2", "4", "8", "256"} <= set(ticks)
        assert "255" not in ticks  # it would touch 256's
        assert html.count(">subject 19</text>") == 2

    @pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
    def test_hostile_text(self, record, text):
        odd = dataclasses.replace(
            record, subject=text, model=text, dtype=text, scope=text, layout=text, backend=text,
            kernels=text, commit=text, machine={"cpu": text, text: text, "threads": [{}]},
            peak={**PEAK, "source": text},
        )  # fmt: skip
        plain = [record, dataclasses.replace(record, batch=1)]
        normal = Outline(build([*plain, record], [text]).html)
        records = [timed(odd, 0.1), timed(odd, 0.2, 1), *steps_of(odd)]
        records += [dataclasses.replace(r, step=text, subject=text) for r in steps_of(odd)]
        built = build(records, [text], pngs=True)
        outline = Outline(built.html)
        svg = {"svg", "g", "path", "text", "use", "defs", "clippath", "rect", "figure", "details"}
        allowed = {tag for tag, _ in normal.elements} | svg | {"figcaption", "summary", "span"}
        assert {tag for tag, _ in outline.elements} <= allowed | {"title"}
        assert not any(name.startswith("on") for _, a in outline.elements for name in a)
        assert all(re.fullmatch(r"[a-z0-9._-]+\.png", name) for name in built.pngs)
        built.html.encode()

    def test_dollars_are_no_formula(self, record):
        html = build([dataclasses.replace(record, subject="$x^2$")], ["r"]).html
        assert html.count(">$x^2$</text>") == 2


class TestColours:
    @staticmethod
    def contrast(one: str, other: str) -> float:
        """WCAG 2.2's ratio."""

        def luminance(colour: str) -> float:
            parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
            linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
            return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

        low, high = sorted((luminance(one), luminance(other)))
        return (high + 0.05) / (low + 0.05)

    @pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
    def test_contrast(self, page, dark):
        found = colours(page)[dark]
        for name in ("ink", "muted", "bad", "good", "s0"):  # text; s0 is also a link's
            assert self.contrast(found[name], found["page"]) >= 4.5, name
            assert self.contrast(found[name], found["panel"]) >= 4.5, name
        for i in range(len(SERIES)):
            assert self.contrast(found[f"s{i}"], found["page"]) >= 3, i

    def test_each_light_colour_is_one_variable(self, page):
        light, dark = colours(page)
        assert light == LIGHT
        assert light.keys() == dark.keys()
        assert len(set(light.values())) == len(light)


class TestFiles:
    def test_pngs_are_twice_as_large(self, record):
        built = build(project(record), ["r"], pngs=True)
        assert len(built.pngs) == built.charts
        for content in built.pngs.values():
            image = Image.open(io.BytesIO(content)).convert("RGB")
            assert image.width == 760
            assert "#{:02x}{:02x}{:02x}".format(*image.getpixel((0, 0))) == LIGHT["page"]

    @pytest.mark.usefixtures("full_disk")
    def test_an_error_leaves_what_was_there(self, tmp_path):
        target = tmp_path / "report.html"
        target.write_text("mine")
        with pytest.raises(ConfigError, match="No space left"):
            write(target, b"new")
        assert [p.read_text() for p in tmp_path.iterdir()] == ["mine"]

    def test_a_folder(self, tmp_path):
        with pytest.raises(ConfigError, match="it is a folder"):
            write(tmp_path, b"new")

    def test_a_link_stays_one(self, tmp_path):
        link = tmp_path / "link.html"
        link.symlink_to(tmp_path / "report.html")
        write(link, b"new")
        assert link.is_symlink()
        assert (tmp_path / "report.html").read_bytes() == b"new"


@pytest.mark.parametrize("package", ["matplotlib", "jinja2"])
def test_without_a_package(record, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    told = rf"needs? {package}: pip install 'r2n_kernels\[report\]'"
    with pytest.raises(ConfigError, match=told):
        build([record], ["r.jsonl"])


def test_a_template_tells_what_it_lacks():
    with pytest.raises(UndefinedError, match="'headline' is undefined"):
        render("page.html", sources=["<"], count=1, LIGHT=LIGHT)


ALONE = """
import sys
import r2n_kernels.cli
import r2n_kernels.benchmarks.report.output
# the other commands do not wait for them
assert not {"matplotlib", "jinja2"} & set(sys.modules)
assert r2n_kernels.cli.main(["report", "records.jsonl"]) == 0
assert "matplotlib.pyplot" not in sys.modules  # it has state of the whole process
"""


def test_in_a_process_of_its_own(record, tmp_path):
    append(tmp_path / "records.jsonl", record)
    done = subprocess.run([sys.executable, "-c", ALONE], cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "report.html").stat().st_size > 10_000
