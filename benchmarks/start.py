"""What does the start of a run cost before it trains: the first time, and again when no file changed?

    python benchmarks/start.py [--cases 10000] [--volumes 6] [--full]

A start opens the data set, checks every file, settles the plan and prepares the cases, as ``maskmend train`` does; each
in a process of its own, whose imports do not count. Seconds are of the processor, all threads together. ``without``:
the same with a cache of prepared arrays that remembers nothing of files: each is read to be checked and for the plan.
Growth: the exponent e of cases^e or voxels^e, between a quarter and all of the cases, and between two sizes of volume.
``--full``: also one CT of 512 × 512 × 400.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from math import log, prod
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from maskmend.data.cache import Cache
from maskmend.data.dataset import open_dataset, write_dataset
from maskmend.data.empty import check_masks
from maskmend.data.formats import write_image, write_label
from maskmend.data.geometry import Geometry
from maskmend.data.plan import DataConfig, make_plan, takes_intensities
from maskmend.data.survey import Survey, check_dataset
from maskmend.data.trainset import CaseSet

SMALL, LARGE, CT = (50, 64, 64), (100, 128, 128), (400, 512, 512)
LONG_AGO_NS = 10**18


def made(root: Path, shape: tuple[int, ...], cases: int) -> Path:
    """Noise with a box that is labelled, as PNG, or as NIfTI in 3D."""
    flat = len(shape) == 2
    ending, channel, place = (".png", "grey", Geometry((1.0, 1.0))) if flat else (
        ".nii.gz", "CT", Geometry((1.0, 0.8, 0.8), (0.0, 0.0, 0.0), tuple(np.eye(3).ravel()))
    )  # fmt: skip
    box = tuple(slice(n // 4, n // 2) for n in shape)
    label = np.zeros(shape, np.uint8)
    label[box] = 1
    for n in range(cases):
        image = np.random.default_rng(n).integers(0, 200, shape).astype(np.uint8 if flat else np.int16)
        image[box] += 50
        write_image(root / f"imagesTr/c{n:05d}_0000{ending}", image, place)
        write_label(root / f"labelsTr/c{n:05d}{ending}", label, place)
    write_dataset(root, [channel], {"background": 0, "lesion": 1}, ending, cases)
    for path in root.rglob("*.*"):
        os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS))
    return root


def start(root: Path, cache: Path) -> float:
    """Seconds of the processor that a start takes."""
    begun = time.process_time()
    data, config = open_dataset(root), DataConfig()
    with Survey(cache, root) as survey:
        check_dataset(data, data.train, survey, ct=takes_intensities(data, config))
        check_masks(data, data.train, cache=survey)
        _asked(CaseSet(data.train, data, make_plan(data, data.train, config, survey), survey))
    return time.process_time() - begun


def without(root: Path, cache: Path) -> float:
    """The same where every file is read to be checked, and again for the plan."""
    begun = time.process_time()
    data = open_dataset(root)
    check_dataset(data, data.train)
    check_masks(data, data.train)
    _asked(CaseSet(data.train, data, make_plan(data, data.train, DataConfig()), Cache(cache)))
    return time.process_time() - begun


def _asked(cases: CaseSet) -> None:
    """What a run asks of its cases before it trains."""
    assert cases.sizes.any()
    assert not cases.removed
    assert cases.content


def apart(run: Callable[[Path, Path], float], root: Path, cache: Path, warm: Path) -> float:
    """In a process of its own, that imported what it needs for the small data set ``warm``."""
    with ProcessPoolExecutor(1, get_context("spawn")) as other:
        other.submit(run, warm, warm / "cache").result()
        return other.submit(run, root, cache).result()


def measured(shape: tuple[int, ...], cases: int, folder: Path) -> tuple[float, float]:
    """A line of the table; seconds of the first start and of the next."""
    name = f"{prod(shape)}-{cases}"
    root, warm = made(folder / name, shape, cases), made(folder / f"{name}-warm", (32,) * len(shape), 1)
    first, again = (apart(start, root, folder / f"{name}-cache", warm) for _ in range(2))
    old, old_again = (apart(without, root, folder / f"{name}-arrays", warm) for _ in range(2))
    shares = f"{first / old:>14.2f}{again / old_again:>8.3f}"
    said = f"{cases} × {' × '.join(map(str, shape))}"
    print(f"{said:>22}{first:>8.2f}{again:>8.3f}{old:>16.2f}{old_again:>8.2f}{shares}", flush=True)
    return first, again


def grown(less: tuple[float, float], more: tuple[float, float], times: float) -> str:
    first, again = (log(b / a) / log(times) for a, b in zip(less, more, strict=True))
    return f"first {first:.2f}, again {again:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=10_000, help="PNG of 64 × 64")
    parser.add_argument("--volumes", type=int, default=6, help="volumes of each size")
    parser.add_argument("--full", action="store_true", help="one CT of 512 × 512 × 400 too")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(f"{'':>22}{'first':>8}{'again':>8}{'without: first':>16}{'again':>8}{'share: first':>14}{'again':>8}")
        few, many = (measured((64, 64), n, folder) for n in (asked.cases // 4, asked.cases))
        small, large = (measured(shape, asked.volumes, folder) for shape in (SMALL, LARGE))
        if asked.full:
            measured(CT, 1, folder)
        print(
            f"growth with cases: {grown(few, many, 4)}; with voxels: {grown(small, large, prod(LARGE) / prod(SMALL))}"
        )


if __name__ == "__main__":
    main()
