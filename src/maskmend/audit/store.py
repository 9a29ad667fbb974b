"""What an audit leaves on disk, and how it is read again.

::

    audit/
    ├── audit.json            About: the data set, its files' sha256, who judged, settings, the data set as a whole
    ├── audit.csv             Row: one line a case, the most doubtful first
    ├── findings/CASE.json    Finding: the places that are doubted
    ├── numbers/CASE.ending   number of the finding at each voxel (0: none), on the label's grid
    ├── suggestions/CASE.…    the label with every suggestion taken
    ├── predicted/CASE.…      the judge's own mask, whole, where there was a judge
    ├── doubt/CASE.npz        "doubt", (*S) uint8: 255 times the doubt of each voxel
    ├── report.html           to look at, offline
    ├── review.jsonl          the journal of verdicts and strokes (written by a review)
    └── networks/             what --cross trained

Axes are numpy's, as ``data.formats`` reads them: (D, H, W) or (H, W). Slices and voxels in these files count from 0; in
sentences, pictures and on the page of a review they count from 1.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import config as settings
from ..data.align import aligned
from ..data.dataset import Case, Dataset, open_dataset
from ..data.formats import Picture, read_image, read_label, replacing, write_label
from ..data.geometry import Geometry
from ..errors import InputError
from ..texts import read_json, read_object, read_rows
from ..types import IGNORE
from .records import BY_MODEL, FAINT, FORMAT, KINDS, MOST, About, Doubted, Finding, Judge, Kind, Record, Row, Share

__all__ = [
    "BY_MODEL", "FAINT", "FORMAT", "KINDS", "MOST", "About", "Audit", "Doubted", "Finding", "Judge", "Kind", "Record",
    "Row", "Share", "class_names", "is_audit", "open_audit", "sha256", "spoken", "stored", "write_about", "write_case",
    "write_rows",
]  # fmt: skip

AGAIN = "audit the data set again with `maskmend audit`"
"""The cure of what is damaged."""


@dataclass(frozen=True)
class Audit:
    """An audit on disk, opened."""

    folder: Path
    about: About
    rows: tuple[Row, ...]

    @cached_property
    def dataset(self) -> Dataset:
        """The data set that was audited, as it is now.

        Raises InputError where it is no longer there.
        """
        root = Path(self.about.dataset)
        if not root.is_dir():
            raise InputError(f"{root}, which {self.folder} is an audit of, is not there; put it back, or {AGAIN}.")
        return open_dataset(root, images=False)

    @cached_property
    def cases(self) -> dict[str, Case]:
        """The labelled training cases that were audited, the most doubtful first.

        Raises InputError where one is gone.
        """
        there = {case.name: case for case in self.dataset.train if case.label is not None}
        gone = next((row.case for row in self.rows if row.case not in there), None)
        if gone is not None:
            raise InputError(f"{self.about.dataset} holds no mask of {gone} any more; put it back, or {AGAIN}.")
        return {row.case: there[row.case] for row in self.rows}

    def file(self, room: str, case: str) -> Path:
        """Where an array of a case lies: room is findings, suggestions, predicted or drawn."""
        return self.folder / _home(room) / f"{case}{self.about.file_ending}"

    def findings(self, case: str) -> tuple[Finding, ...]:
        path = self.folder / "findings" / f"{case}.json"
        return tuple(_parsed(Finding, entry, path) for entry in read_json(path, AGAIN)) if path.exists() else ()

    def given(self, case: str) -> Picture:
        """The given label (*S), with IGNORE where nobody annotated; the image is not read if the label is enough.

        Raises InputError where it changed since the audit.
        """
        path = self.cases[case].label
        assert path is not None
        self.check_unchanged(case)
        label = read_label(path)
        array = label.array.astype(np.int32 if label.array.max(initial=0) >= 2**15 else np.int16)
        if self.about.ignore is not None:
            array[array == self.about.ignore] = IGNORE
        return Picture(array, label.geometry)

    def map(self, room: str, case: str) -> NDArray[Any] | None:
        """Whole numbers (*S) of ``room``, IGNORE where they are the data set's ignore value; None if absent."""
        path = self.file(room, case)
        if not path.exists():
            return None
        array = read_label(path).array
        if room != "findings" and self.about.ignore is not None:
            array = np.where(array == self.about.ignore, IGNORE, array.astype(np.int32))
        return array

    def doubt(self, case: str) -> NDArray[np.uint8] | None:
        """255 times the doubt of each voxel (*S); None where nothing judged the case."""
        path = self.folder / "doubt" / f"{case}.npz"
        if not path.exists():
            return None
        with np.load(path, allow_pickle=False) as file:
            found: NDArray[np.uint8] = file["doubt"]
        return found

    def image(self, case: str, label: Picture | None = None) -> Picture:
        """The image (C, *S), its axes turned as those of the label, which is read unless it is given.

        Raises InputError where there is none, or they do not lie on one grid.
        """
        if not self.cases[case].images:
            raise InputError(f"{case} has no image in {self.about.dataset}; add imagesTr to see it.")
        image, label = read_image(self.cases[case].images), label or self.given(case)
        return aligned(image, label, str(self.cases[case].images[0]), str(self.cases[case].label))

    def check_unchanged(self, case: str) -> None:
        """Raises InputError where the given label is no longer the one that was audited."""
        path = self.cases[case].label
        assert path is not None
        if sha256(path) != self.about.files[case][0]:
            raise InputError(f"{path} changed since {self.folder} was made; {AGAIN}.")


def sha256(path: Path) -> str:
    """64 hexadecimal digits. Raises OSError where the file cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _home(room: str) -> str:
    """The numbers of findings lie apart from findings/CASE.json: beside a TIFF that file would be its spacing."""
    return "numbers" if room == "findings" else room


def class_names(labels: Mapping[str, int]) -> dict[int, str]:
    """value -> name."""
    return {value: name for name, value in labels.items()}


def length(value: float, known_mm: bool) -> str:
    """ "12 mm", "0.3 mm", or "6 px" where a file knows no mm."""
    return f"{value:{'.2g' if value < 10 else '.0f'}} {'mm' if known_mm else 'px'}"


def spoken(name: str) -> str:
    """A class in a sentence: "class 2" where it has no better name than its number."""
    return f"class {name}" if name.isdigit() else name


# --- reading ----------------------------------------------------------------------------------------------------------

COLUMNS = (
    "case", "rank", "doubt", "quality", "hint", "classes", "findings", "worst_kind", "worst_slice", "volume_ml",
    "depth_mm",
)  # fmt: skip


def is_audit(folder: Path) -> bool:
    """Whether the folder holds an audit."""
    return (Path(folder) / "audit.json").is_file()


def open_audit(folder: Path) -> Audit:
    """Read audit.json and audit.csv.

    Raises:
        InputError: the folder holds no audit, or one that is damaged or of another version.
    """
    folder = Path(folder)
    if not is_audit(folder):
        raise InputError(f"{folder} holds no audit.json; name a folder that `maskmend audit DATASET -o AUDIT` made.")
    path = folder / "audit.json"
    content = read_object(path, AGAIN)
    if content.get("format") != FORMAT:
        raise InputError(f"{path} is of the format {content.get('format')!r}, not {FORMAT}; {AGAIN}.")
    rows = [_row(entry, place) for place, entry in read_rows(folder / "audit.csv", COLUMNS[:5], AGAIN)]
    return Audit(folder, _parsed(About, content, path), tuple(rows))


def _parsed(kind: type[Any], entry: Any, path: Path | str) -> Any:
    try:
        return settings.parse(kind, entry)
    except InputError as error:
        raise InputError(f"{path} is damaged ({str(error).rstrip('.')}); {AGAIN}.") from None


def _row(entry: Mapping[str, str], place: str) -> Row:
    known = {name: entry.get(name) or None for name in COLUMNS if name != "quality"}
    lists: dict[str, Any] = {"classes": tuple(filter(None, (known.pop("classes") or "").split("; ")))}
    if text := known.pop("worst_slice"):
        lists["worst_slice"] = tuple(text.split())
    scores = {name: text for name, text in entry.items() if name not in COLUMNS and text}
    row: Row = _parsed(Row, {**known, **lists, "scores": scores, "findings": known["findings"] or 0}, place)
    return row


# --- writing ----------------------------------------------------------------------------------------------------------


def write_about(folder: Path, about: About) -> None:
    _write_json(folder / "audit.json", about.model_dump(by_alias=True, mode="json"))


def write_rows(folder: Path, rows: Sequence[Row]) -> None:
    """``audit.csv``, in the order given; a score that a case lacks is an empty cell."""
    scores = list(dict.fromkeys(name for row in rows for name in row.scores))
    with replacing(folder / "audit.csv") as part, part.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow([*COLUMNS, *scores])
        for row in rows:
            cells = row.model_dump()
            cells["quality"] = None if row.doubt is None else 1 - row.doubt
            cells["classes"] = "; ".join(row.classes)
            cells["worst_slice"] = " ".join(map(str, row.worst_slice or ()))
            values = [*(cells[name] for name in COLUMNS), *(row.scores.get(name) for name in scores)]
            table.writerow([_cell(value) for value in values])


def _cell(value: Any) -> Any:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else value


def write_case(
    folder: Path,
    about: About,
    case: str,
    findings: Sequence[Finding],
    maps: Mapping[str, NDArray[Any]],
    place: Geometry,
) -> None:
    """The findings of a case, and its arrays: ``maps`` by room ("findings", "suggestions", "predicted": whole numbers,
    IGNORE allowed; "doubt": uint8), all (*S) on the label's grid. findings/CASE.json is written last: it is there when
    all is."""
    for room, array in maps.items():
        (folder / _home(room)).mkdir(parents=True, exist_ok=True)
        if room == "doubt":
            with replacing(folder / room / f"{case}.npz") as part:
                np.savez_compressed(part, doubt=array.astype(np.uint8))
        else:
            write_label(folder / _home(room) / f"{case}{about.file_ending}", stored(array, about), place)
    (folder / "findings").mkdir(parents=True, exist_ok=True)
    content = [finding.model_dump(by_alias=True, mode="json") for finding in findings]
    _write_json(folder / "findings" / f"{case}.json", content)


def stored(label: NDArray[Any], about: About) -> NDArray[Any]:
    """A label as a file has it: the data set's own value where nobody annotated."""
    if about.ignore is None:
        return label
    return np.where(label == IGNORE, about.ignore, label)


def _write_json(path: Path, content: Any) -> None:
    with replacing(path) as part:
        text = json.dumps(content, indent=1, ensure_ascii=False, sort_keys=isinstance(content, dict), allow_nan=False)
        part.write_text(text + "\n", encoding="utf-8")
