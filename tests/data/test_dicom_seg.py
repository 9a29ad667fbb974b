"""DICOM-SEG of label maps: highdicom, and arithmetic on what the file says, find every voxel where it was."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pydicom = pytest.importorskip("pydicom", reason="DICOM needs pydicom and highdicom: pip install 'maskmend[dicom]'")
hd = pytest.importorskip("highdicom", reason="DICOM needs pydicom and highdicom: pip install 'maskmend[dicom]'")

from tests.dicoms import AXIAL, CORONAL, PATIENT, SAGITTAL, make_series  # noqa: E402

from maskmend.data.dicom import survey  # noqa: E402
from maskmend.data.dicom_masks import masks_of, series_of  # noqa: E402
from maskmend.data.dicom_scan import in_order, read_scan  # noqa: E402
from maskmend.data.dicom_seg import write_seg  # noqa: E402
from maskmend.data.formats import Picture, read_label, write_label  # noqa: E402
from maskmend.errors import InputError  # noqa: E402

SHAPE = (5, 9, 13)
LABEL = np.zeros(SHAPE, np.uint8)
LABEL[1:4, 2:7, 3:9] = 1
LABEL[2, 3:5, 4:6] = 2
LABEL[4, 8, 12] = 2
NAMES = {"background": 0, "liver": 1, "lesion": 2}


def written(root: Path, axes: Sequence[float] = AXIAL, label: NDArray[Any] = LABEL) -> tuple[Path, Any]:
    """A label map that lay on disk as NIfTI in between."""
    scan = make_series(root / "ct", np.zeros(label.shape, int), axes=tuple(axes))
    found = survey(root)
    series = in_order(found.series[0], found)
    write_label(root / "a.nii.gz", label, read_scan(series, found).geometry)
    write_seg(root / "out.dcm", read_label(root / "a.nii.gz"), NAMES, series, found, drawn=False)
    return root / "out.dcm", scan


@pytest.mark.parametrize("axes", [AXIAL, SAGITTAL, CORONAL])
def test_highdicom_reads_the_label_map_back(tmp_path: Path, axes: Sequence[float]) -> None:
    path, scan = written(tmp_path, axes)
    seg = hd.seg.segread(path)
    assert [each.segment_label for each in seg.SegmentSequence] == ["liver", "lesion"]
    volume = seg.get_volume(combine_segments=True)
    assert set(np.unique(volume.array)) == {0, 1, 2}
    to_mm = volume.affine  # (slice, row, column) -> mm
    for value in (1, 2):
        there = np.argwhere(volume.array == value) @ to_mm[:3, :3].T + to_mm[:3, 3]
        wanted = np.argwhere(value == LABEL)[:, ::-1] @ scan.affine[:3, :3].T + scan.affine[:3, 3]
        np.testing.assert_allclose(there[np.lexsort(there.T)], wanted[np.lexsort(wanted.T)], atol=1e-4)


@pytest.mark.parametrize("axes", [AXIAL, SAGITTAL, CORONAL])
def test_plain_arithmetic_finds_every_voxel(tmp_path: Path, axes: Sequence[float]) -> None:
    """Nothing but pydicom's bits and the numbers of the header: where in mm each marked pixel lies, and its segment."""
    path, scan = written(tmp_path, axes)
    read = pydicom.dcmread(path)
    shared = read.SharedFunctionalGroupsSequence[0]
    x, y = np.reshape([*map(float, shared.PlaneOrientationSequence[0].ImageOrientationPatient)], (2, 3))
    rows, columns = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    found: dict[int, list[NDArray[np.float64]]] = {1: [], 2: []}
    for group, frame in zip(read.PerFrameFunctionalGroupsSequence, read.pixel_array, strict=True):
        corner = np.array([*map(float, group.PlanePositionSequence[0].ImagePositionPatient)])
        number = int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        found[number] += [corner + r * rows * y + c * columns * x for r, c in np.argwhere(frame)]
    for value, points in found.items():
        wanted = np.argwhere(value == LABEL)[:, ::-1] @ scan.affine[:3, :3].T + scan.affine[:3, 3]
        there = np.array(points)
        assert len(there) == (value == LABEL).sum()
        np.testing.assert_allclose(
            there[np.lexsort(there.round(3).T)], wanted[np.lexsort(wanted.round(3).T)], atol=1e-4
        )


def test_it_is_the_same_patients_and_refers_to_the_series(tmp_path: Path) -> None:
    path, scan = written(tmp_path)
    read, first = pydicom.dcmread(path), scan.slices[0]
    assert read.PatientName == PATIENT, "a viewer files it to the patient"
    assert read.StudyInstanceUID == first.StudyInstanceUID
    assert read.SeriesInstanceUID != first.SeriesInstanceUID
    assert read.FrameOfReferenceUID == first.FrameOfReferenceUID
    assert read.ReferencedSeriesSequence[0].SeriesInstanceUID == first.SeriesInstanceUID
    assert {segment.SegmentAlgorithmType for segment in read.SegmentSequence} == {"AUTOMATIC"}


def test_our_own_reader_reads_it_back(tmp_path: Path) -> None:
    written(tmp_path)
    found = survey(tmp_path)
    (drawing,) = found.drawings
    scan = read_scan(in_order(series_of(drawing, found), found), found)
    masks = dict(masks_of(drawing, scan, found))
    np.testing.assert_array_equal(masks["liver"], LABEL == 1)
    np.testing.assert_array_equal(masks["lesion"], LABEL == 2)


def test_an_empty_label_map_is_written_too(tmp_path: Path) -> None:
    path, _ = written(tmp_path, label=np.zeros(SHAPE, np.uint8))
    assert not pydicom.dcmread(path).pixel_array.any()


def test_a_single_slice(tmp_path: Path) -> None:
    path, _ = written(tmp_path, label=LABEL[2:3])
    assert pydicom.dcmread(path).pixel_array.sum() == (LABEL[2] > 0).sum()


def test_an_enhanced_series(tmp_path: Path) -> None:
    from highdicom.legacy import LegacyConvertedEnhancedCTImage

    scan = make_series(tmp_path / "ct", np.zeros(SHAPE, int))
    enhanced = LegacyConvertedEnhancedCTImage(scan.slices[::-1], hd.UID(), 1, hd.UID(), 1)
    (tmp_path / "one").mkdir()
    enhanced.save_as(tmp_path / "one" / "all.dcm")
    found = survey(tmp_path / "one")
    series = in_order(found.series[0], found)
    label = Picture(LABEL, read_scan(series, found).geometry)
    write_seg(tmp_path / "one" / "out.dcm", label, NAMES, series, found, drawn=True)
    found = survey(tmp_path / "one")
    masks = dict(masks_of(found.drawings[0], read_scan(series, found), found))
    np.testing.assert_array_equal(masks["liver"], LABEL == 1)


def test_a_label_map_of_another_grid(tmp_path: Path) -> None:
    make_series(tmp_path / "ct", np.zeros(SHAPE, int))
    found = survey(tmp_path)
    series = in_order(found.series[0], found)
    other = Picture(LABEL[1:], read_scan(series, found).geometry)
    with pytest.raises(InputError, match=r"out\.dcm has the shape .* but its series .* has"):
        write_seg(tmp_path / "out.dcm", other, NAMES, series, found, drawn=True)
    assert not (tmp_path / "out.dcm").exists()


def test_a_poor_header_will_do(tmp_path: Path) -> None:
    scan = make_series(tmp_path / "ct", np.zeros(SHAPE, int))
    for path in scan.folder.iterdir():
        read = pydicom.dcmread(path)
        for word in ("PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "PositionReferenceIndicator"):
            delattr(read, word)
        read.save_as(path)
    found = survey(tmp_path)
    series = in_order(found.series[0], found)
    write_seg(tmp_path / "a.dcm", Picture(LABEL, read_scan(series, found).geometry), NAMES, series, found, drawn=True)
    assert len(pydicom.dcmread(tmp_path / "a.dcm").SegmentSequence) == 2


@pytest.mark.parametrize("letters", ["ISO_IR 100", None])
def test_classes_and_patients_in_other_letters(tmp_path: Path, letters: str | None) -> None:
    scan = make_series(tmp_path / "ct", np.zeros(SHAPE, int))
    patient = "Müller^Jörg" if letters else PATIENT
    for path in scan.folder.iterdir():
        read = pydicom.dcmread(path)
        if letters:
            read.SpecificCharacterSet = letters
        read.PatientName = patient
        read.save_as(path)
    found = survey(tmp_path)
    series = in_order(found.series[0], found)
    label, names = Picture(LABEL, read_scan(series, found).geometry), {"background": 0, "Läsion": 1, "肝": 2}
    write_seg(tmp_path / "a.dcm", label, names, series, found, drawn=True)
    read = pydicom.dcmread(tmp_path / "a.dcm")
    assert [segment.SegmentLabel for segment in read.SegmentSequence] == ["Läsion", "肝"]
    assert read.PatientName == patient
