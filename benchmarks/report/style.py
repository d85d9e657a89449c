"""Colours, and the page's CSS.

Charts are drawn in the light colours. On the page each of them becomes a CSS variable of its name,
which dark mode sets to the dark one; so every light colour must differ from the others. The first
four series keep apart under simulated protanopia, deuteranopia and tritanopia, and all of them have
markers of their own.
"""

from __future__ import annotations

LIGHT = {
    "page": "#fdfdfc", "panel": "#f4f4f2", "ink": "#1c1d20", "muted": "#585c62", "line": "#d5d7da",
    "bad": "#b4261f", "good": "#1a6b3a",
    "s0": "#1447a8", "s1": "#d0580c", "s2": "#169573", "s3": "#9a4f9e", "s4": "#808c30",
    "s5": "#5f8fdc",
}  # fmt: skip
DARK = {
    "page": "#15171a", "panel": "#1e2125", "ink": "#e8e8e5", "muted": "#a9adb3", "line": "#3b3f45",
    "bad": "#ff8f86", "good": "#74d596",
    "s0": "#7ab0fa", "s1": "#f28045", "s2": "#86eebb", "s3": "#c46f98", "s4": "#e8dc50",
    "s5": "#8684f5",
}  # fmt: skip
SERIES = [LIGHT[name] for name in LIGHT if name[0] == "s"]
# Six colours and seven markers: no pair comes twice within 42 subjects.
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def css() -> str:
    light, dark = (
        " ".join(f"--{name}: {value};" for name, value in colours.items())
        for colours in (LIGHT, DARK)
    )
    return (
        f":root {{ color-scheme: light dark; {light} }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n{RULES}"
    )


RULES = """\
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
}
header, main, footer { max-width: 84rem; margin: 0 auto; padding: 0 1rem; }
header { padding-top: 2rem; }
h1, h2, h3 { line-height: 1.25; text-wrap: balance; overflow-wrap: anywhere; }
h1 { font-size: 1.75rem; margin: 0 0 .5rem; }
h2 { font-size: 1.3rem; margin: 0 0 .5rem; }
h3 { font-size: 1rem; margin: 0; }
p { max-width: 46rem; margin: 0 0 .75rem; overflow-wrap: anywhere; }
a { color: var(--s0); }
:focus-visible { outline: 2px solid var(--s0); outline-offset: 2px; }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; margin: 1rem 0 0; padding: 0; }
nav li { list-style: none; }
nav a { display: inline-block; padding: .25rem 0; }
section { border-top: 1px solid var(--line); margin-top: 2rem; padding-top: 1.5rem; }
footer { color: var(--muted); padding-bottom: 2rem; margin-top: 2rem; }
.charts {
  display: grid; gap: 2rem; align-items: start; margin-top: 1.25rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 23rem), 26rem));
}
figure { margin: 0; min-width: 0; }
figcaption p, .note { color: var(--muted); font-size: .875rem; margin: .25rem 0 .5rem; }
figure svg { display: block; width: 100%; height: auto; font-family: inherit; }
figure svg * { stroke-linejoin: round; stroke-linecap: butt; }
details { margin-top: .5rem; font-size: .875rem; }
summary { cursor: pointer; padding: .35rem 0; color: var(--s0); }
.scroll + .scroll { margin-top: 1rem; }
.scroll { overflow-x: auto; max-width: 100%; border: 1px solid var(--line); border-radius: 6px; }
table { border-collapse: separate; border-spacing: 0; font-size: .875rem; width: 100%; }
caption { text-align: left; padding: .5rem .6rem; color: var(--muted); }
caption span {
  position: sticky; left: .6rem; display: inline-block; max-width: min(100vw - 4rem, 60rem);
}
figure caption span { max-width: min(100vw - 4rem, 24rem); }
th, td { padding: .35rem .6rem; text-align: left; white-space: nowrap; vertical-align: top; }
thead th { background: var(--panel); border-bottom: 1px solid var(--line); font-weight: 600; }
tbody th { font-weight: 500; }
tbody tr + tr > * { border-top: 1px solid var(--line); }
th:first-child { position: sticky; left: 0; }
tbody th { background: var(--page); }
@media (max-width: 40rem) { tbody th { white-space: normal; min-width: 7rem; } }
.long { white-space: normal; min-width: 15rem; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
.bad, .good { font-weight: 600; white-space: nowrap; }
.bad { color: var(--bad); }
.good { color: var(--good); }
@media print { section { break-inside: avoid; } .scroll { overflow: visible; } }
"""
