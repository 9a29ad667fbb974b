"""Small data sets on disk, from arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from maskmend.data.dataset import Case, Dataset
from maskmend.data.formats import Geometry, write_image, write_label
from maskmend.types import Trust

Make = Callable[..., Dataset]


def geometry(spacing_mm: Sequence[float] | None, dims: int) -> Geometry:
    if spacing_mm is None:
        return Geometry((1.0,) * dims)
    return Geometry(tuple(spacing_mm), (3.0, -2.0, 5.0)[:dims], tuple(np.eye(dims).ravel()))


@pytest.fixture
def make_dataset(tmp_path: Path) -> Make:
    """Write images (C, *S) and labels (*S) or None, one file per channel; no dataset.json."""

    def make(
        images: Sequence[np.ndarray],
        labels: Sequence[np.ndarray | None],
        *,
        channels: tuple[str, ...] = ("grey",),
        ending: str = ".png",
        trust: Sequence[Trust] | None = None,
        spacings: Sequence[Sequence[float]] | None = None,
        ignore: int | None = None,
    ) -> Dataset:
        cases = []
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            place = geometry(spacings[i] if spacings else None, image.ndim - 1)
            paths = tuple(tmp_path / "imagesTr" / f"c{i:02d}_{c:04d}{ending}" for c in range(len(image)))
            for path, channel in zip(paths, image, strict=True):
                write_image(path, channel, place)
            mask = None
            if label is not None:
                mask = tmp_path / "labelsTr" / f"c{i:02d}{ending}"
                write_label(mask, label, place)
            cases.append(Case(f"c{i:02d}", paths, mask, trust[i] if trust else Trust.NOISY))
        known = {int(v) for label in labels if label is not None for v in np.unique(label)} - {0, ignore}
        names = {"background": 0} | {f"part{v}": v for v in sorted(known)}
        return Dataset(tmp_path, channels, names, ignore, ending, tuple(cases), ())

    return make
