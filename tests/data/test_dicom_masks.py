"""Segments and contours on their scan's grid: proved by volumes known from geometry, and by what highdicom reads."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pydicom = pytest.importorskip("pydicom", reason="DICOM needs pydicom and highdicom: pip install 'maskmend[dicom]'")
hd = pytest.importorskip("highdicom", reason="DICOM needs pydicom and highdicom: pip install 'maskmend[dicom]'")

from pydicom.data import get_testdata_file  # noqa: E402
from tests.dicoms import (  # noqa: E402
    AXIAL,
    CORONAL,
    PATIENT,
    SAGITTAL,
    Scan,
    circle,
    make_rtstruct,
    make_seg,
    make_series,
)

from maskmend.data.dicom import survey  # noqa: E402
from maskmend.data.dicom_masks import masks_of, series_of  # noqa: E402
from maskmend.data.dicom_scan import in_order, read_scan  # noqa: E402
from maskmend.errors import InputError  # noqa: E402

SHAPE = (8, 21, 27)
DISC = np.hypot(*(np.mgrid[:21, :27] - np.array([10, 12])[:, None, None])) < 6
MASK = np.zeros(SHAPE, bool)
MASK[2:6] = DISC
OTHER = np.zeros(SHAPE, bool)
OTHER[3, 9:14, 9:14], OTHER[6, 0, 0], OTHER[0, -1, -1] = True, True, True


def read(root: Path) -> dict[str, NDArray[Any]]:
    """The masks of the only series of a folder."""
    found = survey(root)
    masks: dict[str, NDArray[Any]] = {}
    for drawing in found.drawings:
        scan = read_scan(in_order(series_of(drawing, found), found), found)
        masks |= dict(masks_of(drawing, scan, found))
    return masks


def series(root: Path, axes: Sequence[float] = AXIAL, spacing: tuple[float, float, float] = (3.0, 0.8, 0.7)) -> Scan:
    return make_series(root / "ct", np.zeros(SHAPE, int), spacing, tuple(axes))


def refused(root: Path, words: str) -> None:
    with pytest.raises(InputError, match=words) as raised:
        read(root)
    assert not re.search(r"(?i)musterfrau|\d+(\.\d+){5,}", str(raised.value)), "no patient and no UID is told"


# --- DICOM-SEG --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axes", [AXIAL, SAGITTAL, CORONAL])
def test_segments_are_where_they_were_drawn(tmp_path: Path, axes: Sequence[float]) -> None:
    make_seg(tmp_path / "seg.dcm", series(tmp_path, axes), {"liver": MASK, "lesion": OTHER, "none": MASK & False})
    found = read(tmp_path)
    assert [*found] == ["liver", "lesion", "none"]
    np.testing.assert_array_equal(found["liver"], MASK)
    np.testing.assert_array_equal(found["lesion"], OTHER)
    assert not found["none"].any()


def test_fractions_are_cut_at_one_half(tmp_path: Path) -> None:
    make_seg(tmp_path / "seg.dcm", series(tmp_path), {"liver": MASK * 0.6 + OTHER * 0.3}, "FRACTIONAL")
    np.testing.assert_array_equal(read(tmp_path)["liver"], MASK)


def test_a_label_map_of_supplement_243(tmp_path: Path) -> None:
    both = MASK & ~OTHER
    make_seg(tmp_path / "seg.dcm", series(tmp_path), {"liver": both, "lesion": OTHER}, "LABELMAP")
    found = read(tmp_path)
    np.testing.assert_array_equal(found["liver"], both)
    np.testing.assert_array_equal(found["lesion"], OTHER)


def test_a_segmentation_of_a_series_in_another_place_of_the_folder(tmp_path: Path) -> None:
    scans = [make_series(tmp_path / name, np.zeros(SHAPE, int)) for name in ("a", "b", "c")]
    make_seg(tmp_path / "a" / "seg.dcm", scans[1], {"liver": MASK})
    found = survey(tmp_path)
    assert {frame.path.parent.name for frame in series_of(found.drawings[0], found).frames} == {"b"}


def test_a_segmentation_off_the_grid(tmp_path: Path) -> None:
    make_seg(tmp_path / "seg.dcm", series(tmp_path), {"liver": MASK})
    whole = pydicom.dcmread(tmp_path / "seg.dcm")
    for words, change in (("0.5 pixels or slices off", 1.5), ("reaches beyond its scan", 300.0)):
        moved = pydicom.dcmread(tmp_path / "seg.dcm")
        for group in moved.PerFrameFunctionalGroupsSequence:
            x, y, z = group.PlanePositionSequence[0].ImagePositionPatient
            group.PlanePositionSequence[0].ImagePositionPatient = [x, y, float(z) + change]
        moved.save_as(tmp_path / "seg.dcm")
        refused(tmp_path, words)
        whole.save_as(tmp_path / "seg.dcm")
    whole.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient = [*SAGITTAL]
    whole.save_as(tmp_path / "seg.dcm")
    refused(tmp_path, "turned or of another pixel size; resample it to the scan")


def test_a_mask_of_a_series_that_is_not_there(tmp_path: Path) -> None:
    away = make_series(tmp_path / "away", np.zeros(SHAPE, int))
    series(tmp_path)
    make_seg(tmp_path / "seg.dcm", away, {"liver": MASK})
    shutil.rmtree(tmp_path / "away")
    refused(tmp_path, r"seg\.dcm is drawn on a series that is not in")
    shutil.copy(get_testdata_file("liver_1frame.dcm", download=False), tmp_path / "seg.dcm")
    refused(tmp_path, r"seg\.dcm is drawn on a series that is not in")


def test_a_mask_of_slices_that_are_not_there(tmp_path: Path) -> None:
    scan = series(tmp_path)
    make_seg(tmp_path / "seg.dcm", scan, {"liver": MASK})
    last = str(scan.slices[-1].SOPInstanceUID)
    next(p for p in scan.folder.iterdir() if str(pydicom.dcmread(p).SOPInstanceUID) == last).unlink()
    refused(tmp_path, r"seg\.dcm names 1 slices that its series does not have")


def test_a_damaged_segmentation(tmp_path: Path) -> None:
    make_seg(tmp_path / "seg.dcm", series(tmp_path), {"liver": MASK})
    whole = (tmp_path / "seg.dcm").read_bytes()
    (tmp_path / "seg.dcm").write_bytes(whole[:-40])
    refused(tmp_path, r"seg\.dcm cannot be read")


def test_the_segmentation_that_pydicom_ships(tmp_path: Path) -> None:
    """Made by dcmqi of a scan that is not shipped: a series is made for it, of its own header."""
    shipped = pydicom.dcmread(get_testdata_file("liver_1frame.dcm", download=False))
    del shipped.PerFrameFunctionalGroupsSequence[1:]  # of frames that were cut off
    frame, shared = shipped.PerFrameFunctionalGroupsSequence[0], shipped.SharedFunctionalGroupsSequence[0]
    axes = tuple(map(float, shared.PlaneOrientationSequence[0].ImageOrientationPatient))
    spacing = tuple(map(float, shared.PixelMeasuresSequence[0].PixelSpacing))
    scan = make_series(tmp_path / "ct", np.zeros((1, 512, 512), int), (1.0, *spacing), axes)
    (path,) = scan.folder.iterdir()
    slice_ = pydicom.dcmread(path)
    slice_.ImagePositionPatient = frame.PlanePositionSequence[0].ImagePositionPatient
    slice_.SeriesInstanceUID = shipped.ReferencedSeriesSequence[0].SeriesInstanceUID
    for number, image in enumerate(shipped.ReferencedSeriesSequence[0].ReferencedInstanceSequence):
        slice_.SOPInstanceUID = image.ReferencedSOPInstanceUID
        x, y, z = map(float, frame.PlanePositionSequence[0].ImagePositionPatient)
        slice_.ImagePositionPatient = [x, y, z + number]
        slice_.save_as(scan.folder / f"{number}.dcm")
    path.unlink()
    shipped.save_as(tmp_path / "seg.dcm")
    found = read(tmp_path)
    assert [*found] == ["Liver"]
    np.testing.assert_array_equal(found["Liver"][0], shipped.pixel_array.astype(bool))
    assert not found["Liver"][1:].any()


# --- RTSTRUCT ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axes", [AXIAL, SAGITTAL, CORONAL])
def test_a_ring_has_the_pixels_whose_centres_are_in_it(tmp_path: Path, axes: Sequence[float]) -> None:
    spacing = (2.0, 0.9, 0.6)
    scan = make_series(tmp_path / "ct", np.zeros((6, 64, 80), int), spacing, tuple(axes))
    middle, outer, inner = (30.3, 41.7), 15.3, 6.9
    drawn = [
        scan.points(circle(middle, radius, spacing[1:]), plane) for plane in (1, 2, 3) for radius in (outer, inner)
    ]
    make_rtstruct(tmp_path / "rt.dcm", scan, {"ring": drawn})
    found = read(tmp_path)["ring"]
    rows, columns = np.mgrid[:64, :80]
    away = np.hypot((rows - middle[0]) * spacing[1], (columns - middle[1]) * spacing[2])
    wrong = found[1:4] != ((away < outer) & (away > inner))
    near = np.minimum(abs(away - outer), abs(away - inner)) < 0.01  # a circle of 360 corners is that much smaller
    assert not wrong[:, ~near].any()
    assert not found[[0, 4, 5]].any()
    volume = np.pi * (outer**2 - inner**2) * 3 * spacing[0]
    assert found.sum() * np.prod(spacing) == pytest.approx(volume, rel=0.01)


def test_a_keyhole_is_a_hole(tmp_path: Path) -> None:
    scan = series(tmp_path)
    outside = np.array([[2.5, 2.5], [2.5, 20.5], [18.5, 20.5], [18.5, 2.5], [2.5, 2.5]])
    hole = np.array([[8.5, 8.5], [12.5, 8.5], [12.5, 12.5], [8.5, 12.5], [8.5, 8.5]])
    make_rtstruct(tmp_path / "rt.dcm", scan, {"wall": [scan.points(np.concatenate([outside, hole]), 4)]})
    wanted = np.zeros(SHAPE, bool)
    wanted[4, 3:19, 3:21] = True
    wanted[4, 9:13, 9:13] = False
    np.testing.assert_array_equal(read(tmp_path)["wall"], wanted)


def test_contours_off_the_planes(tmp_path: Path) -> None:
    scan = series(tmp_path)
    drawn = circle((10, 12), 4, (0.8, 0.7))
    make_rtstruct(tmp_path / "rt.dcm", scan, {"liver": [scan.points(drawn, 3.04)]})
    assert read(tmp_path)["liver"][3].any(), "as much as headers round"
    make_rtstruct(tmp_path / "rt.dcm", scan, {"liver": [scan.points(drawn, 3.5)]})
    refused(tmp_path, r"rt\.dcm, liver: a contour lies 1\.5 mm off the nearest slice, and slices are 3 mm apart")
    make_rtstruct(tmp_path / "rt.dcm", scan, {"liver": [scan.points(drawn, 9.0)]})
    refused(tmp_path, r"a contour lies beyond the scan")
    tilted = scan.points(drawn, 3.0)
    tilted[:, 2] += np.linspace(-2, 2, len(tilted))
    make_rtstruct(tmp_path / "rt.dcm", scan, {"liver": [tilted]})
    refused(tmp_path, r"a contour lies .* mm off the nearest slice")


def test_a_contour_beside_the_scan(tmp_path: Path) -> None:
    scan = series(tmp_path)
    drawn = scan.points(circle((10, 12), 4, (0.8, 0.7)), 3)
    make_rtstruct(tmp_path / "rt.dcm", scan, {"liver": [drawn + np.array([13, 0, 0])]})
    assert read(tmp_path)["liver"][3].any(), "one that is cut by the edge has its part within"
    make_rtstruct(tmp_path / "rt.dcm", scan, {"liver": [drawn + np.array([300, 0, 0])]})
    refused(tmp_path, "a contour lies beyond the scan")


def test_a_contour_that_is_there_twice_counts_once(tmp_path: Path) -> None:
    scan = series(tmp_path)
    drawn = scan.points(circle((10, 12), 4, (0.8, 0.7)), 3)
    make_rtstruct(tmp_path / "rt.dcm", scan, {"once": [drawn], "twice": [drawn, drawn]})
    found = read(tmp_path)
    assert found["twice"].any()
    np.testing.assert_array_equal(found["once"], found["twice"])


def test_a_structure_named_like_the_patient_is_not_told(tmp_path: Path) -> None:
    scan = series(tmp_path)
    make_rtstruct(tmp_path / "rt.dcm", scan, {PATIENT: [scan.points(circle((10, 12), 4, (0.8, 0.7)), 3.5)]})
    refused(tmp_path, r"rt\.dcm, structure no\. 1: a contour lies")


def test_a_segmentation_without_decoder(tmp_path: Path) -> None:
    from pydicom.encaps import encapsulate
    from pydicom.uid import HTJ2KLossless

    make_seg(tmp_path / "seg.dcm", series(tmp_path), {"liver": MASK})
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    seg.file_meta.TransferSyntaxUID = HTJ2KLossless
    seg.PixelData = encapsulate([b"\xff\x4f\xff\x51"] * len(seg.PerFrameFunctionalGroupsSequence))
    seg["PixelData"].VR = "OB"
    seg.save_as(tmp_path / "seg.dcm")
    refused(tmp_path, r"seg\.dcm is compressed as High-Throughput JPEG 2000.*decompress it")


def test_points_mark_no_region(tmp_path: Path) -> None:
    scan = series(tmp_path)
    drawn = {"isocentre": [scan.points(np.array([[3.0, 3.0]]), 2)]}
    make_rtstruct(tmp_path / "rt.dcm", scan, drawn, ContourGeometricType="POINT")
    assert read(tmp_path) == {}


def test_contours_of_another_series(tmp_path: Path) -> None:
    scan = series(tmp_path)
    make_rtstruct(tmp_path / "rt.dcm", scan, {"liver": []}, series="1.2.3.4.5.6")
    refused(tmp_path, r"rt\.dcm is drawn on a series that is not in .*, or is no scan")


def test_the_structures_that_pydicom_ships_are_read_and_refused(tmp_path: Path) -> None:
    series(tmp_path)
    shutil.copy(get_testdata_file("rtstruct.dcm", download=False), tmp_path / "rt.dcm")
    refused(tmp_path, r"rt\.dcm is drawn on a series that is not in")
