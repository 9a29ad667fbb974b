"""How long does an audit take, of which how much of the processor, what does it find, and how much memory does it need?

    python benchmarks/audit_speed.py [DATASET ...]
    python benchmarks/audit_speed.py volume
    python benchmarks/audit_speed.py pictures

Of each data set: the seconds that checks take, and the findings by kind. Without any, a made CT of 512 × 512 × 400
voxels with five organs, one of them with a hole, another with a stray part. ``volume``: whole audits, to the report, of
such a CT with three organs, judged by predictions (float16, as nnU-Net saves them) that lie some voxels beside them;
``pictures``: of 300 pictures of 512 × 512. The goal of the former is less than 4 GiB, and minutes.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from maskmend.audit.edges import off
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


BESIDE = (3, 0, 4)
"""Voxels that the organs of a judge lie beside the given ones."""
PICTURES = 300


def made(root: Path, organs: int = len(ORGANS)) -> Path:
    """A data set of one CT."""
    label = np.zeros(SHAPE, np.uint8)
    for k, far in enumerate(_far(organs), 1):
        label[far < 1] = k
    label[200, 240:244, 150:154], label[100:104, 20:24, 20:24] = 0, 3
    image = label.astype(np.int16) * 40 + np.random.default_rng(0).integers(-30, 30, SHAPE, dtype=np.int16)
    place = Geometry((1.0, 0.8, 0.8), (-200.0, -200.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    write_image(root / "imagesTr/ct_0000.nii.gz", image, place)
    write_label(root / "labelsTr/ct.nii.gz", label, place)
    write_dataset(root, ["CT"], _names(organs), ".nii.gz", 1)
    return root


def _names(organs: int) -> dict[str, int]:
    return {"background": 0} | {f"organ {k}": k for k in range(1, organs + 1)}


def _far(organs: int, beside: tuple[int, ...] = (0, 0, 0)) -> Iterator[np.ndarray]:
    """Of each organ how far voxels (D, H, W) are from its middle, squared: 1 at its edge."""
    grid = np.ogrid[tuple(map(slice, SHAPE))]
    for centre, radii in ORGANS[:organs]:
        yield sum(((g - c - b) / r) ** 2 for g, c, r, b in zip(grid, centre, radii, beside, strict=True))  # type: ignore[misc]


def _saved(folder: Path, organs: int) -> Path:
    """What a judge of the CT says."""
    prob = np.zeros((organs + 1, *SHAPE), np.float16)
    for k, (far, (_, radii)) in enumerate(zip(_far(organs, BESIDE), ORGANS, strict=False), 1):
        for row, plane in zip(prob[k], far, strict=True):
            row[...] = 1 / (1 + np.exp(np.clip((np.sqrt(plane) - 1) * min(radii) / 2, -15, 15)))
    for block in prob.swapaxes(0, 1):
        block[1:] /= np.maximum(block[1:].sum(0, dtype=np.float32), 1)
        block[0] = np.maximum(1 - block[1:].sum(0, dtype=np.float32), 0)
    folder.mkdir()
    np.savez_compressed(folder / "ct.npz", probabilities=prob)
    return folder


def judged_volume(root: Path) -> tuple[Path, Path]:
    """A data set of one CT, and the folder of predictions."""
    return made(root, 3), _saved(root / "predictions", 3)


def judged_pictures(root: Path, cases: int = PICTURES, side: int = 512) -> tuple[Path, Path]:
    """A data set of pictures with three discs each, and the folder of predictions."""
    rng, grid = np.random.default_rng(0), np.mgrid[:side, :side]
    (root / "predictions").mkdir(parents=True)
    for n in range(cases):
        middles, radius = (
            side * (np.array([[0.3, 0.3], [0.3, 0.7], [0.7, 0.5]]) + rng.normal(0, 0.03, (3, 2))),
            side / 8,
        )
        given, seen = (
            np.stack([radius - np.hypot(*(grid - (middle + off)[:, None, None])) for middle in middles])
            for off in (0, rng.normal(0, 3, 2))
        )
        label = np.where((given > 0).any(0), given.argmax(0) + 1, 0).astype(np.uint8)
        prob = np.concatenate([np.zeros((1, side, side)), seen.clip(-20, 20)])
        prob = np.exp(prob - prob.max(0))
        grey = np.clip(60 + 40 * label + rng.normal(0, 12, label.shape), 0, 255).astype(np.uint8)
        write_image(root / f"imagesTr/c{n:04d}_0000.png", grey[None], Geometry((1.0, 1.0)))
        write_label(root / f"labelsTr/c{n:04d}.png", label, Geometry((1.0, 1.0)))
        np.savez_compressed(root / f"predictions/c{n:04d}.npz", probabilities=(prob / prob.sum(0)).astype(np.float16))
    write_dataset(root, ["grey"], _names(3), ".png", cases)
    return root, root / "predictions"


def whole(root: Path, predictions: Path) -> None:
    """An audit in a process of its own: only what it uses is measured."""
    command = [sys.executable, "-m", "maskmend", "audit", str(root), "-o", f"{root}-audit"]
    command += ["--predictions", str(predictions)]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    seconds = time.perf_counter() - start
    print(f"{root.name}: {seconds:.1f} s, {_used(used)}; load of the machine {os.getloadavg()[0]:.1f}")


def _used(used: resource.struct_rusage) -> str:
    return (
        f"{used.ru_utime + used.ru_stime:.1f} s of processor, {used.ru_maxrss / 2**20:.2f} GiB at most"  # kB on Linux
    )


def check(root: Path) -> None:
    dataset = open_dataset(root)
    start = time.perf_counter()
    looks = list(look_over(dataset).values())
    ends = off({look.case: look.edges for look in looks}, dataset.labels)
    found = compare(looks, dataset, ends)
    seconds = time.perf_counter() - start
    every = [(look.case, each) for look in looks for each in (*look.broken, *found.get(look.case, ()))]
    kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(each.kind for _, each in every).most_common())
    sure = sum(each.confidence > 0.9 for _, each in every) / len(looks)
    used = _used(resource.getrusage(resource.RUSAGE_SELF))
    print(f"{root.name}: {len(looks)} cases in {seconds:.1f} s; {len(every) / len(looks):.2f} findings a case, "
          f"{sure:.3f} above 0.9, in {len({case for case, _ in every})} cases ({kinds}); in all {used}")  # fmt: skip


JUDGED = {"volume": judged_volume, "pictures": judged_pictures}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("datasets", nargs="*", metavar="DATASET|volume|pictures")
    asked = parser.parse_args().datasets
    with tempfile.TemporaryDirectory() as folder:
        for name in asked or [str(made(Path(folder) / "CT"))]:
            if name in JUDGED:
                with ProcessPoolExecutor(1, get_context("spawn")) as other:  # a child begins with its parent's peak
                    root, predictions = other.submit(JUDGED[name], Path(folder) / name).result()
                whole(root, predictions)
            else:
                check(Path(name))


if __name__ == "__main__":
    main()
