"""DICOM files of a folder: which series of scans there are, and which files draw masks on them.

Nothing that names a patient is ever told: ``Found.told`` and ``Found.said`` leave it out of paths and of the words of
libraries. Only headers are read here (``dicom_scan`` and ``dicom_masks`` read the rest).
"""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..progress import track
from .clutter import meant
from .dicom_frames import GROUPS, PLACE, Frame, frames_of
from .dicom_names import NAMING, tells, words_of
from .formats import ENDINGS, READ_ONLY, first_line

SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
"""DICOM-SEG: segments as frames of their own, and label maps."""
RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
CAPTURES, RADIOTHERAPY = "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.481."
REFERENCES = ("ReferencedSeriesSequence", "ReferencedFrameOfReferenceSequence")
KINDS = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "Modality")
TAGS = (*NAMING, *PLACE, *GROUPS, *REFERENCES, *KINDS, "Rows", "Columns", "SamplesPerPixel", "NumberOfFrames")


@dataclass(frozen=True)
class Series:
    """A scan: its frames, in no order. ``patient``: one word for all of one patient, which does not tell who it is."""

    uid: str
    modality: str
    space: str
    patient: str
    frames: tuple[Frame, ...]

    @property
    def key(self) -> str:
        """What stands for the series where its UID must not stand."""
        return _hashed(self.uid)


@dataclass(frozen=True)
class Drawing:
    """A file with masks: of which series it says to be (``of``), and of which images (``images``: UIDs)."""

    path: Path
    contours: bool
    of: tuple[str, ...]
    images: frozenset[str]
    space: str


@dataclass(frozen=True)
class Found:
    """The scans and masks of a folder, by the path of their first file; ``secrets``: words that name a patient."""

    root: Path
    series: tuple[Series, ...]
    drawings: tuple[Drawing, ...]
    secrets: frozenset[str]

    @property
    def place(self) -> str:
        """The root as it stands in a sentence."""
        return self.told(self.root)

    def told(self, path: Path) -> str:
        """The root, or a path in it, as it stands in a sentence. A part that names a patient, or is a UID, is told by
        its number; of the root, not at all."""
        words = ["…" if self.secret(part) else part for part in self.root.parts]
        place = self.root
        for part in path.relative_to(self.root).parts:
            number = [*meant(place)].index(place / part) + 1 if self.secret(part) else 0
            words.append(f"(no. {number} by name)" if number else part)
            place = place / part
        return str(Path(*words))

    def secret(self, text: str) -> bool:
        """Whether a text names a patient, or holds a UID."""
        return tells(text, self.secrets)

    def refusal(self, path: Path, error: BaseException, syntax: Any = None) -> InputError:
        """Of a file that a library cannot read, perhaps for its transfer syntax."""
        if compressed(syntax):
            return InputError(
                f"{self.told(path)} is compressed as {syntax.name}, which no decoder here undoes; decompress it first, "
                "as by gdcmconv --raw."
            )
        return InputError(f"{self.told(path)} cannot be read ({self.said(error)}); replace it by a whole copy.")

    def said(self, error: BaseException) -> str:
        """What a library said, or its kind of error where that tells of a patient."""
        text = first_line(error)
        return type(error).__name__ if self.secret(text) else text


def compressed(syntax: Any) -> bool:
    """Of a transfer syntax, or of what stands in its place."""
    return syntax is not None and bool(syntax.is_transfer_syntax) and bool(syntax.is_compressed)


def pydicom() -> Any:
    """pydicom. Raises InputError where it is not installed."""
    return library("pydicom")


def library(name: str) -> Any:
    """pydicom or highdicom, which speak of what they read to nobody. Raises InputError where it is not installed."""
    try:
        found: Any = import_module(name)
    except ImportError:
        raise InputError("this is DICOM, which needs other libraries: pip install 'maskmend[dicom]'.") from None
    logging.getLogger(name.partition(".")[0]).setLevel(logging.CRITICAL + 1)
    return found


@contextmanager
def quiet() -> Iterator[None]:
    """Without the libraries' warnings, which quote what a header says."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def is_dicom(place: Path) -> bool:
    """Whether a folder, or its images/ if it has one, holds DICOM files, and no data set."""
    place = Path(place)
    if not place.is_dir() or (place / "dataset.json").exists():
        return False
    return next(_files(place / "images" if (place / "images").is_dir() else place), None) is not None


def survey(root: Path) -> Found:
    """What the DICOM files of a folder are, at any depth. Warns of those that are neither scans nor masks of scans.

    Raises InputError for a file that cannot be read, and where there is no scan.
    """
    headers: list[tuple[Path, Any]] = []
    broken: list[tuple[Path, Exception]] = []
    paths = [*_files(root)]
    for path in track(paths, "Reading DICOM headers", total=len(paths)):
        try:
            headers.append((path, _header(path)))
        except InputError:
            raise
        except Exception as error:  # a damaged file may raise anything
            broken.append((path, error))
    found = Found(root, (), (), frozenset(word for _, header in headers for word in header.words))
    if broken:
        raise found.refusal(*broken[0])
    with quiet():
        found, others = _sorted(found, headers)
    if others:
        said = ", ".join(f"{count} {why}" for why, count in others.items())
        warnings.warn(f"{found.place}: DICOM files that are left out: {said}.", stacklevel=2)
    if not found.series:
        raise InputError(f"{found.place} holds no DICOM scan with a place in space; name a folder that holds series.")
    return found


# --- headers ----------------------------------------------------------------------------------------------------------


def _files(root: Path) -> Iterator[Path]:
    """The DICOM files at any depth, by name."""
    for path in meant(root):
        if path.is_dir():
            yield from _files(path)
        elif path.is_file() and not path.name.lower().endswith(ENDINGS + READ_ONLY) and _marked(path):
            yield path


def _marked(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM" or _forced(path)
    except OSError:  # the survey tells of it
        return True


def _forced(path: Path) -> bool:
    """Old files lack the mark."""
    return path.name.lower().endswith(".dcm")


def _header(path: Path) -> Any:
    """What stands before the pixels. Raises whatever a damaged file may raise."""
    with quiet():
        header = pydicom().dcmread(path, stop_before_pixels=True, specific_tags=[*TAGS], force=_forced(path))
        header.kind = str(header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID") or "")
        header.words = words_of(header)
    if not header.kind:
        raise ValueError("it does not say what it is")
    return header


def _sorted(found: Found, headers: Sequence[tuple[Path, Any]]) -> tuple[Found, Counter[str]]:
    """The scans and the masks among the files; and how many others there are, by the reason."""
    frames: dict[str, list[Frame]] = {}
    about: dict[str, Any] = {}
    drawings, others = list[Drawing](), Counter[str]()
    for path, header in headers:
        try:
            if header.kind in (*SEGMENTATIONS, RTSTRUCT):
                drawings.append(_drawing(path, header, header.kind == RTSTRUCT))
            elif why := _no_scan(header):
                others[why] += 1
            else:
                uid = str(header.SeriesInstanceUID)
                frames.setdefault(uid, []).extend(_placed(path, header, found))
                about.setdefault(uid, header)
        except InputError:
            raise
        except Exception as error:  # what no header should say
            raise found.refusal(path, error) from None
    series = tuple(
        Series(uid, str(about[uid].get("Modality", "")), str(about[uid].get("FrameOfReferenceUID", "")),
               _hashed(str(about[uid].get("PatientID") or uid)), tuple(each))
        for uid, each in frames.items()
    )  # fmt: skip
    return Found(found.root, series, tuple(drawings), found.secrets), others


def _no_scan(header: Any) -> str:
    """Why a file is no slice of a scan; "" where it is one."""
    if "Rows" not in header or header.kind.startswith(RADIOTHERAPY):
        return "without an image of the patient"
    if (header.get("SamplesPerPixel") or 1) != 1:
        return "in colour"
    if header.kind.startswith(CAPTURES):
        return "secondary captures"
    return "" if "ImagePositionPatient" in header or GROUPS[1] in header else "without a place in space"


def _placed(path: Path, header: Any, found: Found) -> list[Frame]:
    try:
        return frames_of(path, header)
    except (AttributeError, KeyError, IndexError, TypeError, ValueError):
        raise InputError(
            f"{found.told(path)} does not say where its pixels lie (ImagePositionPatient, ImageOrientationPatient, "
            "PixelSpacing); get it anew, or take it out."
        ) from None


def _drawing(path: Path, header: Any, contours: bool) -> Drawing:
    """What it refers to; a DICOM-SEG names a series, an RTSTRUCT a space, a study and in it a series."""
    if contours:
        spaces = [*header.get(REFERENCES[1], [])]
        studies = [study for space in spaces for study in space.get("RTReferencedStudySequence", [])]
        series = [each for study in studies for each in study.get("RTReferencedSeriesSequence", [])]
        images = [image for each in series for image in each.get("ContourImageSequence", [])]
        own = [str(space.get("FrameOfReferenceUID", "")) for space in spaces]
    else:
        series = [*header.get(REFERENCES[0], [])]
        images = [image for each in series for image in each.get("ReferencedInstanceSequence", [])]
        own = [str(header.get("FrameOfReferenceUID", ""))]
    of = tuple(str(each.SeriesInstanceUID) for each in series if "SeriesInstanceUID" in each)
    uids = frozenset(str(image.ReferencedSOPInstanceUID) for image in images)
    return Drawing(path, contours, of, uids, own[0] if own else "")


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
