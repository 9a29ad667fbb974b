"""One case in a program of the reviewer's own: what she saves there comes back as strokes of the journal."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..audit.store import Audit, stored
from ..data.align import aligned
from ..data.formats import read_label, write_image, write_label
from ..errors import InputError
from .edit import current, planes
from .journal import Journal, Run
from .outcome import record_redrawn

Command = Callable[[list[Path], Path], list[str]]
PROGRAMS: dict[str, tuple[tuple[str, ...], Command]] = {
    "slicer": (("Slicer", "slicer"), lambda images, label: [*map(str, images), str(label)]),
    "itksnap": (("itksnap", "itk-snap", "ITK-SNAP"), lambda images, label: ["-g", str(images[0]), "-s", str(label)]),
    "napari": (("napari",), lambda images, label: [*map(str, images), str(label)]),
}
"""What each is called on the PATH, and the words that open images and a label in it."""


def edit_elsewhere(audit: Audit, writer: Journal, program: str, case: str | None) -> None:
    """Open a case there, wait until the program ends, and write what changed into the journal.

    The label that is opened is the present one, as label.ending beside suggestion.ending; it is saved under its name.
    A case that was saved is done; one that was not saved stays as it is.

    Raises:
        InputError: there is no such program or case, or what was saved lies on another grid or holds undeclared values.
    """
    names, words = PROGRAMS[program]
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        raise InputError(f"--open {program}: {names[0]} is not on the PATH; install it, or review in the browser.")
    name = case or _next(audit, writer)
    if name not in audit.cases:
        raise InputError(f"there is no case {name} in {audit.folder}; name one of audit.csv.")
    given = audit.given(name)
    now = current(audit, name, writer.of(name), given)
    with tempfile.TemporaryDirectory(prefix="maskmend-") as folder:
        ending = ".nii.gz" if audit.about.dims == 3 else audit.about.file_ending
        label = Path(folder) / f"label{ending}"
        write_label(label, stored(now.array, audit.about), now.geometry)
        if (suggestion := audit.map("suggestions", name)) is not None:
            write_image(Path(folder) / f"suggestion{ending}", stored(suggestion, audit.about), now.geometry)
        before = label.stat().st_mtime_ns
        subprocess.run([found, *words(list(audit.cases[name].images), label)], check=False)
        if not label.is_file() or label.stat().st_mtime_ns == before:
            raise InputError(f"{label.name} of {name} was not saved, so nothing changed; save it under its own name.")
        saved = aligned(read_label(label), now, str(label), "the given label").array
    _keep(audit, writer, name, now.array, saved)


def _next(audit: Audit, writer: Journal) -> str:
    """The most doubtful case that nobody is done with."""
    for row in audit.rows:
        if writer.of(row.case).done is None:
            return row.case
    raise InputError(f"every case of {audit.folder} is done; name one with --case.")


def _keep(audit: Audit, writer: Journal, case: str, before: NDArray[Any], saved: NDArray[Any]) -> None:
    now = stored(before, audit.about)
    declared = {*audit.about.labels.values()} | ({audit.about.ignore} if audit.about.ignore is not None else set())
    if strange := sorted({int(v) for v in np.unique(saved)} - declared):
        raise InputError(f"what was saved of {case} holds the value {strange[0]}; draw with {sorted(declared)} only.")
    sha, numbers, found = audit.about.files[case][0], audit.map("findings", case), audit.findings(case)
    for index, runs in strokes(planes(now), planes(saved)):
        writer.append(case, "stroke", sha, axis=0, index=index, runs=runs, tool="elsewhere")
    record_redrawn(writer, case, sha, found)
    seen = writer.of(case).verdicts
    changed = set() if numbers is None else {int(n) for n in np.unique(numbers[now != saved])}
    for finding in found:
        if finding.id not in seen:  # she saw the whole label, and drew it or left it so
            verdict = "redrawn" if finding.number in changed else "refused"
            writer.append(case, "verdict", sha, finding=finding.id, verdict=verdict)
    writer.append(case, "done", sha)


def strokes(before: NDArray[Any], after: NDArray[Any]) -> Iterator[tuple[int, tuple[Run, ...]]]:
    """Slices (across the first of three axes) that changed, and the runs of voxels that did."""
    for index in np.flatnonzero((before != after).any((1, 2))):
        rows: list[Run] = []
        for row in np.flatnonzero((before[index] != after[index]).any(1)):
            line = np.where(before[index, row] != after[index, row], after[index, row].astype(np.int64), -1)
            starts = np.flatnonzero(np.diff(line, prepend=-1))
            ends = np.append(starts[1:], len(line))
            rows += [
                (int(row), int(a), int(b), int(line[a])) for a, b in zip(starts, ends, strict=True) if line[a] >= 0
            ]
        yield int(index), tuple(rows)
