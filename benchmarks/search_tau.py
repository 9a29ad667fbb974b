"""Does the search find a known share of wrong pixels? A table of docs/results.md.

    python benchmarks/search_tau.py OUT

Ellipses whose masks lack, or have too much of, an exact share of the image along their boundary: half of them too
small and half too large, or all too large. Ten trainings a row: a minute on one idle core.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from maskmend.data.dataset import write_dataset
from maskmend.data.formats import Geometry, write_image, write_label
from maskmend.verbs.search import search

IMAGES, SIDE = 24, 48
WORDS = (
    *(
        "fold=all",
        "network.width=8",
        "network.strides=[2,2]",
        "optim.lr=0.02",
        "train.threads=1",
        "train.precision=fp32",
    ),
    *("method.weight_cap=3", "method.tau_epochs=5", "train.epochs=20"),
)


def spoilt(level: np.ndarray, share: float, grow: bool) -> np.ndarray:
    """The mask ``level`` < 1 with ``share`` of all pixels added or taken away, those nearest its boundary first."""
    truth = level < 1
    order = np.where(truth, np.inf, level) if grow else np.where(truth, -level, np.inf)
    given = truth.ravel().copy()
    given[np.argsort(order.ravel(), kind="stable")[: int(share * level.size)]] ^= True
    return given.reshape(level.shape)


def write_ellipses(root: Path, share: float, all_grown: bool) -> None:
    grid, pixel = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij")), Geometry((1.0, 1.0))
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    for n in range(IMAGES):
        rng = np.random.default_rng(n)
        centre, radius = SIDE / 2 + rng.uniform(-6, 6, (2, 1, 1)), SIDE * rng.uniform(0.24, 0.36, (2, 1, 1))
        level = np.sqrt((((grid - centre) / radius) ** 2).sum(0))
        image = np.clip(60 + 120 * (level < 1) + rng.normal(0, 25, level.shape), 0, 255).astype(np.uint8)
        write_image(root / "imagesTr" / f"c{n:02d}_0000.png", image, pixel)
        label = spoilt(level, share, all_grown or n % 2 == 0).astype(np.uint8)
        write_label(root / "labelsTr" / f"c{n:02d}.png", label, pixel)
    write_dataset(root, ("grey",), {"background": 0, "part": 1}, ".png", IMAGES)


def main(out: Path) -> None:
    for share, all_grown in ((0.05, False), (0.12, False), (0.2, False), (0.12, True)):
        name = f"{share}_{'grown' if all_grown else 'both'}"
        write_ellipses(out / name / "data", share, all_grown)
        found = search(out / name / "data", out / name / "run", "tau", "gsd_net", None, WORDS, device="cpu")
        print(f"{name}: {found.table()}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
