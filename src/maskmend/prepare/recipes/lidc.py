"""LIDC-IDRI: lung nodules in CT, drawn by four radiologists. GSD-Net's LIDC.

Layout, as TCIA gives it and public code reads it: ``LIDC-IDRI/LIDC-IDRI-0001/STUDY/SERIES/*.dcm``; the readings as XML
beside the slices, or apart in ``LIDC-XML-only``: ``LidcReadMessage`` with the ``SeriesInstanceUid``, then four
``readingSession``s of ``unblindedReadNodule``s, whose ``roi``s give a slice (``imageSOP_UID``), whether it is nodule or
hole (``inclusion``), and the pixels just outside of it (``edgeMap``). pylidc is not used: it does not run with today's
numpy.

GSD-Net takes 1,609 patches that MedicalMatting made and gives away as a pickle, which would run whatever it holds. Here
patches are cut anew: they are other ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from ...data.formats import Array
from ...data.volumes import simple_itk
from ...errors import InputError
from ..arrays import FLAT, to_bytes, window
from ..sources import Pair, Source
from .base import Archive, Recipe, dealt

SIDE = 128
WINDOW_HU = (-1000.0, 400.0)
RATERS = ("A1", "A2", "A3", "A4")
TRAIN, TEST = 1287, 322
MAY_BE_EMPTY = 0.5
"""Of slices on which all four drew something, but no pixel has a majority."""
SERIES_UID, IMAGE_UID, PATIENT = "0020|000e", "0008|0018", "0010|0020"

WIDE = 1 << 14
"""A pixel is numbered row * WIDE + column."""


@dataclass(frozen=True)
class Nodule:
    """What one reader drew of one nodule: SOP UID of a slice -> numbers of the pixels within, sorted."""

    rater: str
    pixels: dict[str, Array]


def read(archive: Archive) -> Source:
    """Slices of nodules that all four drew, as many as GSD-Net has."""
    readings = _readings(archive)
    if not readings:
        raise archive.lacks("LidcReadMessage in *.xml")
    folders = _folders(archive)
    known = [uid for uid in sorted(readings, key=lambda uid: str(folders.get(uid, ""))) if uid in folders]
    archive.check(len(known), 1018, "scans with slices and readings")
    if not known:
        raise InputError(f"{archive.given} holds readings, but no slices of theirs; put both into one folder.")
    pairs: list[Pair] = []
    seen: dict[str, int] = {}
    for uid in archive.each(known):
        patient = _patient(folders[uid])
        seen[patient] = seen.get(patient, 0) + 1
        pairs += _cases(archive, f"{patient}_c{seen[patient]}", folders[uid], readings[uid])
    if not pairs:
        raise InputError(f"{archive.given} holds no nodule that all four readers drew; get more of the archive.")
    source = dealt(_drawn(pairs, archive.seed), TRAIN, TEST, archive.seed, group=_patient_of)
    return replace(source, labels={"background": 0, "nodule": 1})


# --- the archive ------------------------------------------------------------------------------------------------------


def _readings(archive: Archive) -> dict[str, list[Nodule]]:
    """Series -> every reader's nodules; readings of plain X-rays are left out."""
    found = {}
    for path in archive.find("*.xml"):
        try:
            root = ElementTree.parse(path).getroot()
        except ElementTree.ParseError as error:
            raise InputError(f"{path} is no XML ({error}); unpack the archive anew.") from None
        for element in root.iter():
            element.tag = element.tag.rpartition("}")[2]  # namespaces differ
        uid = root.findtext("ResponseHeader/SeriesInstanceUid")
        if root.tag == "LidcReadMessage" and uid:
            found[uid.strip()] = [
                nodule
                for rater, session in zip(RATERS, root.iter("readingSession"), strict=False)
                for drawn in session.iter("unblindedReadNodule")
                if (nodule := Nodule(rater, _pixels(drawn))).pixels
            ]
    return found


def _pixels(drawn: ElementTree.Element) -> dict[str, Array]:
    """The pixels of a nodule, slice by slice; a single point, which marks one below 3 mm, has none."""
    found: dict[str, set[int]] = {}
    rois = [(roi.findtext("inclusion", "TRUE").strip().upper() == "TRUE", roi) for roi in drawn.iter("roi")]
    for filled, roi in sorted(rois, key=lambda each: not each[0]):  # holes last
        inside = found.setdefault(roi.findtext("imageSOP_UID", "").strip(), set())
        (inside.update if filled else inside.difference_update)(_within(roi))
    return {uid: np.array(sorted(inside), np.int32) for uid, inside in found.items() if inside}


def _within(roi: ElementTree.Element) -> set[int]:
    """Numbers of the pixels within an outline, whose points lie just outside."""
    from skimage.draw import polygon

    edges = [(int(edge.findtext("yCoord", "0")), int(edge.findtext("xCoord", "0"))) for edge in roi.iter("edgeMap")]
    points = np.array(edges).reshape(-1, 2)
    rows, columns = polygon(points[:, 0], points[:, 1])  # type: ignore[no-untyped-call]
    return {*(rows * WIDE + columns).tolist()} - {*(points[:, 0] * WIDE + points[:, 1]).tolist()}


def _folders(archive: Archive) -> dict[str, Path]:
    """Series -> folder of its slices, by the first slice of each folder."""
    first = {path.parent: path for path in reversed(archive.find("*.dcm"))}
    return {_tag(path, SERIES_UID): folder for folder, path in first.items()}


def _tag(path: Path, tag: str) -> str:
    """A text of a DICOM header."""
    reader: Any = simple_itk().ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        return str(reader.GetMetaData(tag)).strip().rstrip("\0")
    except RuntimeError:
        raise InputError(f"{path} is no readable DICOM slice; get it anew.") from None


def _patient(folder: Path) -> str:
    match = re.search(r"LIDC-IDRI-\d{4}", str(folder))
    return match[0] if match else _tag(next(iter(sorted(folder.glob("*.dcm")))), PATIENT)


def _patient_of(case: str) -> str:
    return case.partition("_c")[0]


# --- cases ------------------------------------------------------------------------------------------------------------


def _cases(archive: Archive, scan: str, folder: Path, nodules: list[Nodule]) -> Iterator[Pair]:
    """A case for each slice of each nodule on which all four drew something."""
    same = _grouped(nodules)
    slices = {_tag(path, IMAGE_UID): path for path in sorted(folder.glob("*.dcm"))} if same else {}
    for number, lesion in enumerate(same):
        for uid in sorted(set.intersection(*({*drawn} for drawn in lesion.values()))):
            if uid not in slices:
                raise InputError(f"{folder} lacks the slice {uid}, which a reader drew on; get the scan anew.")
            masks = {rater: drawn[uid] for rater, drawn in lesion.items()}
            yield _patch(archive, f"{scan}_n{number}_{slices[uid].stem}", _hounsfield(slices[uid]), masks)


def _grouped(nodules: list[Nodule]) -> list[dict[str, dict[str, Array]]]:
    """Lesions that all four readers drew: rater -> slice -> pixels. Drawings that share a pixel are of one lesion."""
    group = list(range(len(nodules)))
    for a, first in enumerate(nodules):
        for b, second in enumerate(nodules[:a]):
            common = first.pixels.keys() & second.pixels.keys()
            if any(np.intersect1d(first.pixels[uid], second.pixels[uid]).size for uid in common):
                group = [group[b] if value == group[a] else value for value in group]
    lesions = []
    for key in sorted(set(group)):
        lesion: dict[str, dict[str, Array]] = {}
        for nodule in (nodule for nodule, value in zip(nodules, group, strict=True) if value == key):
            drawn = lesion.setdefault(nodule.rater, {})
            for uid, pixels in nodule.pixels.items():
                drawn[uid] = np.union1d(drawn[uid], pixels) if uid in drawn else pixels
        lesions += [lesion] * ({*lesion} == {*RATERS})
    return lesions


def _hounsfield(path: Path) -> Array:
    """A slice (H, W) in HU."""
    try:
        image: Array = simple_itk().GetArrayFromImage(simple_itk().ReadImage(str(path)))
    except RuntimeError:
        raise InputError(f"{path} is no readable DICOM slice; get it anew.") from None
    return image.reshape(image.shape[-2:])


def _patch(archive: Archive, name: str, image: Array, pixels: dict[str, Array]) -> Pair:
    """128 x 128 about the nodule, with the mask of each rater."""
    every = np.concatenate([*pixels.values()])
    extents = (
        (places.min(), places.max(), length)
        for places, length in zip((every // WIDE, every % WIDE), image.shape, strict=True)
    )
    box = tuple(window((int(first) + int(last)) // 2, SIDE, length) for first, last, length in extents)
    stored = archive.image(name, to_bytes(image[box], *WINDOW_HU), FLAT)
    raters = []
    for who in RATERS:
        mask = np.zeros(image.shape, np.uint8)
        mask[pixels[who] // WIDE, pixels[who] % WIDE] = 1
        raters.append((who, archive.mask(name, mask[box], FLAT, of=who)))
    return Pair(name, (stored,), None, tuple(raters))


def _drawn(pairs: list[Pair], seed: int) -> list[Pair]:
    """As many cases as the paper has, of patients drawn by seed."""
    if len(pairs) <= TRAIN + TEST:
        return pairs
    return list(dealt(pairs, len(pairs) - TRAIN - TEST, TRAIN + TEST, seed, group=_patient_of).test)


RECIPES = (
    Recipe(
        name="lidc",
        title="LIDC-IDRI",
        home="https://www.cancerimagingarchive.net/collection/lidc-idri/",
        terms="CC BY 3.0",
        cite="Armato et al., Medical Physics 38 (2011) 915",
        layout="1018 scans LIDC-IDRI-*/**/*.dcm with their readings *.xml, beside them or of LIDC-XML-only.zip",
        makes="128 x 128 patches about nodules, one case for each slice on which all four readers drew, -1000 to 400 "
        "HU in 8 bits, with labelsTr_raters and labelsTs_raters of A1 to A4; 1287 to learn from and 322 to test "
        "on, GSD-Net's counts, drawn by seed with patients whole. Its own patches are MedicalMatting's, others "
        "than these; readers are not the same persons from scan to scan",
        read=read,
        packed=("*LIDC*.zip", "*lidc*.zip"),
        empty=MAY_BE_EMPTY,
    ),
)
