"""Where an array lies in the patient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Nifti:
    """What a NIfTI header says of place, field by field, so that it is written as it was read.

    version: 1 or 2.
    axes: 2 of a file without a third axis, else 3.
    fields: name -> numbers: pixdim (its first four), the codes, quaternion and offset of the qform, the rows of the
    sform, and the units. ``nifti.affine_of`` says what they mean.
    """

    version: int
    axes: int
    fields: tuple[tuple[str, tuple[float, ...]], ...]

    @property
    def placed(self) -> bool:
        """Not where both codes are 0: then the file knows steps, but no place."""
        codes = dict(self.fields)
        return codes["sform_code"] != (0,) or codes["qform_code"] != (0,)


@dataclass(frozen=True)
class Geometry:
    """Where an array lies in the patient.

    spacing_mm: one step along each axis of *S, in array order.
    origin, direction: as SimpleITK gives them (x first, LPS, mm); None for a picture, which has no place in space.
    singleton: (array axis, spacing_mm) of an axis of length one that was taken away to read one slice as 2D; it is put
    back on writing.
    nifti: of a NIfTI file, its header; written again where it still says the same as the other fields.
    """

    spacing_mm: tuple[float, ...]
    origin: tuple[float, ...] | None = None
    direction: tuple[float, ...] | None = None
    singleton: tuple[int, float] | None = None
    nifti: Nifti | None = None

    @property
    def known(self) -> bool:
        """Whether the steps are lengths: a picture's are one pixel, and no mm."""
        return self.origin is not None or any(step != 1 for step in self.spacing_mm)

    @property
    def placed(self) -> bool:
        """Whether the file says where it lies."""
        return self.origin is not None and (self.nifti is None or self.nifti.placed)
