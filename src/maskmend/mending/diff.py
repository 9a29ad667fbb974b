"""``diff.html``: every changed case before and after, one offline page, made of the files as they were written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from ..audit import html
from ..audit.checks import read_given
from ..audit.pictures import GIVEN, OTHER, Outline, picture, shown_image, sliced
from ..data.align import aligned
from ..data.dataset import Case, Dataset
from ..data.formats import Picture, read_image, replacing
from ..errors import InputError
from ..progress import track
from .change import Change

WORDS = {"reviewed": "reviewed", "automatic": "redrawn by the judge", "doubtful": "left open"}


def by_whom(changes: Sequence[Change]) -> str:
    """ "9 reviewed, 3 redrawn by the judge"."""
    return ", ".join(f"{count} {WORDS[by]}" for by, count in Counter(change.by for change in changes).items())


def write_diff(
    root: Path, source: Dataset, ignore: int | None, changes: Sequence[Change], records: Mapping[str, Any]
) -> None:
    """Write the page into the mended data set ``root``, case by case.

    Raises:
        InputError: it cannot be written.
    """
    cases = {case.name: case for case in source.train}

    def parts() -> Iterator[str]:
        yield html.text("What was mended", "h1")
        said = f"{len(changes)} of {len(cases)} masks of {source.name} changed"
        yield html.text(f"{said}: {by_whom(changes)}." if changes else f"{said}.", "p", "soft")
        yield '<p class="soft"><span class="key"></span>given&emsp;<span class="key other"></span>mended</p>\n'
        for change in track(changes, "Drawing the changes"):
            yield _case(root, cases[change.case], source.file_ending, ignore, change, records[change.case])

    with replacing(root / "diff.html") as part, part.open("w", encoding="utf-8") as file:
        file.writelines(html.page(f"{source.name}: what was mended", parts()))


def _case(root: Path, case: Case, ending: str, ignore: int | None, change: Change, record: Mapping[str, Any]) -> str:
    before = read_given(root / "labelsTr_given" / f"{case.name}{ending}", ignore)
    after = read_given(root / "labelsTr" / f"{case.name}{ending}", ignore)
    drawn = html.image(_drawn(case, before, after), f"{case.name}: outlines before and after")
    who = WORDS[change.by] + (f" by {', '.join(record['reviewers'])}" if change.by == "reviewed" else "")
    told = "".join(f"<li>{escape(_told(change, name))}</li>\n" for name, moved in change.classes.items()
                   if moved.added or moved.removed)  # fmt: skip
    if change.ignored:
        told += f"<li>{escape(change.size(change.ignored))} left open (ignore)</li>\n"
    tag = '<span class="tag">clean now</span>' if record["clean"] else ""
    body = f"<h3>{escape(case.name)}{tag}</h3>\n{html.text(who, 'p', 'soft')}<ul>\n{told}</ul>\n"
    return f"<article>\n<div>{drawn}</div>\n<div>{body}</div>\n</article>\n"


def _told(change: Change, name: str) -> str:
    moved = change.classes[name]
    parts = [
        f"{change.size(count)} {word}" for count, word in ((moved.added, "added"), (moved.removed, "removed")) if count
    ]
    return f"{name}: {', '.join(parts)}; Dice of given with mended {moved.dice:.3f}"


def _drawn(case: Case, before: Picture, after: Picture) -> bytes:
    """Both outlines, on the slice where most changed."""
    cut = sliced(before.array, before.geometry, None, before.array != after.array)
    outlines = [Outline(cut.of(after.array), OTHER, dashed=True), Outline(cut.of(before.array), GIVEN)]
    try:
        image = aligned(read_image(case.images), before, str(case.images[0]), str(case.label))
        plane = shown_image(image.array, cut)
    except InputError:
        plane = np.full((*outlines[0].label.shape, 1), 40, np.uint8)
    return picture(plane, outlines, cut.steps)
