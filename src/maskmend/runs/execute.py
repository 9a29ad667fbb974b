"""Where tasks run, as the runs of a benchmark: processes of this machine, a Ray cluster, or SLURM."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import Field, replace
from functools import partial
from importlib import import_module
from itertools import islice
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from socket import create_connection
from threading import Thread
from typing import Any, ClassVar, Literal, Protocol

from ..errors import InputError
from ..texts import shown
from .waiting import Named, Waiting

EngineName = Literal["local", "ray", "slurm"]


class Task(Named, Protocol):
    """What can be run anywhere: a frozen dataclass that can be pickled.

    key: no other task has it. name: as a person calls it. folder: where it writes, log.txt among it. out: of all tasks.
    device, threads: where it runs; told by ``execute``.
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def device(self) -> str: ...
    @property
    def threads(self) -> int | None: ...
    @property
    def out(self) -> Path: ...

    def run(self) -> None:
        """Do it; from where it was stopped, if it was."""
        ...

    def failure(self) -> str | None:
        """Why it ended, in its own words, if it failed."""
        ...


Ended = tuple[Task, str | None]
"""A task, and why it ended without a word of its own: None if it came to its end."""
POLL_S = 5.0
"""Between two looks at the jobs of a cluster."""
PATIENCE_S = 10.0
"""With a cluster's head that does not answer."""
RETRIES = 3
"""How often Ray begins a task again whose worker died."""


def check_engine(engine: str, options: Mapping[str, Any] | None = None) -> None:
    """Raise InputError for an engine that there is not, whose library is not installed, or that has no such option."""
    if engine not in ENGINES:
        raise InputError(f"--engine {engine}: there is no such engine; take one of {', '.join(ENGINES)}.")
    if module := {"ray": "ray", "slurm": "submitit"}.get(engine):
        try:
            import_module(module)
        except ImportError:
            cure = f"pip install {module}, or leave --engine out to run on this machine."
            raise InputError(
                f"--engine {engine} needs the Python package {module}, which is not here; {cure}"
            ) from None
    elif options:
        raise InputError(f"{next(iter(options))}=… is an option of --engine ray or slurm; leave it out.")
    _threads(engine, None, options or {})


def execute(
    tasks: Sequence[Task],
    engine: EngineName = "local",
    jobs: int | None = None,
    device: str = "auto",
    options: Mapping[str, Any] | None = None,
) -> dict[str, str]:
    """Run all; why tasks ended without a word of their own, by key. They will go on when they are run again.

    jobs: how many at a time; on this machine 1 by default, and 0 is in this very process. options: of the engine.
    """
    if not tasks:
        return {}
    threads = _threads(engine, jobs, options or {})
    placed = [replace(task, device=device, threads=threads) for task in tasks]
    crashed: dict[str, str] = {}
    ended = ENGINES[engine](placed, jobs, options or {})
    slots = (1 if engine == "local" else len(placed)) if jobs is None else jobs
    for task, crash in _told(ended, placed, slots):
        if crash is not None:
            crashed[task.key] = crash
    return crashed


def _threads(engine: str, jobs: int | None, options: Mapping[str, Any]) -> int | None:
    """CPU threads of a task: its share of this machine's cores, or those that a cluster gives it."""
    if engine != "local":
        name = "num_cpus" if "num_cpus" in options else "cpus_per_task"
        given = options.get(name, 1)
        if not isinstance(given, int | float) or not 0 <= given < 2**16:
            raise InputError(f"{name}={shown(given)}: it should be a number of cores.")
        return max(1, int(given))
    return max(1, len(os.sched_getaffinity(0)) // jobs) if jobs else None


def _told(ended: Iterator[Ended], tasks: Sequence[Task], slots: int) -> Iterator[Ended]:
    """The same, told to who waits: a line that moves on a terminal, elsewhere one a minute; and one for each that
    failed, or, where no terminal is, ended."""
    with Waiting(tasks, slots) as waiting:
        for number, (task, crash) in enumerate(ended, start=1):
            waiting.end(task)
            failed, left = crash or task.failure(), waiting.left()
            how = f"failed: {failed}" if failed else "done"
            if failed or not sys.stderr.isatty():
                words = f"{number}/{len(tasks)} {task.name}: {how}{f' ({left})' if left else ''}"
                print(words, file=sys.stderr, flush=True)
            yield task, crash


def reason(error: BaseException) -> str:
    """Why it failed, in a line."""
    said, kind = str(error).strip().partition("\n")[0], type(error).__name__
    return said if isinstance(error, InputError) else f"{kind}: {said}" if said else kind


def _tried(work: Callable[[], object]) -> str | None:
    """None, or why ``work`` failed."""
    try:
        work()
    except Exception as error:
        return reason(error)
    return None


# --- this machine -----------------------------------------------------------------------------------------------------


def _local(tasks: Sequence[Task], jobs: int | None, options: Mapping[str, Any]) -> Iterator[Ended]:
    """Processes that take one task after the other. One that dies takes its task down alone, and is replaced."""
    if jobs == 0:
        for task in tasks:
            yield task, _tried(task.run)
        return
    rest, gpus = iter(tasks), _gpus(tasks[0].device)
    busy: dict[Connection, tuple[BaseProcess, Task]] = {}
    try:
        for number in range(min(jobs or 1, len(tasks))):
            _hand(_start(gpus[number % len(gpus)] if gpus else None), next(rest), busy)
        while busy:
            for pipe in wait(list(busy)):
                assert isinstance(pipe, Connection)
                process, task = busy.pop(pipe)
                crash, alive = _answer(pipe, process)
                yield task, crash
                if (following := next(rest, None)) is not None:
                    gpu = gpus[0] if gpus else None
                    _hand((pipe, process) if alive else _start(gpu), following, busy)
                elif alive:
                    pipe.send(None)
                    process.join()
    finally:
        for process, _ in busy.values():
            process.terminate()


def _hand(worker: tuple[Connection, BaseProcess], task: Task, busy: dict[Connection, tuple[BaseProcess, Task]]) -> None:
    pipe, process = worker
    with suppress(OSError):  # it is dead already: its end of the pipe says so when it is waited for
        pipe.send(task)
    busy[pipe] = process, task


def _answer(pipe: Connection, process: BaseProcess) -> tuple[str | None, bool]:
    """What a process says of its task, and whether it lives."""
    try:
        said: str | None = pipe.recv()
    except (EOFError, OSError):
        process.join()
        code = process.exitcode or 0
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        return f"its process ended {how}; the same command goes on with it", False
    return said, True


def _start(gpu: str | None) -> tuple[Connection, BaseProcess]:
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, gpu), daemon=True)
    process.start()
    theirs.close()
    return ours, process


def _serve(pipe: Connection, gpu: str | None) -> None:
    """The life of a process: take a task, run it, say how that went. It ends with the process that began it."""
    parent = parent_process()
    Thread(target=_end_with, args=(parent,), daemon=True).start()
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    while parent is None or parent.is_alive():  # it may have died while this process began
        try:
            task: Task | None = pipe.recv()
        except (EOFError, OSError):  # who started it is gone
            return
        if task is None:
            return
        pipe.send(_tried(partial(logged, task)))


def _end_with(parent: BaseProcess | None) -> None:
    """End this process, whatever it does, when ``parent`` does, be it killed."""
    if parent is not None:
        parent.join()
        os._exit(1)


def logged(task: Task) -> None:
    """The task in a process of its own: what it prints goes to the end of the task's log.txt."""
    task.folder.mkdir(parents=True, exist_ok=True)
    with (task.folder / "log.txt").open("a", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    task.run()
    sys.stdout.flush()


def _gpus(device: str) -> list[str]:
    """The GPUs to deal to processes, none for the CPU."""
    import torch

    if device == "cpu" or not torch.cuda.is_available():
        return []
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",") if named else [str(number) for number in range(torch.cuda.device_count())]


# --- clusters ---------------------------------------------------------------------------------------------------------


def _ray(tasks: Sequence[Task], jobs: int | None, options: Mapping[str, Any]) -> Iterator[Ended]:
    """A remote call a task, on the cluster that Ray finds (RAY_ADDRESS), or on one of its own on this machine.

    ``options`` are those of ``ray.remote``. A task whose worker dies is begun again elsewhere by Ray, and goes on from
    the task's last checkpoint. A cluster that goes away is an InputError, before Ray ends this very process.
    """
    ray: Any = import_module("ray")
    try:
        ray.init(ignore_reinit_error=True, log_to_driver=False)
    except ConnectionError as error:
        raise InputError(f"--engine ray: {reason(error)}; start the cluster, or unset RAY_ADDRESS.") from error
    defaults = {"num_cpus": 1, "max_retries": RETRIES, **({"max_calls": 1} if options.get("num_gpus") else {})}
    try:
        remote = ray.remote(**{**defaults, **options})(logged)
    except (TypeError, ValueError) as error:
        raise InputError(f"--engine ray: {reason(error)}; give options that ray.remote knows.") from error
    rest = iter(tasks)
    waiting = {remote.remote(task): task for task in islice(rest, jobs or len(tasks))}
    while waiting:
        ended, _ = ray.wait(list(waiting), num_returns=1, timeout=POLL_S)
        _check_alive(ray.get_runtime_context().gcs_address)
        for ready in ended:
            task = waiting.pop(ready)
            yield task, _tried(partial(ray.get, ready))
            if (following := next(rest, None)) is not None:
                waiting[remote.remote(following)] = following


def _check_alive(address: str) -> None:
    """Raises InputError where nobody answers at the address of a cluster's head."""
    host, _, port = address.rpartition(":")
    try:
        create_connection((host.strip("[]"), int(port)), PATIENCE_S).close()
    except OSError as error:
        raise InputError(
            f"--engine ray: the cluster at {address} went away ({error.strerror or error}); start it, and the same "
            "command goes on with what is missing."
        ) from error


def _slurm(tasks: Sequence[Task], jobs: int | None, options: Mapping[str, Any]) -> Iterator[Ended]:
    """An array of jobs, one a task, waited for. ``options`` are those of submitit: ``slurm_partition``, …, and
    ``cluster=local``, which tries it on this machine."""
    submitit: Any = import_module("submitit")
    most = {"slurm_array_parallelism": jobs} if jobs else {}
    asked = {"name": "maskmend", "cpus_per_task": 1, **most, **options}
    try:
        executor = submitit.AutoExecutor(folder=str(tasks[0].out / "slurm"), cluster=asked.pop("cluster", "slurm"))
        executor.update_parameters(**asked)
        with executor.batch():
            submitted = [executor.submit(logged, task) for task in tasks]
    except (RuntimeError, TypeError, ValueError, NameError) as error:
        raise InputError(
            f"--engine slurm: {reason(error)}; run it where srun is, with options submitit knows."
        ) from error
    waiting = list(zip(submitted, tasks, strict=True))
    while waiting:
        for job, task in [pair for pair in waiting if pair[0].done()]:
            waiting.remove((job, task))
            yield task, _tried(job.result)
        if waiting:
            time.sleep(POLL_S)


Engine = Callable[[Sequence[Task], int | None, Mapping[str, Any]], Iterator[Ended]]
ENGINES: dict[str, Engine] = {"local": _local, "ray": _ray, "slurm": _slurm}
