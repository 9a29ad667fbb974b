"""One volume file to one array and back: NIfTI by nibabel, NRRD and MHA by SimpleITK.

Arrays here always have a channel axis: (C, *S), where *S is (H, W) or (D, H, W). ``formats`` adds the rules on top.
"""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from .geometry import Array, Geometry
from .headers import check_data_files, image_io
from .memory import FLOAT, check_memory
from .nifti import decode_nifti, encode_nifti

NIFTI = (".nii", ".nii.gz")
DENSEST = 1100
"""How many times its size deflate makes of a file, at most."""
NARROW = 2
"""Bytes of a number of NRRD and MHA, about."""


def simple_itk() -> Any:
    """SimpleITK, told not to print warnings on standard error."""
    import SimpleITK

    sitk: Any = SimpleITK
    sitk.ProcessObject_SetGlobalWarningDisplay(False)
    return sitk


def decode_volume(path: Path) -> tuple[Array, Geometry]:
    """(C, *S) of a NIfTI, NRRD or MHA file; the components of a vector image, or a fourth axis, are the channels.

    Raises InputError, before it is read, where memory does not hold what its header promises.
    """
    nifti = path.name.lower().endswith(NIFTI)
    if not nifti:
        check_data_files(path)
    check_room(path)
    if nifti:
        return decode_nifti(path)
    reader = simple_itk().ImageFileReader()
    reader.SetImageIO(image_io(path))  # of itself, ITK reads no .MHA
    reader.SetFileName(str(path))
    itk_image = reader.Execute()
    dims = itk_image.GetDimension()
    array = simple_itk().GetArrayFromImage(itk_image)
    if itk_image.GetNumberOfComponentsPerPixel() > 1:
        array = np.moveaxis(array, -1, 0)
    elif dims < 4:
        array = array[None]
    if array.ndim != min(dims, 3) + 1:
        raise ValueError(f"an array of shape {array.shape} is neither 2D nor 3D")
    return array, _itk_geometry(itk_image)


def check_room(path: Path) -> None:
    """Raise InputError where memory holds neither the file's numbers nor those that they are prepared as."""
    shape, size = promised(path)
    what = f"{path} of {' × '.join(map(str, shape))} voxels"
    check_memory(size + FLOAT * math.prod(shape), what, "crop it, or take a larger machine")


def promised(path: Path) -> tuple[tuple[int, ...], int]:
    """The shape of the array in a file, and its bytes, by the header alone; (0,) and 0 where that makes no sense: who
    reads the file will say so."""
    shape, size = (0,), 0
    with suppress(Exception):
        if path.name.lower().endswith(NIFTI):
            import nibabel

            image: Any = nibabel.load(path)
            shape, size = tuple(image.shape[::-1]), image.get_data_dtype().itemsize
        else:
            reader = simple_itk().ImageFileReader()
            reader.SetImageIO(image_io(path))
            reader.SetFileName(str(path))
            reader.ReadImageInformation()
            shape, size = tuple(reader.GetSize()[::-1]), NARROW * reader.GetNumberOfComponents()
        size *= math.prod(shape)
    apart = path.name.lower().endswith((".nhdr", ".mhd"))
    return (shape, size) if apart or size <= DENSEST * path.stat().st_size else ((0,), 0)


def _itk_geometry(itk_image: Any) -> Geometry:
    """Of an image, or of a reader that has read the header; a fourth axis is left out."""
    dims = itk_image.GetDimension()
    spatial = min(dims, 3)
    direction = np.reshape(itk_image.GetDirection(), (dims, dims))[:spatial, :spatial]
    return Geometry(
        spacing_mm=tuple(itk_image.GetSpacing()[:spatial][::-1]),
        origin=tuple(itk_image.GetOrigin()[:spatial]),
        direction=tuple(float(value) for value in direction.ravel()),
    )


def encode_volume(path: Path, array: Array, geometry: Geometry) -> None:
    """Write (C, *S); several channels become a vector image."""
    if path.name.lower().endswith(NIFTI):
        encode_nifti(path, array, geometry)
        return
    array = np.ascontiguousarray(np.moveaxis(array, 0, -1) if len(array) > 1 else array[0])
    sitk = simple_itk()
    itk_image = sitk.GetImageFromArray(array, isVector=array.ndim > len(geometry.spacing_mm))
    itk_image.SetSpacing(tuple(float(step) for step in geometry.spacing_mm[::-1]))
    if geometry.origin is not None:
        itk_image.SetOrigin(geometry.origin)
    if geometry.direction is not None:
        itk_image.SetDirection(geometry.direction)
    sitk.WriteImage(itk_image, str(path), True)
