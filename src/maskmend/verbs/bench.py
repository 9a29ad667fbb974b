"""``maskmend bench``: data sets x noises x methods x networks x seeds under one protocol, and tables of it."""

from __future__ import annotations

import fnmatch
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..bench import scores, tables
from ..bench.check import check
from ..bench.data import check_data, make_data
from ..bench.keys import Run, runs_of
from ..bench.plan import BenchPlan, load_plan, reported_cells
from ..bench.run import forget_spoilt, scores_of
from ..config import dump
from ..data.formats import replacing
from ..data.lock import LOCK, hold
from ..errors import InputError
from ..runs.execute import EngineName, check_engine, execute
from ..runs.folder import check_folder


@dataclass(frozen=True)
class BenchSummary:
    """What became of the runs of a plan. ``failed``: (its name, why)."""

    folder: Path
    runs: int
    before: int
    now: int
    failed: tuple[tuple[str, str], ...]

    def table(self) -> str:
        kept = f", {self.before} of them before" if self.before else ""
        ended = self.before + self.now
        bad = f"; {len(self.failed)} failed" if self.failed else ""
        first = f"{self.folder}: {ended} of {self.runs} runs are done{kept}{bad}; see {self.folder / 'report.html'}"
        return "\n".join([first, *(f"failed: {name}: {why}" for name, why in self.failed)])

    def tell(self, show: Callable[[str], None]) -> int:
        """``show`` the table; the exit code: 1 where a run failed."""
        show(self.table())
        return int(bool(self.failed))


def bench(
    plan: Path,
    output: Path,
    jobs: int | None = None,
    engine: EngineName = "local",
    device: str = "auto",
    *,
    retry: bool = False,
    only: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
) -> BenchSummary:
    """Run what is missing of a plan, measure it on true masks, and write scores and tables.

    Args:
        plan: YAML file; docs/how-to/bench.md says what it may hold.
        output: folder for data, runs and scores. A plan may grow: what was run is kept.
        jobs: runs at a time; 1 by default, 0 runs in this process. On SLURM all at once by default.
        engine: local, ray or slurm.
        device: auto, cpu or cuda.
        retry: run again what failed before.
        only: of the runs whose names one of these patterns fits, such as "lungs/S_R/*" or "*seed 0", what is missing.
        options: of the engine, such as slurm_partition.

    Raises:
        InputError: anything wrong in the plan or its data, before anything runs.
    """
    grid, output = load_plan(Path(plan)), Path(output).resolve()
    check_engine(engine, options)
    check(grid)
    check_data(grid)
    check_folder(output)
    with hold(output):
        return _bench(
            grid, output, retry, only, partial(execute, engine=engine, jobs=jobs, device=device, options=options)
        )


def _bench(
    grid: BenchPlan, output: Path, retry: bool, only: Sequence[str], execute: Callable[[Sequence[Run]], dict[str, str]]
) -> BenchSummary:
    """The same, in a folder that is held."""
    with _undone_if_refused(output):
        with replacing(output / "plan.yaml") as part:
            part.write_text(dump(_resolved(grid)), encoding="utf-8")
        runs = runs_of(grid, make_data(grid, output), output)
        wanted = _chosen(runs, only)
        for run in wanted:
            forget_spoilt(run)
            if retry and (run.done() or {}).get("failed"):
                shutil.rmtree(run.folder, ignore_errors=True)
        missing = list({run.key: run for run in wanted if run.done() is None}.values())
        crashed = execute(missing)
    failed = {run.key: done["failed"] for run in runs if (done := run.done()) and done["failed"]} | crashed
    _write(grid, runs, output)
    ended = {run.key for run in runs if run.done() is not None} - failed.keys()
    before = len(ended - {run.key for run in missing})
    named = tuple((run.name, failed[run.key]) for run in runs if run.key in failed)
    return BenchSummary(output, len(runs), before, len(ended) - before, named)


def _chosen(runs: Sequence[Run], only: Sequence[str]) -> list[Run]:
    """The runs whose names one of the patterns fits, or all. Raises InputError for a pattern that fits none."""
    for pattern in only:
        if not fnmatch.filter((run.name for run in runs), pattern):
            raise InputError(f"--only {pattern!r} fits no run of the plan; they have names such as {runs[0].name!r}.")
    return [run for run in runs if not only or any(fnmatch.fnmatchcase(run.name, pattern) for pattern in only)]


@contextmanager
def _undone_if_refused(output: Path) -> Iterator[None]:
    """What is refused before anything ran leaves ``output`` as it was: without anything, or with the plan before.

    Raises:
        InputError: ``output`` holds something else than a benchmark; or what is raised within.
    """
    plan = output / "plan.yaml"
    before = plan.read_bytes() if plan.exists() else None
    if before is None and any(path.name != LOCK for path in output.iterdir()):
        raise InputError(f"{output} holds something else than a benchmark; choose another folder with -o.")
    try:
        yield
    except InputError:
        if before is not None:
            plan.write_bytes(before)
        elif not (output / "runs").exists():
            plan.unlink(missing_ok=True)
            shutil.rmtree(output / "data", ignore_errors=True)
        raise


def _resolved(plan: BenchPlan) -> BenchPlan:
    """The plan with the places of its data written out."""
    written = {
        name: spec.model_copy(update={"path": spec.path and str(plan.place(spec.path).resolve())})
        for name, spec in plan.datasets.items()
    }
    return plan.model_copy(update={"datasets": written})


def _write(plan: BenchPlan, runs: Sequence[Run], output: Path) -> None:
    """scores.csv of all runs that are done, then the tables and figures of it."""
    found = [score for run in runs for score in scores_of(run)]
    scores.write(output / "scores.csv", found)
    tables.write(found, [run.about() for run in runs], output, cells=reported_cells(plan))
