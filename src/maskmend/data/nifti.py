"""NIfTI-1 and -2 by nibabel: one reader of where an image, a label and a prediction lie, and one writer.

The affine is nibabel's: the sform where its code is not 0, else the qform, else the steps alone, about the middle.
"""

from __future__ import annotations

import gzip
import io
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .geometry import Array, Geometry, Nifti

LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0])
MM = {1: 1000.0, 3: 0.001}
"""A header's unit in mm; 2 is mm, and 0, not told, is taken for it."""
QFORM = ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")
FIELDS = ("pixdim", "qform_code", *QFORM, "sform_code", "srow_x", "srow_y", "srow_z", "xyzt_units")
LONGEST = 32767
"""Of an axis of NIfTI-1."""


def decode_nifti(path: Path) -> tuple[Array, Geometry]:
    """(C, D, H, W) of a NIfTI file, the axes after the third as channels; a file of two axes is one slice."""
    image = load_nifti(path)
    axes = min(len(image.shape), 3)
    if axes < 2:
        raise ValueError(f"an array of shape {image.shape} is neither 2D nor 3D")
    array = _array(image)
    array = array.reshape(-1, *array.shape[-axes:])
    return array if axes == 3 else array[:, None], _geometry(image.header)


def encode_nifti(path: Path, array: Array, geometry: Geometry) -> None:
    """Write (C, *S); several channels become a vector image. What was read of a NIfTI's place is written as it was."""
    import nibabel

    spatial = array.shape[1:]
    if len(spatial) == 2:
        array = array[:, None]
    nifti = geometry.nifti or Nifti(1, len(spatial), ())
    large = nifti.version == 2 or max(spatial) > LONGEST
    kind: Any = nibabel.Nifti2Image if large else nibabel.Nifti1Image
    header = kind.header_class()
    volume = array[0].T if len(array) == 1 else np.moveaxis(array, 0, -1).transpose(2, 1, 0, 3)[:, :, :, None]
    if len(array) > 1:
        header.set_intent("vector")
    elif nifti.axes == 2:
        volume = volume[:, :, 0]
    header.set_data_dtype(array.dtype)
    header.set_data_shape(volume.shape)
    _put(header, nifti, geometry)
    nibabel.save(kind(volume, None, header), path)


def load_nifti(path: Path) -> Any:
    """A nibabel image over the whole file in memory. Raises where bytes are missing, damaged, or steps below 0."""
    import nibabel

    raw = path.read_bytes()
    if path.name.lower().endswith(".gz"):
        raw = gzip.decompress(raw)
    kinds: Any = (nibabel.Nifti2Image, nibabel.Nifti1Image)
    kind = kinds[raw[:4] not in (b"\x1c\x02\0\0", b"\0\0\x02\x1c")]
    said = kind.header_class.from_fileobj(io.BytesIO(raw), check=False)["pixdim"][1:4]
    if (said < 0).any():
        raise InputError(f"{path} has the step {said.min():g} (pixdim), and steps are lengths; correct its header.")
    image = kind.from_bytes(raw)
    promised = image.dataobj.offset + math.prod(image.shape) * image.get_data_dtype().itemsize
    if len(raw) < promised:
        raise EOFError(f"it holds {len(raw)} of {promised} bytes")
    return image


def affine_of(header: Any) -> Array:
    """(4, 4): index (x, y, z) -> mm, LPS. Raises ValueError where axes have no length or lie in one another."""
    affine: Array = np.array(header.get_best_affine(), np.float64)
    affine[:3] = LPS_FROM_RAS @ affine[:3] * MM.get(int(header["xyzt_units"]) & 7, 1.0)
    columns = affine[:3, :3]
    if len(header.get_data_shape()) == 2 and not columns[:, 2].any():  # nothing was said of an axis that is not there
        affine[:3, 2] = np.cross(columns[:, 0], columns[:, 1])
    steps = np.linalg.norm(columns, axis=0)
    if not np.isfinite(affine).all() or not steps.all() or abs(np.linalg.det(columns / steps)) < 1e-6:
        rows = "; ".join(" ".join(f"{value:g}" for value in row) for row in header.get_best_affine()[:3])
        raise ValueError(f"its affine ({rows}) does not place three axes")
    return affine


def _array(image: Any) -> Array:
    """(..., *S): its numbers in their own type, or float32 where the header scales them."""
    scaled = image.dataobj.slope != 1 or image.dataobj.inter != 0
    array = np.asarray(image.dataobj, np.float32 if scaled else None)
    if array.dtype.fields:  # colour
        array = np.stack([array[name] for name in array.dtype.fields], axis=-1)
    return np.asarray(array.T, array.dtype.newbyteorder("="))


def _geometry(header: Any) -> Geometry:
    """Of three axes. Steps are pixdim's where the affine says the same but for rounding."""
    affine = affine_of(header)
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    pixdim = np.array(header["pixdim"][1:4], np.float64) * MM.get(int(header["xyzt_units"]) & 7, 1.0)
    direction = affine[:3, :3] / steps
    return Geometry(
        spacing_mm=tuple(float(step) for step in np.where(np.isclose(steps, pixdim, rtol=1e-6), pixdim, steps)[::-1]),
        origin=tuple(float(value) for value in affine[:3, 3]),
        direction=tuple(float(value) for value in direction.ravel()),
        nifti=Nifti(
            version=1 if int(header["sizeof_hdr"]) == 348 else 2,
            axes=min(len(header.get_data_shape()), 3),
            fields=tuple((name, tuple(np.ravel(header[name])[:4].tolist())) for name in FIELDS),
        ),
    )


def _put(header: Any, nifti: Nifti, geometry: Geometry) -> None:
    """Where the array lies, into the header of an array of this shape."""
    for name, numbers in nifti.fields:
        if name == "pixdim":
            header[name][: len(numbers)] = numbers
        else:
            header[name] = numbers if len(numbers) > 1 else numbers[0]
    if nifti.fields and replace(_geometry(header), nifti=None) == replace(geometry, nifti=None):
        return
    affine = geometry.affine
    affine[:3] = LPS_FROM_RAS @ affine[:3]
    header.set_xyzt_units("mm")
    header.set_qform(affine, int(_upright(affine)))
    header.set_sform(affine, 1)
    header["pixdim"][1:4] = np.linalg.norm(affine[:3, :3], axis=0)


def _upright(affine: Array) -> bool:
    """Whether the axes are at right angles, which is all that a qform can say."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.allclose(directions.T @ directions, np.eye(3), atol=1e-4))
