"""Text headers of NRRD and MetaImage: which files hold the data, and what Slicer says of the segments in it.

ITK follows a header wherever it points: to other folders, to pipes. Here one may name files of its own folder only.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import numpy as np

from ..errors import InputError
from .geometry import Array

HEADERS = (".nrrd", ".nhdr", ".mha", ".mhd")
DATA = (".raw", ".zraw", ".raw.gz")
"""How programs call the files that hold the data of such a header."""
LINES = 100_000
"""A header has fewer."""
SEGMENT = re.compile(r"^Segment(\d+)_(LabelValue|Layer):=(\d+)", re.MULTILINE)


def check_data_files(path: Path) -> tuple[Path, ...]:
    """The files beside the header at ``path`` that hold its data; none of a file that holds all itself.

    Raises InputError where a header names a file that is not there, or lies outside its folder, by whatever way.
    """
    if not path.name.lower().endswith(HEADERS):
        return ()
    names = [*(_nrrd if image_io(path) == "NrrdImageIO" else _meta)(path)]
    home, found = path.parent.resolve(), list[Path]()
    for name in names:
        place = path.parent / name
        plain = glob.escape(place.name)
        pattern = re.sub(r"%[0-9]*[dui]", "*", plain)
        files = sorted(place.parent.glob(pattern)) if pattern != plain else [place]
        for file in files or [place]:
            if not file.resolve().is_relative_to(home):
                raise InputError(f"{path} takes its data from {name:.200}, outside its folder; save it in one file.")
            if not file.is_file():
                raise InputError(f"{path} takes its data from {name:.200}, which is missing; add it.")
        found += files
    return tuple(found)


def image_io(path: Path) -> str:
    """What ITK calls the reader of a file that begins like this, whatever its name; nothing if it begins otherwise."""
    first = next(_lines(path), "")
    if re.match(r"(Comment|ObjectType|NDims)\s*[=:]", first):
        return "MetaImageIO"
    return "NrrdImageIO" if first.startswith("NRRD") else ""


def _nrrd(path: Path) -> Iterator[str]:
    """The NRRD file format, section 5: ``data file:`` with a name, a pattern, or LIST and names to the end."""
    lines = iter(_lines(path))
    for line in takewhile(bool, lines):  # a blank line ends the header
        match = re.fullmatch(r"data ?file: *(.*)", line, re.IGNORECASE)
        if match and re.match(r"LIST\b", match[1]):
            yield from (name for name in lines if name)
        elif match:
            yield re.sub(r"( -?[0-9]+){3,4}$", "", match[1]) if "%" in match[1] else match[1]


def _meta(path: Path) -> Iterator[str]:
    """MetaImage: ``ElementDataFile`` ends the header, with LOCAL, a name, a pattern, or LIST and names to the end."""
    lines = iter(_lines(path))
    said = next((m[1] for line in lines if (m := re.fullmatch(r"ElementDataFile\s*[=:]\s*(.*)", line))), "LOCAL")
    if said.startswith("LIST"):
        yield from (name for name in lines if name)
    elif "%" in said:
        yield said.split()[0]
    elif said.upper() != "LOCAL":
        yield said


def _lines(path: Path) -> Iterator[str]:
    with path.open("rb") as stream:
        for _, line in zip(range(LINES), iter(lambda: stream.readline(4096), b""), strict=False):
            yield line.decode("latin-1").strip()


# --- Slicer's segments ------------------------------------------------------------------------------------------------


def segments(path: Path, layers: Array) -> Array:
    """One label map (1, *S) of a .seg.nrrd's layers (C, *S): a single layer is one; of several, segments are numbered
    1, 2, … as they are listed.

    Raises InputError where segments overlap, which a label map cannot show.
    """
    if len(layers) == 1:
        return layers
    lines = "\n".join(takewhile(bool, _lines(path)))
    said = {(int(number), key): int(value) for number, key, value in SEGMENT.findall(lines)}
    label = np.zeros(layers.shape[1:], np.uint16)
    for place, number in enumerate(sorted({number for number, _ in said}) or range(len(layers)), 1):
        inside = layers[said.get((number, "Layer"), number)] == said.get((number, "LabelValue"), 1)
        if label[inside].any():
            raise InputError(
                f"{path} has segments that overlap; let each overwrite the others in Slicer, save it again."
            )
        label[inside] = place
    return label[None]
