"""One case, prepared: image, label and maps as arrays on disk, each under a key of what it depends on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache as memoised
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch

from ..errors import InputError
from ..functional.rng import fold
from ..types import IGNORE
from .cache import Cache, Stored, content_hash
from .dataset import Case, Dataset, case_arrays, declared_label
from .formats import Picture, sources
from .fusion import Fusion, Soft, fuse, soft, soft_part
from .normalisation import Normalisation
from .patches import foreground_points
from .preprocess import Plan, preprocess_image, preprocess_label, resample, stacked
from .sidemaps import SIDEMAPS, SUPERPIXEL, features_file, read_features, sides


@dataclass(frozen=True)
class Prepared:
    """Where the arrays of one case, with one label, lie. ``sizes``: pixels of each class, (K,); ``given``: the same
    before the label was resampled. ``foreground``: points to centre patches on; None where a patch shows the whole."""

    image: Stored
    label: Stored
    foreground: Stored | None
    sizes: tuple[int, ...]
    given: tuple[int, ...]
    maps: Mapping[str, Stored]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.label.shape

    def points(self) -> np.ndarray:
        """Points of each foreground class (``patches.foreground_points``), of a case that is larger than a patch."""
        assert self.foreground is not None
        return self.foreground.open()

    def exists(self) -> bool:
        arrays = (self.image, self.label, self.foreground, *self.maps.values())
        return all(array.path.exists() for array in arrays if array is not None)


FUSING = 1
"""Raised when the same labels would be fused to another one."""


@dataclass(frozen=True)
class Labelled:
    """One case with the label that was given; with the one it is learnt from; and with those, if any, of which one is
    drawn anew each time it is learnt from."""

    given: Prepared
    fixed: Prepared
    drawn: tuple[Prepared, ...] = ()

    def exist(self) -> bool:
        return all(prepared.exists() for prepared in (self.given, self.fixed, *self.drawn))


def prepare_case(
    case: Case, dataset: Dataset, plan: Plan, cache: Cache, maps: Sequence[str], fused: Fusion | None = None
) -> Prepared:
    """The arrays of a case and the side ``maps`` named, made where ``cache`` does not hold them yet.

    ``fused``: the label is not the given one but made of the raters', which it has, by this rule.

    Raises:
        InputError: a file cannot be read or does not fit the plan, or the disk is full.
    """
    read = memoised(lambda: cache.again((case.images, case.label), lambda: case_arrays(case, dataset)))
    drawn = memoised(lambda: _drawn(case, dataset, *read()))
    look = cache.content(sources(case.images))
    grid: dict[str, Any] = {"size": plan.size, "spacing_mm": plan.spacing_mm}
    grid |= {"slices": plan.slices} if plan.slices else {}
    image = cache.store(
        {"image": look, **grid, "normalisation": _dumped(plan.normalisation)},
        lambda: preprocess_image(read()[0], plan, str(case.images[0])),
    )

    def key(**source: Any) -> dict[str, Any]:
        return {**source, "image": look, **grid, "values": [plan.classes, dataset.ignore]}  # on the image's grid

    def unsampled() -> Picture:
        picture, given = read()
        return Picture(fuse(drawn(), fused, plan.classes) if fused else given.array, picture.geometry)

    given = {"label": cache.content(sources([case.label])) if case.label else None}
    known = key(**({"fused": fused, **_raters(case, cache)} if fused else given))
    label = cache.store(known, lambda: preprocess_label(unsampled(), plan))
    if label.shape != image.shape[1:]:
        raise InputError(
            f"{case.label} has the shape {label.shape} and {case.images[0]} {image.shape[1:]} (after resampling); "
            "they must be equal: correct the label."
        )
    foreground = None
    if any(n > k for n, k in zip(label.shape, plan.shown, strict=True)):
        seed = fold(0, "foreground", label.key)
        foreground = cache.store({"foreground": label.key}, lambda: foreground_points(label.open(), seed))
    sizes, before = cache.note(
        f"sizes {label.key} {plan.classes}",
        lambda: [class_sizes(each, plan.classes).tolist() for each in (label.open(), unsampled().array)],
    )
    shares = memoised(lambda rule: _shares([*drawn(), read()[1].array], rule, read()[0], plan))
    side: dict[str, Stored] = {}
    for name in maps:
        if part := soft_part(name):
            side[name] = cache.store(key(soft=part, **given, **_raters(case, cache)), partial(_of_class, shares, *part))
        else:
            side[name] = _side_map(name, case.name, image, label, plan, cache)
    return Prepared(image, label, foreground, tuple(sizes), tuple(before), side)


@lru_cache
def _dumped(rules: tuple[Normalisation, ...]) -> list[dict[str, Any]]:
    return [rule.model_dump(mode="json") for rule in rules]


def _of_class(shares: Callable[[Soft], np.ndarray], rule: Soft, value: int) -> np.ndarray:
    """One class's part of (K, *S)."""
    part: np.ndarray = shares(rule)[value]
    return part


def _raters(case: Case, cache: Cache) -> dict[str, Any]:
    """What anything made of the raters' labels depends on; of the given label where there are none."""
    paths = case.opinions or ([case.label] if case.label else [])
    return {"raters": cache.content(sources(paths)), "count": len(paths), "fusing": FUSING}


def _drawn(case: Case, dataset: Dataset, picture: Picture, given: Picture) -> list[np.ndarray]:
    """What each rater drew of a case, (*S) each; the given label alone where nobody else's stands for it."""
    return [declared_label(path, picture, case, dataset).array for path in case.opinions] or [given.array]


def _shares(labels: Sequence[np.ndarray], rule: Soft, image: Picture, plan: Plan) -> np.ndarray:
    """The share of each class, (K, *S') float32, on the plan's grid of an ``image`` (C, *S); resampled as images are,
    so that shares stay shares.

    ``labels`` (*S): what each rater drew, and the given label at last, which stands where none of them has an opinion.
    """
    *drawn, given = labels
    share = soft(drawn, rule, plan.classes)
    silent = ~share.any(0)
    share[:, silent] = given[silent] == np.arange(plan.classes)[:, None]
    seen = stacked(Picture(share, image.geometry), plan)
    grid = plan.grid(seen.shape, seen.geometry.spacing_mm)
    resampled: np.ndarray = resample(torch.from_numpy(np.ascontiguousarray(seen.array)), grid, plan.dims).numpy()
    return resampled


def class_sizes(label: np.ndarray, classes: int) -> np.ndarray:
    """Pixels of each class in a label (*S): (K,) int64."""
    return np.bincount(label[label != IGNORE].ravel(), minlength=classes).astype(np.int64)


def add_map(name: str, case: str, prepared: Prepared, plan: Plan, cache: Cache) -> Prepared:
    """The case with one more side map."""
    made = _side_map(name, case, prepared.image, prepared.label, plan, cache)
    return replace(prepared, maps={**prepared.maps, name: made})


def _side_map(name: str, case: str, image: Stored, label: Stored, plan: Plan, cache: Cache) -> Stored:
    side, config = SIDEMAPS[name], plan.sidemaps
    source = image if side.of == "image" else label
    key = dict(side.key(name, source.key, config))
    if plan.slices:
        return cache.store(key, lambda: np.stack([side.make(s, config) for s in np.moveaxis(source.open(), -3, 0)]))
    if name != SUPERPIXEL:
        return cache.store(key, lambda: side.make(source.open(), config))
    if plan.dims == 3:
        key["sides"] = sides(config.superpixel_size(3), plan.spacing_mm or (1.0,) * 3)
    file = features_file(config, case) if config.features else None
    if file:
        key |= {"features": content_hash([file]), "temperature": config.temperature}

    def make() -> np.ndarray:
        seen = torch.from_numpy(read_features(file, config.temperature)) if file else None
        features = None if seen is None else resample(seen, image.shape[1:]).numpy()
        return side.make(image.open(), config, features, plan.spacing_mm)

    return cache.store(key, make)
