"""What an audit costs: seconds of the checks of a data set, and seconds and memory of one very large volume.

python benchmarks/audit_speed.py checks DATASET            # maskmend audit DATASET without a judge, report included
python benchmarks/audit_speed.py volume [SIDE SIDE DEPTH]  # a made-up CT, judged by predictions; 512 512 400
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from maskmend.data.dataset import write_dataset
from maskmend.data.formats import replacing, write_image, write_label
from maskmend.data.geometry import Geometry

PLACE = Geometry((1.5, 0.8, 0.8), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))


def timed(*words: str) -> None:
    """Run the command, and print what it took."""
    start = time.monotonic()
    subprocess.run([sys.executable, "-m", "maskmend", *words], check=True)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"{time.monotonic() - start:.1f} s, at most {peak:.2f} GiB: maskmend {' '.join(words)}")


def volume(root: Path, shape: tuple[int, ...]) -> Path:
    """A CT of (D, H, W) voxels with a large organ and a lesion; the given label lacks the lesion and is too tight."""
    grid = np.ogrid[tuple(slice(-1, 1, n * 1j) for n in shape)]
    body = sum(axis**2 for axis in grid)
    data, truth = root / "Dataset001_Large", (np.asarray(body) < 0.16).astype(np.uint8)
    truth[tuple(slice(n // 2, n // 2 + n // 12) for n in shape)] = 2
    given = np.where(np.asarray(body) < 0.13, 1, 0).astype(np.uint8)
    for folder in (data / "imagesTr", data / "labelsTr", root / "predictions"):
        folder.mkdir(parents=True)
    image = np.random.default_rng(0).integers(-1000, 400, shape, dtype=np.int16)
    write_image(data / "imagesTr" / "ct_0000.nii.gz", image, PLACE)
    write_label(data / "labelsTr" / "ct.nii.gz", given, PLACE)
    write_dataset(data, ["CT"], {"background": 0, "organ": 1, "lesion": 2}, ".nii.gz", 1)
    prob = np.stack([0.94 * (truth == k) + 0.02 for k in range(3)]).astype(np.float16)
    prob[0][np.asarray(body) > 0.4], prob[1:, np.asarray(body) > 0.4] = 1, 0
    with replacing(root / "predictions" / "ct.npz") as part:
        np.savez_compressed(part, probabilities=prob)
    return data


def main(what: str, words: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        if what == "checks":
            timed("audit", words[0], "-o", str(root / "audit"))
        else:
            width, height, depth = map(int, words or ("512", "512", "400"))
            data = volume(root, (depth, height, width))
            timed("audit", str(data), "-o", str(root / "audit"), "--predictions", str(root / "predictions"))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
