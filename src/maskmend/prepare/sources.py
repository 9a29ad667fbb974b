"""What a folder holds: pairs of images and masks, a Decathlon task, or an nnU-Net data set with 0/255 masks."""

from __future__ import annotations

import glob
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..data.clutter import meant
from ..data.dataset import Case, open_dataset
from ..data.formats import ENDINGS, READ_ONLY, ending_of, read_label
from ..data.layout import is_decathlon, parse_channels, parse_labels, read_json_object, spelt
from ..errors import InputError

MASK_SUFFIX = re.compile(r"[._ -](masks?|segmentation|seg|labels?|gt)$", re.IGNORECASE)
SUFFIXES = "_mask, _masks, _seg, _segmentation, _label, _labels or _gt"
ENDING = re.compile(rf"({'|'.join(map(re.escape, ENDINGS + READ_ONLY))})+$", re.IGNORECASE)
MASK_FOLDERS = ("masks", "labels")


@dataclass(frozen=True)
class Pair:
    """A case before it is converted. ``raters``: (rater, mask) of those who drew it, in order of their names; where
    there is no ``mask`` besides, their majority becomes the label."""

    name: str
    images: tuple[Path, ...]
    mask: Path | None
    raters: tuple[tuple[str, Path], ...] = ()

    @property
    def masks(self) -> tuple[Path, ...]:
        """Every mask of the case."""
        return (*((self.mask,) if self.mask else ()), *(path for _, path in self.raters))


@dataclass(frozen=True)
class Source:
    """All cases, and what the source says of them: names of channels and labels, words on where it came from.
    ``patients``: case -> patient, where one has several cases."""

    train: tuple[Pair, ...]
    test: tuple[Pair, ...]
    channel_names: tuple[str, ...] | None = None
    labels: dict[str, int] | None = None
    binary: bool = False
    about: dict[str, Any] = field(default_factory=dict)
    beside: tuple[Path, ...] = ()
    patients: Mapping[str, str] = field(default_factory=dict)


def recognise(root: Path) -> Source:
    """The cases of a folder that ``prepare`` understands.

    Raises InputError where it understands nothing, a file of a pair is missing, or there is nothing to prepare.
    """
    if not root.is_dir():
        raise InputError(f"{root} is not a folder; give the one that holds images/ and masks/, or dataset.json.")
    if (root / "dataset.json").exists():
        content = read_json_object(root / "dataset.json")
        return _decathlon(root, content) if is_decathlon(root, content) else _nnunet(root)
    masks = next((name for name in MASK_FOLDERS if (root / name).is_dir()), None)
    if masks is None or not (root / "images").is_dir():
        raise InputError(
            f"{root} holds neither dataset.json nor the folders images/ and masks/, and no DICOM; arrange it like that."
        )
    train = _pairs(root / "images", root / masks)
    test_images, test_masks = root / "images_test", root / f"{masks}_test"
    if test_masks.is_dir() and not test_images.is_dir():
        raise InputError(f"{test_masks} has no {test_images.name}/ beside it; add the images, or take it away.")
    test = _pairs(test_images, test_masks if test_masks.is_dir() else None) if test_images.is_dir() else ()
    return Source(train, test)


def _pairs(images: Path, masks: Path | None) -> tuple[Pair, ...]:
    """Images with the masks of the same stem, or of that stem and a suffix like _mask or _segmentation.

    Where ``masks`` holds only folders, each is a rater's; every image needs at least one of them.
    """
    pictures = _by_stem(images)
    if masks is None:
        return tuple(Pair(stem, (path,), None) for stem, path in pictures.items())
    raters = _rater_folders(masks)
    found = {folder: _masks_of(pictures, folder) for folder in raters or [masks]}
    drawn = {stem for each, _ in found.values() for stem in each}
    if missing := [path for stem, path in pictures.items() if stem not in drawn]:
        raise InputError(
            f"{missing[0]} has no mask in {masks} ({len(missing)} of {len(pictures)} images have none); add the masks, "
            f"called like their images or with {SUFFIXES} behind the name, or take the images out."
        )
    if strays := [path for _, left in found.values() for path in left]:
        raise InputError(
            f"{strays[0]} has no image of its own in {images} ({len(strays)} masks have none); "
            "add the images, or keep one mask per image."
        )
    if not raters:
        return tuple(Pair(stem, (path,), found[masks][0][stem]) for stem, path in pictures.items())
    return tuple(
        Pair(stem, (path,), None, tuple((who.name, found[who][0][stem]) for who in raters if stem in found[who][0]))
        for stem, path in pictures.items()
    )


def _rater_folders(masks: Path) -> list[Path]:
    """The folders in ``masks``, by name, if it holds no mask itself."""
    paths = [*meant(masks)]
    if any(path.is_file() and path.name.lower().endswith(ENDINGS + READ_ONLY) for path in paths):
        return []
    return [path for path in paths if path.is_dir()]


def _masks_of(pictures: Mapping[str, Path], folder: Path) -> tuple[dict[str, Path], list[Path]]:
    """The masks in ``folder`` by their picture's stem, and those that have no picture."""
    drawn = _by_stem(folder)
    plain = {MASK_SUFFIX.sub("", stem): stem for stem in drawn}
    names = {stem: stem if stem in drawn else plain.get(stem) for stem in pictures}
    found = {stem: drawn.pop(name) for stem, name in names.items() if name is not None}
    return found, list(drawn.values())


def _by_stem(folder: Path) -> dict[str, Path]:
    """The files of known formats by name without ending (of ``anna.png.jpg`` without both), sorted."""
    found: dict[str, Path] = {}
    paths = [*meant(folder)]
    for path in paths:
        if path.is_dir() or not path.name.lower().endswith(ENDINGS + READ_ONLY):
            continue
        stem = ENDING.sub("", spelt(path)[: -len(ending_of(path))])
        if stem in found:
            raise InputError(f"{found[stem]} and {path.name} share one name; keep one of them.")
        found[stem] = path
    if not found:
        folders = [path.name for path in paths if path.is_dir()]
        holds = f"only folders ({', '.join(folders[:4])})" if folders else "no file of a known format"
        raise InputError(f"{folder} holds {holds}; put the files ({', '.join(ENDINGS + READ_ONLY)}) right into it.")
    return found


def _decathlon(root: Path, content: dict[str, Any]) -> Source:
    """A task of the Medical Segmentation Decathlon: dataset.json lists its images and labels."""
    path = root / "dataset.json"

    def place(entry: object, key: str) -> Path:
        text = entry.get(key) if isinstance(entry, dict) else entry
        file = root / str(text)
        if not text or not file.is_file():
            raise InputError(f"{file}, the {key} of a case in {path}, is missing; unpack the archive again.")
        return file

    def name(image: Path) -> str:
        return image.name[: -len(ending_of(image))]

    tested = content.get("test") or []
    if not isinstance(tested, list):
        raise InputError(f"{path}: the key test must be a list of images; correct it.")
    labels = parse_labels(content, path)
    if labels.ignore is not None:
        raise InputError(f"{path} declares an ignore label, which the Decathlon does not have; rename it.")
    train = [(place(entry, "image"), place(entry, "label")) for entry in content["training"]]
    tests = [place(entry, "image") for entry in tested]
    return Source(
        train=tuple(Pair(name(image), (image,), label) for image, label in train),
        test=tuple(Pair(name(image), (image,), None) for image in tests),
        channel_names=parse_channels(content.get("modality"), path),
        labels=labels.values,
        about={key: content[key] for key in ("description", "reference", "licence", "release") if key in content},
    )


def _nnunet(root: Path) -> Source:
    """An nnU-Net data set, worth converting only if its masks are 0/255."""
    dataset = open_dataset(root)
    labelled = [path for case in dataset.train + dataset.test if (path := case.label or case.reference)]
    some = False
    for path in labelled:
        values = {int(value) for value in np.unique(read_label(path).array)}
        if not values <= {0, 255}:
            break
        some = some or 255 in values
    else:
        if some:
            two = dataset.labels if dataset.classes == 2 else None

            def pairs(cases: tuple[Case, ...], part: str) -> tuple[Pair, ...]:
                names = [glob.escape(case.name + dataset.file_ending) for case in cases]
                drawn = [sorted(root.glob(f"labels{part}_raters/*/{name}")) for name in names]
                return tuple(
                    Pair(c.name, c.images, c.label or c.reference, tuple((path.parent.name, path) for path in paths))
                    for c, paths in zip(cases, drawn, strict=True)
                )

            names = ("supervision.csv", "splits_final.json", "volumes.csv")
            beside = tuple(root / name for name in names if (root / name).exists())
            train, test = pairs(dataset.train, "Tr"), pairs(dataset.test, "Ts")
            return Source(train, test, dataset.channel_names, two, True, beside=beside)
    raise InputError(f"{root} is an nnU-Net data set already and needs no preparing; train on it as it is.")
