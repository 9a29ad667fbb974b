"""Pages of one file: no script, nothing from elsewhere, every word escaped."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape

STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --soft: #5a6672; --line: #dce1e6; --paper: #fff; --wash: #f4f6f8;
  --accent: #0072b2; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8ebee; --soft: #9aa5b1; --line: #343b42; --paper: #16191c;
  --wash: #22282d; --accent: #56b4e9; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 3rem 1.25rem 5rem; max-width: 62rem; background: var(--paper); color: var(--ink);
  font: 17px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
  overflow-wrap: break-word; }
h1 { font-size: 2.1rem; line-height: 1.2; margin: 0 0 .4rem; letter-spacing: -.015em; }
h2 { font-size: 1.3rem; line-height: 1.3; margin: 3.2rem 0 .9rem; }
p { margin: .4rem 0; max-width: 44rem; }
.soft, small, th, figcaption { color: var(--soft); }
.lead { margin: 1.8rem 0 0; }
.lead p { font-size: 1.35rem; line-height: 1.4; margin: .7rem 0; }
.narrow { max-width: 400px; }
.row { display: flex; flex-wrap: wrap; gap: 0 3.5rem; align-items: flex-start; }
article { display: grid; grid-template-columns: 320px minmax(0, 1fr); gap: 2rem; padding: 2rem 0;
  border-top: 1px solid var(--line); break-inside: avoid; }
article h3 { margin: 0; font-size: 1.15rem; line-height: 1.3; overflow-wrap: anywhere; }
figure { margin: 0; } figcaption, small { font-size: .85rem; }
img { max-width: 100%; height: auto; border-radius: 3px; display: block; margin: 0 auto; image-rendering: pixelated; }
figcaption { display: flex; justify-content: center; align-items: center; gap: .8rem; margin-top: .5rem; }
figcaption img { margin: 0; }
ol { padding-left: 1.5rem; margin: .7rem 0; max-width: 44rem; } li { margin: .45rem 0; }
li::marker { font-weight: 600; } small { display: block; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
td, th { text-align: left; padding: .35rem 1.4rem .35rem 0; border-bottom: 1px solid var(--line);
  font-weight: normal; vertical-align: top; }
td { max-width: 22rem; } td.n, th.n { text-align: right; } td.n { white-space: nowrap; }
code { font: .9em ui-monospace, "SF Mono", Menlo, Consolas, monospace; background: var(--wash);
  padding: .2em .5em; border-radius: 4px; overflow-wrap: anywhere; }
.tag { color: var(--accent); font-size: .95rem; font-weight: 600; white-space: nowrap; margin-left: .6rem; }
.key { white-space: nowrap; margin-right: 1.4em; }
.key::before { content: ""; display: inline-block; width: 2.2em; border-top: 3px solid #e69f00; vertical-align: .25em;
  margin-right: .4em; }
.key.other::before { border-top: 3px dashed #56b4e9; } .key.unknown::before { border-color: #969696; }
.bars { max-width: 100%; height: auto; } .bars rect { fill: var(--accent); } .bars rect.low { fill: var(--line); }
.bars text { fill: var(--soft); font-size: 14px; }
details { margin: 2.5rem 0 0; } summary { cursor: pointer; color: var(--accent); }
@media (max-width: 720px) { body { padding-top: 1.5rem; } h1 { font-size: 1.7rem; } .lead p { font-size: 1.2rem; }
  article { grid-template-columns: minmax(0, 1fr); gap: 1rem; } td, th { padding-right: .8rem; } }
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


def opening(words: str, inside: str) -> str:
    """What is seen once ``words`` are clicked; ``inside`` is made of these functions."""
    return f"<details>\n<summary>{escape(words)}</summary>\n{inside}</details>\n"


def image(png: bytes, words: str, below: str = "", whole: bytes = b"") -> str:
    """A picture within the page; ``words`` say what it shows, ``below`` and a small picture of the whole stand under
    it."""
    caption = (_img(whole, "The whole, with a frame around this part") if whole else "") + escape(below)
    under = f"<figcaption>{caption}</figcaption>" if caption else ""
    return f"<figure>{_img(png, words)}{under}</figure>\n"


def _img(png: bytes, words: str) -> str:
    return f'<img alt="{escape(words)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'


def legend(**lines: str) -> str:
    """What the lines of pictures mean; by name: given, other, unknown."""
    keys = " ".join(f'<span class="key {name}">{escape(words)}</span>' for name, words in lines.items())
    return f'<p class="soft">{keys}</p>\n'


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """Cells of words; the columns ``numbers`` stand to the right."""
    kinds = [' class="n"' if i in numbers else "" for i in range(len(columns))]
    head = "".join(f"<th{kind}>{escape(cell)}</th>" for cell, kind in zip(columns, kinds, strict=True))
    lines = ("".join(f"<td{k}>{escape(cell)}</td>" for cell, k in zip(row, kinds, strict=True)) for row in rows)
    body = "".join(f"<tr>{line}</tr>\n" for line in lines)
    return f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table></div>\n'


def bars(counts: Sequence[int], first: int, ends: tuple[str, str], words: str) -> str:
    """A histogram as SVG, by roots of counts so that a single one is seen; bars before ``first`` are pale."""
    width, height, above, top = 400, 120, 18, max([*counts, 1])
    step = width / max(1, len(counts))
    found = []
    for i, count in enumerate(counts):
        tall = round(height * (count / top) ** 0.5, 1)
        y = above + height - tall
        place = f'x="{i * step + 1:.1f}" y="{y:.1f}" width="{step - 2:.1f}" height="{tall}"'
        pale = ' class="low"' if i < first else ""
        told = f'<text x="{(i + 0.5) * step:.1f}" y="{y - 5:.1f}" text-anchor="middle">{count or ""}</text>'
        found.append(f"<rect{pale} {place}/>{told}")
    bottom = above + height + 18
    axis = f'<text x="0" y="{bottom}">{escape(ends[0])}</text>'
    axis += f'<text x="{width}" y="{bottom}" text-anchor="end">{escape(ends[1])}</text>'
    box = f'viewBox="0 0 {width} {bottom + 6}" width="{width}" height="{bottom + 6}"'
    return f'<svg class="bars" role="img" aria-label="{escape(words)}" {box}>{"".join(found)}{axis}</svg>\n'
