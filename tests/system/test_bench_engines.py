"""A plan on a Ray cluster of two workers, and through submitit: the same scores, though a worker is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.system.test_bench import plan_at, runs_in

from maskmend.verbs.bench import bench

WORDS = ["optim.name=adam", "optim.lr=0.01", "train.precision=fp32", "train.threads=1", "train.save_every=1"]
PLAN: dict[str, Any] = {
    "words": WORDS,
    "budget": {"epochs": 3, "steps": 4, "rows": 4},
    "methods": {
        "truth": None,
        "supervised": None,
        "co_teaching": None,
        "mlb_seg": {"words": ["method.views=[in,flip]"]},
    },
}


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plan's runs, made in processes of this machine."""
    folder = tmp_path_factory.mktemp("local")
    assert bench(plan_at(folder, **PLAN), folder / "out", jobs=1, device="cpu").now == 4
    return folder / "out"


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Two nodes of one core each, on this machine."""
    ray = pytest.importorskip("ray", minversion="2.40")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    monkeypatch.setenv("RAY_DISABLE_DASHBOARD", "1")
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    found.add_node(num_cpus=1)
    monkeypatch.setenv("RAY_ADDRESS", found.address)
    yield found
    ray.shutdown()
    found.shutdown()


def same_scores(one: Path, other: Path) -> None:
    assert (one / "scores.csv").read_bytes() == (other / "scores.csv").read_bytes()
    for table in sorted((one / "tables").iterdir()):
        if table.stem == "cost":  # seconds are never the same
            continue
        assert table.read_bytes() == (other / "tables" / table.name).read_bytes(), table.name


def kill_the_worker_of(out: Path, killed: list[int]) -> None:
    """Wait until a worker is in the middle of a run, and kill it."""
    while not killed:
        for path in out.glob("runs/*/last.ckpt"):
            if not (path.parent / "done.json").exists() and (pids := holders(path.parent / "log.txt")):
                os.kill(pids[0], signal.SIGKILL)
                killed.append(pids[0])
                return
        time.sleep(0.01)


def holders(path: Path) -> list[int]:
    """Processes that have a file open, this one aside."""
    found = []
    for link in Path("/proc").glob("[0-9]*/fd/1"):
        try:
            if link.resolve() == path.resolve() and (pid := int(link.parts[2])) != os.getpid():
                found.append(pid)
        except OSError:
            continue
    return found


@pytest.mark.slow
def test_a_ray_cluster_gives_the_same_table_though_a_worker_is_killed(
    local: Path, tmp_path: Path, cluster: Any
) -> None:
    plan, out, killed = plan_at(tmp_path, **PLAN), tmp_path / "out", list[int]()
    watcher = threading.Thread(target=kill_the_worker_of, args=(out, killed), daemon=True)
    watcher.start()
    found = bench(plan, out, engine="ray", device="cpu")
    watcher.join(5)
    assert (found.now, found.failed) == (4, ())
    assert killed, "no worker was killed in the middle of a run"
    same_scores(local, out)


def test_submitit_gives_the_same_table(local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through its executor for this machine; SLURM's has the same face."""
    pytest.importorskip("submitit")
    monkeypatch.setattr("maskmend.bench.execute.POLL_S", 0.2)
    plan = plan_at(tmp_path, **PLAN)
    shutil.copytree(local / "data", tmp_path / "out/data")
    shutil.copy(local / "plan.yaml", tmp_path / "out/plan.yaml")
    found = bench(plan, tmp_path / "out", engine="slurm", device="cpu", options={"cluster": "local"})
    assert (found.now, found.failed) == (4, ())
    assert len(runs_in(tmp_path)) == 4
    assert yaml.safe_load((tmp_path / "out/plan.yaml").read_text())["seeds"] == [0]
    done = [json.loads(path.read_text()) for path in tmp_path.glob("out/runs/*/done.json")]
    assert {one["failed"] for one in done} == {None}
    same_scores(local, tmp_path / "out")
