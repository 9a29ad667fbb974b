"""Does a plan give the same table on a Ray cluster, though a worker is killed? A section of docs/results.md.

    maskmend bench PLAN -o LOCAL --jobs 2
    python benchmarks/ray_cluster.py PLAN LOCAL OUT [--kill-after 300]

Starts a cluster of two nodes of one core each on this machine, runs the plan there into OUT, kills a worker by SIGKILL
once, in the middle of a run, and compares scores and tables with those in LOCAL byte for byte. Called again it does
what is missing. The exit code is 1 where a run failed, no worker was killed or a file differs.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from maskmend.verbs.bench import bench

SETTINGS = {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_DISABLE_DASHBOARD": "1"}
TIMED = "cost"
"""The table of seconds, which are never the same."""


@contextmanager
def cluster() -> Iterator[Any]:
    """Two nodes of one core each, which ``ray.init`` of this process finds; Ray's own object for them."""
    import ray
    from ray.cluster_utils import Cluster

    before = dict(os.environ)
    os.environ.update(SETTINGS)
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        found.add_node(num_cpus=1)
        os.environ["RAY_ADDRESS"] = found.address
        yield found
    finally:
        ray.shutdown()
        found.shutdown()
        os.environ.clear()
        os.environ.update(before)


def differing(one: Path, other: Path) -> list[str]:
    """Names of the files of scores and tables that are not the same, byte for byte."""
    paths = [one / "scores.csv", *(path for path in sorted((one / "tables").iterdir()) if path.stem != TIMED)]
    pairs = [(path, other / path.relative_to(one)) for path in paths]
    return [path.name for path, twin in pairs if not twin.exists() or path.read_bytes() != twin.read_bytes()]


def kill_a_worker(begun: Callable[[], Iterable[Path]], killed: list[int], after_s: float = 0.0) -> None:
    """Wait until a worker is in the middle of a task, one of whose files is ``begun``, and kill it; its process goes
    into ``killed``."""
    time.sleep(after_s)
    while not killed:
        for path in begun():
            if not (path.parent / "done.json").exists() and (pids := _holders(path.parent / "log.txt")):
                os.kill(pids[0], signal.SIGKILL)
                killed.append(pids[0])
                return
        time.sleep(0.01)


def _holders(path: Path) -> list[int]:
    """Processes that have a file open as their output, this one aside."""
    found = []
    for link in Path("/proc").glob("[0-9]*/fd/1"):
        try:
            if link.resolve() == path.resolve() and (pid := int(link.parts[2])) != os.getpid():
                found.append(pid)
        except OSError:
            continue
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("plan", type=Path)
    parser.add_argument("local", type=Path, help="where the plan was run in local processes")
    parser.add_argument("out", type=Path)
    parser.add_argument("--kill-after", type=float, default=0.0, metavar="SECONDS")
    asked = parser.parse_args()
    killed: list[int] = []
    watched = (partial(asked.out.resolve().glob, "runs/*/last.ckpt"), killed, asked.kill_after)
    threading.Thread(target=kill_a_worker, args=watched, daemon=True).start()
    with cluster():
        found = bench(asked.plan, asked.out, engine="ray", device="cpu")
    differ = differing(asked.local, asked.out)
    print(found.table())
    print(f"workers killed: {len(killed)}; files that differ: {', '.join(differ) or 'none'}")
    return int(bool(found.failed or differ or not killed))


if __name__ == "__main__":
    sys.exit(main())
