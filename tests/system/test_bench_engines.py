"""A plan on a Ray cluster of two workers, and through submitit: the same scores, though a worker is killed."""

from __future__ import annotations

import json
import shutil
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from benchmarks.ray_cluster import cluster, differing, kill_a_worker
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


@pytest.mark.slow
def test_a_ray_cluster_gives_the_same_table_though_a_worker_is_killed(local: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", minversion="2.40")
    plan, out, killed = plan_at(tmp_path, **PLAN), tmp_path / "out", list[int]()
    begun = partial(out.glob, "runs/*/last.ckpt")
    watcher = threading.Thread(target=kill_a_worker, args=(begun, killed), daemon=True)
    watcher.start()
    with cluster():
        found = bench(plan, out, engine="ray", device="cpu")
    watcher.join(5)
    assert (found.now, found.failed) == (4, ())
    assert killed, "no worker was killed in the middle of a run"
    assert differing(local, out) == []


def test_submitit_gives_the_same_table(local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through its executor for this machine; SLURM's has the same face."""
    pytest.importorskip("submitit")
    monkeypatch.setattr("maskmend.runs.execute.POLL_S", 0.2)
    plan = plan_at(tmp_path, **PLAN)
    shutil.copytree(local / "data", tmp_path / "out/data")
    shutil.copy(local / "plan.yaml", tmp_path / "out/plan.yaml")
    found = bench(plan, tmp_path / "out", engine="slurm", device="cpu", options={"cluster": "local"})
    assert (found.now, found.failed) == (4, ())
    assert len(runs_in(tmp_path)) == 4
    assert yaml.safe_load((tmp_path / "out/plan.yaml").read_text())["seeds"] == [0]
    done = [json.loads(path.read_text()) for path in tmp_path.glob("out/runs/*/done.json")]
    assert {one["failed"] for one in done} == {None}
    assert differing(local, tmp_path / "out") == []
