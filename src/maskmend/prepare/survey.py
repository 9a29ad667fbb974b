"""The first reading of a source: are the pairs sound, how many channels are there, which value means which class."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..data.align import aligned, apart
from ..data.formats import LOSSY, PICTURES, READ_ONLY, TIFFS, VOLUMES, Array, Picture, ending_of, read_image, read_label
from ..errors import InputError
from ..progress import track
from ..texts import shown
from .sources import Pair, Source

THRESHOLD = 127
"""Grey masks: foreground is above it."""
MANY = 32
"""A picture mask of more grey values than this, some beyond the threshold, is a smoothed outline, not classes."""


@dataclass(frozen=True)
class Look:
    """What one pair holds. ``picture``: one 2D file of a picture format, whose three equal channels count as one.
    ``values``: of each of its masks, with a JPEG's already cut at the threshold. ``adrift``: the masks that have a
    place, and not their image's, but a bare header."""

    pair: Pair
    dims: int
    channels: int
    picture: bool
    coloured: bool
    values: Mapping[Path, tuple[int, ...]]
    adrift: tuple[Path, ...] = ()


@dataclass(frozen=True)
class MaskRule:
    """From raw mask values to classes; ``cut`` says that picture masks are cut at ``threshold`` first. ``adrift``: the
    masks that are taken to lie on their image's grid whatever their header says."""

    classes: Mapping[int, int]
    labels: dict[str, int]
    threshold: int
    cut: bool
    adrift: frozenset[Path] = frozenset()

    def __call__(self, path: Path) -> Picture:
        """The mask at ``path`` as a label (*S) uint16."""
        mask = read_mask(path, self.threshold, self.cut)
        raw = np.array(sorted(self.classes))
        values = np.array([self.classes[int(value)] for value in raw], np.uint16)
        return Picture(values[np.searchsorted(raw, mask.array)], mask.geometry)

    @property
    def changes_nothing(self) -> bool:
        return not self.cut and all(raw == value for raw, value in self.classes.items())


@dataclass(frozen=True)
class Channels:
    """How images are written: colours stay together in one file of a 2D picture format."""

    names: tuple[str, ...]
    coloured: bool


def read_mask(path: Path, threshold: int, cut: bool) -> Picture:
    """A mask as it is; a JPEG, and with ``cut`` any picture, as 0 and 255 by ``value > threshold``."""
    ending = ending_of(path)
    if ending in LOSSY:
        picture = read_image([path])
        return Picture(_cut(picture.array.mean(0), threshold), picture.geometry)
    label = read_label(path)
    return Picture(_cut(label.array, threshold), label.geometry) if cut and ending not in VOLUMES else label


def _cut(array: Array, threshold: int) -> Array:
    return np.where(array > threshold, 255, 0).astype(np.uint8)


def read_all(source: Source, threshold: int) -> list[Look]:
    """Read every image and mask once. Raises InputError for a damaged file and for a mask of another size."""
    pairs = source.train + source.test
    looks = [_look(pair, threshold) for pair in track(pairs, "Reading images and masks", total=len(pairs))]
    first = looks[0]
    for look in looks:
        if look.dims != first.dims:
            raise InputError(
                f"{look.pair.images[0]} is {look.dims}D, but {first.pair.images[0].name} is {first.dims}D; "
                "prepare each kind by itself."
            )
    return looks


def _look(pair: Pair, threshold: int) -> Look:
    image = read_image(pair.images)
    values, adrift = {}, []
    for path in pair.masks:
        mask = aligned(read_mask(path, threshold, cut=False), image, str(path), f"its image {pair.images[0].name}")
        values[path] = values_in(mask.array, path)
        adrift += [path] * apart(mask, image)
    array = image.array
    picture = ending_of(pair.images[0]) not in VOLUMES and len(pair.images) == 1 and array.ndim == 3
    three = picture and len(array) == 3
    grey = three and np.array_equal(array[0], array[1]) and np.array_equal(array[0], array[2])
    channels, coloured = 1 if grey else len(array), three and not grey
    return Look(pair, array.ndim - 1, channels, picture, coloured, values, tuple(adrift))


def values_in(mask: Array, path: Path) -> tuple[int, ...]:
    """The values in the mask at ``path``, in order. Raises InputError where one is below 0."""
    values = tuple(int(value) for value in np.unique(mask))
    if values[0] < 0:
        raise InputError(f"{path} holds the value {values[0]}; number the classes from 0 up.")
    return values


def channels_of(looks: Sequence[Look], source: Source) -> Channels:
    """Grey where every picture is; else R, G, B, or the channels the source names.

    Raises InputError where images differ in their number of channels.
    """
    names, coloured = source.channel_names, any(look.coloured for look in looks)
    if names is not None:
        coloured = coloured or (len(names) == 3 and all(look.picture for look in looks))
    elif coloured:
        names = ("R", "G", "B")
    else:
        count = max(look.channels for look in looks)
        only = "grey" if looks[0].dims == 2 else "image"
        names = (only,) if count == 1 else tuple(f"channel_{place}" for place in range(count))
    for look in looks:
        if look.channels != len(names) and not (coloured and look.channels == 1):
            raise InputError(
                f"{look.pair.images[0]} has {look.channels} channels where {len(names)} are expected; "
                "give every image the same channels."
            )
    return Channels(names, coloured)


def mask_rule(looks: Sequence[Look], source: Source, threshold: int) -> MaskRule:
    """Which raw value is which class: as declared; else two values make 0 and 1, more are counted from the lowest.

    Warns where masks had to be cut at the threshold, or have a bare header. Raises InputError for an undeclared value,
    and where all masks hold one and the same value.
    """
    adrift = frozenset(path for look in looks for path in look.adrift)
    if adrift:
        warnings.warn(
            f"{len(adrift)} masks ({min(adrift)}, …) have a bare header that places them beside their images; they are "
            "taken to lie on the images' grid, and written so.",
            stacklevel=2,
        )
    return replace(_values_rule(looks, source, threshold), adrift=adrift)


def _values_rule(looks: Sequence[Look], source: Source, threshold: int) -> MaskRule:
    drawn = {path: values for look in looks for path, values in look.values.items()}
    declared = source.labels
    if declared is not None and not source.binary:
        for path, given in drawn.items():
            if strange := sorted(set(given) - set(declared.values())):
                raise InputError(
                    f"{path} holds the value {strange[0]}, which dataset.json does not declare; declare it."
                )
        return MaskRule({value: value for value in declared.values()}, declared, threshold, cut=False)
    return rule_of(drawn, threshold, declared)


def rule_of(
    drawn: Mapping[Path, tuple[int, ...]], threshold: int, declared: dict[str, int] | None = None, binary: bool = False
) -> MaskRule:
    """Which of the values in masks (path -> its values) is which class; ``binary``: there is one beside the background.

    Warns and raises InputError as ``mask_rule``; and, where only two classes can be meant, for more values.
    """
    pictures = [path for path in drawn if ending_of(path) not in VOLUMES]
    grey = {value for path in pictures for value in drawn[path]}
    mixed = {value for given in drawn.values() for value in given} == {0, 1, 255}
    mixed = mixed and not any({1, 255} <= set(given) for given in drawn.values())
    cut = len(grey) > (2 if binary else MANY) and max(grey) > threshold and not mixed
    _warn_of_cut(pictures, cut, len(grey), threshold)
    values = {0, 255} if cut else {value for given in drawn.values() for value in given}
    if len(values) < 2:
        raise InputError(f"{next(iter(drawn))} and all other masks hold one value only; check that they are masks.")
    if mixed:
        warnings.warn("some masks are 0/1 and some 0/255; both 1 and 255 are taken as the foreground.", stacklevel=2)
    if len(values) == 2 or mixed:
        classes = {value: int(value != min(values)) for value in values}
        return MaskRule(classes, declared or {"background": 0, "foreground": 1}, threshold, cut)
    if binary:
        path = max(drawn, key=lambda path: len(drawn[path]))
        raise InputError(
            f"{path.parent}: masks hold the values {shown(sorted(values))} where background and one structure are "
            f"expected ({path.name}); get them anew."
        )
    if max(grey, default=0) > threshold:
        warnings.warn(
            f"the masks hold the values {shown(sorted(values))}, and each is taken for a class of its own; if they are "
            "shades along an outline, make them 0 and 255 first.",
            stacklevel=2,
        )
    classes = {value: place for place, value in enumerate(sorted(values))}
    labels = {str(value) if place else "background": place for value, place in classes.items()}
    return MaskRule(classes, labels, threshold, cut)


def _warn_of_cut(pictures: Sequence[Path], cut: bool, values: int, threshold: int) -> None:
    jpegs = [path for path in pictures if ending_of(path) in LOSSY]
    if jpegs:
        warnings.warn(
            f"{len(jpegs)} masks are JPEG ({jpegs[0].name}, …), which blurs outlines; cut at {threshold}.", stacklevel=2
        )
    if cut:
        warnings.warn(
            f"the masks hold {values} grey values, as smoothed masks do; cut at {threshold} into background and "
            "foreground.",
            stacklevel=2,
        )


def file_ending(source: Source) -> str:
    """The one ending of the new data set: that of the images if they share one, else what holds them all.

    Raises InputError where pictures and volumes are mixed.
    """
    endings = {ending_of(path) for pair in source.train + source.test for path in pair.images}
    if len(endings) == 1 and not endings <= {*READ_ONLY}:
        return endings.pop()
    for kinds, ending in ((PICTURES + READ_ONLY, ".png"), (PICTURES + READ_ONLY + TIFFS, ".tif"), (VOLUMES, ".nii.gz")):
        if endings <= {*kinds}:
            return ending
    raise InputError(f"the images have the endings {', '.join(sorted(endings))}; prepare pictures and volumes apart.")
