"""Do published masks end at the edges in their images? What ``audit`` would say of masks as they are.

    python benchmarks/untouched.py IMAGES

IMAGES is as for ``audit.py``. Of each data set's first foreground class: the masks whose image has its edge clearly
inside them, or outside, by how many shells in the median, and those that an audit calls off.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from audit import SETS, prepare_set
from maskmend.audit.checks import look
from maskmend.audit.edges import off
from maskmend.functional.edges import CLEAR, own


def main(images: Path) -> None:
    print("| data | masks | edge inside | outside | median, shells | called off |\n|---|---|---|---|---|---|")
    for name, chosen in SETS.items():
        with tempfile.TemporaryDirectory() as folder:
            data = prepare_set(replace(chosen, prefix="", cases=1000), images, Path(folder))
            found = {case.name: look(case, data).edges for case in data.train}
            places = own([each[1].changes for each in found.values() if 1 in each])
            said = off(found, data.labels)
        shares = [f"{share:.0%}" for share in ((places <= -CLEAR).mean(), (places >= CLEAR).mean())]
        row = (name, str(len(places)), *shares, f"{np.median(places):g}", f"{len(said) / len(found):.0%}")
        print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
