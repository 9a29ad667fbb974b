"""One case, prepared: image, label and maps as arrays on disk, each under a key of what it depends on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache as memoised

import numpy as np
import torch

from ..errors import InputError
from ..functional.rng import fold
from ..types import IGNORE
from .cache import Cache, Stored, content_hash
from .dataset import Case, Dataset, case_arrays
from .patches import foreground_points
from .preprocess import Plan, preprocess_image, preprocess_label, resample
from .sidemaps import SIDEMAPS, features_file, read_features, superpixel


@dataclass(frozen=True)
class Prepared:
    """Where the arrays of one case, with one label, lie. ``sizes``: pixels of each class, (K,) int64."""

    image: Stored
    label: Stored
    foreground: Stored
    sizes: Stored
    maps: Mapping[str, Stored]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.label.shape

    def exists(self) -> bool:
        return all(s.path.exists() for s in (self.image, self.label, self.foreground, self.sizes, *self.maps.values()))


def prepare_case(case: Case, dataset: Dataset, plan: Plan, cache: Cache, maps: Sequence[str]) -> Prepared:
    """The arrays of a case and the side ``maps`` named, made where ``cache`` does not hold them yet.

    Raises:
        InputError: a file cannot be read or does not fit the plan, or the disk is full.
    """
    read = memoised(lambda: case_arrays(case, dataset))
    spacing = case.images[0].with_name(f"{case.name}.json")  # a TIFF's spacing lies beside it
    look = content_hash((*case.images, *([spacing] if spacing.exists() else [])))
    grid = plan.model_dump(mode="json", include={"size", "spacing_mm"})
    image = cache.store(
        {"image": look, **grid, **plan.model_dump(mode="json", include={"normalisation"})},
        lambda: preprocess_image(read()[0], plan, str(case.images[0])),
    )

    def make_label() -> np.ndarray:
        picture, given = read()
        return preprocess_label(replace(given, geometry=picture.geometry), plan)

    label = cache.store(
        {
            "label": content_hash([case.label]) if case.label else None,
            "image": look if plan.spacing_mm or case.label is None else None,
            "values": [plan.classes, dataset.ignore],
            **grid,
        },
        make_label,
    )
    if label.shape != image.shape[1:]:
        raise InputError(
            f"{case.label} has the shape {label.shape} and {case.images[0]} {image.shape[1:]} (after resampling); "
            "they must be equal: correct the label."
        )
    foreground = cache.store(
        {"foreground": label.key}, lambda: foreground_points(label.open(), fold(0, "foreground", label.key))
    )
    sizes = cache.store({"sizes": label.key, "classes": plan.classes}, lambda: class_sizes(label.open(), plan.classes))
    side = {name: _side_map(name, case.name, image, label, plan, cache) for name in maps}
    return Prepared(image, label, foreground, sizes, side)


def class_sizes(label: np.ndarray, classes: int) -> np.ndarray:
    """Pixels of each class in a label (*S): (K,) int64."""
    return np.bincount(label[label != IGNORE].ravel(), minlength=classes).astype(np.int64)


def _side_map(name: str, case: str, image: Stored, label: Stored, plan: Plan, cache: Cache) -> Stored:
    side, config = SIDEMAPS[name], plan.sidemaps
    source = image if side.of == "image" else label
    key = side.key(name, source.key, config)
    if name != "superpixel" or config.features is None:
        return cache.store(key, lambda: side.make(source.open(), config))
    file = features_file(config, case)

    def make() -> np.ndarray:
        features = torch.from_numpy(read_features(file, config.temperature))
        return superpixel(image.open(), config, resample(features, image.shape[1:]).numpy())

    return cache.store({**key, "features": content_hash([file]), "temperature": config.temperature}, make)
