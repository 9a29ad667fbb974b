"""``report.html``: the audit to look at, one file without script, the worst cases first."""

from __future__ import annotations

import shlex
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

from ..data.formats import replacing
from ..errors import InputError
from ..functional.doubt import CUT
from ..progress import track
from . import html
from .pictures import Sliced, of_case, told
from .rank import LIKELY, counted, few_left, listed, percent
from .store import FAINT, Audit, Finding, Row, Share, spoken

PICTURES = 100
"""Cases with a picture at most; the others stand in a table."""
BINS = (0.05, 0.1)
"""Of doubt, a bar; the first where no mask is doubted by more than a half."""
NAMED = 4
"""Classes that are told at once."""
JUDGES = {
    "cross": "networks that were trained for it, each on a share of the cases and only briefly",
    "reviewed": "networks that learnt from the reviewed masks alone",
    "runs": "your own runs",
    "nnunet": "the folds of nnU-Net",
    "predictions": "predictions that you gave",
}
MEANT = (
    "Doubt is how sure the checks are that something is wrong.",
    "Doubt is 0 where the judge would draw the same mask, and 1 where it is sure of a wholly different one.",
)
"""What doubt is, without a judge and with one."""
HINTS = {"redraw": "can be redrawn", "review": "look at it", "fine": "fine", "reviewed": "reviewed"}
MEANING = {
    "missing": "not drawn",
    "spurious": "drawn where nothing is",
    "too_wide": "drawn too wide",
    "too_tight": "drawn too tight",
    "swap": "drawn as another class",
    "hole": "a hole within",
    "island": "a stray part",
    "slice_gap": "a slice left out",
    "left_right": "left and right exchanged",
    "absent": "missing from the whole case",
    "unexpected": "there, though seldom elsewhere",
    "outlier": "unusual size or place",
    "border": "cut off at the edge of the image",
    "edge": "ends off the edge that the image shows",
    "file": "the file itself",
}
"""Kinds of findings, as a person would say them."""


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
    """Cases with something to look at come with a picture, as far as ``PICTURES`` reach; all stand in the table."""
    yield from _head(audit)
    rest = [row for row in audit.rows if row.hint != "reviewed"]
    doubtful = [row for row in rest if row.hint != "fine" or (row.findings and told(audit.findings(row.case)))]
    shown = doubtful[:PICTURES]
    if shown:
        yield html.text(
            "The doubtful case" if len(shown) == 1 else f"{len(shown)} cases, the most doubtful first", "h2"
        )
        if len(doubtful) > len(shown):
            more = counted(len(doubtful) - len(shown), "further case")
            yield html.text(f"{more} with findings stand without a picture in the table at the end.", "p", "soft")
        ignore = {"unknown": "not annotated"} if audit.about.ignore is not None else {}
        yield html.legend(given="given", other="suggested", **ignore)
    else:
        yield html.text("Nothing wrong to be seen" if rest else "Every mask is reviewed", "h2")
    for row in track(shown, "Drawing the report"):
        yield _case(audit, row)
    yield _table(audit.rows)


# --- the head ---------------------------------------------------------------------------------------------------------


def _head(audit: Audit) -> Iterator[str]:
    about = audit.about
    yield html.text(Path(about.dataset).name, "h1")
    yield html.text(f"{counted(len(audit.rows), 'mask')}, audited on {about.made[:10]}. {_judged(audit)}", "p", "soft")
    yield '<div class="lead">\n' + "".join(html.text(sentence) for sentence in about.sentences) + "</div>\n"
    yield '<div class="row">\n' + _doubts(audit) + _counts(audit) + "</div>\n"
    if about.tau:
        yield _shares(about.tau)
    yield html.text("What to do next", "h2")
    folder = shlex.quote(str(audit.folder))
    for words, command in _next(audit, folder):
        yield f"<p>{escape(words)}<br><code>{escape(command)}</code></p>\n"


def _judged(audit: Audit) -> str:
    """Who judged, and what that is worth."""
    said = []
    for judge in audit.about.judges:
        seen = "Judged" if judge.cases == len(audit.rows) else f"{judge.cases} of them are judged"
        said.append(f"{seen} by {JUDGES.get(judge.kind, judge.kind)}.")
        if judge.held_out:
            said.append("None had learnt from the case it judged.")
        elif judge.kind == "predictions":
            said.append("They say little if they come from networks that had learnt from these very masks.")
        if judge.dice is not None:
            said.append(f"Their own masks overlap with the given ones by a Dice of {judge.dice:.2f} on average.")
    return " ".join(said) or "No network judged them: these are checks of the masks alone."


def _next(audit: Audit, folder: str) -> Iterator[tuple[str, str]]:
    """What a person may do now, and the command for it."""
    review = "Look at the doubtful masks one by one, and correct them:", f"maskmend review {folder}"
    mend = "Then write a data set of the corrected masks:", f"maskmend mend {folder} -o DATASET"
    if few_left(audit.rows):
        mend = "Little is left to look at. Write a data set of the corrected masks:", mend[1]
    else:
        yield review
    yield mend
    if not audit.about.judges:
        data = shlex.quote(audit.about.dataset)
        yield "To have networks judge the masks too:", f"maskmend audit {data} -o {folder} --cross 2"


def _doubts(audit: Audit) -> str:
    """The histogram of doubt, and what it means."""
    doubts = [row.doubt for row in audit.rows if row.doubt is not None and row.hint != "reviewed"]
    if not any(doubts):
        return ""
    cut = CUT if audit.about.judges else LIKELY
    size = BINS[max(doubts) > 0.5]
    edges = [round(n * size, 9) for n in range(1, round(1 / size))]  # a doubt on an edge is of the bar above it
    bins = max(4, bisect_right(edges, max(doubts)) + 1)
    counts = Counter(bisect_right(edges, doubt) for doubt in doubts)
    high = sum(doubt >= cut for doubt in doubts)
    words = f"{high} of {counted(len(doubts), 'mask')} {'has' if high == 1 else 'have'} a doubt of {cut:g} or more."
    found = html.bars([counts[i] for i in range(bins)], round(cut / size), ("0", f"{bins * size:g}"), words)
    told = found + html.text(words) + html.text(MEANT[bool(audit.about.judges)], "p", "soft")
    return '<div class="narrow">' + html.text("How doubtful the masks are", "h2") + told + "</div>\n"


def _counts(audit: Audit) -> str:
    """How many findings there are of each kind, and of which classes most."""
    rows = [row for row in audit.rows if row.findings and row.hint != "reviewed"]
    found = [f for row in rows for f in audit.findings(row.case) if f.confidence >= FAINT]
    if not found:
        return ""
    lines = []
    for kind, count in Counter(f.kind for f in found).most_common():
        classes = Counter(spoken(f.class_) for f in found if f.kind == kind and f.class_).most_common()
        named = [f"{name} ({number})" if len(classes) > 1 else name for name, number in classes]
        lines.append((MEANING[kind], str(count), listed(named, NAMED)))
    return "<div>" + html.text("What was found", "h2") + html.table(("", "places", "of"), lines, (1,)) + "</div>\n"


def _shares(tau: Mapping[str, Share]) -> str:
    """The share of each class that is believed wrong; many classes stand in a table that opens."""
    rows = [
        (spoken(name), *((f"not known: {s.unknown}", "") if s.unknown else
         (percent(s.value), f"{percent(s.low)} to {percent(s.high)}")))
        for name, s in tau.items()
    ]  # fmt: skip
    words = "How much of what is drawn as each class is believed wrong"
    table = html.table(("class", "share", "interval"), rows, (1, 2))
    return html.opening(words, table) if len(tau) > NAMED else html.text(words, "h2") + table


# --- the cases --------------------------------------------------------------------------------------------------------


def _case(audit: Audit, row: Row) -> str:
    """A case: its picture, and its findings in words; a sentence instead of the picture where the label is gone."""
    findings, cut = audit.findings(row.case), None
    try:
        drawn = of_case(audit, row.case)
        cut, picture = (
            drawn.cut,
            html.image(drawn.png, f"{row.case}: given and suggested outlines", drawn.cut.name, drawn.whole),
        )
    except InputError as error:
        known = any(f.kind == "file" for f in findings)
        picture = html.text("No picture." if known else str(error), "p", "soft")
    tag = "" if row.hint == "fine" else f'<span class="tag">{HINTS[row.hint]}</span>'
    doubt = "" if row.doubt is None else html.text(f"Doubt {row.doubt:.2f}", "p", "soft")
    spelt = told(findings)
    items = "".join(f'<li value="{n}">{_finding(f, cut)}</li>\n' for n, f in spelt)
    rest = len(findings) - len(spelt)
    more = html.text(f"and {counted(rest, 'smaller or less sure one')}", "p", "soft") if rest else ""
    body = f"<h3>{row.rank}. {escape(row.case)}{tag}</h3>\n{doubt}<ol>\n{items}</ol>\n{more}"
    return f"<article>\n<div>{picture}</div>\n<div>{body}</div>\n</article>\n"


def _finding(found: Finding, cut: Sliced | None) -> str:
    """What is doubted, how surely, and where to look if that is not on the slice that is shown."""
    words = found.text[:1].upper() + found.text[1:]
    where = ""
    if cut is not None and found.slice is not None and len(found.slice) == 3:
        index = found.slice[cut.axis]
        where = "" if index == cut.index else f", best seen on slice {index + 1}"
    return f"{escape(words)}<small>{percent(found.confidence)} sure{where}</small>"


def _table(rows: Sequence[Row]) -> str:
    """All cases, in a table that opens."""
    lines = [(str(r.rank), r.case, "" if r.doubt is None else f"{r.doubt:.3f}", str(r.findings or ""),
              MEANING.get(r.worst_kind or "", ""), HINTS[r.hint]) for r in rows]  # fmt: skip
    table = html.table(("", "case", "doubt", "places", "the worst of them", ""), lines, (0, 2, 3))
    return html.opening(f"All {counted(len(rows), 'case')} in a table", table)
