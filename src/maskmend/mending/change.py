"""What became of one label, counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..audit.store import class_names
from ..data.formats import Picture
from ..metrics import dice, overlap
from ..types import IGNORE

NOBODY = "doubtful"
"""Who changed a label where it was only left open."""


@dataclass(frozen=True)
class Moved:
    """Voxels that a class gained and lost; the Dice of its given with its mended voxels, NaN where it has neither."""

    added: int
    removed: int
    dice: float


@dataclass(frozen=True)
class Change:
    """by: reviewed, automatic, or doubtful. voxels: how many have another value; ignored: how many of these nobody is
    to learn from. voxel_ml: of one voxel, None where the file knows no mm."""

    case: str
    by: str
    voxels: int
    ignored: int
    classes: Mapping[str, Moved]
    voxel_ml: float | None

    def size(self, voxels: int) -> str:
        """In words, as ``size``."""
        return size(voxels, None if self.voxel_ml is None else voxels * self.voxel_ml)


def size(voxels: int, ml: float | None) -> str:
    """ "812 voxels (0.81 ml)"; without ml where a file knows no mm."""
    words = f"{voxels} voxel{'s' * (voxels != 1)}"
    return words if ml is None else f"{words} ({f'{ml:.3g}' if ml < 1000 else f'{ml:.0f}'} ml)"


def changed(case: str, by: str, given: Picture, label: NDArray[Any], labels: Mapping[str, int]) -> Change:
    """Count what changed from the given label (*S) to ``label`` (*S); both hold IGNORE where nobody annotated."""
    before, names = given.array, {value: name for value, name in class_names(labels).items() if value}
    moved, seen = label != before, label != IGNORE
    most = max(names, default=0) + 1
    added = np.bincount(label[moved & seen], minlength=most)
    removed = np.bincount(before[moved & seen & (before != IGNORE)], minlength=most)
    counts = overlap(label, np.where(seen, before, IGNORE), list(names)) if names else {}
    return Change(
        case=case,
        by=by,
        voxels=int(moved.sum()),
        ignored=int((moved & ~seen).sum()),
        classes={names[k]: Moved(int(added[k]), int(removed[k]), dice(each)) for k, each in counts.items()},
        voxel_ml=given.geometry.voxel_ml,
    )
