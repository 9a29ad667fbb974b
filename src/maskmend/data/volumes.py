"""One volume file to one array and back: NIfTI by nibabel, NRRD and MHA by SimpleITK.

Arrays here always have a channel axis: (C, *S), where *S is (H, W) or (D, H, W). ``formats`` adds the rules on top.
"""

from __future__ import annotations

import gzip
import math
from pathlib import Path
from typing import Any

import numpy as np

from .geometry import Array, Geometry

NIFTI = (".nii", ".nii.gz")
LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0])


def simple_itk() -> Any:
    """SimpleITK, told not to print warnings on standard error."""
    import SimpleITK

    sitk: Any = SimpleITK
    sitk.ProcessObject_SetGlobalWarningDisplay(False)
    return sitk


def decode_volume(path: Path) -> tuple[Array, Geometry]:
    """(C, *S) of a NIfTI, NRRD or MHA file; the components of a vector image, or a fourth axis, are the channels.

    The numbers of a NIfTI are nibabel's, its geometry ITK's: ITK turns NaN into zero, and fills what is missing of a
    truncated file with zeros, without a word.
    """
    if path.name.lower().endswith(NIFTI):
        nifti = load_nifti(path)
        geometry = _nifti_geometry(path, nifti)
        array = _nifti_array(nifti)
        return array.reshape(-1, *array.shape[-len(geometry.spacing_mm) :]), geometry
    itk_image = simple_itk().ReadImage(str(path))
    dims = itk_image.GetDimension()
    array = simple_itk().GetArrayFromImage(itk_image)
    if itk_image.GetNumberOfComponentsPerPixel() > 1:
        array = np.moveaxis(array, -1, 0)
    elif dims < 4:
        array = array[None]
    if array.ndim != min(dims, 3) + 1:
        raise ValueError(f"an array of shape {array.shape} is neither 2D nor 3D")
    return array, _itk_geometry(itk_image)


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
    array = np.ascontiguousarray(np.moveaxis(array, 0, -1) if len(array) > 1 else array[0])
    dims = len(geometry.spacing_mm)
    nifti = path.name.lower().endswith(NIFTI)
    if nifti and geometry.direction is not None and not _orthonormal(geometry.direction, dims):
        _encode_sheared_nifti(path, array, geometry)
        return
    sitk = simple_itk()
    itk_image = sitk.GetImageFromArray(array, isVector=array.ndim > dims)
    itk_image.SetSpacing(tuple(float(step) for step in geometry.spacing_mm[::-1]))
    if geometry.origin is not None:
        itk_image.SetOrigin(geometry.origin)
    if geometry.direction is not None:
        itk_image.SetDirection(geometry.direction)
    sitk.WriteImage(itk_image, str(path), True)
    if nifti:
        load_nifti(path)  # ITK ends a NIfTI on a full disk without a word


def load_nifti(path: Path) -> Any:
    """A nibabel image over the whole file in memory. Raises where bytes are missing or damaged."""
    import nibabel

    raw = path.read_bytes()
    if path.name.lower().endswith(".gz"):
        raw = gzip.decompress(raw)
    kinds: Any = (nibabel.Nifti2Image, nibabel.Nifti1Image)
    image = kinds[raw[:4] not in (b"\x1c\x02\0\0", b"\0\0\x02\x1c")].from_bytes(raw)
    promised = image.dataobj.offset + math.prod(image.shape) * image.get_data_dtype().itemsize
    if len(raw) < promised:
        raise EOFError(f"it holds {len(raw)} of {promised} bytes")
    return image


def _nifti_array(image: Any) -> Array:
    """(..., *S): its numbers in their own type, or float32 where the header scales them."""
    scaled = image.dataobj.slope != 1 or image.dataobj.inter != 0
    array = np.asarray(image.dataobj, np.float32 if scaled else None)
    if array.dtype.fields:  # colour
        array = np.stack([array[name] for name in array.dtype.fields], axis=-1)
    return np.asarray(array.T, array.dtype.newbyteorder("="))


def _nifti_geometry(path: Path, image: Any) -> Geometry:
    """ITK's, or from the affine where ITK refuses: axes that are not at right angles, NIfTI-2."""
    reader = simple_itk().ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        return _affine_geometry(image.affine, min(len(image.shape), 3))
    return _itk_geometry(reader)


def _orthonormal(direction: tuple[float, ...], dims: int) -> bool:
    matrix = np.reshape(direction, (dims, dims))
    return bool(np.allclose(matrix @ matrix.T, np.eye(dims), atol=1e-4))


def _affine_geometry(ras: Array, dims: int) -> Geometry:
    affine = (LPS_FROM_RAS @ ras[:3])[:dims]
    steps = np.linalg.norm(affine[:, :dims], axis=0)
    return Geometry(
        spacing_mm=tuple(float(step) for step in steps[::-1]),
        origin=tuple(float(value) for value in affine[:, 3]),
        direction=tuple(float(value) for value in (affine[:, :dims] / steps).ravel()),
    )


def _encode_sheared_nifti(path: Path, array: Array, geometry: Geometry) -> None:
    import nibabel

    if array.ndim != 3:
        raise ValueError("a sheared volume is written one channel at a time")
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(geometry.direction or (), (3, 3)) * np.array(geometry.spacing_mm[::-1])
    affine[:3, 3] = geometry.origin or (0.0, 0.0, 0.0)
    affine[:3] = LPS_FROM_RAS @ affine[:3]
    make: Any = nibabel.Nifti1Image
    image = make(array.T, affine, dtype=array.dtype)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
