"""How many masks of a data set mark nothing, and whether they are outlines: what no later step would notice."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from scipy import ndimage

from ..errors import InputError
from ..progress import track
from ..texts import shown as told
from .cache import Cache
from .dataset import Case, Dataset
from .formats import Array, read_label, sources
from .layout import read_json_object
from .stack import read_volumes
from .threads import in_threads

KEY = "empty_masks"
"""In dataset.json: true where most masks are rightly empty."""
MOST = 0.5
"""A larger share of empty masks is refused, unless something says that it is right."""
LOOKED_AT = 32
"""So many masks, spread over the data set, tell whether masks are outlines."""
SHOWN = 1
"""Raised when something else would be noted of the same mask."""
AT_ONCE = 4
"""Masks that are read together."""
THICK = 4
"""A line is at most so many pixels thick, and encloses more than it covers."""


def check_masks(
    dataset: Dataset,
    cases: Sequence[Case],
    name: Path | None = None,
    most: float = MOST,
    cache: Cache | None = None,
) -> None:
    """Say how many given masks of ``cases`` are empty, of each class, and whether they look like outlines or inverted.

    A warning, or nothing if every mask shows every class. The slices that ``stack`` puts together to a volume
    count as one mask. ``name``: what to call the data set, if not by its folder. ``most``: the share that may be empty.
    ``cache``: masks that it knows are not read.

    Raises:
        InputError: more are empty, and neither ``empty_masks`` in dataset.json nor a noise.json says that it is right.
    """
    files = {case.name: path for case in cases if (path := case.label or case.reference)}
    found = in_threads(partial(_shown_by, ignore=dataset.ignore, cache=cache), files.values(), AT_ONCE)
    masks = dict(zip(files, track(found, "Looking at the masks", total=len(files)), strict=True))
    drawn = {case: {*values} - {0} for case, (values, _, _) in masks.items() if values}  # else nobody annotated it
    covered = [share for values, share, _ in masks.values() if values]
    looked_at = {*np.linspace(0, max(len(files) - 1, 0), LOOKED_AT).astype(int).tolist()}
    lines = [lined for n, (values, _, lined) in enumerate(masks.values()) if n in looked_at and any(values)]
    root = name or dataset.root
    _tell(_of_volumes(dataset, drawn), dataset, root, most)
    if dataset.classes == 2 and np.mean(covered or [0]) > MOST:
        warnings.warn(
            f"{root}: the masks mark {np.mean(covered):.0%} of the pixels; check that structure and background are not "
            "the other way round.",
            stacklevel=2,
        )
    if lines and sum(lines) > len(lines) / 2:
        warnings.warn(
            f"{root}: {sum(lines)} of {len(lines)} masks looked at hold closed thin lines only: these look like "
            "outlines, and what they enclose counts as background; fill them first (ImageJ: Fill Holes).",
            stacklevel=2,
        )


def mask_key(content: str, ignore: int | None) -> str:
    """Under which a cache notes what a mask of this content shows."""
    return f"mask {SHOWN} {content} {ignore}"


def shown(label: Array, ignore: int | None) -> tuple[list[int], float, bool]:
    """The values in a label (*S), the ignore value aside; the share that is marked; whether it is outlines."""
    annotated = label if ignore is None else label[label != ignore]
    values: list[int] = np.unique(annotated).tolist()
    marked = (label > 0) & (label != ignore) if any(values) else np.zeros_like(label, bool)
    return values, float((annotated > 0).mean()) if values else 0.0, outlined(marked)


def _shown_by(path: Path, ignore: int | None, cache: Cache | None) -> tuple[list[int], float, bool]:
    def read() -> tuple[list[int], float, bool]:
        return shown(read_label(path).array, ignore)

    if cache is None:
        return read()
    values, share, lined = cache.note(mask_key(cache.content(sources([path])), ignore), read)
    return values, share, lined


def outlined(mask: Array) -> bool:
    """Whether a mask (*S) is made of closed thin lines; of a volume (D, H, W), its fullest slice tells."""
    if mask.ndim == 3:
        mask = mask[int(mask.sum((1, 2)).argmax())]
    if not mask.any() or ndimage.binary_erosion(mask, np.ones((3, 3)), THICK // 2).any():
        return False
    ground, count = ndimage.label(np.pad(~mask, 1, constant_values=True))
    sizes = np.bincount(ground.ravel(), minlength=count + 1)
    return bool(sizes[2:].sum() > mask.sum())  # all but the lines and what lies outside


def _of_volumes(dataset: Dataset, drawn: Mapping[str, set[int]]) -> Mapping[str, set[int]]:
    """The classes that each case shows; or, where cases are slices, each volume."""
    volumes = read_volumes(dataset.root, [case.name for case in dataset.train + dataset.test])
    of = {case: volume.name for volume in volumes for case in volume.places}
    whole: dict[str, set[int]] = {}
    for case, values in drawn.items():
        whole.setdefault(of.get(case, case), set()).update(values)
    return whole


def _tell(drawn: Mapping[str, set[int]], dataset: Dataset, root: Path, most: float) -> None:
    """A warning or an error of the masks that show nothing, or not all."""
    lacking = {
        name: sum(value not in each for each in drawn.values()) for name, value in dataset.labels.items() if value
    }
    empty = [case for case, values in drawn.items() if not values]
    if not any(lacking.values()):
        return
    said = [f"{len(empty)} of {len(drawn)} masks are empty"] if empty else []
    if len(lacking) > 1:
        absent = (f"class {name} is missing from {count}" for name, count in lacking.items() if count)
        said.append(f"{', '.join(absent)} of {len(drawn)} masks")
    told = f"{root}: {'; '.join(said)}"
    if len(empty) > most * len(drawn) and not _expected(dataset.root):
        names = ", ".join(empty[:3]) + (", …" if len(empty) > 3 else "")
        right = f', or say "{KEY}": true in dataset.json (maskmend prepare --allow-empty)' if most >= MOST else ""
        raise InputError(f"{told} ({names}), too many to be right; look at how they were saved{right}.")
    warnings.warn(f"{told}.", stacklevel=3)


def _expected(root: Path) -> bool:
    """Whether the data set says that masks may be empty; of simulated noise it was asked before."""
    said = read_json_object(root / "dataset.json").get(KEY, False)
    if not isinstance(said, bool):
        raise InputError(f"{root / 'dataset.json'} says {KEY} {told(said)}; write true or false.")
    return said or (root / "noise.json").exists()
