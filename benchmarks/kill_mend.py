"""Does a killed `maskmend mend` leave anything half? A table of docs/results.md.

    python benchmarks/kill_mend.py [--trials 10] [--cases 40] [--seed 0]

Each trial starts a mend in a process of its own, on an audit whose every mask changes, and ends it with SIGKILL at a
random moment between its first file and its end. Then there must be no output at all, or a whole one, with the files of
a mend that nobody killed. The source must be as it was, and the next mend must succeed and leave nothing else behind.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np

from maskmend import mend
from maskmend.audit import store
from maskmend.audit.store import Audit, Doubted
from maskmend.audit.suggest import joined
from maskmend.data.dataset import write_dataset
from maskmend.data.formats import write_image, write_label
from maskmend.data.geometry import Geometry

LABELS = {"background": 0, "lesion": 1}
SHAPE, PLACE = (48, 64, 64), Geometry((1.0, 1.0, 1.0))
DATED = ("provenance", "mend.json")
"""These hold the time, or a folder's name."""


@dataclass(frozen=True)
class Trial:
    """after_s: when the process was ended. left: nothing, the whole, or what was wrong. again: whether the next mend
    succeeded and left nothing else behind."""

    after_s: float
    left: str
    again: bool


def make_audit(root: Path, cases: int) -> Audit:
    """Labels with a cube too few, each a finding whose suggestion ``--accept all`` takes."""
    data, folder, files, rows = root / "Dataset001_Killed", root / "audit", {}, []
    rng = np.random.default_rng(0)
    about = store.About(maskmend="0", dataset=str(data.resolve()), dims=3, labels=LABELS, ignore=None,
                        file_ending=".nii.gz", files={}, made="", seconds=0)  # fmt: skip
    for rank in range(1, cases + 1):
        case, label, missing = f"case{rank:03d}", np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, bool)
        label[8:20, 8:20, 8:20], missing[30:40, 30:40, 30:40] = 1, True
        write_image(data / "imagesTr" / f"{case}_0000.nii.gz", rng.normal(size=SHAPE).astype(np.float32), PLACE)
        write_label(data / "labelsTr" / f"{case}.nii.gz", label, PLACE)
        files[case] = (store.sha256(data / "labelsTr" / f"{case}.nii.gz"), "")
        doubted = [Doubted("missing", 1, np.flatnonzero(missing), 0.9, "A lesion here.", value=1)]
        found, numbers, suggested = joined(case, label, doubted, LABELS, PLACE)
        store.write_case(folder, about, case, found, {"findings": numbers, "suggestions": suggested}, PLACE)
        rows.append(store.Row(case=case, rank=rank, doubt=0.5, hint="review", findings=1))
    write_dataset(data, ["MRI"], LABELS, ".nii.gz", cases)
    store.write_rows(folder, rows)
    store.write_about(folder, about.model_copy(update={"files": files}))
    return store.open_audit(folder)


def start(audit: Audit, output: Path) -> BaseProcess:
    process = get_context("fork").Process(target=mend, args=(audit.folder, output), kwargs={"accept": "all"})
    process.start()
    return process


def begun(process: BaseProcess, output: Path) -> float:
    """Waits until the process writes its first file, and says when that was."""
    while process.is_alive() and not any(output.parent.glob(f".{output.name}.*/labelsTr")):
        time.sleep(0.001)
    return time.perf_counter()


def ended(process: BaseProcess) -> bool:
    """Whether it succeeded, when it has ended."""
    process.join()
    return process.exitcode == 0


def content(root: Path) -> dict[str, str]:
    """Of each file its hash; of those that hold the time, nothing but their names."""
    found = {}
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        name = path.relative_to(root).as_posix()
        dated = name.startswith(DATED)
        found[name] = "" if dated else hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def trials(folder: Path, count: int, cases: int, seed: int) -> Iterator[Trial]:
    """Mend once in peace, then be killed ``count`` times."""
    audit, output = make_audit(folder, cases), folder / "Dataset002_Mended"
    chance, given = random.Random(seed), content(audit.dataset.root)
    process = start(audit, output)
    since = begun(process, output)
    if not ended(process):
        raise SystemExit("mend failed, though nobody killed it")
    span, whole, beside = time.perf_counter() - since, content(output), sorted(folder.iterdir())
    for _ in range(count):
        shutil.rmtree(output)
        process = start(audit, output)
        begun(process, output)
        after = chance.uniform(0, span)
        time.sleep(after)
        process.kill()
        process.join()
        left = "nothing" if not output.exists() else "the whole" if content(output) == whole else "HALF"
        left = left if content(audit.dataset.root) == given else "A CHANGED SOURCE"
        if output.exists():
            shutil.rmtree(output)
        again = ended(start(audit, output)) and content(output) == whole and sorted(folder.iterdir()) == beside
        yield Trial(after, left, again)


def main() -> None:
    ask = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name, value in (("trials", 10), ("cases", 40), ("seed", 0)):
        ask.add_argument(f"--{name}", type=int, default=value)
    asked = ask.parse_args()
    print("| killed after, s | left behind | the next mend |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for trial in trials(Path(folder), asked.trials, asked.cases, asked.seed):
            print(f"| {trial.after_s:.2f} | {trial.left} | {'whole' if trial.again else 'FAILED'} |", flush=True)


if __name__ == "__main__":
    main()
