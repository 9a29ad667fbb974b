"""Small audits on disk, as `maskmend audit` would leave them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maskmend.audit import store
from maskmend.audit.store import Audit, Doubted
from maskmend.audit.suggest import joined
from maskmend.data.dataset import write_dataset
from maskmend.data.formats import write_image, write_label
from maskmend.data.geometry import Geometry

LABELS = {"background": 0, "liver": 1, "lesion": 2}


def boxes(shape: Sequence[int]) -> NDArray[np.uint8]:
    """A liver, and a lesion in it."""
    label = np.zeros(shape, np.uint8)
    label[tuple(slice(n // 4, -(n // 4)) for n in shape)] = 1
    label[tuple(slice(n // 2, n // 2 + max(1, n // 8)) for n in shape)] = 2
    return label


def doubted(label: NDArray[np.uint8]) -> list[Doubted]:
    """The lesion is thought to be liver, and a corner of the image to be a lesion."""
    corner = np.zeros(label.shape, bool)
    corner[tuple(slice(0, 2) for _ in label.shape)] = True
    return [
        Doubted("spurious", 2, np.flatnonzero(label == 2), 0.9, "No lesion here.", value=1),
        Doubted("missing", 2, np.flatnonzero(corner), 0.6, "A lesion here.", value=2),
    ]


def make_audit(
    root: Path, shape: Sequence[int], names: Sequence[str] = ("a", "b"), ending: str = ".nii.gz",
    place: Geometry | None = None, channels: int = 1, ignore: int | None = None,
) -> Audit:  # fmt: skip
    """An audit of a data set with the same label under every name; of the first, two findings."""
    place = place or Geometry((1.0,) * len(shape))
    data, folder = root / "Dataset001_Made", root / "audit"
    rng, label = np.random.default_rng(0), boxes(shape)
    for name in names:
        image = rng.integers(0, 255, (channels, *shape), dtype=np.uint8)
        (data / "imagesTr").mkdir(parents=True, exist_ok=True)
        (data / "labelsTr").mkdir(exist_ok=True)
        write_image(data / "imagesTr" / f"{name}_0000{ending}", image, place)
        write_label(data / "labelsTr" / f"{name}{ending}", label, place)
    labels = LABELS | ({"ignore": ignore} if ignore is not None else {})
    write_dataset(data, ["R", "G", "B"][:channels], labels, ending, len(names))
    files = {
        name: tuple(store.sha256(data / f) for f in (f"labelsTr/{name}{ending}", f"imagesTr/{name}_0000{ending}"))
        for name in names
    }
    about = store.About(
        maskmend="0", dataset=str(data.resolve()), dims=len(shape), labels=LABELS, ignore=ignore, file_ending=ending,
        files=files, made="2026-01-01T00:00:00+00:00", seconds=0.0,
    )  # fmt: skip
    rows = []
    for rank, name in enumerate(names, 1):
        found, numbers, suggested = joined(name, label, doubted(label) if rank == 1 else [], LABELS, place)
        maps = {"findings": numbers, "suggestions": suggested, "predicted": suggested, "doubt": 255 * (numbers > 0)}
        store.write_case(folder, about, name, found, maps if rank == 1 else {}, place)
        rows.append(store.Row(case=name, rank=rank, doubt=0.5 / rank, hint="review" if rank == 1 else "fine",
                              classes=("lesion",), findings=len(found)))  # fmt: skip
    store.write_rows(folder, rows)
    store.write_about(folder, about)
    return store.open_audit(folder)
