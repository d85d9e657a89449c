"""The shell of a report: one HTML file, light and dark, for screens from 390 px on."""

SHELL = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>@TITLE@</title>
<style>
:root { color-scheme: light dark; --text: #1d2129; --back: #fff; --faint: #6b7280;
  --line: #e3e6ea; --heat: 37 99 235; --bad: #b42318; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6e8eb; --back: #15181d; --faint: #9aa1ab; --line: #2b3038;
    --heat: 96 150 250; --bad: #ff8f80; }
}
body { margin: 0 auto; padding: 1rem; max-width: 90rem; color: var(--text);
  background: var(--back); font: 15px/1.45 system-ui, sans-serif; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
h3 { font-size: .9rem; font-weight: 500; color: var(--faint); overflow-wrap: anywhere; }
p.note { color: var(--faint); max-width: 46rem; }
p.bad { color: var(--bad); overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .1rem .5rem; text-align: right; font-weight: 400; white-space: nowrap; }
thead th, tbody th { color: var(--faint); font-size: .8rem; }
tbody tr { border-top: 1px solid var(--line); }
.code { text-align: left; white-space: pre-wrap; overflow-wrap: anywhere; width: 99%;
  font: 13px/1.5 ui-monospace, monospace; }
.idle .code, .gap { color: var(--faint); } .gap td { text-align: left; }
.heat { background: rgb(var(--heat) / calc(.45 * var(--share))); }
.wide { overflow-x: auto; }
@media (max-width: 700px) {
  thead, .idle td:not(.code) { display: none; }
  tr { display: flex; flex-wrap: wrap; }
  .code { flex: 0 0 calc(100% - 3.2rem); box-sizing: border-box; } tbody th { width: 2.2rem; }
  td:not(.code):empty { display: none; }
  td[data-name]::before { content: attr(data-name) " "; color: var(--faint); font-size: .8rem; }
}
</style>
</head>
<body>
<h1>@TITLE@</h1>
<p class="note">Counted in an emulator, not measured on a GPU. Instructions are per warp; bytes are
summed over lanes; sectors have 32 bytes; useful is distinct bytes over bytes of sectors; conflicts
are the wavefronts that bank conflicts add. Lines of Triton's library count where they are called.
</p>
@BODY@
</body>
</html>
"""
