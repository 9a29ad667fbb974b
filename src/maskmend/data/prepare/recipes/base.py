"""What a recipe is: how the official archive of a public data set becomes cases, with the papers' split and sizes."""

from __future__ import annotations

import shutil
import tarfile
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ....errors import InputError
from ...formats import Array, Geometry, write_image, write_label
from ..sources import Pair, Source

PACKED = (".zip", ".tar", ".tar.gz", ".tgz")


@dataclass(frozen=True)
class Recipe:
    """``name`` on the command line; ``title``; ``home``: the page it is obtained from; ``terms`` of use; ``cite``;
    ``layout``: what the archive holds; ``makes``: what becomes of it, a sentence; ``read``: its cases."""

    name: str
    title: str
    home: str
    terms: str
    cite: str
    layout: str
    makes: str
    read: Callable[[Archive], Source]


@dataclass(frozen=True)
class Archive:
    """An archive, unpacked, that ``recipe`` is read from. ``scratch``: a folder for what is made on the way.
    ``partial``: fewer cases than there are will do. ``seed`` draws the splits that papers do not give."""

    root: Path
    scratch: Path
    recipe: Recipe
    partial: bool = False
    seed: int = 0

    def files(self, pattern: str, count: int) -> list[Path]:
        """The ``count`` files that match a pattern, at any depth, sorted by name.

        Raises InputError where there is none, and, unless ``partial``, where there are more or fewer.
        """
        found = sorted((p for p in self.root.rglob(pattern) if "__MACOSX" not in p.parts), key=lambda p: (p.name, p))
        if not found:
            raise InputError(
                f"{self.root} holds no {pattern}; {self.recipe.title} has {self.recipe.layout}: get it from "
                f"{self.recipe.home}."
            )
        if len(found) != count:
            self.fewer(f"{self.root} holds {len(found)} of {count} {pattern}")
        return found

    def fewer(self, what: str) -> None:
        """Say that something is missing: a warning if ``partial``, else InputError."""
        if not self.partial:
            raise InputError(
                f"{what}; get the whole archive from {self.recipe.home}, or take what is there: --partial."
            )
        warnings.warn(f"{what}; the paper's numbers are of all.", stacklevel=2)

    def partner(self, path: Path, pattern: str) -> Path:
        """The one file that belongs to ``path``, by a pattern. Raises InputError where there is not exactly one."""
        found = [p for p in self.root.rglob(pattern) if "__MACOSX" not in p.parts]
        if len(found) != 1:
            how = "has no" if not found else f"has {len(found)} files"
            raise InputError(f"{path} {how} {pattern} in {self.root}; unpack the archive from {self.recipe.home} anew.")
        return found[0]

    def image(self, name: str, array: Array, geometry: Geometry, ending: str = ".png") -> Path:
        """Keep an image that was made on the way, (C, *S) or (*S)."""
        path = self.scratch / "images" / f"{name}{ending}"
        path.parent.mkdir(exist_ok=True)
        write_image(path, array, geometry)
        return path

    def mask(self, name: str, array: Array, geometry: Geometry, ending: str = ".png", of: str = "masks") -> Path:
        """Keep a mask that was made on the way, (*S)."""
        path = self.scratch / of / f"{name}{ending}"
        path.parent.mkdir(exist_ok=True)
        write_label(path, array, geometry)
        return path


def dealt(pairs: Sequence[Pair], train: int, test: int, seed: int, group: Callable[[str], str] = str) -> Source:
    """``train`` and ``test`` cases drawn by ``seed``, those of one ``group`` (a patient) on one side. Of fewer cases,
    the same share. A paper that gives counts only is met by this, not its very cases."""
    groups = sorted({group(pair.name) for pair in pairs})
    shuffled = [groups[place] for place in np.random.default_rng(seed).permutation(len(groups))]
    wanted = max(1, round(len(pairs) * test / (train + test))) if len(pairs) != train + test else test
    held: set[str] = set()
    count = 0
    for name in shuffled:
        size = sum(group(pair.name) == name for pair in pairs)
        if count + size <= wanted:
            held.add(name)
            count += size
    kept = tuple(pair for pair in pairs if group(pair.name) not in held)
    return Source(kept, tuple(pair for pair in pairs if group(pair.name) in held))


def resized(array: Array, size: tuple[int, int], order: int) -> Array:
    """An image (H, W) or (H, W, C), or with ``order`` 0 a mask (H, W), at ``size``: bilinear with antialiasing, or the
    nearest pixel. Values keep their type."""
    from skimage.transform import resize

    shape = (*size, *array.shape[2:])
    smooth = order > 0 and any(new < old for new, old in zip(size, array.shape, strict=False))
    how = {"order": order, "preserve_range": True, "anti_aliasing": smooth, "mode": "edge"}
    found: Array = resize(array, shape, **how)  # type: ignore[no-untyped-call]
    rounded: Array = (np.rint(found) if array.dtype.kind in "ui" else found).astype(array.dtype)
    return rounded


def unpack(archive: Path, scratch: Path) -> Path:
    """The folder that ``archive`` is, or that it holds.

    Raises InputError where it is neither a folder nor a readable .zip or .tar.
    """
    if archive.is_dir():
        return archive
    if not archive.exists():
        raise InputError(f"{archive} does not exist; name the archive, or the folder it was unpacked to.")
    if not archive.name.lower().endswith(PACKED):
        raise InputError(f"{archive} is no {', '.join(PACKED)}; unpack it, and give the folder.")
    target = scratch / "archive"
    try:  # zipfile itself keeps files within the folder; of a tar only plain files are taken
        shutil.unpack_archive(archive, target, filter=None if archive.name.lower().endswith(".zip") else "data")
    except (shutil.ReadError, tarfile.TarError, OSError, ValueError) as error:
        raise InputError(f"{archive} cannot be unpacked ({error}); download it again.") from None
    return target


def unpack_within(archive: Archive, packed: Iterable[Path]) -> list[Path]:
    """Archives within an archive, each unpacked to a folder of its own name."""
    return [unpack(path, archive.scratch / path.name) for path in packed]
