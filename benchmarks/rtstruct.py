"""Which library turns the contours of an RTSTRUCT into the right voxels: volume and place of a ring of known size.

    PYTHONPATH=. python benchmarks/rtstruct.py

A ring (outer radius 18.3 mm, inner 7.9 mm, eight slices) is drawn as circles of 360 corners, on three grids and on
axial and sagittal slices. ``volume``: error against the formula. ``Dice``: with the voxels whose centre lies in it.
``rt_utils`` and ``platipy`` are measured where they can be imported.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tests.dicoms import AXIAL, SAGITTAL, Scan, circle, make_rtstruct, make_series

from maskmend.data.dicom import survey
from maskmend.data.dicom_masks import masks_of
from maskmend.data.dicom_scan import in_order, read_scan

OUTER_MM, INNER_MM, MIDDLE, PLANES = 18.3, 7.9, (61.3, 63.7), range(2, 10)
GRIDS_MM = ((2.0, 1.0, 1.0), (2.0, 0.9, 0.6), (3.0, 0.4, 1.1))


def ours(scan: Scan, contours: Path) -> Any:
    found = survey(scan.folder.parent)
    return dict(masks_of(found.drawings[0], read_scan(in_order(found.series[0], found), found), found))["ring"]


def rt_utils(scan: Scan, contours: Path) -> Any:
    from rt_utils import RTStructBuilder  # type: ignore[import-not-found]

    made = RTStructBuilder.create_from(str(scan.folder), str(contours))
    return np.moveaxis(made.get_roi_mask_by_name("ring"), 2, 0)


def platipy(scan: Scan, contours: Path) -> Any:
    import pydicom
    import SimpleITK as sitk
    from platipy.dicom.io.rtstruct_to_nifti import (  # type: ignore[import-not-found]
        transform_point_set_from_dicom_struct,
    )

    image = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(scan.folder)))
    masks, _ = transform_point_set_from_dicom_struct(image, pydicom.dcmread(contours), False)
    return sitk.GetArrayFromImage(masks[0]) > 0


def measure(read: Callable[[Scan, Path], Any], grid: tuple[float, float, float], axes: tuple[float, ...]) -> str:
    rows, columns = np.mgrid[:128, :128]
    away = np.hypot((rows - MIDDLE[0]) * grid[1], (columns - MIDDLE[1]) * grid[2])
    truth = np.zeros((12, 128, 128), bool)
    truth[PLANES.start : PLANES.stop] = (away < OUTER_MM) & (away > INNER_MM)
    with tempfile.TemporaryDirectory() as name:
        scan = make_series(Path(name) / "ct", np.zeros(truth.shape, int), grid, axes)
        rims = [circle(MIDDLE, radius, grid[1:]) for radius in (OUTER_MM, INNER_MM)]
        contours = Path(name) / "rt.dcm"
        made = make_rtstruct(contours, scan, {"ring": [scan.points(rim, plane) for plane in PLANES for rim in rims]})
        made.RTROIObservationsSequence = []
        made.save_as(contours, enforce_file_format=True)
        start = time.perf_counter()
        try:
            mask = np.asarray(read(scan, contours)).astype(bool)
        except ImportError as error:
            return f"not installed ({error})"
        seconds = time.perf_counter() - start
    volume = np.pi * (OUTER_MM**2 - INNER_MM**2) * len(PLANES) * grid[0]
    dice = 2 * (mask & truth).sum() / max(mask.sum() + truth.sum(), 1)
    return f"volume {mask.sum() * np.prod(grid) / volume - 1:+7.2%}  Dice {dice:.4f}  {seconds:.2f} s"


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for grid in GRIDS_MM:
        for word, axes in (("axial", AXIAL), ("sagittal", SAGITTAL)):
            for read in (ours, rt_utils, platipy):
                print(f"{' × '.join(map(str, grid))} mm, {word:8}  {read.__name__:8}  {measure(read, grid, axes)}")
