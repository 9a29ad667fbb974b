"""How much memory does each verb take of a large CT, and how does it grow with the volume?

    python benchmarks/large.py OUT [--shape 400 512 512] [--shares 0.25 0.5] [--verbs train predict ...]

A made CT with three organs, one file of image and label each. Every verb runs in a process of its own, whose peak the
system tells (``ru_maxrss``, which counts files in memory, too). Networks are next to nothing, so that this ends: what
those of the defaults take of a window stands in the row "window". Smaller volumes, whose sides are ``--shares`` of the
largest, show how the peak above that of a process that only begins grows: with which power of the voxels.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

TINY = ("network.name=vnet", "network.width=1", "data.patch=[64,64,64]", "predict.overlap=0.25", "fold=all")
SHORT = ("train.steps=1", "train.batch={any: 1}", "data.normalisation=zscore")
ONE_ROUND = ("method.rounds=1", "method.stop=1", "method.tau_epochs=0", "method.gap_from_start=true", "train.epochs=2")


def make(folder: Path) -> None:
    """An nnU-Net data set of one case of the shape that the folder above it names, and a prediction."""
    from maskmend.data.dataset import write_dataset
    from maskmend.data.formats import Geometry, write_image, write_label

    shape = tuple(map(int, folder.parent.name.split("x")))
    geometry = Geometry((1.0, 1.0, 1.0), (0.0,) * 3, tuple(np.eye(3).ravel()))
    rng, grid = np.random.default_rng(0), np.ogrid[tuple(slice(0, 1, n * 1j) for n in shape)]
    label = np.zeros(shape, np.uint8)
    for k, (middle, radius) in enumerate((((0.5, 0.4, 0.4), 0.2), ((0.4, 0.6, 0.6), 0.12), ((0.7, 0.3, 0.7), 0.08)), 1):
        label[sum((axis - m) ** 2 for axis, m in zip(grid, middle, strict=True)) < radius**2] = k
    image = rng.integers(-40, 40, shape, np.int16)
    image += np.array([-200, 60, 120, 300], np.int16)[label]
    for name in ("imagesTr", "labelsTr", "predicted"):
        (folder / name).mkdir(parents=True)
    write_image(folder / "imagesTr" / "a_0000.nii", image, geometry)
    write_label(folder / "labelsTr" / "a.nii", label, geometry)
    write_label(folder / "predicted" / "a.nii", np.roll(label, 3, 1), geometry)
    write_dataset(folder, ("CT",), {"background": 0, "liver": 1, "spleen": 2, "kidney": 3}, ".nii", 1)


def begin(folder: Path) -> None:
    """What a process takes that does nothing."""
    import monai.inferers  # noqa: F401
    import scipy.ndimage  # noqa: F401
    import SimpleITK  # noqa: F401

    import maskmend.verbs.train  # noqa: F401


def train(folder: Path) -> None:
    """Prepare the case, and one step."""
    from maskmend.verbs.train import train

    words = [*TINY, *SHORT, "train.epochs=1"]
    shutil.rmtree(folder.parent / "supervised", ignore_errors=True)
    train(folder, folder.parent / "supervised", method="supervised", overrides=words, device="cpu")


def superpixels(folder: Path) -> None:
    """Of a volume, or as much of it as is cut into superpixels at once."""
    from maskmend.data.formats import read_image
    from maskmend.data.sidemaps import SLAB, SideMapConfig, superpixel

    image = read_image([folder / "imagesTr" / "a_0000.nii"]).array.astype(np.float32)
    superpixel(image[:, : SLAB // image[0, 0].size], SideMapConfig())


def relabel(folder: Path) -> None:
    """Two epochs of one step, and SP-guided's relabelling between them; superpixels are boxes, so that this ends."""
    from maskmend.data import sidemaps
    from maskmend.verbs.train import train

    sidemaps._slic_3d = boxes  # the row "superpixels" is of those
    shutil.rmtree(folder.parent / "relabelled", ignore_errors=True)
    words = [*TINY, *SHORT, *ONE_ROUND, "data.sidemaps.supervoxel_voxels=512"]
    train(folder, folder.parent / "relabelled", method="sp_guided", overrides=words, device="cpu")
    assert any(json.loads(line).get("round") for line in (folder.parent / "relabelled" / "events.jsonl").open())


def boxes(image: np.ndarray, config: object, grid: Sequence[int]) -> np.ndarray:
    """(C, *S) -> (*S) int32."""
    number = np.zeros((), np.int32)
    for axis, side in enumerate(grid):
        place = np.arange(image.shape[1 + axis], dtype=np.int32) // side
        number = number[..., None] * (place[-1] + 1) + place
    return number


def predict(folder: Path) -> None:
    """With probabilities, by the network that ``train`` made."""
    from maskmend.verbs.predict import predict

    predict(folder.parent / "supervised", folder / "imagesTr", folder.parent / "OUT", probabilities=True, device="cpu")


def evaluate(folder: Path) -> None:
    """With surface distances."""
    from maskmend.verbs.evaluate import evaluate

    evaluate(folder / "predicted", folder / "labelsTr", folder.parent / "summary.json", surface=True)


def window(folder: Path) -> None:
    """The largest window through both networks of SP-guided's defaults, of four classes."""
    import torch

    from maskmend.data.windows import WINDOW
    from maskmend.networks import NetworkConfig, build

    image = torch.zeros(1, 1, WINDOW // 128**2, 128, 128)
    with torch.no_grad():
        for _ in range(2):
            build(NetworkConfig(), 1, 4, 3).eval()(image)


VERBS: dict[str, Callable[[Path], None]] = {
    verb.__name__: verb for verb in (make, begin, train, superpixels, relabel, predict, evaluate, window)
}


def measured(verb: str, folder: Path) -> tuple[float, float]:
    """Peak GiB and seconds of a verb, in a process of its own."""
    began = time.monotonic()
    code = f"import runpy, sys; sys.argv = ['large.py', '--child', {verb!r}, {str(folder)!r}]; "
    code += f"runpy.run_path({__file__!r}, run_name='__main__')"
    environment = os.environ | {"MASKMEND_CACHE": str(folder.parent / "cache")}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    if ended.returncode:
        sys.exit(f"{verb}: {ended.stderr[-2000:]}")
    return float(ended.stdout.split()[-1]) / 2**20, time.monotonic() - began


def row(verb: str, found: Sequence[tuple[int, float, float]], idle: float) -> str:
    """The last is the volume asked for; each is its voxels, peak GiB and seconds."""
    voxels, peaks = (np.array(column) for column in list(zip(*found, strict=True))[:2])
    above = np.maximum(peaks - idle, 1e-3)
    power = f"{np.polyfit(np.log(voxels), np.log(above), 1)[0]:.2f}" if len(found) > 1 else ""
    return f"| {verb} | {' | '.join(f'{peak:.2f}' for peak in peaks)} | {power} | {found[-1][2]:.0f} |"


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("out", type=Path)
    ask.add_argument("--shape", type=int, nargs=3, default=(400, 512, 512))
    ask.add_argument("--shares", type=float, nargs="*", default=(0.25, 0.5))
    ask.add_argument("--verbs", nargs="*", choices=[*VERBS][1:], default=[*VERBS][1:])
    options = ask.parse_args()
    shapes = [tuple(round(n * share) for n in options.shape) for share in (*options.shares, 1)]
    found: dict[str, list[tuple[int, float, float]]] = {verb: [] for verb in options.verbs}
    for shape in shapes:
        folder = options.out / "x".join(map(str, shape)) / "DATA"
        if not folder.exists():
            measured("make", folder)  # not here: a process counts the peak of the one that began it
        for verb in options.verbs:
            found[verb].append((int(np.prod(shape)), *measured(verb, folder)))
            print(shape, verb, found[verb][-1], file=sys.stderr, flush=True)
        shutil.rmtree(folder.parent / "cache", ignore_errors=True)
    print(f"| | {' | '.join(' x '.join(map(str, shape)) for shape in shapes)} | power | s |")
    print(f"|---|{'---|' * len(shapes)}---|---|")
    idle = found["begin"][0][1] if "begin" in found else 0.0
    for verb in options.verbs:
        print(row(verb, found[verb], idle))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        VERBS[sys.argv[2]](Path(sys.argv[3]))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    else:
        main()
