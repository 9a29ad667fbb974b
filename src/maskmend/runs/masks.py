"""Folders of masks: what is in them, the dataset.json that speaks of them, and where a summary of them may go."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from ..data.formats import ENDINGS, LOSSY, SEGMENTS
from ..data.layout import Labels, parse_labels, read_json_object, spelt
from ..errors import InputError
from ..texts import read_object, read_text

TABLE = "cases.csv"
"""Beside a summary."""
HEADER = "dataset.json"


def label_files(folder: Path) -> dict[str, Path]:
    """The label files of a folder by case name, sorted."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give the folder that holds the masks.")
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        ending = next((ending for ending in (SEGMENTS, *ENDINGS) if path.name.lower().endswith(ending)), None)
        if ending is None or path.name.startswith("."):
            continue
        name = spelt(path)[: -len(ending)]
        if name in files:
            raise InputError(f"{path} and {files[name].name} are both masks of {name}; keep one of them.")
        files[name] = path
    return files


def check_lossless(folder: Path, files: Mapping[str, Path]) -> None:
    """Raise InputError where a mask of ``folder`` is in JPEG alone, which ``label_files`` passes over."""
    for path in sorted(folder.iterdir()):
        if (
            path.suffix.lower() in LOSSY
            and not path.name.startswith(".")
            and spelt(path)[: -len(path.suffix)] not in files
        ):
            raise InputError(f"{path} is a JPEG, which blurs labels; convert the masks with `maskmend prepare`.")


def check_names(folder: Path, guess: Mapping[str, Path], truth: Mapping[str, Path]) -> None:
    missing = [name for name in truth if name not in guess]
    if missing:
        shown = ", ".join(missing[:10]) + (f" and {len(missing) - 10} more" if len(missing) > 10 else "")
        raise InputError(f"{folder} holds no prediction for {shown}; predict them, or leave their references out.")
    extra = [name for name in guess if name not in truth]
    if extra:
        warnings.warn(f"{folder} holds {len(extra)} masks without a reference, such as {extra[0]}.", stacklevel=3)


def header_of(references: Path, given: Path | None) -> Path | None:
    """The dataset.json that is ``given``, or the one nearest to the folder, or to what its files are links to."""
    if given is not None:
        path = Path(given) / HEADER if Path(given).is_dir() else Path(given)
        if not path.is_file():
            raise InputError(f"{path} is not there; give a dataset.json, or the folder that holds it.")
        return path
    folders = (references, *(folder for place in _places(references) for folder in place.parents[:2]))
    return _first_header(folders) or _header_of_links(path for path in label_files(references).values())


def _first_header(folders: Iterable[Path]) -> Path | None:
    return next((folder / HEADER for folder in folders if (folder / HEADER).exists()), None)


def _header_of_links(files: Iterable[Path]) -> Path | None:
    """The dataset.json of the folders that files are links to, or of the two above, if it is one for all of them."""
    found = {_first_header(folder for place in _places(path) for folder in place.parents[:3]) for path in files}
    return found.pop() if len(found) == 1 else None


def _places(folder: Path) -> Iterator[Path]:
    """Where a folder lies: as it is given, then where each link leads to."""
    path = Path(os.path.abspath(folder))
    path = path if path.exists() and path.samefile(folder) else folder.absolute()
    yield path
    while path.is_symlink():
        path = path.parent / path.readlink()
        yield path
    yield path.resolve()


def declared(path: Path) -> Labels:
    """Foreground classes, ignore label and regions that a dataset.json declares."""
    labels = parse_labels(read_json_object(path), path)
    if len(labels.values) < 2:
        raise InputError(f"{path} declares the background only; declare what the masks show.")
    return replace(labels, values={name: value for name, value in labels.values.items() if value})


def output_of(path: Path) -> Path:
    """Where the summary goes. Raises InputError where it would not be one, or take the place of anything else."""
    path = path / "summary.json" if path.is_dir() else path
    if path.suffix.lower() != ".json" or (path.name.lower() == HEADER and not os.path.lexists(path)):
        raise InputError(
            f"{path} is no name for a summary, beside which goes {TABLE}; call it like scores.json, or name a folder."
        )
    for file, what, known in ((path, "summary", _is_summary), (path.with_name(TABLE), "table", _is_table)):
        if os.path.lexists(file) and not known(file):
            raise InputError(f"{file} is there, and is no {what} of an evaluation; choose another place with -o.")
    if of_dataset(path.parent):
        raise InputError(
            f"{path.parent} belongs to a data set, where no scores are written; name the predictions first and the "
            "true masks second, or choose another place with -o."
        )
    return path


def of_dataset(folder: Path) -> bool:
    """Whether a folder is a data set, or its images or masks, as it is named or where links lead; one of predictions
    may hold a dataset.json, too."""
    for place in (Path(os.path.abspath(folder)), folder.resolve()):
        root = (place / HEADER).exists() and ((place / "imagesTr").is_dir() or (place / "labelsTr").is_dir())
        if root or (place.name.startswith(("labels", "images")) and (place.parent / HEADER).exists()):
            return True
    return False


def _is_summary(path: Path) -> bool:
    try:
        return "metric_per_case" in read_object(path)
    except InputError:
        return False


def _is_table(path: Path) -> bool:
    try:
        return read_text(path).startswith("case,class,label,")
    except InputError:
        return False
