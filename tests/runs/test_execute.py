"""Where tasks run: processes that may die, Ray and SLURM played by stand-ins, and what is told of each."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest

from maskmend.errors import InputError
from maskmend.runs import execute as module
from maskmend.runs.execute import _serve, check_engine, execute, reason


@dataclass(frozen=True)
class Pretended:
    """A task whose key says what becomes of it."""

    out: Path
    key: str
    device: str = "auto"
    threads: int | None = None

    @property
    def name(self) -> str:
        return f"task {self.key}"

    @property
    def folder(self) -> Path:
        return self.out / "tasks" / self.key

    def run(self) -> None:
        if self.key == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.key == "full":
            raise InputError("the disk is full; free some.")
        if self.key == "long":
            time.sleep(60)
        self.folder.mkdir(parents=True, exist_ok=True)
        os.write(1, f"{self.key} was here\n".encode())
        about = {"failed": self.failure(), "pid": os.getpid(), "threads": self.threads}
        (self.folder / "done.json").write_text(json.dumps(about))

    def failure(self) -> str | None:
        return "ValueError: no" if self.key == "failed" else None

    def done(self) -> dict[str, Any] | None:
        path = self.folder / "done.json"
        return json.loads(path.read_text()) if path.exists() else None


def pretended(out: Path, *keys: str) -> list[Pretended]:
    return [Pretended(out, key) for key in keys]


def test_a_process_that_dies_takes_its_task_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """One of two processes is killed within a task; the other's, and those after, are done."""
    forked = module.get_context("fork")
    monkeypatch.setattr(module, "get_context", lambda name: forked)  # it knows this file
    tasks = pretended(tmp_path, "a", "killed", "full", "failed", "b", "c")
    crashed = execute(tasks, jobs=2, device="cpu")
    assert crashed == {
        "killed": "its process ended by signal 9; the same command goes on with it",
        "full": "the disk is full; free some.",
    }
    done = {task.key: task.done() for task in tasks}
    assert {name for name, found in done.items() if found} == {"a", "failed", "b", "c"}
    assert os.getpid() not in {found["pid"] for found in done.values() if found}
    assert (tmp_path / "tasks/a/log.txt").read_text() == "a was here\n"
    told = capfd.readouterr().err.splitlines()
    assert len(told) == 6
    assert any("failed: ValueError: no" in line for line in told)
    assert [" left)" in line for line in told] == [True] * 5 + [False]


def _begin(out: Path, told: Connection) -> None:
    """Start a worker that works for long, tell its number, and be killed."""
    pipe, worker = module._start(None)
    pipe.send(Pretended(out, "long"))
    told.send(worker.pid)
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_ends_with_who_began_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forked = module.get_context("fork")
    monkeypatch.setattr(module, "get_context", lambda name: forked)
    ours, theirs = forked.Pipe()
    parent = forked.Process(target=_begin, args=(tmp_path, theirs))
    parent.start()
    worker = ours.recv()
    parent.join()
    status, end = Path(f"/proc/{worker}/status"), time.monotonic() + 10
    while status.exists() and "zombie" not in status.read_text() and time.monotonic() < end:
        time.sleep(0.02)
    assert time.monotonic() < end, "it works on"


def test_no_jobs_is_this_process(tmp_path: Path) -> None:
    tasks = pretended(tmp_path, "a", "full", "b")
    assert execute(tasks, jobs=0) == {"full": "the disk is full; free some."}
    assert tasks[2].done() == {"failed": None, "pid": os.getpid(), "threads": None}
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


def test_ray_has_as_many_tasks_as_jobs_until_it_goes_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for Ray: tasks are run when they are waited for."""
    asked: dict[str, Any] = {}
    most = 0

    def remote(**options: Any) -> Callable[..., Any]:
        asked.update(options)
        return lambda work: SimpleNamespace(remote=lambda task: SimpleNamespace(work=lambda: work(task)).work)

    def wait(tasks: list[Any], num_returns: int, timeout: float) -> tuple[list[Any], list[Any]]:
        nonlocal most
        most = max(most, len(tasks))
        return tasks[-1:], tasks[:-1]

    head = socket.create_server(("127.0.0.1", 0))
    ray = SimpleNamespace(init=lambda **more: None, remote=remote, wait=wait, get=lambda task: task())
    ray.get_runtime_context = partial(SimpleNamespace, gcs_address=f"127.0.0.1:{head.getsockname()[1]}")
    monkeypatch.setitem(sys.modules, "ray", ray)
    check_engine("ray")
    tasks = pretended(tmp_path, "a", "full", "b", "c")
    crashed = execute(tasks, "ray", jobs=2, options={"num_gpus": 1, "num_cpus": 4})
    assert crashed == {"full": "the disk is full; free some."}
    assert (most, asked["num_gpus"], asked["num_cpus"]) == (2, 1, 4)
    assert [task.done()["threads"] for task in tasks if task.done()] == [4, 4, 4]
    head.close()
    with pytest.raises(InputError, match=r"127.0.0.1:\d+ went away .*the same command goes on with what is missing"):
        execute(tasks, "ray")


def test_slurm_gets_one_array_of_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for submitit: a job is done when it is looked at for the second time."""
    asked: dict[str, Any] = {}

    class Job:
        looks = 0

        def __init__(self, work: Callable[[Pretended], None], task: Pretended) -> None:
            self.work, self.task = work, task

        def done(self) -> bool:
            self.looks += 1
            return self.looks > 1

        def result(self) -> None:
            self.work(self.task)

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
    tasks = pretended(tmp_path, "a", "full", "b")
    crashed = execute(tasks, "slurm", jobs=5, options={"slurm_partition": "gpu", "timeout_min": 60})
    assert crashed == {"full": "the disk is full; free some."}
    assert (asked["cluster"], asked["slurm_partition"], asked["timeout_min"]) == ("slurm", "gpu", 60)
    assert (asked["slurm_array_parallelism"], asked["batch"]) == (5, True)
    assert asked["folder"] == str(tmp_path / "slurm")


def test_slurm_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(**more: Any) -> None:
        raise RuntimeError('Could not detect "srun"')

    monkeypatch.setitem(sys.modules, "submitit", SimpleNamespace(AutoExecutor=none))
    with pytest.raises(InputError, match='--engine slurm: RuntimeError: Could not detect "srun"'):
        execute(pretended(tmp_path, "a"), "slurm")


def test_a_reason_is_one_line() -> None:
    assert reason(InputError("give less.")) == "give less."
    assert reason(ValueError("bad\nworse")) == "ValueError: bad"
    assert reason(MemoryError()) == "MemoryError"


def test_a_task_whose_parent_died_before_it_began_is_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    dead = SimpleNamespace(is_alive=lambda: False, join=Event().wait)
    monkeypatch.setattr("maskmend.runs.execute.parent_process", lambda: dead)
    ours, theirs = Pipe()
    ours.send(SimpleNamespace(folder=tmp_path / "tasks" / "a"))
    _serve(theirs, None)
    assert not ours.poll()
    assert not list(tmp_path.iterdir())
