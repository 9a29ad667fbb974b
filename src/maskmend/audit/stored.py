"""Predictions that lie on disk: a folder of them, and what nnU-Net's cross-validation leaves.

NAME.npz holds "probabilities" (K, *S), as ``maskmend predict --probabilities`` and nnU-Net v2 (``--npz``) write them;
NAME.ending is the mask. Where both are there, the mask proves the file: it must be its most probable classes. An npz
that fails is passed over with a warning, and its mask judges. nnU-Net's own facts, of its code (v2.8.1):

- ``TRAINER__PLANS__CONFIG/fold_X/validation`` holds the cases that fold X did not learn from; fold_all learnt from all.
- Arrays are on the whole grid of the image, in the reader's order of axes; a 2D picture is (K, 1, H, W).
- Older versions left 0 in every class outside of the crop: there it is background. They write float16, newer float32.
- With regions, the rows are regions, in the order of dataset.json, and no file's rows sum to one.

Memory: while a float16 npz of K classes and V voxels is read 6 K V bytes, then 4 K V; of a mask alone 4 K V, and 5 V
more while distances are measured.
"""

from __future__ import annotations

import os
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.align import aligned
from ..data.clutter import meant
from ..data.dataset import Case, Dataset
from ..data.formats import ENDINGS, Picture, read_image, read_label
from ..data.layout import nearest, spelt
from ..errors import InputError
from ..functional.doubt import from_mask
from .npz import Regions, header, read, read_regions, resolved
from .sources import Several, on_grid

Array = NDArray[Any]
Files = dict[str, tuple[Path | None, Path | None]]
"""Case -> its npz and its mask, one of them at least."""


@dataclass(frozen=True)
class Stored:
    """A folder of predictions."""

    kind: str
    held_out: bool
    folder: Path
    classes: int
    files: Files
    regions: Regions | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        return (str(self.folder),)

    def names(self) -> frozenset[str]:
        return frozenset(self.files)

    def probabilities(self, case: Case, label: Picture) -> NDArray[np.float32]:
        npz, path = self.files[case.name]
        mask = read_label(path) if path else None
        drawn = aligned(mask, label, str(path), "the given label") if mask else None
        if npz is not None:
            try:
                place = mask or (read_image(case.images) if case.images else label)
                return on_grid(Picture(self._proven(npz, place, mask), place.geometry), label, str(npz))
            except InputError as error:
                if drawn is None:
                    raise
                warnings.warn(f"{str(error).rstrip('.')}; until then its mask judges.", stacklevel=2)
        assert drawn is not None
        return self._of_mask(drawn, str(path))

    def _proven(self, npz: Path, place: Picture, mask: Picture | None) -> NDArray[np.float32]:
        """What the file says of each class, on the grid of ``place``."""
        rows = read(npz, place.shape)
        if mask is not None and not _drawn_from(rows, mask.array, self.regions):
            raise InputError(f"{npz} is not what the mask beside it was drawn from; predict both again")
        return resolved(rows, self.regions, self.classes, npz)

    def _of_mask(self, mask: Picture, path: str) -> NDArray[np.float32]:
        top, low = int(mask.array.max(initial=0)), int(mask.array.min(initial=0))
        if low < 0 or top >= self.classes:
            raise InputError(
                f"{path} holds the value {low if low < 0 else top}, but the data set has the classes 0 to "
                f"{self.classes - 1}; write masks with these values."
            )
        found: NDArray[np.float32] = from_mask(mask.array, self.classes, mask.geometry.spacing_mm)
        return found


def _drawn_from(rows: Array, mask: Array, regions: Regions | None) -> bool:
    """Whether ``mask`` (*S) is what ``rows`` (K or R, *S) say, where rounding to float16 left no tie."""
    if regions is None:
        best = rows.max(0)
        inside = int(mask.max(initial=0)) < len(rows) and int(mask.min(initial=0)) >= 0
        return inside and all((row == best)[mask == value].all() for value, row in enumerate(rows))
    drawn = np.zeros_like(mask)
    for row, region in zip(rows, regions, strict=True):
        drawn[row > 0.5] = region.value
    return bool(((drawn == mask) | (rows == 0.5).any(0)).all())


# --- folders ----------------------------------------------------------------------------------------------------------


def predictions(folder: Path, dataset: Dataset) -> Stored:
    """A folder of NAME.npz, NAME.ending or both; that the cases were held out is the giver's word.

    Raises:
        InputError: it holds no prediction of a case, is a folder of given labels, or nnU-Net's results; a file's name
            nearly is a case's; or an npz holds other classes than the data set.
    """
    folder = Path(folder)
    if folder.is_dir() and any(folder.glob("fold_*/validation")):
        raise InputError(f"{folder} holds folds of nnU-Net; name it with --nnunet.")
    found = _stored("predictions", folder, dataset)
    for case in dataset.train:
        mask = found.files.get(case.name, (None, None))[1]
        if mask and case.label and os.path.samefile(mask, case.label):
            raise InputError(f"{mask} is the given label itself; name a folder of predictions.")
    return found


def nnunet(folder: Path, dataset: Dataset) -> Several:
    """The validation cases of every fold of an nnU-Net training, each predicted by the network that did not learn it.

    ``folder`` is TRAINER__PLANS__CONFIG, or one or two levels above or below where only one can be meant.

    Raises:
        InputError: no fold was validated, several trainings could be meant, or as ``predictions``.
    """
    root = _training(Path(os.path.abspath(folder)))
    folds = sorted(root.glob("fold_[0-9]*/validation"))
    if not folds:
        raise InputError(f"{root / 'fold_all'} learnt from every case, so it cannot judge any; train the folds 0 to 4.")
    return Several(tuple(_stored("nnunet", fold, dataset, root) for fold in folds))


def _training(folder: Path) -> Path:
    """The one TRAINER__PLANS__CONFIG that is meant."""
    levels = [[folder], [folder.parent], [folder.parent.parent], folder.glob("*"), folder.glob("*/*")]
    for level in levels:
        there = sorted(path for path in level if any(path.glob("fold_*/validation")))
        if len(there) == 1:
            return there[0]
        if there:
            names = ", ".join(path.name for path in there)
            raise InputError(f"{folder} holds {len(there)} trainings of nnU-Net ({names}); name one of these folders.")
    raise InputError(
        f"{folder} holds no fold_X/validation; name the folder TRAINER__PLANS__CONFIG in nnUNet_results, after "
        "`nnUNetv2_train DATASET CONFIG FOLD --npz` has ended."
    )


def _stored(kind: str, folder: Path, dataset: Dataset, root: Path | None = None) -> Stored:
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; name the one that holds the predictions.")
    regions = read_regions((root or folder) / "dataset.json", dataset.classes)
    files = _matched(_listed(folder), folder, dataset)
    rows = dataset.classes if regions is None else len(regions)
    for npz in (npz for npz, _ in files.values() if npz):
        shape = header(npz)
        if shape[:1] != (rows,):
            kinds = "classes" if regions is None else "regions"
            raise InputError(
                f"{npz} has the shape {shape}, but there are {rows} {kinds}, so it must be ({rows}, …); predict with "
                "the labels of this data set."
            )
    return Stored(kind, kind == "nnunet", folder, dataset.classes, files, regions)


def _listed(folder: Path) -> Files:
    npz, masks = dict[str, Path](), dict[str, Path]()
    for path in meant(folder):
        ending = next((ending for ending in (".npz", *ENDINGS) if path.name.endswith(ending)), None)
        if ending is not None:
            there = npz if ending == ".npz" else masks
            name = spelt(path).removesuffix(ending)
            if name in there:
                raise InputError(f"{there[name]} and {path} are both masks of {name}; remove one.")
            there[name] = path
    return {name: (npz.get(name), masks.get(name)) for name in sorted(npz.keys() | masks.keys())}


def _matched(files: Files, folder: Path, dataset: Dataset) -> Files:
    """Those of labelled training cases. Raises InputError where there are none, or one is nearly called so."""
    labelled = [case.name for case in dataset.train if case.label is not None]
    missing = {_plain(name): name for name in labelled if name not in files}
    strange = [name for name in files if name not in {*labelled}]
    for name in strange:
        if meant_case := missing.get(_plain(name)):
            raise InputError(
                f"{folder} holds a prediction {name}, but the case is called {meant_case}; rename the file."
            )
    found = {name: files[name] for name in labelled if name in files}
    if not found:
        said = f"{strange[0]} is none{nearest(strange[0], labelled)}" if strange else "it holds no NAME.npz and no mask"
        raise InputError(
            f"{folder} holds no prediction of a labelled case of {dataset.root}: {said}; name the files so."
        )
    return found


def _plain(name: str) -> str:
    """A name less capitals, what separates words, zeros before a number, and a channel."""
    return re.sub(r"(?<!\d)0+(?=\d)", "", re.sub(r"[\W_]", " ", re.sub(r"_0000$", "", name.lower()))).replace(" ", "")
