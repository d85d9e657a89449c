"""This file sets matplotlib up, and makes its figures SVG that lives inside a page, and PNG.

Charts are drawn in LIGHT. On the page each of its colours becomes a CSS variable of its name,
which style.css sets to another colour in dark mode; so every light colour must differ from the
others. The first four series keep apart under simulated protanopia, deuteranopia and tritanopia,
and all of them have markers of their own.
"""

from __future__ import annotations

import contextlib
import io
import re
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from typing import Any
from xml.etree import ElementTree

import matplotlib
from matplotlib.figure import Figure

from .text import plain

LIGHT = {
    "page": "#fdfdfc", "panel": "#f4f4f2", "ink": "#1c1d20", "muted": "#585c62", "line": "#d5d7da",
    "bad": "#b4261f", "good": "#1a6b3a",
    "s0": "#1447a8", "s1": "#d0580c", "s2": "#169573", "s3": "#9a4f9e", "s4": "#808c30",
    "s5": "#5f8fdc",
}  # fmt: skip
VARIABLES = {colour: f"var(--{name})" for name, colour in LIGHT.items()}
PIXELS = 72  # an inch: matplotlib's points are then the SVG's pixels
SCALE = 2  # of a PNG
LETTERS, LINE = 58, 16  # letters of a line of a PNG's text; its height in pixels
TIP = "tip: "
SETTINGS: dict[Any, Any] = {
    "font.size": 11.5,
    "text.parse_math": False,  # a record's text may hold dollars
    "text.color": LIGHT["ink"],
    "axes.facecolor": "none",
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": LIGHT["page"],
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "legend.borderpad": 0.1,
    "legend.borderaxespad": 0.2,
    "svg.fonttype": "none",  # text stays text
    **dict.fromkeys(("axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), LIGHT["muted"]),
    **dict.fromkeys(("axes.edgecolor", "grid.color", "xtick.color", "ytick.color"), LIGHT["line"]),
}


@contextlib.contextmanager
def settings() -> Iterator[None]:
    """Use matplotlib's defaults and SETTINGS, whatever the user's are, until figures are saved."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        # A letter that matplotlib's font lacks: the browser's has it, and a PNG shows a box.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield


def tip(text: str) -> str:
    """Return an artist's gid: what the page shows where a pointer rests on it."""
    return TIP + plain(text)


def inline(figure: Figure, name: str, label: str) -> str:
    """Make an <svg> element for HTML. name: its own on the page; label: for a screen reader."""
    buffer = io.StringIO()
    # ids are hashes of what is drawn and the salt: a name's own, and the same in each run
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    root = ElementTree.fromstring(buffer.getvalue())
    for element in list(root.iter()):
        element.tag = _local(element.tag)
        element.attrib = {_local(key): value for key, value in element.attrib.items()}
        for child in list(element):  # what a page must not have twice, or not at all
            if _local(child.tag) in ("metadata", "style"):
                element.remove(child)
        gid = element.attrib.pop("id", "") if element.tag == "g" else ""  # nothing refers to it
        if gid.startswith(TIP):
            title = ElementTree.Element("title")
            title.text = gid.removeprefix(TIP)
            element.insert(0, title)
        if style := element.get("style"):
            element.set("style", _adapted(style))
    for size in ("width", "height", "version"):
        root.attrib.pop(size, None)
    root.attrib |= {"role": "img", "aria-label": label}
    return ElementTree.tostring(root, encoding="unicode")


def _adapted(style: str) -> str:
    """Leave fonts to the page, and turn colours into its variables."""
    style = re.sub(r"font-family: [^;]*;? ?", "", style)
    style = re.sub(r"font: (\S+px) [^;]*", r"font-size: \1", style)  # before matplotlib 3.10
    return re.sub(r"#[0-9a-f]{6}", lambda colour: VARIABLES.get(colour[0], colour[0]), style)


def _local(name: str) -> str:
    """Drop the XML namespace, which HTML does not write."""
    return name.rpartition("}")[2]


def png(figure: Figure, text: Sequence[str]) -> bytes:
    """Save a figure. text: paragraphs beside the chart, which a PNG has to hold itself."""
    lines = [line for words in text for line in textwrap.wrap(words, LETTERS)]
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + len(lines) * LINE / PIXELS)
    figure.legends[0].set_title("\n".join(lines))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=SCALE * PIXELS)
    return buffer.getvalue()
