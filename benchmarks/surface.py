"""How long do all surface metrics take, against MONAI's HD95 and ASSD? Volumes of 128³, one thread.

    python benchmarks/surface.py [--repeats 7] [--size 128]

Ours is everything that `maskmend evaluate --surface` computes of a case: the distances once, and HD95 (both readings),
HD, ASD, ASSD and NSD from them. MONAI's is `compute_hausdorff_distance(percentile=95)` and
`compute_average_surface_distance(symmetric=True)`, given masks that are one-hot already. Both are timed in turns, in
processor time, and the medians compared; before that, the numbers of both must agree.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from functools import partial
from statistics import median

import numpy as np
import torch
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from maskmend.metrics import surface_distances, surface_metrics

GOAL = 1 / 3
SPACING_MM = (1.0, 0.8, 0.8)
Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def ball(size: int, radius: float, middle: tuple[float, float, float] = (0.5, 0.5, 0.5)) -> NDArray[np.uint8]:
    """Middle and radius as shares of the side."""
    axes = np.ogrid[:size, :size, :size]
    distance = sum((axis / size - m) ** 2 for axis, m in zip(axes, middle, strict=True))
    return (distance < radius**2).astype(np.uint8)


def organ(size: int, seed: int) -> Pair:
    """A lumpy organ with a lesion (2) in it; its prediction has other lumps and, besides, specks everywhere."""
    rng = np.random.default_rng(seed)
    axes = np.ogrid[:size, :size, :size]
    radius = np.sqrt(sum((axis / size - 0.5) ** 2 for axis in axes))
    lumps, others = (gaussian_filter(rng.standard_normal((size,) * 3), 4) for _ in range(2))
    masks = []
    for field in (lumps + 0.3 * others, lumps):
        lumpy = radius + 0.05 * field / lumps.std()
        masks.append(np.where(lumpy < 0.12, 2, np.where(lumpy < 0.34, 1, 0)).astype(np.uint8))
    specks = gaussian_filter(rng.standard_normal((size,) * 3), 1)
    masks[0][specks > 3.5 * specks.std()] = 1
    return masks[0], masks[1]


def pairs(size: int) -> dict[str, Pair]:
    """Prediction and reference."""
    noisy = organ(size, 0)
    return {
        "ball, shifted by 2 %": (ball(size, 0.31, (0.52, 0.5, 0.52)), ball(size, 0.31)),
        "ball, half the radius": (ball(size, 0.2), ball(size, 0.4)),
        "two small balls far apart": (ball(size, 0.06, (0.15, 0.15, 0.15)), ball(size, 0.06, (0.8, 0.8, 0.8))),
        "noisy organ": ((noisy[0] > 0).astype(np.uint8), (noisy[1] > 0).astype(np.uint8)),
        "noisy organ and lesion, 2 classes": noisy,
    }


def ours(pair: Pair, labels: list[int]) -> list[float]:
    found = [surface_metrics(d, 1.0) for d in surface_distances(*pair, labels, SPACING_MM).values()]
    return [metrics[name] for name in ("HD95", "ASSD") for metrics in found]


def monais(one_hot: list[torch.Tensor]) -> list[float]:
    worst = compute_hausdorff_distance(*one_hot, percentile=95, spacing=SPACING_MM)
    mean = compute_average_surface_distance(*one_hot, symmetric=True, spacing=SPACING_MM)
    return [float(value) for value in (*worst[0], *mean[0])]


def milliseconds(run: Callable[[], object]) -> float:
    start = time.thread_time()
    run()
    return 1e3 * (time.thread_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--size", type=int, default=128)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print("| pair | all of ours, ms | MONAI's HD95 and ASSD, ms | ratio |\n|---|---|---|---|")
    for name, pair in pairs(asked.size).items():
        labels = list(range(1, int(pair[1].max()) + 1))
        one_hot = [torch.from_numpy(np.stack([m == k for k in (0, *labels)])[None]) for m in pair]
        runs = (partial(ours, pair, labels), partial(monais, one_hot))
        np.testing.assert_allclose(runs[0](), runs[1](), rtol=1e-5)
        times = [[milliseconds(run) for run in runs] for _ in range(asked.repeats)]
        mine, theirs = (median(column) for column in zip(*times, strict=True))
        print(f"| {name} | {mine:.0f} | {theirs:.0f} | {mine / theirs:.2f}{' (missed)' * (mine / theirs > GOAL)} |")


if __name__ == "__main__":
    main()
