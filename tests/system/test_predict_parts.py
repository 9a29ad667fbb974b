"""Prediction on several machines: by parts, by tasks of an engine, and the same command again."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from benchmarks.ray_cluster import cluster, kill_a_worker
from tests.system.conftest import Maskmend

from maskmend.verbs.predict import predict


@pytest.fixture
def images(toys: Any, tmp_path: Path) -> Path:
    """Six images and one that cannot be read."""
    folder = Path(shutil.copytree(toys(2, 2) / "imagesTr", tmp_path / "images"))
    (folder / "case99_0000.png").write_text("no picture")
    return folder


@pytest.fixture
def whole(trained: Path, images: Path, tmp_path: Path) -> Path:
    """What one process makes of them."""
    predict(trained, images, tmp_path / "whole", probabilities=True, device="cpu")
    return tmp_path / "whole"


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_parts_together_are_the_whole(
    maskmend: Maskmend, trained: Path, images: Path, whole: Path, tmp_path: Path
) -> None:
    words = ("predict", trained, images, "-o", tmp_path / "out", "--probabilities", "--device", "cpu", "--part")
    said = [maskmend(*words, f"{number}/3") for number in (2, 3, 1)]
    assert [each.exit_code for each in said] == [0, 0, 1], said
    assert "2 masks of part 2/3. Of other parts, not there yet: 5." in said[0].stdout
    assert said[2].stdout == f"{tmp_path / 'out'}: 2 masks of part 1/3.\n"
    assert "failed: case99:" in said[2].stderr, "of the part that has the image, and of no other"
    assert content(tmp_path / "out") == content(whole)
    spare = maskmend(*words, "8/8")
    assert (spare.exit_code, "0 masks of part 8/8" in spare.stdout) == (0, True)


@pytest.mark.parametrize("part", ["9/8", "0/8", "a/b", "2/0", "2", "-1/8", "1.5/3"])
def test_a_part_that_there_is_not(maskmend: Maskmend, trained: Path, images: Path, tmp_path: Path, part: str) -> None:
    refused = maskmend("predict", trained, images, "-o", tmp_path / "out", f"--part={part}")
    assert refused.exit_code == 2
    assert refused.stderr.startswith(f"error: --part '{part}': there is no such part; ")
    assert not (tmp_path / "out").exists()


def test_a_part_of_an_engine(maskmend: Maskmend, trained: Path, images: Path, tmp_path: Path) -> None:
    refused = maskmend("predict", trained, images, "-o", tmp_path / "out", "--part", "1/2", "--jobs", "2")
    assert (refused.exit_code, "leave one of them out" in refused.stderr) == (2, True)


def test_again_goes_on_with_what_is_missing_and_replaces_nothing(
    maskmend: Maskmend, trained: Path, images: Path, whole: Path, tmp_path: Path
) -> None:
    before = content(whole)
    lost = whole / sorted(path.name for path in whole.glob("*.png"))[0]
    lost.unlink()
    times = {path: path.stat().st_mtime_ns for path in whole.glob("*.png")}
    words = ("predict", trained, images, "-o", whole, "--device", "cpu")
    done = maskmend(*words, "--probabilities")
    assert done.stdout == f"{whole}: 6 masks, 5 of them from before; delete a mask to have it made again.\n"
    assert content(whole) == before
    assert {path: path.stat().st_mtime_ns for path in times} == times
    for changed in ((*words, "--mirror"), (*words, "--checkpoint", "last"), (*words, "--mirror", "--part", "2/2")):
        refused = maskmend(*changed)
        assert refused.exit_code == 2
        assert f"{lost} is there, and was not made by this model" in refused.stderr
    (whole / "predict.json").unlink()
    assert maskmend(*words).exit_code == 2
    assert content(whole) == {name: held for name, held in before.items() if name != "predict.json"}


def test_processes_of_this_machine(trained: Path, images: Path, whole: Path, tmp_path: Path) -> None:
    found = predict(trained, images, tmp_path / "out", probabilities=True, jobs=2, device="cpu")
    assert (found.count, [name for name, _ in found.failures]) == (6, ["case99"])
    assert content(tmp_path / "out") == content(whole)


def test_submitit(
    maskmend: Maskmend, trained: Path, images: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setattr("maskmend.runs.execute.POLL_S", 0.2)
    words = ("--probabilities", "--engine", "slurm", "--jobs", 2, "cluster=local", "--device", "cpu")
    done = maskmend("predict", trained, images, "-o", tmp_path / "out", *words)
    assert done.exit_code == 1, done.output
    assert "failed: case99" in done.stderr
    assert content(tmp_path / "out") == content(whole)


@pytest.mark.slow
def test_a_ray_cluster_though_a_worker_is_killed(
    maskmend: Maskmend, trained: Path, images: Path, whole: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ray", minversion="2.40")
    out, killed = tmp_path / "out", list[int]()
    logs = partial(out.glob, ".shares/*/log.txt")
    watcher = threading.Thread(target=kill_a_worker, args=(logs, killed), daemon=True)
    watcher.start()
    words = ("--probabilities", "--device", "cpu", "--engine", "ray", "--jobs", 3)
    with cluster():
        done = maskmend("predict", trained, images, "-o", out, *words)
    watcher.join(5)
    assert killed, "no worker was killed"
    assert (done.exit_code, "failed: case99" in done.stderr) == (1, True), done.output
    assert content(out) == content(whole)


@pytest.mark.slow
def test_a_ray_cluster_that_goes_away(
    maskmend: Maskmend, trained: Path, images: Path, whole: Path, tmp_path: Path
) -> None:
    """In a process of its own, which Ray may end."""
    pytest.importorskip("ray", minversion="2.40")
    out = tmp_path / "out"
    words = ["predict", trained, images, "-o", out, "--probabilities", "--device", "cpu"]
    with cluster() as found:
        command = [sys.executable, "-m", "maskmend", *map(str, words), "--engine", "ray"]
        gone = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        while gone.poll() is None and not [*out.glob(".shares/*/log.txt")]:
            time.sleep(0.1)
        found.head_node.kill_gcs_server()
        _, said = gone.communicate(timeout=180)
    assert (gone.returncode, "went away" in said) == (2, True), said
    assert "the same command goes on with what is missing" in said
    assert maskmend(*words).exit_code == 1
    there = content(out)
    assert {name: held for name, held in there.items() if not name.startswith(".shares")} == content(whole)
