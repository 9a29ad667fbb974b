"""From the folders people have, and the archives of public data sets, to an nnU-Net data set: ``maskmend prepare``."""

from __future__ import annotations

import csv
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..data.align import aligned
from ..data.dataset import Dataset, open_dataset, write_dataset
from ..data.dicom import is_dicom
from ..data.empty import KEY, MOST, check_masks
from ..data.formats import (
    PICTURES,
    SEGMENTS,
    TIFFS,
    VOLUMES,
    ending_of,
    read_image,
    write_image,
    write_label,
)
from ..data.fusion import majority
from ..data.headers import check_data_files
from ..data.scratch import check_new, check_outside, new_folder, scratch
from ..errors import InputError
from ..progress import track
from ..texts import case_name
from . import dicom, recipes
from .sources import Pair, Source, recognise
from .survey import THRESHOLD, Channels, MaskRule, channels_of, file_ending, mask_rule, read_all

__all__ = ["THRESHOLD", "majority", "prepare", "prepare_recipe"]


def prepare(
    source: Path,
    output: Path,
    test: float = 0.0,
    threshold: int = THRESHOLD,
    seed: int = 0,
    allow_empty: bool = False,
    structures: Sequence[str] = (),
) -> Dataset:
    """Convert ``source`` to an nnU-Net data set at ``output``; the source is never changed.

    Understood: a task of the Medical Segmentation Decathlon (``dataset.json`` that lists its files); a folder with
    ``images/`` and ``masks/`` of matching names, perhaps ``images_test/`` and ``masks_test/``; the same with a folder
    for each rater, ``masks/RATER/``, whose majority becomes the label, the lower class where they tie, with
    ``labelsTr_raters/RATER/`` beside it; an nnU-Net data set with 0/255 masks; DICOM series at any depth, with
    DICOM-SEG or RTSTRUCT files that are drawn on them (``dicom``).
    ``test``: share of the cases (of the patients, where DICOM tells them), drawn by ``seed``, kept back as a test set
    with labels. ``threshold``: where JPEG or smoothed masks are cut; above it is foreground. ``allow_empty``: most
    masks may be empty, and dataset.json says so. ``structures``: of DICOM masks, take these alone.
    Raises InputError where a pair is incomplete, unequal in size or unreadable, where most masks are empty, and where
    ``output`` is not empty.
    Nothing is left at ``output`` unless all went well.
    """
    source, output = Path(source), Path(output)
    check_new(output)
    if not 0 <= test < 1:
        raise InputError(f"test={test:g} is no share of the cases; choose one from 0 to below 1.")
    about = {KEY: True} if allow_empty else {}
    if is_dicom(source):
        check_outside(output, source)
        with scratch(output, ".scratch") as folder:
            found = dicom.read(source, folder, structures)
            return _convert(replace(found, about=found.about | about), output, test, threshold, seed)
    if structures:
        raise InputError(f"{source} holds no DICOM, and structures={','.join(structures)} is of DICOM; leave it out.")
    found = recognise(source)
    _check_apart(found, output)
    return _convert(replace(found, about=found.about | about), output, test, threshold, seed)


def prepare_recipe(name: str, archive: Path, output: Path, partial: bool = False, seed: int = 0) -> Dataset:
    """Convert the official ``archive`` (a folder, or a .zip or .tar) of the public data set ``name`` (``recipes``).

    ``partial``: fewer cases than the archive should have will do. ``seed`` draws the split where the papers give none.
    Raises InputError for an unknown name, an archive that is not what the recipe expects, and where ``output`` is not
    empty. Nothing is left at ``output`` unless all went well; what is made on the way lies beside it, and is removed.
    """
    recipe, given, output = recipes.find(name), Path(archive), Path(output)
    check_new(output)
    if given.is_dir():
        check_outside(output, given)
    with scratch(output, ".scratch") as folder:
        found = recipe.read(recipes.open_archive(recipe, given, folder, partial, seed))
        source = {"source": recipe.title, "obtained_from": recipe.home, "terms": recipe.terms, "cite": recipe.cite}
        about = {**source, "recipe": recipe.makes, "seed": seed, **found.about}
        return _convert(replace(found, about=about), output, 0.0, THRESHOLD, seed, recipe.empty)


def _convert(found: Source, output: Path, test: float, threshold: int, seed: int, empty: float = MOST) -> Dataset:
    """Write what was found; a share of the masks may be ``empty``."""
    found = replace(found, train=_named(found.train), test=_named(found.test))
    ending = file_ending(found)
    looks = read_all(found, threshold)
    channels, rule = channels_of(looks, found), mask_rule(looks, found, threshold)
    found = _hold_out(found, test, seed)
    with new_folder(output) as root:
        jobs = [("Tr", pair) for pair in found.train] + [("Ts", pair) for pair in found.test]
        for part, pair in track(jobs, "Writing the data set", total=len(jobs)):
            _write_images(pair, root / f"images{part}", ending, channels)
            _write_labels(pair, root / f"labels{part}", ending, rule)
        for path in found.beside:
            shutil.copyfile(path, root / path.name)
        if found.patients:
            with (root / "patients.csv").open("w", encoding="utf-8", newline="") as file:
                csv.writer(file, lineterminator="\n").writerows([("case", "patient"), *found.patients.items()])
        about = {"name": output.name, **found.about, **_of_raters(found), "converted_by": "maskmend prepare"}
        write_dataset(root, channels.names, rule.labels, ending, len(found.train), **about)
        made = open_dataset(root)
        check_masks(made, made.train + made.test, output, empty)
    return open_dataset(output)


def _named(pairs: tuple[Pair, ...]) -> tuple[Pair, ...]:
    """The same, each with a name that a file can have. Raises InputError where it has none, or shares it."""
    found: dict[str, Pair] = {}
    for pair in pairs:
        name = case_name(pair.name, pair.images[0])
        raters = tuple((case_name(rater, path), path) for rater, path in pair.raters)
        if (other := found.get(name)) is not None:
            raise InputError(f"{other.images[0]} and {pair.images[0]} are both the case {name}; rename or remove one.")
        found[name] = replace(pair, name=name, raters=raters)
    return tuple(found.values())


def _check_apart(source: Source, output: Path) -> None:
    """The source is never changed, so nothing is written among its files."""
    files = [path for pair in source.train + source.test for path in (*pair.images, *pair.masks)]
    for folder in {path.parent for path in files}:
        check_outside(output, folder)


def _hold_out(source: Source, test: float, seed: int) -> Source:
    """A share of the training cases moved to the test set, at least one where ``test`` is not zero."""
    if not test:
        return source
    if any(pair.masks for pair in source.test):
        raise InputError(f"the source has a test set of its own; leave out test={test:g}.")
    of = {pair.name: source.patients.get(pair.name, pair.name) for pair in source.train}
    groups = sorted(set(of.values()))
    count = max(round(test * len(groups)), 1)
    if count >= len(groups):
        kind = "patients" if source.patients else "cases"
        raise InputError(f"test={test:g} of {len(groups)} {kind} leaves none to train on; choose a smaller share.")
    if source.beside:
        raise InputError(f"{source.beside[0]} speaks of every case, so none is kept back; choose test=0.")
    drawn = {groups[place] for place in np.random.default_rng(seed).permutation(len(groups))[:count]}
    held = {name for name, group in of.items() if group in drawn}
    return replace(
        source,
        train=tuple(pair for pair in source.train if pair.name not in held),
        test=(*(pair for pair in source.train if pair.name in held), *source.test),
    )


def _write_images(pair: Pair, folder: Path, ending: str, channels: Channels) -> None:
    """CASE_0000, CASE_0001, …; volumes of one channel are copied byte for byte, colours stay in one file."""
    folder.mkdir(exist_ok=True)
    count = len(channels.names)
    if ending in VOLUMES and len(pair.images) == count and all(_whole(path, ending) for path in pair.images):
        for place, path in enumerate(pair.images):
            shutil.copyfile(path, folder / f"{pair.name}_{place:04d}{ending}")
        return
    image = read_image(pair.images)
    array = image.array
    if channels.coloured and ending in PICTURES + TIFFS:
        colours = np.repeat(array, 3, axis=0) if len(array) == 1 else array
        write_image(folder / f"{pair.name}_0000{ending}", colours, image.geometry)
        return
    for place in range(count):
        write_image(folder / f"{pair.name}_{place:04d}{ending}", array[place], image.geometry)


def _whole(path: Path, ending: str) -> bool:
    """Whether a volume can be copied as it is: all of it in one file of that ending, and no segments of Slicer's."""
    return ending_of(path) == ending and not path.name.lower().endswith(SEGMENTS) and not check_data_files(path)


def _write_labels(pair: Pair, folder: Path, ending: str, rule: MaskRule) -> None:
    """The label, that of each rater, and where raters are all there is, their majority as the label."""
    target = folder / f"{pair.name}{ending}"
    if pair.mask is not None:
        _write_mask(pair.mask, pair, target, rule)
    for rater, path in pair.raters:
        _write_mask(path, pair, folder.with_name(f"{folder.name}_raters") / rater / target.name, rule)
    if pair.raters and pair.mask is None:
        image = read_image(pair.images)
        labels = [aligned(rule(path), image, str(path), f"its image {pair.images[0].name}") for _, path in pair.raters]
        target.parent.mkdir(exist_ok=True)
        write_label(target, majority([label.array for label in labels]), image.geometry)


def _of_raters(source: Source) -> dict[str, str]:
    """What dataset.json says, and a warning, where labels are a majority."""
    names = sorted({rater for pair in source.train + source.test if pair.mask is None for rater, _ in pair.raters})
    if not names:
        return {}
    who = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    said = f"labels are the majority of {len(names)} raters ({who}); ties go to the lower class"
    warnings.warn(f"{said}.", stacklevel=3)
    return {"annotation": said}


def _write_mask(mask: Path, pair: Pair, target: Path, rule: MaskRule) -> None:
    """The label; with its image's geometry where its own format has none that files of that ending have, or where it
    is adrift."""
    target.parent.mkdir(parents=True, exist_ok=True)
    ending = ending_of(target)
    if rule.changes_nothing and mask not in rule.adrift and ending in VOLUMES and _whole(mask, ending):
        shutil.copyfile(mask, target)
        return
    label = rule(mask)
    if label.geometry.cropped:
        label = aligned(label, read_image(pair.images), str(mask), f"its image {pair.images[0].name}")
    own = (ending_of(mask) in VOLUMES) == (ending in VOLUMES) and mask not in rule.adrift
    write_label(target, label.array, label.geometry if own else read_image(pair.images).geometry)
