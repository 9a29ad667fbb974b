"""What a data set's files hold, learnt once: a start reads what is new or changed, and nothing else.

What was learnt of a file is kept by its content; and the content of a file is known again by its path, size, time and
inode, so that an unchanged file is not even opened.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..errors import InputError
from ..functional.rng import fold
from ..progress import track
from .align import apart
from .cache import Cache, Stored, digest, read_note, save_note
from .dataset import Case, Dataset, case_arrays, case_image, declared
from .empty import mask_key, shown
from .formats import Picture, read_label, sources
from .lock import hold
from .remarks import listening
from .threads import in_threads

T = TypeVar("T")
LEARNT = 2
"""Raised when something else would be learnt of the same files."""
AT_ONCE = 4
"""Cases that are read together: a CT of 512 × 512 × 400 takes 1 GB."""
KEPT = 2**29
"""Bytes of what was read that are kept until it is prepared, so that it need not be read again."""
SETTLED_NS = 2 * 10**9
"""A file that changed a shorter time ago may change once more and look the same: file systems count time in steps."""
REMEMBERED = 4
"""So many times as much as a start uses is remembered; what was used longest ago is forgotten."""
FOLDER = "{folder}"
"""Of a case's images, in what is kept of it: the same files may lie elsewhere another time."""
INTENSITIES = 10_000
"""Of each labelled case, where "ct" normalisation needs the statistics of all."""


class Survey(Cache):
    """A cache that remembers a data set: what is asked of its files again is answered without opening one.

    ``with`` reads what it remembers, one file of the cache, and writes it down again where something is new. That file
    is a memory only: without it, or where two starts write at the same time, the cache itself is asked.

    root: the folder of the data set. anew: whatever its files hold is read again, and what was learnt is replaced.
    """

    def __init__(self, folder: Path, root: Path, *, anew: bool = False) -> None:
        super().__init__(folder)
        self.root, self.anew = root, anew
        self._about = f"survey {root.resolve()}"
        self._file = folder / "surveys" / digest(self._about) / "survey.json"
        self._before: dict[str, Any] = {}
        self._used: dict[str, Any] = {}
        self._new = False
        self._kept: dict[Hashable, Any] = {}
        self._room = KEPT

    def __enter__(self) -> Survey:
        self._before = {} if self.anew else self._read()
        return self

    def __exit__(self, *_: object) -> None:
        """What was learnt is written down, whatever happened after; so one start learns at least as much as it read."""
        self._kept, self._room = {}, KEPT
        if self._new:
            with suppress(InputError, OSError), hold(self._file.parent):
                every = self._read() | self._used
                most = REMEMBERED * len(self._used)
                save_note(self._file, self._about, dict([*every.items()][-most:]))
                self._new = False

    def _read(self) -> dict[str, Any]:
        found = read_note(self._file, self._about)
        return found if isinstance(found, dict) else {}

    def _recall(self, key: str) -> Any:
        found = self._used.get(key)
        if found is None and (found := self._before.get(key)) is not None:
            self._used[key] = found
        return found

    def _remember(self, key: str, value: Any) -> Any:
        self._used[key], self._new = value, True
        return value

    def content(self, paths: Sequence[Path]) -> str:
        """``content_hash`` of files, which are read only where they changed."""
        key = "file " + "\n".join(map(str, paths))
        known, now = self._recall(key), [_stamp(path) for path in paths]
        if known is not None and known[1:] == now:
            return str(known[0])
        found = super().content(paths)
        if None not in now and all(stamp[1] < time.time_ns() - SETTLED_NS for stamp in now if stamp):
            self._remember(key, [found, *now])
        return found

    def note(self, key: str, make: Callable[[], Any]) -> Any:
        found = self._recall(key)
        return self._remember(key, super().note(key, make)) if found is None else found

    def _find(self, name: str) -> Stored | None:
        known, now = self._recall(f"array {name}"), _stamp(self._home(name) / f"{name}.npy")
        if known is not None and known[3] == now:
            return Stored(name, self._home(name), known[0], known[1], tuple(known[2]))
        found = super()._find(name)
        if found is not None:
            self._remember(f"array {name}", [found.offset, found.dtype, list(found.shape), now])
        return found

    def keep(self, key: Hashable, value: Any, size: int) -> None:
        """Have ``value`` ready for ``again``, if there is room for its bytes."""
        if size <= self._room:
            self._room -= size
            self._kept[key] = value

    def again(self, key: Hashable, read: Callable[[], T]) -> T:
        found: T | None = self._kept.pop(key, None)
        return read() if found is None else found


def _stamp(path: Path) -> list[int] | None:
    """What changes with a file: size in bytes, time in ns, inode."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns, found.st_ino]


# --- one case ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Look:
    """What is learnt of a case whose files can be used.

    shape: of its image (*S), without channels. spacing_mm: None where the format holds none (PNG). apart: whether image
    and label differ in origin or direction. said: what there was to remark while they were read. axes: which axes of
    the image run along the patient's (``Geometry.patient_axes``).
    """

    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...] | None
    apart: bool
    said: tuple[str, ...]
    axes: tuple[int | None, ...] | None


def looks(cases: Sequence[Case], dataset: Dataset, cache: Cache | None = None, *, ct: bool = False) -> Iterator[Look]:
    """Each case, in order; those that ``cache`` does not know are read, several at a time, and what was remarked is
    told. ct: their intensities are drawn too.

    Raises:
        InputError: at the first case whose files cannot be used (``dataset.case_arrays``).
    """
    found = in_threads(partial(_look, dataset=dataset, cache=cache, ct=ct), cases, AT_ONCE)
    for case, each in zip(cases, track(found, "looking at the images", total=len(cases)), strict=True):
        for sentence in each.said:
            warnings.warn(sentence.replace(FOLDER, _folder(case)), stacklevel=1)
        yield each


def check_dataset(
    dataset: Dataset, cases: Sequence[Case] | None = None, cache: Cache | None = None, *, ct: bool = False
) -> None:
    """Look at every file (of ``cases``, if given) and raise InputError at the first that cannot be trained or tested
    on. ``cache`` and ``ct``: as ``looks``.

    Warns where an image and its label have another origin or direction, and one has a bare header.
    """
    displaced: list[str] = []
    dims: tuple[int, str] | None = None
    cases = cases if cases is not None else dataset.train + dataset.test
    for case, each in zip(cases, looks(cases, dataset, cache, ct=ct), strict=True):
        if each.apart:
            displaced.append(case.name)
        dims = dims or (len(each.shape), case.name)
        if len(each.shape) != dims[0]:
            raise InputError(
                f"{case.images[0]} is {len(each.shape)}D, but case {dims[1]} is {dims[0]}D; "
                "make a data set of each kind."
            )
    if displaced:
        names = ", ".join(displaced[:5]) + (", …" if len(displaced) > 5 else "")
        warnings.warn(
            f"{dataset.root}: image and label differ in origin or direction in {len(displaced)} cases ({names}), and "
            "one has a bare header; they are taken to lie on the image's grid.",
            stacklevel=2,
        )


def intensities(case: Case, dataset: Dataset, cache: Cache | None = None) -> np.ndarray:
    """Of at most ``INTENSITIES`` labelled voxels of a case, drawn at random: (C, M) float32.

    Raises:
        InputError: as ``looks``.
    """
    if cache is None:
        return _drawn(*case_arrays(case, dataset), case)
    return cache.get(_drawn_key(case, dataset, cache), lambda: _drawn(*case_arrays(case, dataset), case))


def _look(case: Case, dataset: Dataset, cache: Cache | None, ct: bool) -> Look:
    if cache is None:
        return _seen(case, dataset, None, ct)
    try:
        key = _key(case, dataset, cache)
    except (InputError, OSError):
        _seen(case, dataset, None, False)  # which tells it better
        raise
    shape, spacing_mm, apart_, said, axes = cache.note(key, lambda: astuple(_seen(case, dataset, cache, ct)))
    return Look(tuple(shape), spacing_mm and tuple(spacing_mm), apart_, tuple(said), axes and tuple(axes))


def _seen(case: Case, dataset: Dataset, cache: Cache | None, ct: bool) -> Look:
    """Read a case, and put what else is asked of it into the cache while it is in memory."""
    path = case.label or case.reference
    with listening() as said:
        image = case_image(case, dataset)
        given = read_label(path) if path else None
        label = declared(given, path, image, case, dataset) if given and path else None
    if cache is not None and given and label and path:
        cache.note(mask_key(cache.content(sources([path])), dataset.ignore), lambda: shown(given.array, dataset.ignore))
        if ct and case.label:
            cache.store(_drawn_key(case, dataset, cache), lambda: _drawn(image, label, case))
        cache.keep((case.images, case.label), (image, label), image.array.nbytes + label.array.nbytes)
    spacing_mm, bare = image.geometry.spacing_mm, image.geometry.origin is None
    return Look(
        shape=image.array.shape[1:],
        spacing_mm=None if bare and all(step == 1 for step in spacing_mm) else spacing_mm,
        apart=label is not None and apart(label, image),
        said=tuple(sentence.replace(_folder(case), FOLDER) for sentence in said),
        axes=image.geometry.patient_axes,
    )


def _key(case: Case, dataset: Dataset, cache: Cache) -> str:
    """All that what is learnt of a case depends on."""
    path = case.label or case.reference
    label = cache.content(sources([path])) if path else "none"
    allowed = f"{[*dataset.labels.values()]} {dataset.ignore} {len(dataset.channel_names)}"
    return f"look {LEARNT} {cache.content(sources(case.images))} {label} {allowed}"


def _drawn_key(case: Case, dataset: Dataset, cache: Cache) -> dict[str, str]:
    return {"intensities": _key(case, dataset, cache), "name": case.name}


def _drawn(image: Picture, label: Picture, case: Case) -> np.ndarray:
    where = np.flatnonzero(label.array > 0)
    if len(where) > INTENSITIES:
        where = np.random.default_rng(fold(0, "intensity", case.name)).choice(where, INTENSITIES, replace=False)
    return image.array.reshape(len(image.array), -1)[:, where].astype(np.float32)


def _folder(case: Case) -> str:
    return str(case.images[0].parent)
