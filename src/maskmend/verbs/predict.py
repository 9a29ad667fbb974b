"""``maskmend predict``: masks for new images, on their own grid."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import torch

from ..data.formats import write_json
from ..data.lock import hold
from ..engine.world import launch
from ..errors import InputError
from ..infer.predict import predict_files
from ..runs.dicom import ENDING, Failures, write_segs
from ..runs.execute import RETRIES, EngineName, check_engine, execute, reason
from ..runs.folder import load_run
from ..runs.part import Part, read_part
from ..runs.predictions import Asked, Cases, cases_of
from ..texts import read_object

SHARES = 16
"""Tasks that a cluster gets, unless ``jobs`` says how many."""


@dataclass(frozen=True)
class Predictions:
    """Where the masks are, how many there are, and which images gave none, with the reason.

    truth: the folder of their true masks, if they are the test images of a data set that has some. before: how many of
    the masks were there already. part: the cases that are spoken of. missing: masks that other parts have yet to make.
    """

    folder: Path
    count: int
    failures: list[tuple[str, str]]
    truth: Path | None = None
    before: int = 0
    part: Part = field(default_factory=Part)
    missing: int = 0

    def table(self) -> str:
        made = f"{self.folder}: {self.count} masks"
        made += f" of part {self.part}" if self.part.of > 1 else ""
        made += f", {self.before} of them from before; delete a mask to have it made again" if self.before else ""
        made += f". Of other parts, not there yet: {self.missing}." if self.missing else "."
        if self.truth is None or self.missing:
            return made
        folder, truth = (shlex.quote(str(path)) for path in (self.folder, self.truth))
        return f"{made}\nNext: maskmend evaluate {folder} {truth}"


def predict(
    run: Path,
    images: Path,
    output: Path,
    checkpoint: Literal["best", "last"] = "best",
    *,
    probabilities: bool = False,
    mirror: bool = False,
    device: str = "auto",
    dicom_seg: bool = False,
    part: str | None = None,
    engine: str = "local",
    jobs: int | None = None,
    options: Mapping[str, Any] | None = None,
) -> Predictions:
    """Predict a mask for every image. What the same call made before stays: it goes on with what is missing.

    Args:
        run: the folder that ``maskmend train`` made.
        images: a folder (``CASE_0000.ending`` for each channel, or one file a case), or one file; or a folder of DICOM
            series, which are case_001, case_002, … in the order of their paths.
        output: folder for ``CASE.ending``, and predict.json, which tells by what they were made; made where it is
            missing.
        checkpoint: the best model on the validation cases, or the last one.
        probabilities: also write ``CASE.npz`` with (K, *S) "probabilities".
        mirror: average over mirrored views: slower, a little better.
        device: auto, cpu or cuda.
        dicom_seg: of DICOM series, also write ``CASE.dcm``, a DICOM-SEG for each.
        part: such as "2/8": every eighth of the sorted cases, from the second on. All parts together are the whole.
        engine, options: where it is done, as of ``bench``.
        jobs: tasks, all of them at a time, to which the cases are dealt; on this machine one, which is this process, by
            default, on a cluster 16.

    Raises:
        InputError: no run, no images, a folder of a data set for the masks, masks there that this call did not make, a
            damaged checkpoint, a full disk or a cluster that went away. What goes wrong with one image is a failure of
            that case alone.
    """
    asked = Asked(Path(run), Path(images), Path(output), checkpoint, probabilities, mirror, dicom_seg)
    asked.check()
    check_engine(engine, options)
    whole, dealt = read_part(part), engine != "local" or bool(jobs)
    if part is not None and dealt:
        raise InputError(f"--part {part}: --engine and --jobs deal the cases themselves; leave one of them out.")
    found = _dealt(asked, engine, jobs, device, options) if dealt else _predicted(asked, whole, device)
    if found.failures and not found.count and found.part.of == 1:
        name, why = found.failures[0]
        raise InputError(f"none of the {len(found.failures)} images could be predicted; the first, {name}: {why}")
    return found


def _predicted(asked: Asked, part: Part, device: str) -> Predictions:
    """A part of the cases, in this process."""
    world = launch(device)
    method, plan, settings = load_run(asked.run, asked.checkpoint, world.device)
    config = asked.settings(settings.predict)
    cases = cases_of(asked, plan.channels)
    names, before = part.deal(list(cases.files)), cases.done()
    with (
        cases.recorded(asked.record(config), keep=part.of > 1),
        cases.ready(set(names) - before) as (images, failures, scans),
    ):
        failed = predict_files(method.predict, images, plan, config, asked.output, asked.probabilities, world.device)
        failures = sorted(failures + failed)
        if scans and asked.dicom_seg:
            without = {name for name, _ in failed}
            made = [(name, asked.output / f"{name}{ENDING}") for name, _ in images if name not in without]
            failures += write_segs(scans, made, plan.labels, asked.output, drawn=False)
    return _summed(cases, part, before, failures)


def _summed(cases: Cases, part: Part, before: Collection[str], failures: Failures) -> Predictions:
    asked, masks, names = cases.asked, cases.masks(), set(part.deal(list(cases.files)))
    truth = asked.folder.with_name("labelsTs")
    tested = asked.images.is_dir() and asked.folder.name == "imagesTs" and truth.is_dir() and any(truth.iterdir())
    missing = {name for name, files in cases.files.items() if files} - masks - names
    return Predictions(
        asked.output,
        len(masks & names),
        failures,
        truth=truth if tested else None,
        before=len(names.intersection(before)),
        part=part,
        missing=len(missing),
    )


# --- elsewhere --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Share:
    """A part of the cases, a task of ``runs.execute``."""

    out: Path
    asked: Asked
    part: Part
    device: str = "auto"
    threads: int | None = None

    @property
    def key(self) -> str:
        return f"{self.part.number}_of_{self.part.of}"

    @property
    def name(self) -> str:
        return f"part {self.part}"

    @property
    def folder(self) -> Path:
        return self.out / self.key

    @property
    def told(self) -> Path:
        """Where it says how it ended."""
        return self.folder / "done.json"

    def run(self) -> None:
        """Predict what is missing of it."""
        if self.threads:
            torch.set_num_threads(self.threads)
        said: dict[str, Any]
        try:
            said = {"failures": _predicted(self.asked, self.part, self.device).failures, "failed": None}
        except Exception as error:
            said = {"failures": [], "failed": reason(error)}
        write_json(self.told, said)

    def failure(self) -> str | None:
        return cast(str | None, read_object(self.told)["failed"])


def _dealt(asked: Asked, engine: str, jobs: int | None, device: str, options: Mapping[str, Any] | None) -> Predictions:
    """All cases, dealt to tasks of an engine. A task that dies is begun again, and goes on with what is missing."""
    _, plan, settings = load_run(asked.run, asked.checkpoint, torch.device("cpu"))
    cases, work = cases_of(asked, plan.channels), asked.output / ".shares"
    before, names = cases.done(), list(cases.files)
    parts = [Part(number + 1, of) for of in [min(len(names), jobs or SHARES)] for number in range(of)]
    shares = [
        Share(work.absolute(), asked.anywhere(), part) for part in parts if not before.issuperset(part.deal(names))
    ]
    with (
        cases.recorded(asked.record(asked.settings(settings.predict)), keep=True),
        hold(work),
    ):  # tasks may outlive this
        for share in shares:
            share.told.unlink(missing_ok=True)
        missing, crashed = shares, dict[str, str]()
        for _ in range(1 + RETRIES):
            crashed = execute(missing, cast(EngineName, engine), jobs, device, options)
            missing = [share for share in missing if share.key in crashed]
        for share in shares:
            if why := crashed.get(share.key) or share.failure():
                raise InputError(f"{share.name}: {why.rstrip('.')}; see {share.folder / 'log.txt'}.")
        failures = sorted((name, why) for share in shares for name, why in read_object(share.told)["failures"])
        shutil.rmtree(work)
    return _summed(cases, Part(), before, failures)
