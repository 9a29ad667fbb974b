"""How long does an audit's report take, and how large is it? One core.

    python benchmarks/report_speed.py [--cases 1000] [--side 512] [--volume]

Made cases, each with a lumpy object and a suggestion that departs from it everywhere: all of them are to be looked at.
``--volume``: side³ / 4 voxels each, else grey pictures of side².
"""

from __future__ import annotations

import argparse
import base64
import re
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy.ndimage import zoom

from maskmend.audit import store
from maskmend.audit.findings import differences
from maskmend.audit.report import write_report
from maskmend.audit.suggest import joined
from maskmend.data.dataset import write_dataset
from maskmend.data.formats import write_image, write_label
from maskmend.data.geometry import Geometry

LABELS = {"background": 0, "organ": 1}
DIFFERENT = 20
"""Cases that are drawn; the others have the same files."""


def made(root: Path, cases: int, shape: tuple[int, ...], place: Geometry) -> store.Audit:
    """An audit of as many cases as asked."""
    data, folder, ending = root / "Dataset001_Made", root / "audit", ".png" if len(shape) == 2 else ".nii.gz"
    names = [f"case_{n:05d}" for n in range(cases)]
    files, rows = {}, []
    for room in ("imagesTr", "labelsTr"):
        (data / room).mkdir(parents=True)
    for n, name in enumerate(names):
        label, other, image = drawn(shape, n % DIFFERENT)
        write_image(data / "imagesTr" / f"{name}_0000{ending}", image, place)
        write_label(data / "labelsTr" / f"{name}{ending}", label, place)
        files[name] = (store.sha256(data / "labelsTr" / f"{name}{ending}"), "")
    write_dataset(data, ["grey"], LABELS, ending, cases)
    about = store.About(
        maskmend="0", dataset=str(data.resolve()), dims=len(shape), labels=LABELS, ignore=None, file_ending=ending,
        files=files, made="2026-01-01T00:00:00+00:00", seconds=0,
    )  # fmt: skip
    for n, name in enumerate(names):
        label, other, _ = drawn(shape, n % DIFFERENT)
        found, numbers, suggested = joined(
            name, label, differences(label, other, LABELS, place.spacing_mm), LABELS, place
        )
        store.write_case(folder, about, name, found, {"findings": numbers, "suggestions": suggested}, place)
        rows.append(store.Row(case=name, rank=n + 1, doubt=1 - n / cases, hint="review", findings=len(found)))
    store.write_rows(folder, rows)
    store.write_about(folder, about)
    return store.open_audit(folder)


def drawn(shape: tuple[int, ...], seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Label, suggestion and image (*shape) uint8."""
    rng = np.random.default_rng(seed)
    lumps = zoom(rng.standard_normal((6,) * len(shape)), [n / 6 for n in shape], order=1)
    far = np.sqrt(sum((axis / n - 0.5) ** 2 for axis, n in zip(np.ogrid[tuple(map(slice, shape))], shape, strict=True)))
    label, other = (far + 0.03 * lumps < 0.3).astype(np.uint8), (far + 0.05 * lumps < 0.33).astype(np.uint8)
    return label, other, np.clip(90 + 60 * other + rng.normal(0, 12, shape), 0, 255).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--volume", action="store_true")
    args = parser.parse_args()
    shape = (args.side // 4, args.side, args.side) if args.volume else (args.side, args.side)
    place = Geometry((2.5, 0.7, 0.7) if args.volume else (1.0, 1.0))
    with tempfile.TemporaryDirectory() as folder:
        audit = made(Path(folder), args.cases, shape, place)
        start = time.perf_counter()
        path = write_report(audit)
        seconds = time.perf_counter() - start
        sizes = [len(base64.b64decode(png)) for png in re.findall(r'base64,([^"]*)', path.read_text("utf-8"))]
        print(f"{args.cases} cases of {shape}: {seconds:.1f} s, {path.stat().st_size / 1e6:.1f} MB")
        print(f"{len(sizes)} pictures, {np.mean(sizes) / 1e3:.0f} kB each, {max(sizes) / 1e3:.0f} at most")


if __name__ == "__main__":
    main()
