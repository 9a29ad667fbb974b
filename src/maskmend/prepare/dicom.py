"""From series of DICOM scans and the masks drawn on them to cases: images and labels as NIfTI."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..data.dicom import Drawing, Found, Series, survey
from ..data.dicom_masks import masks_of, series_of
from ..data.dicom_scan import SERIES, in_order, numbered, store_scan
from ..data.formats import Array, Geometry, write_label
from ..errors import InputError
from ..progress import track
from .sources import Pair, Source


@dataclass(frozen=True)
class _Case:
    """A series in order, and the files drawn on it."""

    name: str
    series: Series
    drawings: tuple[Drawing, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.series.frames), *self.series.frames[0].shape)


@dataclass
class _Structures:
    """What was drawn, on disk and packed, until it is known of all cases: names of structures by their key (small
    letters), their size, and where each mask lies. ``wanted``: these alone; empty for all."""

    folder: Path
    wanted: dict[str, str]
    names: dict[str, str] = field(default_factory=dict)
    ml: dict[str, float] = field(default_factory=dict)
    masks: dict[tuple[str, str], tuple[Path, str]] = field(default_factory=dict)
    overlaps: set[tuple[str, str]] = field(default_factory=set)

    def add(self, case: str, name: str, mask: Array, voxel_ml: float, told: str) -> None:
        """Raises InputError where the structure is in the case already."""
        key = name.casefold()
        if self.wanted and key not in self.wanted:
            return
        if key == "background":
            raise InputError(
                f"{told}: a structure is named {name}, as what is outside of all; rename it, or choose structures."
            )
        if other := self.masks.get((case, key)):
            if other[1] == told:
                raise InputError(f"{told} draws {name} twice on one series; join the two, or give them two names.")
            raise InputError(f"{told} and {other[1]} both draw {name} on one series; keep one of them.")
        path = self.folder / f"{case}_{len(self.masks)}.npy"
        path.parent.mkdir(exist_ok=True)
        np.save(path, np.packbits(mask))
        self.masks[case, key] = path, told
        self.names.setdefault(key, self.wanted.get(key, name))
        self.ml[key] = self.ml.get(key, 0.0) + float(mask.sum()) * voxel_ml

    def values(self) -> dict[str, int]:
        """Key -> class, from 1: as wanted, else by name; nnU-Net's ignore label is the last."""
        found = self.wanted or sorted(self.names)
        return {key: place for place, key in enumerate(sorted(found, key=lambda key: key == "ignore"), 1)}

    def label(self, case: _Case) -> Array:
        """(D, H, W): the smaller ones over the larger ones."""
        values = self.values()
        label = np.zeros(case.shape, np.uint16)
        named = {value: self.names[key] for key, value in values.items()}
        for key in sorted(values, key=lambda key: (-self.ml[key], values[key])):
            if (case.name, key) in self.masks:
                packed = np.load(self.masks[case.name, key][0])
                mask = np.unpackbits(packed, count=label.size).reshape(label.shape).astype(bool)
                under = np.unique(label[mask])
                self.overlaps |= {(self.names[key], named[int(value)]) for value in under[under > 0]}
                label[mask] = values[key]
        return label


def read(root: Path, scratch: Path, structures: Sequence[str] = ()) -> Source:
    """The series of a folder that masks are drawn on, as cases case_001, case_002, … in the order of their paths.

    ``structures``: take these alone, in this order; else all, by name. Where two overlap, the one that is smaller in
    the whole data set wins. What is made on the way lies in ``scratch``.
    Warns of series without masks, which are left out, and of structures that overlap.
    Raises InputError where a series or a mask is not what it should be, and where two files draw one structure.
    """
    found = survey(root)
    cases = _cases(found)
    drawn = _Structures(scratch / "masks", {name.casefold(): name for name in structures})
    places: dict[str, Geometry] = {}
    for case in track(cases, "Reading DICOM series", total=len(cases)):
        scan = store_scan(case.series, found, scratch / "images" / f"{case.name}.nii.gz")
        for drawing in case.drawings:
            told = found.told(drawing.path)
            for name, mask in masks_of(drawing, scan, found, drawn.wanted):
                if not structures and found.secret(name):
                    raise InputError(f"{told}: a structure is named like the patient; rename it, or choose structures.")
                drawn.add(case.name, name, mask, scan.geometry.voxel_ml or 1.0, told)
        places[case.name] = scan.geometry
    if lacking := [name for key, name in drawn.wanted.items() if key not in drawn.names]:
        raise InputError(f"{found.place}: no mask is of {lacking[0]}; correct the name, or leave it out.")
    if not drawn.names:
        raise InputError(f"{found.place}: the masks hold no region; draw closed contours or segments.")
    pairs = []
    for case in cases:
        image, label = (scratch / kind / f"{case.name}.nii.gz" for kind in ("images", "labels"))
        label.parent.mkdir(exist_ok=True)
        write_label(label, drawn.label(case), places[case.name])
        pairs.append(Pair(case.name, (image,), label))
    _warn_of_overlaps(found.place, drawn.overlaps)
    labels = {"background": 0} | {drawn.names[key]: value for key, value in drawn.values().items()}
    about = {SERIES: {case.name: case.series.key for case in cases}}
    patients = _patients(cases)
    return Source(tuple(pairs), (), (_modality(cases, found.place),), labels, about=about, patients=patients)


def _cases(found: Found) -> list[_Case]:
    """The series that masks are drawn on, checked and in order of their slices."""
    if not found.drawings:
        raise InputError(
            f"{found.place} holds {len(found.series)} DICOM series and no DICOM-SEG or RTSTRUCT; put the masks there."
        )
    drawn: dict[str, list[Drawing]] = {}
    for drawing in found.drawings:
        drawn.setdefault(series_of(drawing, found).uid, []).append(drawing)
    if left := len(found.series) - len(drawn):
        warnings.warn(f"{found.place}: {left} DICOM series have no mask and are left out.", stacklevel=4)
    with_masks = [series for series in found.series if series.uid in drawn]
    return [
        _Case(name, in_order(series, found), tuple(drawn[series.uid])) for name, series in numbered(with_masks).items()
    ]


def _modality(cases: Sequence[_Case], root: str) -> str:
    """Of all cases. Raises InputError where they differ."""
    kinds = Counter(case.series.modality or "image" for case in cases)
    if len(kinds) > 1:
        raise InputError(f"{root}: masks are drawn on {' and '.join(sorted(kinds))} series; prepare each by itself.")
    return next(iter(kinds))


def _patients(cases: Sequence[_Case]) -> dict[str, str]:
    """Case -> patient_1, patient_2, … where a patient has several; else nothing."""
    order = {key: place for place, key in enumerate(dict.fromkeys(case.series.patient for case in cases), 1)}
    several = len(order) < len(cases)
    return {case.name: f"patient_{order[case.series.patient]}" for case in cases} if several else {}


def _warn_of_overlaps(root: str, overlaps: set[tuple[str, str]]) -> None:
    if overlaps:
        said = ", ".join(f"{over} over {under}" for over, under in sorted(overlaps))
        warnings.warn(f"{root}: structures overlap; the smaller in all cases wins: {said}.", stacklevel=4)
