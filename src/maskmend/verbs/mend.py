"""``maskmend mend``: a new data set with corrected masks, and what was changed."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from ..audit.rank import counted
from ..audit.store import open_audit
from ..data.dataset import open_dataset
from ..data.scratch import new_folder
from ..errors import InputError
from ..mending.accept import Accept, Doubtful
from ..mending.change import Change, size
from ..mending.checks import check_accept, check_doubtful, check_output, number_of
from ..mending.diff import by_whom
from ..mending.write import write
from ..runs.dicom import scans_of, write_segs

NOTHING: Mapping[Accept, str] = {
    "reviewed": "nothing was accepted or drawn",
    "automatic": "nothing was accepted or drawn, and the audit trusts no network to redraw a mask that nobody spoke of",
    "all": "nothing was accepted or drawn, and nothing else is suggested",
}
"""Why no mask changes."""


@dataclass(frozen=True)
class MendSummary:
    """What was mended. output: None where nothing was. cases: how many masks there are; clean: of how many a person is
    sure."""

    audit: Path
    accept: Accept
    output: Path | None
    changes: tuple[Change, ...]
    cases: int
    clean: int

    def table(self) -> str:
        """As it is printed."""
        if self.output is None:
            right = f" You reviewed {counted(self.clean, 'mask')} as right." if self.clean else ""
            then = "If all are, go on with the masks as given; else review more" if self.clean else "Review first"
            audit = shlex.quote(str(self.audit))
            return f"Nothing was written: {NOTHING[self.accept]}.{right} {then}: maskmend review {audit}"
        clean = f" You are done with {self.clean} and sure of them: these are clean." if self.clean else ""
        lines = [f"{self.output}: {len(self.changes)} of {self.cases} masks changed.{clean}"]
        if self.changes:
            lines.append(f"Changed: {by_whom(self.changes)}.")
        lines += _classes(self.changes)
        lines.append(f"See every change: {self.output / 'diff.html'}")
        lines.append(f"Train again: maskmend train {shlex.quote(str(self.output))} -o RUN")
        if (number := number_of(self.output)) is not None:
            lines.append(f"With nnU-Net: nnUNetv2_plan_and_preprocess -d {number} --verify_dataset_integrity")
        return "\n".join(lines)


def _classes(changes: Sequence[Change]) -> list[str]:
    """A line for each class: what it gained and lost in all cases."""
    lines = []
    for name in dict.fromkeys(name for change in changes for name in change.classes):
        sums = [(_sum(changes, name, word), word) for word in ("added", "removed")]
        lines.append(f"  {name}: " + (", ".join(f"{total} {word}" for total, word in sums if total) or "as given"))
    if ignored := sum(change.ignored for change in changes):
        lines.append(f"  left open (ignore): {ignored} voxels")
    return lines


def _sum(changes: Sequence[Change], name: str, word: str) -> str:
    """The size over all cases; "" of nothing."""
    counts = [(int(getattr(c.classes[name], word)), c.voxel_ml) for c in changes if name in c.classes]
    voxels = sum(count for count, _ in counts)
    ml = [count * unit for count, unit in counts if unit is not None]
    return size(voxels, sum(ml) if len(ml) == len(counts) else None) if voxels else ""


class _Unchanged(Exception):
    """Nothing is left behind."""


def mend(
    audit: Path,
    output: Path,
    *,
    accept: Accept = "reviewed",
    doubtful: Doubtful = "keep",
    dicom_seg: Path | None = None,
) -> MendSummary:
    """Write the audited data set anew, with corrected masks. What was given is never changed.

    Args:
        audit: the folder that ``audit`` made, and ``review`` spoke of.
        output: the new data set: labelsTr mended, labelsTr_given, supervision.csv (reviewed cases are clean),
            mend.json, diff.html, provenance/. It is there when it is whole; nothing is written where no mask changes.
        accept: reviewed takes what a person accepted or drew; automatic also the judge's mask where the audit says that
            it can be redrawn and nobody spoke of the case; all also every suggestion that nobody spoke of.
        doubtful: what becomes of findings that nobody decided: keep, ignore (nnU-Net's ignore label), or weights
            (weightsTr/, from 0 to 1).
        dicom_seg: folder of the DICOM series that the data set was prepared of; then labelsTr_dicom/CASE.dcm is the
            DICOM-SEG of every changed mask.

    Raises:
        InputError: a given label changed since the audit, the output is in the way of something, its format cannot
            hold what is asked for, or the disk is full.
    """
    audit, output = Path(audit), Path(output)
    for value, kind, name in ((accept, Accept, "accept"), (doubtful, Doubtful, "doubtful")):
        if value not in get_args(kind):
            raise InputError(f"--{name} {value}: take one of {', '.join(get_args(kind))}.")
    opened = open_audit(audit)
    check_output(opened, output)
    check_doubtful(opened, doubtful)
    check_accept(opened, accept)
    scans = None if dicom_seg is None else scans_of(opened.dataset.root, Path(dicom_seg))
    place: Path | None = output
    try:
        with new_folder(output) as root:
            done = write(opened, root, accept, doubtful)
            if not (root / "mend.json").exists():
                raise _Unchanged
            if scans and done.changes:
                ending, labels = opened.about.file_ending, _labels(root)
                changed = [(change.case, root / "labelsTr" / f"{change.case}{ending}") for change in done.changes]
                for _, why in write_segs(scans, changed, labels, root / "labelsTr_dicom", drawn=True):
                    raise InputError(why)
    except _Unchanged:
        place = None
    return MendSummary(audit, accept, place, tuple(done.changes), len(opened.rows), len(done.clean))


def _labels(root: Path) -> dict[str, int]:
    """Every class of the new data set by name, its ignore label too."""
    made = open_dataset(root)
    return made.labels | ({} if made.ignore is None else {"ignore": made.ignore})
