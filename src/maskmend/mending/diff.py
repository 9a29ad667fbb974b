"""``diff.html``: every changed case before and after, one offline page, made of the files as they were written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ..audit import html
from ..audit.checks import read_given
from ..audit.pictures import Shown, drawn, letters_of, outlined, sliced
from ..audit.store import Audit
from ..data.formats import replacing
from ..progress import track
from .change import Change

WORDS = {"reviewed": "corrected in review", "automatic": "mended automatically", "doubtful": "left open"}


def by_whom(changes: Sequence[Change]) -> str:
    """ "9 corrected in review, 3 mended automatically"."""
    return ", ".join(f"{count} {WORDS[by]}" for by, count in Counter(change.by for change in changes).items())


def write_diff(
    audit: Audit, root: Path, ignore: int | None, changes: Sequence[Change], records: Mapping[str, Any]
) -> None:
    """Write the page into the mended data set ``root``, case by case.

    Raises:
        InputError: it cannot be written.
    """
    with replacing(root / "diff.html") as part, part.open("w", encoding="utf-8") as file:
        file.writelines(
            html.page(f"{audit.dataset.name}: what was mended", _parts(audit, root, ignore, changes, records))
        )


def _parts(
    audit: Audit, root: Path, ignore: int | None, changes: Sequence[Change], records: Mapping[str, Any]
) -> Iterator[str]:
    yield html.text("What was mended", "h1")
    said = f"{len(changes)} of {len(audit.rows)} masks of {audit.dataset.name} changed"
    how = f": {by_whom(changes)}. Dice is of the given with the mended mask" if changes else ""
    yield html.text(f"{said}{how}.", "p", "soft")
    yield html.legend(given="given", other="mended")
    for change in track(changes, "Drawing the changes"):
        after = root / "labelsTr" / f"{change.case}{audit.about.file_ending}"
        yield _case(_drawn(audit, change.case, after, ignore), change, records[change.case])


def _case(shown: Shown, change: Change, record: Mapping[str, Any]) -> str:
    figure = html.image(shown.png, f"{change.case}: outlines before and after", shown.cut.name, shown.whole)
    who = WORDS[change.by]
    if change.by == "reviewed":
        alone = f", and {len(record['taken'])} of the suggestions taken automatically" if record["taken"] else ""
        who += f" by {', '.join(record['reviewers'])}{alone}"
    rows = [(class_, _size(change, moved.added), _size(change, moved.removed), f"{moved.dice:.2f}")
            for class_, moved in change.classes.items() if moved.added or moved.removed]  # fmt: skip
    told = html.table(("", "added", "removed", "Dice"), rows, (1, 2, 3)) if rows else ""
    told += html.text(f"{change.size(change.ignored)} left open: nobody learns from them.") if change.ignored else ""
    tag = '<span class="tag">clean now</span>' if record["clean"] else ""
    body = f"<h3>{escape(change.case)}{tag}</h3>\n{html.text(who[0].upper() + who[1:], 'p', 'soft')}{told}"
    return f"<article>\n<div>{figure}</div>\n<div>{body}</div>\n</article>\n"


def _size(change: Change, voxels: int) -> str:
    return change.size(voxels) if voxels else "–"


def _drawn(audit: Audit, case: str, path: Path, ignore: int | None) -> Shown:
    """Both outlines on the slice where most changed."""
    before, after = audit.given(case), read_given(path, ignore)
    cut = sliced(before.array, before.geometry, None, before.array != after.array)
    given, mended = cut.of(before.array), cut.of(after.array)
    return drawn(audit, case, cut, outlined(given, mended), letters_of(cut, given.shape))
