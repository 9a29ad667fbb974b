"""Does a killed `maskmend review` lose anything it acknowledged? A table of docs/results.md.

    python benchmarks/kill_review.py [--trials 20] [--seed 0]

Each trial starts a review in a process of its own, posts strokes and verdicts over HTTP as fast as they are
acknowledged, and ends the process with SIGKILL at a random moment. Then the journal must hold every acknowledged event,
in order, and at most the one that was on its way besides; its replay must be the label that was drawn here; and the
next review must go on where this one ended. All trials write the same journal.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from review_speed import Page, reviewing

from maskmend.audit import store
from maskmend.audit.store import Audit, Doubted
from maskmend.audit.suggest import joined
from maskmend.data.dataset import write_dataset
from maskmend.data.formats import write_image, write_label
from maskmend.data.geometry import Geometry
from maskmend.review.edit import current
from maskmend.review.journal import Event, read, state

LABELS = {"background": 0, "lesion": 1}
SHAPE, PLACE = (24, 48, 48), Geometry((1.0, 1.0, 1.0))
SPAN_S = 1.0
"""A kill comes within so long after the case is open."""


@dataclass
class Trial:
    """after_s: when the process was ended. acknowledged: what was answered, each with its number in the journal.
    sent: the last thing said, which was perhaps not answered."""

    after_s: float
    acknowledged: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    sent: dict[str, Any] = field(default_factory=dict)
    wrong: str = ""
    extra: int = 0


def make_audit(root: Path) -> Audit:
    """One label with two cubes too few, each a finding."""
    data, folder, case = root / "Dataset001_Killed", root / "audit", "case"
    label, rng = np.zeros(SHAPE, np.uint8), np.random.default_rng(0)
    label[8:12, 8:20, 8:20] = 1
    write_image(data / "imagesTr" / f"{case}_0000.nii.gz", rng.normal(size=SHAPE).astype(np.float32), PLACE)
    write_label(data / "labelsTr" / f"{case}.nii.gz", label, PLACE)
    write_dataset(data, ["MRI"], LABELS, ".nii.gz", 1)
    doubted = []
    for first in (2, 30):
        missing = np.zeros(SHAPE, bool)
        missing[16:20, first : first + 4, 30:40] = True
        doubted.append(Doubted("missing", 1, np.flatnonzero(missing), 0.9, "A lesion here.", value=1))
    about = store.About(
        maskmend="0", dataset=str(data.resolve()), dims=3, labels=LABELS, ignore=None, file_ending=".nii.gz",
        files={case: (store.sha256(data / "labelsTr" / f"{case}.nii.gz"), "")}, made="", seconds=0,
    )  # fmt: skip
    found, numbers, suggested = joined(case, label, doubted, LABELS, PLACE)
    store.write_case(folder, about, case, found, {"findings": numbers, "suggestions": suggested}, PLACE)
    store.write_rows(folder, [store.Row(case=case, rank=1, doubt=0.5, hint="review", findings=len(found))])
    store.write_about(folder, about)
    return store.open_audit(folder)


def said(chance: random.Random, findings: list[str]) -> dict[str, Any]:
    """Something that a person may say: mostly strokes, among them long ones."""
    key, what = f"{chance.getrandbits(128):032x}", chance.random()
    if what < 0.2:
        verdict = chance.choice(("accepted", "refused"))
        return {"do": "verdict", "finding": chance.choice(findings), "verdict": verdict, "key": key}
    axis = chance.randrange(3)
    rows, columns = (n for a, n in enumerate(SHAPE) if a != axis)
    first, value = chance.randrange(columns - 4), chance.randrange(2)
    runs = [[row, first, chance.randint(first + 1, columns), value] for row in range(chance.randint(1, rows))]
    return {"do": "stroke", "axis": axis, "index": chance.randrange(SHAPE[axis]), "runs": runs, "key": key}


def killed(audit: Audit, chance: random.Random) -> Trial:
    """A review that goes on until it is killed."""
    trial, findings = Trial(chance.uniform(0, SPAN_S)), [f.id for f in audit.findings("case")]
    with reviewing(audit.folder) as page:
        page.ask("/api/case/case/labels?axis=0&index=0")
        timer = threading.Timer(trial.after_s, page.process.kill)
        timer.start()
        try:
            while True:
                trial.sent = said(chance, findings)
                told = json.loads(page.ask("/api/case/case/events", trial.sent))
                trial.acknowledged.append((told["n"], trial.sent))
        except (OSError, http.client.HTTPException):
            timer.join()
    return trial


def judged(audit: Audit, trial: Trial, before: list[Event]) -> None:
    """Says in ``trial`` what is wrong with the journal, if anything is."""
    events = read(audit.folder)
    new = events[len(before) :]
    if events[: len(before)] != before:
        trial.wrong = "an older event changed"
    for event, (n, what) in zip(new, trial.acknowledged, strict=False):
        if (event.n, event.key) != (n, what["key"]):
            trial.wrong = f"event {n} is another one"
    trial.extra = len(new) - len(trial.acknowledged)
    if trial.extra not in (0, 1) or (trial.extra and new[-1].key != trial.sent["key"]):
        trial.wrong = f"{trial.extra} events more than were acknowledged"
    if not np.array_equal(current(audit, "case", state(events)).array, expected(audit, events)):
        trial.wrong = "the replay is another label"


def expected(audit: Audit, events: list[Event]) -> np.ndarray[Any, Any]:
    """The label after the events, worked out from what stands in the file alone."""
    label, numbers = audit.given("case").array.copy(), audit.map("findings", "case")
    last = {event.finding: event.verdict for event in events if event.do == "verdict"}
    for finding in audit.findings("case"):
        if last.get(finding.id) == "accepted":
            label[numbers == finding.number] = 1
    for event in events:
        for row, start, end, value in event.runs or ():
            place: list[Any] = [row, slice(start, end)]
            place.insert(event.axis or 0, event.index)
            label[tuple(place)] = value
    return label


def goes_on(audit: Audit, events: list[Event]) -> bool:
    """Whether a review that is started now shows the label as it stands, and writes the next event."""
    label = current(audit, "case", state(events)).array
    with reviewing(audit.folder) as page:
        seen = _label(page)
        told = json.loads(page.ask("/api/case/case/events", {"do": "comment", "comment": "on we go"}))
    return bool((seen == label).all()) and told["n"] == (events[-1].n if events else 0) + 1


def _label(page: Page) -> np.ndarray[Any, Any]:
    """As it stands, from the planes that the page is told."""
    planes = (page.ask(f"/api/case/case/labels?axis=0&index={z}") for z in range(SHAPE[0]))
    return np.stack([np.frombuffer(plane, "<u2").reshape(4, *SHAPE[1:])[3] for plane in planes])


def trials(folder: Path, count: int, seed: int) -> Iterator[tuple[Trial, bool]]:
    """Each trial, and whether the next review went on."""
    audit, chance = make_audit(folder), random.Random(seed)
    for _ in range(count):
        before = read(audit.folder)
        trial = killed(audit, chance)
        judged(audit, trial, before)
        yield trial, goes_on(audit, read(audit.folder))


def main() -> None:
    ask = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    ask.add_argument("--trials", type=int, default=20)
    ask.add_argument("--seed", type=int, default=0)
    asked = ask.parse_args()
    start, failed = time.perf_counter(), 0
    print(
        "| killed after, s | acknowledged | in the journal besides | wrong | the next review |\n|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as folder:
        for trial, on in trials(Path(folder), asked.trials, asked.seed):
            failed += bool(trial.wrong) or not on
            then = "goes on" if on else "FAILED"
            print(f"| {trial.after_s:.2f} | {len(trial.acknowledged)} | {trial.extra} | {trial.wrong or 'nothing'} "
                  f"| {then} |", flush=True)  # fmt: skip
    print(f"\n{failed} of {asked.trials} failed, {time.perf_counter() - start:.0f} s.")


if __name__ == "__main__":
    main()
