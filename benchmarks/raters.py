"""An audit of masks that really differ: one radiologist's, graded by the consensus of three others.

    python benchmarks/raters.py LIDC OUT

LIDC holds images/ and masks/rater0 to rater3 of lung nodules, one picture a nodule. The first 240 masks of rater0 are
given, the STAPLE of the others is taken for the truth; ``audit --cross 2`` judges, ``evaluate AUDIT TRUTH`` grades.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
from rich.console import Console

from maskmend.data.formats import read_label, write_label
from maskmend.data.fusion import fuse
from maskmend.prepare import prepare
from maskmend.verbs.audit import audit
from maskmend.verbs.grade import grade

CASES = 240
SETTINGS = ("data.size=[64, 64]", "network.name=unet", "data.normalisation=auto")


def main(lidc: Path, out: Path) -> None:
    data, truth, source = out / "Dataset001_Rater", out / "truth", out / "source"
    if not data.exists():
        names = sorted(path.name for path in (lidc / "images").iterdir())[:CASES]
        for part, place in (("images", "images"), ("masks", "masks/rater0")):
            (source / part).mkdir(parents=True, exist_ok=True)
            for name in names:
                shutil.copy(lidc / place / name, source / part / name)
        prepare(source, data)
        truth.mkdir()
        for name in names:
            drawn = [read_label(lidc / "masks" / f"rater{k}" / name) for k in (1, 2, 3)]
            fused = fuse([(label.array > 0).astype(np.int16) for label in drawn], "staple", 2)
            write_label(truth / name, fused, drawn[0].geometry)
    audit(data, out / "audit", cross=2, overrides=SETTINGS, device="cpu", jobs=0)
    Console(width=160).print(grade(out / "audit", truth).table())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
