"""``report.html``: the audit to look at, one file without script, the worst cases first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from ..data.formats import replacing
from ..functional.doubt import CUT
from ..progress import track
from . import html
from .pictures import of_case
from .store import Audit, Finding, Row

PICTURES = 100
"""Cases with a picture at most; the others stand in a table."""
LISTED = 2000
"""Rows of that table at most; audit.csv has them all."""
TOLD = 6
"""Findings of a case that are spelt out."""
BINS = 20
JUDGES = {
    "cross": "Networks trained for it judged {} of them, each after a short look at its share of the cases",
    "reviewed": "Networks of the reviewed masks judged {} of them",
    "runs": "Runs of yours judged {} of them that they had not learnt from",
    "nnunet": "nnU-Net's folds judged {} of them that they had not learnt from",
}
HINTS = {"redraw": "can be redrawn", "review": "review", "fine": "fine"}


def write_report(audit: Audit, path: Path | None = None) -> Path:
    """Write the page, case by case, and return where it is.

    Raises:
        InputError: it cannot be written.
    """
    path = path or audit.folder / "report.html"
    title = f"{Path(audit.about.dataset).name}: which masks are wrong"
    with replacing(path) as part, part.open("w", encoding="utf-8") as file:
        file.writelines(html.page(title, _parts(audit)))
    return path


def _parts(audit: Audit) -> Iterator[str]:
    yield from _head(audit)
    shown = [row for row in audit.rows if row.findings or row.hint != "fine"][:PICTURES]
    if shown:
        yield html.text(f"The {len(shown)} most doubtful cases" if len(shown) > 1 else "The doubtful case", "h2")
        yield (
            '<p class="soft"><span class="key"></span>given&emsp;<span class="key other"></span>suggested. '
            "Numbers stand where the findings are.</p>\n"
        )
    else:
        yield html.text("Nothing wrong to be seen", "h2")
    for row in track(shown, "Drawing the report"):
        yield _case(audit, row)
    yield from _rest(audit, audit.rows[: len(shown)], audit.rows)


def _head(audit: Audit) -> Iterator[str]:
    about = audit.about
    yield html.text(Path(about.dataset).name, "h1")
    yield html.text(f"Audit of {len(audit.rows)} masks, {about.made[:10]}. {_judged(audit)}", "p", "soft")
    yield '<div class="lead">\n' + "".join(html.text(sentence) for sentence in about.sentences) + "</div>\n"
    doubts = [row.doubt for row in audit.rows if row.doubt is not None]
    yield '<div class="row">\n'
    if doubts:
        counts = [0] * BINS
        for doubt in doubts:
            counts[min(BINS - 1, int(doubt * BINS))] += 1
        yield "<div>" + html.text("How doubtful the masks are", "h2")
        yield html.bars(counts, ("not at all", "very"), CUT, "histogram of doubt, by roots of counts") + "</div>\n"
    kinds = Counter((f.kind, f.class_) for row in audit.rows for f in audit.findings(row.case))
    if kinds:
        rows = [(kind.replace("_", " "), class_, str(count)) for (kind, class_), count in kinds.most_common(12)]
        yield "<div>" + html.text("What was found", "h2")
        yield html.table(("kind", "class", "findings"), rows, (2,)) + "</div>\n"
    yield "</div>\n"
    if about.tau:
        yield html.text("How much of the masks is believed wrong", "h2")
        shares = [(name, f"{s.value:.1%}", f"{s.low:.1%}–{s.high:.1%}", f"method.tau={s.value:.3g}")
                for name, s in about.tau.items()]  # fmt: skip
        yield html.table(("class", "share of its voxels", "95 % interval", "as a setting"), shares, (1,))
    yield html.text("What to do next", "h2")
    folder = escape(str(audit.folder))
    yield f"<p>Look at them one by one, and correct them: <code>maskmend review {folder}</code></p>\n"
    yield f"<p>Then take the corrected masks: <code>maskmend mend {folder} -o DATASET</code></p>\n"


def _judged(audit: Audit) -> str:
    """Who judged, and what that is worth."""
    said = []
    for judge in audit.about.judges:
        who = JUDGES.get(judge.kind, "Predictions judged {} of them, as they were given")
        agreed = f"; their own masks agree with the given ones by a Dice of {judge.dice:.2f}" if judge.dice else ""
        said.append(f"{who.format(judge.cases)}{agreed}.")
    return " ".join(said) or "Checked without a network."


def _case(audit: Audit, row: Row) -> str:
    findings = audit.findings(row.case)
    drawn = of_case(audit, row.case)
    picture = html.image(drawn, f"{row.case}: given and suggested outlines") if drawn else ""
    tag = f'<span class="tag {row.hint}">{HINTS[row.hint]}</span>' if row.hint != "fine" else ""
    doubt = "" if row.doubt is None else html.text(f"Doubt {row.doubt:.2f}", "p", "soft")
    items = "".join(f"<li>{_finding(f)}</li>\n" for f in findings[:TOLD])
    more = html.text(f"and {len(findings) - TOLD} smaller ones", "p", "soft") if len(findings) > TOLD else ""
    where = _where(row)
    body = f"<h3>{escape(row.case)}{tag}</h3>\n{doubt}<ol>\n{items}</ol>\n{more}{where}"
    return f"<article>\n<div>{picture}</div>\n<div>{body}</div>\n</article>\n"


def _finding(found: Finding) -> str:
    sure = f"{100 * found.confidence:.0f} % sure"
    return f"{escape(found.text)} <small>{sure}</small>"


def _where(row: Row) -> str:
    if row.worst_slice is None or len(row.worst_slice) != 3:
        return ""
    return html.text(f"Shown at voxel {', '.join(map(str, row.worst_slice))} (D, H, W).", "p", "soft")


def _rest(audit: Audit, shown: Sequence[Row], rows: Sequence[Row]) -> Iterator[str]:
    """All cases, in a table that opens."""
    listed = [(str(r.rank), r.case, "" if r.doubt is None else f"{r.doubt:.3f}", str(r.findings),
               (r.worst_kind or "").replace("_", " "), HINTS[r.hint]) for r in rows[:LISTED]]  # fmt: skip
    more = f" (the first {LISTED}; audit.csv has all {len(rows)})" if len(rows) > LISTED else ""
    yield f"<details>\n<summary>All {len(rows)} cases in a table{more}</summary>\n"
    yield html.table(("", "case", "doubt", "findings", "worst", "what to do"), listed, (0, 2, 3)) + "</details>\n"
