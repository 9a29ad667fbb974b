"""DICOM beside a run or a data set: series as images to predict, and label maps as DICOM-SEG on their series."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..data.dicom import Found, Series, survey
from ..data.dicom_scan import SERIES, in_order, store_scan
from ..data.dicom_seg import write_seg
from ..data.formats import read_label
from ..data.layout import read_json_object
from ..errors import InputError
from ..progress import track

Images = list[tuple[str, tuple[Path, ...]]]
Failures = list[tuple[str, str]]
ENDING = ".nii.gz"


@dataclass(frozen=True)
class Scans:
    """Series by the name of their case, each in order of its slices."""

    found: Found
    series: dict[str, Series]


def scans_in(found: Found, named: Mapping[str, Series], folder: Path) -> tuple[Scans, Images, Failures]:
    """Series by the names of their cases, written to ``folder`` as NIfTI; and those that are no volume, with the
    reason."""
    scans, images, failures = Scans(found, {}), Images(), Failures()
    for name, series in track(named.items(), "Reading DICOM series", total=len(named)):
        path = folder / f"{name}{ENDING}"
        try:
            scans.series[name] = in_order(series, found)
            store_scan(scans.series[name], found, path)
            images.append((name, (path,)))
        except InputError as error:
            failures.append((name, str(error)))
    return scans, images, failures


def scans_of(dataset: Path, root: Path) -> Scans:
    """The series in ``root`` that the training cases of a data set were made of.

    Raises InputError where the data set was not made of DICOM, or one of its series is not there.
    """
    keys = read_json_object(dataset / "dataset.json").get(SERIES)
    if not isinstance(keys, dict):
        raise InputError(f"{dataset} was not made of DICOM series by `maskmend prepare`; leave --dicom-seg out.")
    found = survey(root)
    there = {series.key: series for series in found.series}
    if missing := [name for name, key in keys.items() if key not in there]:
        raise InputError(
            f"{found.place} lacks the series of {missing[0]} ({len(missing)} of {len(keys)}); put it there."
        )
    return Scans(found, {name: in_order(there[key], found) for name, key in keys.items()})


def seg_of(name: str, output: Path) -> Path:
    """Where the DICOM-SEG of a case goes."""
    return output / f"{name}.dcm"


def write_segs(
    scans: Scans, labels: Iterable[tuple[str, Path]], names: Mapping[str, int], output: Path, drawn: bool
) -> Failures:
    """``output``/CASE.dcm for each (case, label map), on the case's series; ``names``: of classes, background 0.

    Returns:
        Name and reason of every case that has no DICOM-SEG now.
    """
    output.mkdir(parents=True, exist_ok=True)
    failures: Failures = []
    for name, path in track([*labels], "Writing DICOM-SEG"):
        try:
            if name not in scans.series:
                raise InputError(f"case {name} was not made of a DICOM series; leave --dicom-seg out.")
            write_seg(seg_of(name, output), read_label(path), names, scans.series[name], scans.found, drawn)
        except InputError as error:
            failures.append((name, str(error)))
    return failures
