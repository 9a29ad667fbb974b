"""Images to predict: a folder, or one file, outside any data set."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import InputError
from .formats import ENDINGS, LOSSY

CHANNEL = re.compile(r"(.+)_(\d{4})")

Images = list[tuple[str, tuple[Path, ...]]]


def list_images(place: Path, channels: int) -> Images:
    """Name and files of every case at ``place``, sorted by name.

    Files are named as in nnU-Net, ``CASE_0000.ending`` for each channel, or simply ``CASE.ending``, one a case.

    Raises:
        InputError: nothing is there, a channel is missing, or two files claim one case.
    """
    if not place.exists():
        raise InputError(f"{place} does not exist; name a folder of images, or an image.")
    files = sorted(place.iterdir()) if place.is_dir() else [place]
    found: dict[str, dict[int, Path]] = {}
    for path in files:
        ending = next((e for e in ENDINGS + LOSSY if path.name.lower().endswith(e)), None)
        if ending is None or path.name.startswith("."):
            continue
        stem = path.name[: -len(ending)]
        match = CHANNEL.fullmatch(stem)
        name, channel = (match[1], int(match[2])) if match else (stem, 0)
        other = found.setdefault(name, {}).setdefault(channel, path)
        if other != path:
            raise InputError(f"{path} and {other.name} are both the image of {name}; keep one of them there.")
    if not found:
        raise InputError(f"{place} holds no image; known endings are {', '.join(ENDINGS + LOSSY)}.")
    one_file = all(len(by_channel) == 1 for by_channel in found.values())  # may hold all channels of a case
    for name, by_channel in found.items():
        missing = [n for n in range(channels) if n not in by_channel]
        if missing and not (one_file and 0 in by_channel):
            raise InputError(f"{place}: {name} lacks its channel {missing[0]:04d} of {channels}; add the file.")
    return [(name, tuple(files[n] for n in sorted(files))) for name, files in sorted(found.items())]
