"""How long do an audit's checks take, what do they find, and how much memory do they need?

    python benchmarks/audit_speed.py [DATASET ...]

Of each data set: the seconds, and the findings by kind. Without any, a made CT of 512 × 512 × 400 voxels with five
organs, one of them with a hole, another with a stray part.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from maskmend.audit.population import compare
from maskmend.audit.run import look_over
from maskmend.data.dataset import open_dataset, write_dataset
from maskmend.data.formats import write_image, write_label
from maskmend.data.geometry import Geometry

SHAPE = (400, 512, 512)
ORGANS = (
    ((200, 250, 150), (150, 120, 90)), ((200, 250, 360), (150, 120, 90)), ((300, 150, 250), (60, 50, 50)),
    ((60, 300, 256), (50, 90, 100)), ((200, 400, 256), (190, 30, 30)),
)  # fmt: skip
"""Centres and radii in voxels."""


def made(root: Path) -> Path:
    """A data set of one CT."""
    label = np.zeros(SHAPE, np.uint8)
    grid = np.ogrid[tuple(map(slice, SHAPE))]
    for k, (centre, radii) in enumerate(ORGANS, 1):
        label[sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radii, strict=True)) < 1] = k
    label[200, 240:244, 150:154], label[100:104, 20:24, 20:24] = 0, 3
    image = label.astype(np.int16) * 40 + np.random.default_rng(0).integers(-30, 30, SHAPE, dtype=np.int16)
    place = Geometry((1.0, 0.8, 0.8), (-200.0, -200.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    write_image(root / "imagesTr/ct_0000.nii.gz", image, place)
    write_label(root / "labelsTr/ct.nii.gz", label, place)
    write_dataset(root, ["CT"], {"background": 0} | {f"organ {k}": k for k in range(1, 6)}, ".nii.gz", 1)
    return root


def check(root: Path) -> None:
    dataset = open_dataset(root)
    start = time.perf_counter()
    looks = list(look_over(dataset).values())
    found = compare(looks, dataset)
    seconds = time.perf_counter() - start
    every = [(look.case, each) for look in looks for each in (*look.broken, *found.get(look.case, ()))]
    kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(each.kind for _, each in every).most_common())
    sure = sum(each.confidence > 0.9 for _, each in every) / len(looks)
    print(f"{root.name}: {len(looks)} cases in {seconds:.1f} s; {len(every) / len(looks):.2f} findings a case, "
          f"{sure:.3f} above 0.9, in {len({case for case, _ in every})} cases ({kinds})")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("datasets", nargs="*", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for root in args.datasets or [made(Path(folder) / "CT")]:
            check(root)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
