"""matplotlib's figures as SVG that lives inside a page, and as PNG."""

from __future__ import annotations

import contextlib
import io
import re
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from xml.etree import ElementTree

import matplotlib
from matplotlib.figure import Figure

from .style import LIGHT
from .words import plain

PIXELS = 72  # an inch: matplotlib's points are then the SVG's pixels
SCALE = 2  # of a PNG
LETTERS, LINE = 58, 16  # letters of a line of a PNG's text; its height in pixels
TIP = "tip: "
SETTINGS = {
    "font.family": "sans-serif",
    "font.size": 11.5,
    "text.parse_math": False,  # a record's text may hold dollars
    "text.color": LIGHT["ink"],
    "axes.labelcolor": LIGHT["muted"],
    "axes.labelsize": "medium",
    "axes.edgecolor": LIGHT["line"],
    "axes.facecolor": "none",
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": False,
    "figure.dpi": PIXELS,
    "figure.facecolor": LIGHT["page"],
    "grid.color": LIGHT["line"],
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "legend.borderpad": 0.1,
    "legend.borderaxespad": 0.2,
    "xtick.color": LIGHT["line"],
    "ytick.color": LIGHT["line"],
    "xtick.labelcolor": LIGHT["muted"],
    "ytick.labelcolor": LIGHT["muted"],
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "r2n report",  # ids depend on what is drawn alone
}
_COLOURS = {value: name for name, value in LIGHT.items()}


@contextlib.contextmanager
def drawing() -> Iterator[None]:
    """matplotlib's defaults and SETTINGS, whatever the user's are; figures need it until saved."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        # A letter that matplotlib's font lacks: the browser's has it, and a PNG shows a box.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield


def inline(figure: Figure, prefix: str, label: str) -> str:
    """An <svg> element for HTML. prefix: of its ids; label: what a screen reader says."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    root = ElementTree.fromstring(buffer.getvalue())
    _drop(root)
    for element in root.iter():
        element.tag = _local(element.tag)
        element.attrib = {
            _local(name): _adapted(_local(name), value, prefix)
            for name, value in element.attrib.items()
        }
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.attrib |= {"role": "img", "aria-label": label}
    return ElementTree.tostring(root, encoding="unicode")


def tip(text: str) -> str:
    """An artist's gid: what the page shows where a pointer rests on it."""
    return TIP + plain(text)


def png(figure: Figure, text: Sequence[str]) -> bytes:
    """text: paragraphs that the page has beside the chart; a PNG has to hold them itself."""
    lines = [line for words in text for line in textwrap.wrap(words, LETTERS)]
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + len(lines) * LINE / PIXELS)
    figure.legends[0].set_title("\n".join(lines))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=SCALE * PIXELS)
    return buffer.getvalue()


def _drop(root: ElementTree.Element) -> None:
    """What a page must not have twice, or not at all: metadata, and a style for the whole page."""
    for parent in list(root.iter()):
        for child in list(parent):
            if _local(child.tag) in ("metadata", "style"):
                parent.remove(child)
        if _local(parent.tag) == "g":  # nothing refers to a group
            name = parent.attrib.pop("id", "")
            if name.startswith(TIP):
                title = ElementTree.Element("title")
                title.text = name.removeprefix(TIP)
                parent.insert(0, title)


def _adapted(name: str, value: str, prefix: str) -> str:
    if name == "id":
        return prefix + value
    if name == "href":
        return value.replace("#", f"#{prefix}")
    value = value.replace("url(#", f"url(#{prefix}")
    if name == "style":
        value = re.sub(r"font-family: [^;]*;? ?", "", value)
        value = re.sub(r"font: (\S+px) [^;]*", r"font-size: \1", value)  # before matplotlib 3.10
        value = re.sub(r"#[0-9a-f]{6}", _variable, value)
    return value


def _variable(colour: re.Match[str]) -> str:
    name = _COLOURS.get(colour[0])
    return f"var(--{name})" if name else colour[0]


def _local(name: str) -> str:
    """Without its XML namespace, which HTML does not write."""
    return name.rpartition("}")[2]
