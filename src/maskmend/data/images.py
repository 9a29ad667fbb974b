"""Images to predict: a folder, or one file, outside any data set."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

from ..errors import InputError
from ..texts import case_name
from .clutter import meant
from .formats import ENDINGS, READ_ONLY
from .headers import DATA

CHANNEL = re.compile(r"(.+)_(\d{4})")

Images = list[tuple[str, tuple[Path, ...]]]
Failures = list[tuple[str, str]]
"""Name of a case, and why nothing comes of it."""


def list_images(place: Path, channels: int) -> tuple[Images, Failures]:
    """Name and files of every case at ``place``, sorted by name; and those whose files do not make a case.

    Files are named as in nnU-Net, ``CASE_0000.ending`` for each channel, or simply ``CASE.ending``, one a case.

    Raises:
        InputError: nothing is there.
    """
    if not place.exists():
        raise InputError(f"{place} does not exist; name a folder of images, or an image.")
    found: dict[str, dict[int, list[Path]]] = {}
    failures: Failures = []
    others: list[str] = []
    for path in meant(place) if place.is_dir() else [place]:
        ending = next((e for e in ENDINGS + READ_ONLY if path.name.lower().endswith(e)), None)
        if ending is None:
            others += [path.name] * (path.is_file() and not path.name.lower().endswith((".json", *DATA)))
            continue
        stem = path.name[: -len(ending)]
        match = CHANNEL.fullmatch(stem)
        name, channel = (match[1], int(match[2])) if match else (stem, 0)
        try:
            found.setdefault(case_name(name, path.parent), {}).setdefault(channel, []).append(path)
        except InputError as error:
            failures.append((name.encode(errors="backslashreplace").decode(), str(error)))
    if not found and not failures:
        raise InputError(f"{place} holds no image; known endings are {', '.join(ENDINGS + READ_ONLY)}.")
    if others:
        warnings.warn(f"{place} holds {len(others)} files of no known format, such as {others[0]}.", stacklevel=2)
    one_file = all(len(files) == 1 for files in found.values())  # may hold all channels of a case
    cases: Images = []
    for name, files in sorted(found.items()):
        missing = [n for n in range(channels) if n not in files]
        if twice := next((paths for paths in files.values() if len(paths) > 1), None):
            failures.append((name, f"{twice[1]} and {twice[0].name} are both its image; keep one of them there."))
        elif missing and not (one_file and 0 in files):
            failures.append((name, f"{place} lacks its channel {missing[0]:04d} of {channels}; add the file."))
        else:
            cases.append((name, tuple(files[n][0] for n in sorted(files))))
    return cases, failures
