"""A table of words as Markdown, CSV, LaTeX and HTML."""

from __future__ import annotations

import csv
import html as escaping
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Table:
    """``rows`` of as many words as there are ``columns``; ``legend``: what needs saying below it."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    legend: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"{self.title}: a row has not {len(self.columns)} cells")

    def kept(self) -> Table:
        """Without the columns that are empty in every row."""
        at = [i for i in range(len(self.columns)) if any(row[i] for row in self.rows)]
        rows = tuple(tuple(row[i] for i in at) for row in self.rows)
        return Table(self.title, tuple(self.columns[i] for i in at), rows, self.legend)


def markdown(table: Table) -> str:
    """A GitHub table under a heading, its legend as a list."""
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in (table.columns, *table.rows)]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(table.columns))]
    cells.insert(1, ["-" * width for width in widths])
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in cells]
    legend = ["", *(f"- {line}" for line in table.legend)] if table.legend else []
    return "\n".join([f"### {table.title}", "", *lines, *legend]) + "\n"


def as_csv(table: Table) -> str:
    """The cells alone, title and legend left out."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows(table.rows)
    return text.getvalue()


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "–": "--", "−": "$-$", "τ": r"$\tau$",
    "<": r"$<$", ">": r"$>$", "×": r"$\times$", "α": r"$\alpha$", "β": r"$\beta$", "²": r"$^2$",
}  # fmt: skip


def tex(text: str) -> str:
    """Plain words for LaTeX."""
    return "".join(_LATEX.get(letter, letter) for letter in text)


def latex(table: Table) -> str:
    """A booktabs table (``\\usepackage{booktabs}``), the legend in its caption."""
    lines = [" & ".join(tex(cell) for cell in row) + r" \\" for row in (table.columns, *table.rows)]
    caption = " ".join(tex(line) + "." for line in (table.title, *table.legend))
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{caption}}}",
            rf"\begin{{tabular}}{{{'l' * len(table.columns)}}}",
            r"\toprule",
            lines[0],
            r"\midrule",
            *lines[1:],
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


_STYLE = """body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:80rem;padding:0 1rem;color:#222}
div{overflow-x:auto}table{border-collapse:collapse;margin:.5rem 0}
th,td{padding:.25rem .7rem;text-align:left;border-bottom:1px solid #ddd;white-space:nowrap}
th{border-bottom:2px solid #555;white-space:normal;vertical-align:bottom}
.theirs{background:#f3f0e6}ul{color:#555;font-size:.9em}figure{margin:1.5rem 0}figure svg{max-width:100%;height:auto}"""


def html(title: str, tables: Sequence[Table], figures: Mapping[str, str]) -> str:
    """One page that needs nothing else: tables, and figures by caption as SVG; reported columns are shaded."""
    say = escaping.escape
    parts = [f"<h1>{say(title)}</h1>", *(_html_table(table) for table in tables)]
    for caption, svg in figures.items():
        drawing = svg[max(svg.find("<svg"), 0) :]  # without the XML prolog
        parts.append(f"<figure>{drawing}<figcaption>{say(caption)}</figcaption></figure>")
    head = f'<meta charset="utf-8"><title>{say(title)}</title><style>{_STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n' + "\n".join(parts) + "\n</body></html>\n"


def _html_table(table: Table) -> str:
    say = escaping.escape
    classes = [' class="theirs"' if column.startswith("reported") else "" for column in table.columns]

    def line(row: tuple[str, ...], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}{c}>{say(x)}</{tag}>" for x, c in zip(row, classes, strict=True)) + "</tr>"

    body = "\n".join(line(row, "td") for row in table.rows)
    legend = "".join(f"<li>{say(text)}</li>" for text in table.legend)
    head = f"<thead>{line(table.columns, 'th')}</thead>"
    return f"<h2>{say(table.title)}</h2><div><table>{head}<tbody>\n{body}\n</tbody></table></div><ul>{legend}</ul>"


def write(folder: Path, name: str, table: Table) -> list[Path]:
    """``NAME.md``, ``NAME.csv`` and ``NAME.tex`` in ``folder``."""
    texts = {".md": markdown(table), ".csv": as_csv(table), ".tex": latex(table)}
    paths = [folder / f"{name}{ending}" for ending in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        path.write_text(text, encoding="utf-8", newline="")
    return paths
