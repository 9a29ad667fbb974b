"""What a recipe is: how the official archive of a public data set becomes cases, with the papers' split and sizes."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TypeVar

import numpy as np

from ...data.formats import Array, Geometry, write_image, write_label
from ...errors import InputError
from ...progress import track
from ..archives import PACKED, unpack
from ..sources import Pair, Source
from ..survey import THRESHOLD, MaskRule, read_mask, rule_of, values_in

T = TypeVar("T")


@dataclass(frozen=True)
class Recipe:
    """``name`` on the command line; ``title``; ``home``: the page it is obtained from; ``terms`` of use; ``cite``;
    ``layout``: what the archive holds; ``makes``: what becomes of it; ``read``: its cases. ``packed``: which archives
    of a given folder are its own and unpacked, as patterns. ``empty``: the share of masks (of volumes, where cases are
    slices) that may mark nothing; of all that are published here, every image shows what was drawn."""

    name: str
    title: str
    home: str
    terms: str
    cite: str
    layout: str
    makes: str
    read: Callable[[Archive], Source]
    packed: tuple[str, ...] = ()
    empty: float = 0.02


@dataclass(frozen=True)
class Archive:
    """What was ``given`` of a ``recipe``'s data set, and the folders (``roots``) that hold it. ``scratch``: a folder
    for what is made on the way. ``partial``: fewer cases than there are will do. ``seed`` draws what papers leave open.
    """

    given: Path
    roots: tuple[Path, ...]
    scratch: Path
    recipe: Recipe
    partial: bool = False
    seed: int = 0

    def find(self, *patterns: str) -> list[Path]:
        """The files that match one of the patterns, at any depth, sorted by name."""
        paths = {path for root in self.roots for pattern in patterns for path in root.rglob(pattern)}
        hidden = ("__MACOSX", ".")
        seen = [p for p in paths if not any(part.startswith(hidden) for part in self._within(p).parts) and p.is_file()]
        return sorted(seen, key=lambda path: (path.name, path))

    def files(self, pattern: str, count: int | tuple[int, ...]) -> list[Path]:
        """The files that match a pattern; ``count`` is how many there must be.

        Raises InputError where there is none, and, unless ``partial``, where there are more or fewer.
        """
        found = self.find(pattern)
        if not found:
            raise self.lacks(pattern)
        self.check(len(found), count, pattern)
        return found

    def lacks(self, what: str) -> InputError:
        """The error to raise where ``what`` is not there at all."""
        told = self.recipe
        return InputError(f"{self.given} holds no {what}; {told.title} has {told.layout}: get it from {told.home}.")

    def check(self, found: int, count: int | tuple[int, ...], what: str) -> None:
        """Raises InputError where not as many as ``count`` were found; warns instead if ``partial``."""
        counts = (count,) if isinstance(count, int) else count
        if found in counts:
            return
        said = f"{self.given} holds {found} of {' or '.join(map(str, counts))} {what}"
        if not self.partial:
            raise InputError(
                f"{said}; get the whole archive from {self.recipe.home}, or take what is there: --partial."
            )
        warnings.warn(f"{said}; the papers' numbers are of all.", stacklevel=3)

    def beside(self, path: Path, *others: Path) -> Path:
        """The first of ``others`` that exists, which belongs to ``path``. Raises InputError where none does."""
        for other in others:
            if other.is_file():
                return other
        raise InputError(f"{path} has no {others[0]}; unpack the archive from {self.recipe.home} anew.")

    def partner(self, path: Path, name: str, found: Sequence[Path]) -> Path:
        """The one file of ``found`` called ``name``, which belongs to ``path``. Raises InputError for none or more."""
        partners = [other for other in found if other.name == name]
        if len(partners) != 1:
            how = f"{len(partners)} files" if partners else "no file"
            raise InputError(f"{path} has {how} {name} in {self.given}; get the archive from {self.recipe.home} anew.")
        return partners[0]

    def each(self, items: Sequence[T]) -> Iterator[T]:
        """The items, with a progress bar."""
        return track(items, f"Reading {self.recipe.title}", total=len(items))

    def reader(self, masks: Sequence[Path]) -> MaskRule:
        """From the values of these masks to background 0 and one structure, 1, however they were saved.

        Raises InputError where they hold more than that, or cannot be read.
        """
        reading = track(masks, f"Looking at the masks of {self.recipe.title}", total=len(masks))
        drawn = {path: values_in(read_mask(path, THRESHOLD, cut=False).array, path) for path in reading}
        return rule_of(drawn, THRESHOLD, binary=True)

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

    def _within(self, path: Path) -> PurePath:
        root = next(root for root in self.roots if path.is_relative_to(root))
        return path.relative_to(root)


def dealt(pairs: Sequence[Pair], train: int, test: int, seed: int, group: Callable[[str], str] = str) -> Source:
    """``train`` and ``test`` cases drawn by ``seed``, those of one ``group`` (a patient) on one side. Of fewer cases,
    the same share. At least one group is on each side, if there are two; of groups that are larger than a case the
    counts are the nearest. A paper that gives counts only is met by this, not its very cases."""
    members = Counter(group(pair.name) for pair in pairs)
    names = sorted(members)
    wanted = test if len(pairs) == train + test else max(1, round(len(pairs) * test / (train + test)))
    held: set[str] = set()
    count = 0
    for place in np.random.default_rng(seed).permutation(len(names))[1:]:
        if not held or count + members[names[place]] / 2 <= wanted:
            held.add(names[place])
            count += members[names[place]]
    by = f"drawn by seed {seed}" + ("" if len(names) == len(pairs) else ", patients whole")
    return parted(pairs, lambda pair: group(pair.name) in held, f"{by}; the paper counts {train} and {test}")


def parted(pairs: Sequence[Pair], held: Callable[[Pair], bool], said: str) -> Source:
    """Training cases, and the test cases that are ``held`` back; ``said`` of it in dataset.json."""
    kept = tuple(pair for pair in pairs if not held(pair))
    return Source(kept, tuple(pair for pair in pairs if held(pair)), about={"split": said})


def open_archive(recipe: Recipe, given: Path, scratch: Path, partial: bool, seed: int) -> Archive:
    """A folder, with the recipe's own archives in it that have no folder of their name; or a .zip or .tar, unpacked.

    Raises InputError where it is neither, or cannot be unpacked.
    """
    if not given.is_dir():
        return Archive(given, (unpack(given, scratch / "archive"),), scratch, recipe, partial, seed)
    files = {path for pattern in recipe.packed for path in given.glob(pattern) if path.is_file()}
    packed = sorted(path for path in files if path.name.lower().endswith(PACKED) and not (given / path.stem).is_dir())
    unpacked = [unpack(path, scratch / "archive" / path.name) for path in packed]
    return Archive(given, (given, *unpacked), scratch, recipe, partial, seed)
