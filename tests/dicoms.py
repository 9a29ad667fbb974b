"""DICOM series, DICOM-SEG and RTSTRUCT made for tests: small, with known geometry, of a patient with a telling name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

PATIENT, PATIENT_ID = "Musterfrau^Erika", "PID4711"
CT = "1.2.840.10008.5.1.4.1.1.2"
RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
AXIAL = (1.0, 0, 0, 0, 1, 0)
SAGITTAL = (0.0, 1, 0, 0, 0, -1)
CORONAL = (1.0, 0, 0, 0, 0, -1)


@dataclass
class Scan:
    """A series on disk. ``array`` (D, H, W) as stored; ``spacing_mm`` of the slices, rows and columns; ``slices``: the
    data sets in order of place."""

    folder: Path
    array: NDArray[Any]
    spacing_mm: tuple[float, float, float]
    axes: tuple[float, ...]
    slices: list[Any] = field(default_factory=list)

    @property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4): index (x, y, z) -> mm, LPS."""
        x, y = np.array(self.axes[:3]), np.array(self.axes[3:])
        found = np.eye(4)
        found[:3, :3] = np.stack([x, y, np.cross(x, y)], 1) * self.spacing_mm[::-1]
        found[:3, 3] = [float(value) for value in self.slices[0].ImagePositionPatient]
        return found

    def points(self, rows_columns: NDArray[np.float64], plane: float) -> NDArray[np.float64]:
        """(N, 2) indices within a slice -> (N, 3) mm."""
        xyz = np.column_stack([rows_columns[:, ::-1], np.full(len(rows_columns), plane), np.ones(len(rows_columns))])
        return (xyz @ self.affine.T)[:, :3]


def header(modality: str, kind: str) -> Any:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    made: Any = Dataset()
    made.SOPClassUID, made.SOPInstanceUID, made.Modality = kind, generate_uid(), modality
    made.PatientName, made.PatientID, made.PatientBirthDate, made.PatientSex = PATIENT, PATIENT_ID, "19700101", "F"
    made.StudyDate, made.StudyTime, made.AccessionNumber, made.StudyID = "20200101", "101010", "ACC4711", "1"
    made.ReferringPhysicianName, made.Manufacturer = "Arzt^Anton", "Maker"
    made.StudyInstanceUID, made.SeriesInstanceUID = generate_uid(), generate_uid()
    made.SeriesNumber, made.InstanceNumber = 1, 1
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID, made.file_meta.MediaStorageSOPInstanceUID = kind, made.SOPInstanceUID
    return made


def make_series(
    folder: Path,
    array: NDArray[Any],
    spacing_mm: tuple[float, float, float] = (3.0, 0.8, 0.7),
    axes: tuple[float, ...] = AXIAL,
    slope: float = 1.0,
    intercept: float = -1024.0,
    seed: int = 0,
    modality: str = "CT",
) -> Scan:
    """A series of (D, H, W) stored values, its files named in another order than they lie."""
    from pydicom.uid import generate_uid

    folder.mkdir(parents=True, exist_ok=True)
    scan = Scan(folder, array, spacing_mm, axes)
    first = header(modality, CT)
    normal = np.cross(axes[:3], axes[3:])
    frame = generate_uid()
    for place, pixels in enumerate(array):
        each = header(modality, CT)
        for word in ("StudyInstanceUID", "SeriesInstanceUID"):
            setattr(each, word, getattr(first, word))
        each.FrameOfReferenceUID, each.PositionReferenceIndicator, each.InstanceNumber = frame, "", place + 1
        each.ImagePositionPatient = [*(np.array([-20.0, 15.0, 100.0]) + place * spacing_mm[0] * normal).round(6)]
        each.ImageOrientationPatient, each.PixelSpacing = [*axes], [*spacing_mm[1:]]
        each.SliceThickness, each.RescaleSlope, each.RescaleIntercept = spacing_mm[0], slope, intercept
        each.Rows, each.Columns, each.SamplesPerPixel = *pixels.shape, 1
        each.PhotometricInterpretation, each.BitsAllocated, each.BitsStored, each.HighBit = "MONOCHROME2", 16, 16, 15
        each.PixelRepresentation, each.PixelData = 0, pixels.astype("<u2").tobytes()
        scan.slices.append(each)
    for name, each in zip(np.random.default_rng(seed).permutation(len(array)), scan.slices, strict=True):
        each.save_as(folder / f"IM{name:04d}.dcm", enforce_file_format=True)
    return scan


def make_rtstruct(path: Path, scan: Scan, drawn: Mapping[str, Sequence[NDArray[np.float64]]], **change: Any) -> Any:
    """RTSTRUCT of closed planar contours: name -> (N, 3) mm each. ``change``: other values of its first contour item,
    or of the series it is of (``series``)."""
    from pydicom.dataset import Dataset

    made = header("RTSTRUCT", RTSTRUCT)
    made.StudyInstanceUID, made.StructureSetLabel = scan.slices[0].StudyInstanceUID, "RT"
    made.FrameOfReferenceUID = scan.slices[0].FrameOfReferenceUID
    series, study, frame = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = change.pop("series", scan.slices[0].SeriesInstanceUID)
    series.ContourImageSequence = [_reference(each) for each in scan.slices]
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = CT, made.StudyInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame.FrameOfReferenceUID, frame.RTReferencedStudySequence = made.FrameOfReferenceUID, [study]
    made.ReferencedFrameOfReferenceSequence = [frame]
    made.StructureSetROISequence, made.ROIContourSequence = [], []
    for number, (name, contours) in enumerate(drawn.items(), 1):
        roi, outline = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID = number, name, made.FrameOfReferenceUID
        outline.ReferencedROINumber, outline.ContourSequence = number, []
        for points in contours:
            item = Dataset()
            item.ContourGeometricType, item.NumberOfContourPoints = "CLOSED_PLANAR", len(points)
            item.ContourData = [float(value) for value in points.round(4).ravel()]
            nearest = min(scan.slices, key=lambda each: abs(_height(scan, each) - points[0] @ _normal(scan)))
            item.ContourImageSequence = [_reference(nearest)]
            for word, value in change.items():
                setattr(item, word, value)
            outline.ContourSequence.append(item)
        made.StructureSetROISequence.append(roi)
        made.ROIContourSequence.append(outline)
    path.parent.mkdir(parents=True, exist_ok=True)
    made.save_as(path, enforce_file_format=True)
    return made


def make_seg(path: Path, scan: Scan, masks: Mapping[str, NDArray[Any]], kind: str = "BINARY") -> Any:
    """DICOM-SEG by highdicom: name -> (D, H, W) bool, or from 0 to 1 where ``kind`` is FRACTIONAL."""
    import highdicom as hd
    from pydicom.sr.codedict import codes

    segments = [
        hd.seg.SegmentDescription(number, name, codes.SCT.Tissue, codes.SCT.Tissue, "MANUAL")
        for number, name in enumerate(masks, 1)
    ]
    pixels = np.stack([*masks.values()], -1).astype(float if kind == "FRACTIONAL" else np.uint8)
    made = hd.seg.Segmentation(
        scan.slices, pixels, kind, segments, hd.UID(), 7, hd.UID(), 1, "Maker", "Model", "1", "Serial"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    made.save_as(path)
    return made


def make_hospital(root: Path, patients: int = 6) -> Path:
    """Patients with a bright liver and a lesion in it, drawn as DICOM-SEG, of the first as RTSTRUCT."""
    random = np.random.default_rng(0)
    for number in range(patients):
        place = np.mgrid[:8, :32, :32] - np.array([4, 15 + number % 3, 16])[:, None, None, None]
        masks = {name: np.hypot(*place[1:]) + abs(place[0]) < size for name, size in (("liver", 9), ("lesion", 4))}
        values = 1000 + 200 * masks["liver"] + 100 * masks["lesion"] + random.integers(0, 50, (8, 32, 32))
        scan = make_series(root / f"Musterfrau_{number}" / "CT", values, seed=number)
        if number:
            make_seg(root / f"Musterfrau_{number}" / "seg.dcm", scan, masks)
        else:
            rims = {name: circle((15, 16), size, scan.spacing_mm[1:]) for name, size in (("liver", 6), ("lesion", 2))}
            drawn = {name: [scan.points(rim, plane) for plane in (3, 4)] for name, rim in rims.items()}
            make_rtstruct(root / f"Musterfrau_{number}" / "rt.dcm", scan, drawn)
    return root


def _reference(of: Any) -> Any:
    from pydicom.dataset import Dataset

    made = Dataset()
    made.ReferencedSOPClassUID, made.ReferencedSOPInstanceUID = of.SOPClassUID, of.SOPInstanceUID
    return made


def _normal(scan: Scan) -> NDArray[np.float64]:
    return np.cross(scan.axes[:3], scan.axes[3:])


def _height(scan: Scan, each: Any) -> float:
    return float(np.array([*map(float, each.ImagePositionPatient)]) @ _normal(scan))


def circle(centre: tuple[float, float], radius_mm: float, spacing_mm: tuple[float, float]) -> NDArray[np.float64]:
    """(N, 2) rows and columns of a circle, which is one in mm."""
    angle = np.linspace(0, 2 * np.pi, 360, endpoint=False)
    return np.array(centre) + radius_mm * np.stack([np.sin(angle), np.cos(angle)], 1) / spacing_mm
