"""Label maps as DICOM-SEG, which a viewer lays over the series that they were drawn or predicted on."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..errors import InputError
from .align import aligned
from .dicom import Found, Series, library, pydicom, quiet
from .dicom_scan import geometry_of
from .formats import replacing
from .geometry import Array, Picture

EXPECTED = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
            "AccessionNumber", "ReferringPhysicianName", "PositionReferenceIndicator")  # fmt: skip
"""What a header should have, be it empty; a series that passed through other hands may lack it."""


def write_seg(path: Path, label: Picture, names: Mapping[str, int], series: Series, found: Found, drawn: bool) -> None:
    """Write a label map (D, H, W) as binary segments 1, 2, …, which are its values, named by ``names``.

    Args:
        path: NAME.dcm.
        label: on the grid of the series, or with its axes turned or slices reversed.
        names: of every class: name -> value; 0, the background, is no segment.
        series: in order.
        found: where the series was found.
        drawn: whether a person had a part in it.

    Raises:
        InputError: the label lies elsewhere than the series, or its headers are too poor to be referred to.
    """
    empty = Picture(np.zeros((len(series.frames), *series.frames[0].shape), np.uint8), geometry_of(series))
    there = found.told(series.frames[0].path.parent)
    on_scan = aligned(label, empty, str(path.name), f"its series {there}", excuse_bare=False)
    try:
        with quiet():
            made = _made(on_scan.array.reshape(empty.shape), names, series, drawn)
            with replacing(path) as temporary:
                made.save_as(temporary)
    except (InputError, MemoryError, OSError):
        raise
    except Exception as error:  # whatever highdicom misses in a header
        raise InputError(
            f"{there}: no DICOM-SEG can refer to this series ({found.said(error)}); get it anew."
        ) from None


def _made(array: Array, names: Mapping[str, int], series: Series, drawn: bool) -> Any:
    hd, tissue = library("highdicom"), library("pydicom.sr.codedict").codes.SCT.Tissue
    tool = hd.AlgorithmIdentificationSequence(
        "maskmend", library("pydicom.sr.codedict").codes.DCM.ArtificialIntelligence, __version__
    )
    how = "SEMIAUTOMATIC" if drawn else "AUTOMATIC"
    segments = [
        hd.seg.SegmentDescription(value, name, tissue, tissue, how, tool)
        for name, value in sorted(names.items(), key=lambda item: item[1])
        if value
    ]
    sources, order = _sources(series)
    return hd.seg.Segmentation(
        source_images=sources,
        pixel_array=np.ascontiguousarray(array[order]).astype(np.uint8 if len(segments) < 256 else np.uint16),
        segmentation_type="BINARY",
        segment_descriptions=segments,
        series_instance_uid=hd.UID(),
        series_number=9000,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="maskmend",
        manufacturer_model_name="maskmend",
        software_versions=__version__,
        device_serial_number="0",
        omit_empty_frames=bool(array.any()),
        series_description="Segmentation by maskmend",
    )


def _sources(series: Series) -> tuple[list[Any], Array]:
    """The files of a series without their pixels, and the slice that each of their frames is."""
    paths = [*dict.fromkeys(frame.path for frame in series.frames)]
    sources = []
    for path in paths:
        header = deepcopy(pydicom().dcmread(path, stop_before_pixels=True, force=True))
        for word in EXPECTED:
            if word not in header:
                setattr(header, word, "")
        header.decode()
        header.SpecificCharacterSet = "ISO_IR 192"  # the names of classes may need other letters than the patient's
        sources.append(header)
    places = {(frame.path, frame.frame): place for place, frame in enumerate(series.frames)}
    order = [places[path, number] for path in paths for number in sorted(n for p, n in places if p == path)]
    return sources, np.array(order)
