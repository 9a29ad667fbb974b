"""Pages of one file: no script, nothing from elsewhere, every word escaped."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape

STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --soft: #5f6b76; --line: #d9dee3; --paper: #fff; --wash: #f5f7f9;
  --accent: #0072b2; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8ebee; --soft: #9aa5b1; --line: #343b42; --paper: #16191c;
  --wash: #1f2428; --accent: #56b4e9; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.5rem 1.25rem 4rem; max-width: 66rem; background: var(--paper); color: var(--ink);
  font: 17px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .25rem; letter-spacing: -.01em; }
h2 { font-size: 1.25rem; margin: 3rem 0 1rem; }
p { margin: .4rem 0; max-width: 46rem; }
.soft, small, th { color: var(--soft); }
.lead p { font-size: 1.2rem; line-height: 1.5; margin: .6rem 0; }
.row { display: flex; flex-wrap: wrap; gap: 2.5rem; align-items: flex-start; }
article { display: grid; grid-template-columns: minmax(0, 320px) 1fr; gap: 1.5rem; padding: 1.5rem 0;
  border-top: 1px solid var(--line); }
article h3 { margin: 0; font-size: 1.1rem; overflow-wrap: anywhere; }
article img { width: 100%; height: auto; background: #000; image-rendering: pixelated; border-radius: 4px;
  display: block; }
@media (max-width: 640px) { article { grid-template-columns: 1fr; } .row { gap: 1rem; } }
ol { padding-left: 1.5rem; margin: .5rem 0; } li { margin: .3rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
td, th { text-align: left; padding: .3rem 1.1rem .3rem 0; border-bottom: 1px solid var(--line); font-weight: normal;
  vertical-align: top; overflow-wrap: anywhere; }
td.n, th.n { text-align: right; }
code { font: .9em ui-monospace, "SF Mono", Menlo, Consolas, monospace; background: var(--wash); padding: .15em .4em;
  border-radius: 4px; overflow-wrap: anywhere; }
.tag { display: inline-block; padding: .05em .6em; border: 1px solid var(--line); border-radius: 1em; font-size: .85rem;
  color: var(--soft); margin-left: .5rem; }
.tag.redraw, .tag.review { color: var(--paper); background: var(--accent); border-color: var(--accent); }
.key { display: inline-block; width: 2.2em; border-top: 3px solid #e69f00; vertical-align: .25em; margin-right: .4em; }
.key.other { border-top: 3px dashed #56b4e9; }
.bars rect { fill: var(--accent); } .bars rect.low { fill: var(--line); }
.bars text { fill: var(--soft); font-size: 12px; }
details { margin: 1rem 0; } summary { cursor: pointer; color: var(--accent); }
"""
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def page(title: str, parts: Iterable[str]) -> Iterable[str]:
    """The lines of a whole document; ``parts`` are made of the functions below, or escaped by who gives them."""
    yield (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
    )
    yield from parts
    yield "</body>\n</html>\n"


def text(words: str, kind: str = "p", name: str = "") -> str:
    """Words in an element."""
    return f"<{kind}{f' class={chr(34)}{name}{chr(34)}' if name else ''}>{escape(words)}</{kind}>\n"


def image(png: bytes, words: str) -> str:
    """A picture within the page; ``words`` say what it shows."""
    return f'<img alt="{escape(words)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">\n'


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """Cells of words; the columns ``numbers`` stand to the right."""
    kinds = [' class="n"' if i in numbers else "" for i in range(len(columns))]
    head = "".join(f"<th{kind}>{escape(cell)}</th>" for cell, kind in zip(columns, kinds, strict=True))
    lines = ("".join(f"<td{k}>{escape(cell)}</td>" for cell, k in zip(row, kinds, strict=True)) for row in rows)
    body = "".join(f"<tr>{line}</tr>\n" for line in lines)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>\n"


def bars(counts: Sequence[int], ends: tuple[str, str], cut: float, words: str) -> str:
    """A histogram over [0, 1] as SVG; bars below ``cut`` are pale."""
    width, height, top = 360, 110, max([*counts, 1])
    step = width / max(1, len(counts))
    found = []
    for i, count in enumerate(counts):
        tall = round(height * (count / top) ** 0.5, 1)  # by roots, so that a single case is seen
        name = ' class="low"' if (i + 1) / len(counts) <= cut + 1e-9 else ""
        label = f"<title>{count}</title>"
        found.append(f'<rect{name} x="{i * step + 1:.1f}" y="{height - tall}" width="{step - 2:.1f}" height="{tall}">'
                     f"{label}</rect>")  # fmt: skip
    axis = f'<text x="0" y="{height + 16}">{escape(ends[0])}</text>'
    axis += f'<text x="{width}" y="{height + 16}" text-anchor="end">{escape(ends[1])}</text>'
    box = f'viewBox="0 0 {width} {height + 22}" width="{width}" height="{height + 22}"'
    return f'<svg class="bars" role="img" aria-label="{escape(words)}" {box}>{"".join(found)}{axis}</svg>\n'
