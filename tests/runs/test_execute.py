"""Where runs run: processes that may die, Ray and SLURM played by stand-ins, and what is told of each."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest

from maskmend.bench.deal import Deal
from maskmend.bench.keys import Measuring, Run
from maskmend.config import RunConfig
from maskmend.errors import InputError
from maskmend.runs import execute as module
from maskmend.runs.execute import _serve, check_engine, execute, reason


def a_run(out: Path, name: str) -> Run:
    return Run(
        *(out, name, "disks", "none", name, "", "unet", 0, RunConfig(), (), (), ""),
        *(out, out, Deal("given"), Measuring(1, 1, ("Dice",), False)),
    )


def pretend(run: Run) -> None:
    """What a run is here: its name says what becomes of it."""
    if run.key == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if run.key == "full":
        raise InputError("the disk is full; free some.")
    run.folder.mkdir(parents=True, exist_ok=True)
    os.write(1, f"{run.key} was here\n".encode())
    failed = "ValueError: no" if run.key == "failed" else None
    (run.folder / "done.json").write_text(json.dumps({"failed": failed, "pid": os.getpid(), "threads": run.threads}))


@pytest.fixture
def _pretend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Run, "run", pretend)


@pytest.mark.usefixtures("_pretend")
def test_a_process_that_dies_takes_its_run_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """One of two processes is killed within a run; the other's runs, and those after, are done."""
    forked = module.get_context("fork")
    monkeypatch.setattr(module, "get_context", lambda name: forked)  # it inherits ``pretend``
    runs = [a_run(tmp_path, name) for name in ("a", "killed", "full", "failed", "b", "c")]
    crashed = execute(runs, jobs=2, device="cpu")
    assert crashed == {
        "killed": "its process ended by signal 9; the same command goes on with it",
        "full": "the disk is full; free some.",
    }
    done = {run.key: run.done() for run in runs}
    assert {name for name, found in done.items() if found} == {"a", "failed", "b", "c"}
    assert os.getpid() not in {found["pid"] for found in done.values() if found}
    assert (tmp_path / "runs/a/log.txt").read_text() == "a was here\n"
    told = capfd.readouterr().err.splitlines()
    assert len(told) == 6
    assert any("failed: ValueError: no" in line for line in told)
    assert all("min left" in line for line in told)


def _begin(out: Path, told: Connection) -> None:
    """Start a worker that works for long, tell its number, and be killed."""
    pipe, worker = module._start(None)
    pipe.send(a_run(out, "long"))
    told.send(worker.pid)
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_ends_with_who_began_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forked = module.get_context("fork")
    monkeypatch.setattr(module, "get_context", lambda name: forked)
    monkeypatch.setattr(Run, "run", lambda run: time.sleep(60))
    ours, theirs = forked.Pipe()
    parent = forked.Process(target=_begin, args=(tmp_path, theirs))
    parent.start()
    worker = ours.recv()
    parent.join()
    status, end = Path(f"/proc/{worker}/status"), time.monotonic() + 10
    while status.exists() and "zombie" not in status.read_text() and time.monotonic() < end:
        time.sleep(0.02)
    assert time.monotonic() < end, "it works on"


@pytest.mark.usefixtures("_pretend")
def test_no_jobs_is_this_process(tmp_path: Path) -> None:
    runs = [a_run(tmp_path, name) for name in ("a", "full", "b")]
    assert execute(runs, jobs=0) == {"full": "the disk is full; free some."}
    assert runs[2].done() == {"failed": None, "pid": os.getpid(), "threads": None}
    assert execute([]) == {}


def test_processes_share_the_cores() -> None:
    cores = len(os.sched_getaffinity(0))
    assert module._threads("local", 1, {}) == cores
    assert module._threads("local", cores, {}) == module._threads("local", 2 * cores, {}) == 1
    assert module._threads("slurm", 1, {"cpus_per_task": 3}) == 3
    assert module._threads("ray", None, {"num_cpus": 2}) == 2


@pytest.mark.parametrize(("engine", "package"), [("ray", "ray"), ("slurm", "submitit")])
def test_an_engine_that_is_not_installed(engine: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=f"--engine {engine} needs the Python package {package}, which is not here"):
        check_engine(engine)


def test_an_engine_that_there_is_not() -> None:
    with pytest.raises(InputError, match="there is no such engine; take one of local, ray, slurm"):
        check_engine("moon")
    with pytest.raises(InputError, match="slurm_partition=… is an option of --engine ray or slurm"):
        check_engine("local", {"slurm_partition": "x"})
    for cores in ("many", -1, [2], float("inf")):
        with pytest.raises(InputError, match=r"num_cpus=.*: it should be a number of cores"):
            module._threads("ray", None, {"num_cpus": cores})


@pytest.mark.usefixtures("_pretend")
def test_ray_has_as_many_tasks_as_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for Ray: tasks are run when they are waited for."""
    asked: dict[str, Any] = {}
    most = 0

    def remote(**options: Any) -> Callable[..., Any]:
        asked.update(options)
        return lambda work: SimpleNamespace(remote=lambda run: SimpleNamespace(work=lambda: work(run)).work)

    def wait(tasks: list[Any], num_returns: int) -> tuple[list[Any], list[Any]]:
        nonlocal most
        most = max(most, len(tasks))
        return tasks[-1:], tasks[:-1]

    ray = SimpleNamespace(init=lambda **more: None, remote=remote, wait=wait, get=lambda task: task())
    monkeypatch.setitem(sys.modules, "ray", ray)
    check_engine("ray")
    runs = [a_run(tmp_path, name) for name in ("a", "full", "b", "c")]
    crashed = execute(runs, "ray", jobs=2, options={"num_gpus": 1, "num_cpus": 4})
    assert crashed == {"full": "the disk is full; free some."}
    assert (most, asked["num_gpus"], asked["num_cpus"]) == (2, 1, 4)
    assert [run.done()["threads"] for run in runs if run.done()] == [4, 4, 4]


@pytest.mark.usefixtures("_pretend")
def test_slurm_gets_one_array_of_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for submitit: a job is done when it is looked at for the second time."""
    asked: dict[str, Any] = {}

    class Job:
        looks = 0

        def __init__(self, work: Callable[[Run], None], run: Run) -> None:
            self.work, self.run = work, run

        def done(self) -> bool:
            self.looks += 1
            return self.looks > 1

        def result(self) -> None:
            self.work(self.run)

    class Executor:
        def __init__(self, folder: str, cluster: str) -> None:
            asked.update(folder=folder, cluster=cluster)

        def update_parameters(self, **options: Any) -> None:
            asked.update(options)

        def batch(self) -> Any:
            asked["batch"] = True
            return open(os.devnull)

        submit = staticmethod(Job)

    monkeypatch.setitem(sys.modules, "submitit", SimpleNamespace(AutoExecutor=Executor))
    monkeypatch.setattr(module, "POLL_S", 0.0)
    runs = [a_run(tmp_path, name) for name in ("a", "full", "b")]
    crashed = execute(runs, "slurm", jobs=5, options={"slurm_partition": "gpu", "timeout_min": 60})
    assert crashed == {"full": "the disk is full; free some."}
    assert (asked["cluster"], asked["slurm_partition"], asked["timeout_min"]) == ("slurm", "gpu", 60)
    assert (asked["slurm_array_parallelism"], asked["batch"]) == (5, True)
    assert asked["folder"] == str(tmp_path / "slurm")


def test_slurm_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(**more: Any) -> None:
        raise RuntimeError('Could not detect "srun"')

    monkeypatch.setitem(sys.modules, "submitit", SimpleNamespace(AutoExecutor=none))
    with pytest.raises(InputError, match='--engine slurm: RuntimeError: Could not detect "srun"'):
        execute([a_run(tmp_path, "a")], "slurm")


def test_a_reason_is_one_line() -> None:
    assert reason(InputError("give less.")) == "give less."
    assert reason(ValueError("bad\nworse")) == "ValueError: bad"
    assert reason(MemoryError()) == "MemoryError"


def test_a_run_whose_parent_died_before_it_began_is_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    dead = SimpleNamespace(is_alive=lambda: False, join=Event().wait)
    monkeypatch.setattr("maskmend.runs.execute.parent_process", lambda: dead)
    ours, theirs = Pipe()
    ours.send(SimpleNamespace(folder=tmp_path / "runs" / "a"))
    _serve(theirs, None)
    assert not ours.poll()
    assert not list(tmp_path.iterdir())
