"""How fast is the review's page server on a large CT, and how much memory does it take? One core.

    python benchmarks/review_speed.py [--slices 40] [--strokes 20]

A made CT of 512 × 512 × 400 voxels, int16, with three classes and a suggestion that departs from them. The review runs
in a process of its own, and is asked over HTTP as the page asks: an image's plane, and its labels. The goal is a slice
in less than 50 ms and less than 4 GiB. On a busy machine the time of the processor says more.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from maskmend.audit import store
from maskmend.audit.findings import differences
from maskmend.audit.suggest import joined
from maskmend.data.dataset import write_dataset
from maskmend.data.formats import write_image, write_label
from maskmend.data.geometry import Geometry

LABELS = {"background": 0, "body": 1, "liver": 2, "lesion": 3}
SHAPE = (400, 512, 512)
PLACE = Geometry((1.0, 0.8, 0.8), (0.0, 0.0, 0.0), tuple(np.eye(3).ravel()))


class Page:
    """What the page of a review that was started asks of its server; one connection, as a browser keeps it."""

    def __init__(self, audit: Path, process: subprocess.Popen[str]) -> None:
        self.audit, self.process = audit, process
        assert process.stderr is not None
        said = process.stderr.readline()
        found = re.search(r"http://([^/]+)/#(\S+)", said)
        if found is None:
            raise SystemExit(said + process.stderr.read())
        self.talk, self.token = http.client.HTTPConnection(found[1], timeout=120), found[2]

    def ask(self, path: str, said: dict[str, Any] | None = None) -> bytes:
        """The answer to GET, or to POST where something is said. Raises OSError or HTTPException where none comes."""
        headers = {"X-Token": self.token, "Content-Type": "application/json"}
        body = None if said is None else json.dumps(said)
        self.talk.request("GET" if said is None else "POST", path, body, headers)
        answer = self.talk.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{path}: {answer.status} {content.decode()}")
        return content


@contextmanager
def reviewing(audit: Path) -> Iterator[Page]:
    """A review in a process of its own; killed at the end if it still lives."""
    command = [sys.executable, "-m", "maskmend", "review", str(audit), "--no-browser", "--reviewer", "benchmark"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        try:
            yield Page(audit, process)
        finally:
            process.kill()


def made(root: Path) -> Path:
    """An audit of one CT."""
    data, folder, case = root / "Dataset001_CT", root / "audit", "ct"
    z, y, x = (np.linspace(-1, 1, n, dtype=np.float32).reshape([-1 if a == i else 1 for a in range(3)])
               for i, n in enumerate(SHAPE))  # fmt: skip
    label = np.zeros(SHAPE, np.uint8)
    for value, (middle, radius) in enumerate(((0, 0.9), (0.2, 0.5), (0.3, 0.15)), 1):
        label[(z - middle) ** 2 + (y - middle) ** 2 + (x - middle) ** 2 < radius**2] = value
    other = np.where((label == 1) & ((z - 0.2) ** 2 + (y - 0.2) ** 2 + (x - 0.2) ** 2 < 0.52**2), np.uint8(2), label)
    image = np.array([-1000, 40, 110, 60], np.int16)[label]
    image += np.random.default_rng(0).normal(0, 20, SHAPE).astype(np.int16)
    write_image(data / "imagesTr" / f"{case}_0000.nii.gz", image, PLACE)
    write_label(data / "labelsTr" / f"{case}.nii.gz", label, PLACE)
    write_dataset(data, ["CT"], LABELS, ".nii.gz", 1)
    about = store.About(
        maskmend="0", dataset=str(data.resolve()), dims=3, labels=LABELS, ignore=None, file_ending=".nii.gz",
        files={case: (store.sha256(data / "labelsTr" / f"{case}.nii.gz"), "")}, made="", seconds=0,
    )  # fmt: skip
    found, numbers, suggested = joined(case, label, differences(label, other, LABELS, PLACE.spacing_mm), LABELS, PLACE)
    maps = {"findings": numbers, "suggestions": suggested, "doubt": 255 * (numbers > 0)}
    store.write_case(folder, about, case, found, maps, PLACE)
    store.write_rows(folder, [store.Row(case=case, rank=1, doubt=0.5, hint="review", findings=len(found))])
    store.write_about(folder, about)
    return folder


def timed(page: Page, path: str, said: dict[str, Any] | None = None) -> float:
    """Milliseconds until the answer is there."""
    start = time.perf_counter()
    page.ask(path, said)
    return 1000 * (time.perf_counter() - start)


def measure(page: Page, slices: int, strokes: int) -> Iterator[tuple[str, list[float]]]:
    """What was asked, and milliseconds of each answer."""
    chance = random.Random(0)
    yield "the list of cases", [timed(page, "/api/audit")]
    start = time.perf_counter()
    for name in ("", "/image?axis=0&index=200", "/labels?axis=0&index=200"):
        page.ask(f"/api/case/ct{name}")
    yield "the case opened, to its first slice", [1000 * (time.perf_counter() - start)]
    for axis, name in enumerate(("axial", "coronal", "sagittal")):
        places = [f"axis={axis}&index={chance.randrange(SHAPE[axis])}" for _ in range(slices)]
        for part in ("image", "labels"):
            yield f"{name} slice, {part}", [timed(page, f"/api/case/ct/{part}?{place}") for place in places]
    drawn = []
    for n in range(strokes):
        runs = [[row, 100, 160, 2] for row in range(100, 160)]
        stroke = {"do": "stroke", "axis": n % 3, "index": 100 + n, "runs": runs, "tool": "brush", "key": f"{n:032}"}
        drawn.append(timed(page, "/api/case/ct/events", stroke))
    yield "stroke of 60 rows", drawn
    yield "undo, to the slice without it", [_then_seen(page, {"do": "undo"}) for _ in range(5)]
    finding = json.loads(page.ask("/api/case/ct"))["findings"][0]["id"]
    accept = {"do": "verdict", "finding": finding, "verdict": "accepted"}
    yield "accept, to the slice with it", [_then_seen(page, accept) for _ in range(5)]


def _then_seen(page: Page, said: dict[str, Any]) -> float:
    start = time.perf_counter()
    page.ask("/api/case/ct/events", said)
    page.ask("/api/case/ct/labels?axis=0&index=200")
    return 1000 * (time.perf_counter() - start)


def _used_ms(page: Page) -> float:
    """Of the processor, by the server until now (Linux; in steps of 10 ms)."""
    fields = Path(f"/proc/{page.process.pid}/stat").read_text().rpartition(")")[2].split()
    return 1000 * (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    ask = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name, value in (("slices", 40), ("strokes", 20)):
        ask.add_argument(f"--{name}", type=int, default=value)
    asked = ask.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        audit = made(Path(folder))
        with reviewing(audit) as page:
            print("| what | median, ms | 95 %, ms | of the processor, mean, ms |\n|---|---|---|---|")
            before = _used_ms(page)
            for what, ms in measure(page, asked.slices, asked.strokes):
                now = _used_ms(page)
                row = (np.median(ms), np.percentile(ms, 95), (now - before) / len(ms))
                print(f"| {what} | {' | '.join(f'{value:.0f}' for value in row)} |", flush=True)
                before = now
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / (1 << 20)  # kB on Linux
    print(f"\nThe server took {peak:.2f} GiB of memory at most. Load of the machine: {os.getloadavg()[0]:.1f}.")


if __name__ == "__main__":
    main()
