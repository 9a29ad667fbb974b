"""From the command line, end to end: train, predict, evaluate, go on, on small data sets in 2D and 3D."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from tests.system.conftest import TINY, Maskmend

import maskmend as package
from maskmend.data.cache import Cache, default_cache
from maskmend.data.dataset import open_dataset, write_dataset
from maskmend.data.formats import Geometry, read_image, read_label, write_image, write_label
from maskmend.data.plan import Plan
from maskmend.data.sidemaps import SideMapConfig, distance
from maskmend.data.trainset import CaseSet

CONFIGS = Path(__file__).parents[2] / "configs"
PRESETS = sorted(CONFIGS.rglob("*.yaml"))
FLAT = Geometry((1.0, 1.0))

Toys = Callable[[int, int], Path]


def fine(maskmend: Maskmend, *words: object) -> str:
    """Run the command line and return what it says on standard output."""
    result = maskmend(*words)
    assert result.exit_code == 0, result.output + repr(result.exception)
    return str(result.stdout)


def weights(run: Path, name: str = "last") -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(run / f"{name}.ckpt", weights_only=True)["method"]
    return found


def same(left: Path, right: Path) -> bool:
    a, b = weights(left), weights(right)
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def state_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Content and time of every file."""
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


# --- the main road ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["supervised", "co_teaching", "gsd_net"])
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("dims", [2, 3])
def test_train_predict_evaluate(
    maskmend: Maskmend, toys: Toys, tmp_path: Path, dims: int, classes: int, method: str
) -> None:
    data, run, out = toys(dims, classes), tmp_path / "RUN", tmp_path / "OUT"
    said = fine(maskmend, "train", data, "--method", method, "-o", run, *TINY, "train.epochs=2", "train.log_every=1")
    assert said.startswith(f"{run}: dice ")
    there = {path.name for path in run.iterdir()}
    assert there >= {"config.yaml", "plan.json", "events.jsonl", "last.ckpt", "best.ckpt", "cases.csv"}
    assert not any(name.endswith(".part") for name in there)
    settings = yaml.safe_load((run / "config.yaml").read_text())
    assert settings["method"]["name"] == method
    assert settings["train"]["epochs"] == 2
    assert json.loads((run / "plan.json").read_text())["dims"] == dims
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    assert [event["epoch"] for event in events if event["event"] == "validation"] == [0, 1]
    assert all(np.isfinite(event["loss"]) for event in events if event["event"] == "train")
    header, *rows = (run / "cases.csv").read_text().splitlines()
    assert header.split(",") == ["case", *(f"dice_part{k}" for k in range(1, classes))]
    assert len(rows) == 2

    assert fine(maskmend, "predict", run, data / "imagesTr", "-o", out) == f"{out}: 6 masks.\n"
    for path in (data / "labelsTr").iterdir():
        given, found = read_label(path), read_label(out / path.name)
        assert found.array.shape == given.array.shape
        assert found.geometry == given.geometry
        assert set(np.unique(found.array)) <= set(range(classes))
    assert "part1" in fine(maskmend, "evaluate", out, data / "truth", "-o", tmp_path / "summary.json")
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert len(summary["metric_per_case"]) == 6
    assert 0 <= summary["foreground_mean"]["Dice"] <= 1


def test_it_learns(maskmend: Maskmend, toys: Toys, tmp_path: Path) -> None:
    words = ("optim.name=adam", "optim.lr=0.02", "train.epochs=3", "train.steps=30")
    fine(maskmend, "train", toys(2, 2), "--method", "supervised", "-o", tmp_path / "RUN", *TINY, *words)
    fine(maskmend, "predict", tmp_path / "RUN", toys(2, 2) / "imagesTr", "-o", tmp_path / "OUT")
    fine(maskmend, "evaluate", tmp_path / "OUT", toys(2, 2) / "truth")
    assert json.loads((tmp_path / "OUT" / "summary.json").read_text())["foreground_mean"]["Dice"] > 0.85


def test_from_a_folder_of_photos_to_scores(maskmend: Maskmend, tmp_path: Path) -> None:
    """prepare, simulate, train, predict, evaluate; colour, and images of several sizes."""
    rng = np.random.default_rng(0)
    for number in range(8):
        size = (40, 48) if number % 2 else (56, 40)
        rows, columns = np.mgrid[: size[0], : size[1]]
        mask = (rows - size[0] / 2) ** 2 + (columns - size[1] / 2) ** 2 < 14**2
        photo = np.stack([mask * 120 + 40, mask * 60 + 80, 200 - mask * 90]) + rng.normal(0, 5, (3, *size))
        write_image(tmp_path / "raw" / "images" / f"p{number}.png", photo.astype(np.uint8), FLAT)
        write_label(tmp_path / "raw" / "masks" / f"p{number}_mask.png", mask.astype(np.uint8) * 255, FLAT)
    data, noisy, run, out = (tmp_path / name for name in ("DATASET", "NOISY", "RUN", "OUT"))
    prepared = fine(maskmend, "prepare", tmp_path / "raw", "-o", data, "--test", "0.25")
    assert "6 training and 2 test" in prepared
    assert f"Next: maskmend audit {data} -o AUDIT\n  or: maskmend train {data} -o RUN\n" in prepared
    noise = ("--noise", "dilate_erode", "low=2", "high=3", "--fraction", "0.5")
    assert "3 of 6 masks corrupted" in fine(maskmend, "simulate", data, "-o", noisy, *noise)
    result = maskmend("train", noisy, "--method", "gsd_net", "-o", run, *TINY, "train.epochs=1")
    assert result.exit_code == 0, result.output
    assert "warning: The images differ in shape" in result.stderr, "what was decided unasked is said"
    assert f"Next: maskmend predict {run} IMAGES -o OUT\n" in result.stdout
    told = fine(maskmend, "predict", run, data / "imagesTs", "-o", out)
    assert f"Next: maskmend evaluate {out} {data / 'labelsTs'}\n" in told
    assert "Next" not in fine(maskmend, "predict", run, data / "imagesTr", "-o", tmp_path / "others")
    for path in (data / "labelsTs").iterdir():
        assert read_label(out / path.name).array.shape == read_label(path).array.shape
    scores = fine(maskmend, "evaluate", out, data / "labelsTs")
    assert "foreground" in scores
    assert f"Written: {out / 'summary.json'}, and each case in cases.csv" in scores


# --- geometry ---------------------------------------------------------------------------------------------------------


def test_geometry_is_kept(maskmend: Maskmend, volumes: Path, tmp_path: Path) -> None:
    """Each volume has a spacing, an origin and an orientation of its own, oblique ones too."""
    geometries = {}
    for number, path in enumerate(sorted((volumes / "imagesTr").iterdir())):
        turn = np.radians(7.0 * number)
        direction = [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, (-1) ** number]]
        spacing = (2.5, 0.75, 0.8 + 0.02 * number)
        given = Geometry(spacing, (-12.5 * number, 40.25, 3.0), tuple(float(v) for row in direction for v in row))
        name = path.name.replace("_0000", "")
        write_image(path, read_image([path]).array[0], given)
        write_label(volumes / "labelsTr" / name, read_label(volumes / "labelsTr" / name).array, given)
        geometries[name] = read_image([path]).geometry
    fine(maskmend, "train", volumes, "--method", "supervised", "-o", tmp_path / "RUN", *TINY, "--fast-dev-run")
    fine(maskmend, "predict", tmp_path / "RUN", volumes / "imagesTr", "-o", tmp_path / "OUT", "--mirror")
    for name, geometry in geometries.items():
        found = read_label(tmp_path / "OUT" / name)
        assert found.array.shape == (16, 16, 16)
        np.testing.assert_allclose(found.geometry.spacing_mm, geometry.spacing_mm, rtol=1e-5)
        np.testing.assert_allclose(found.geometry.origin, geometry.origin, atol=1e-4)
        np.testing.assert_allclose(found.geometry.direction, geometry.direction, atol=1e-5)


def test_the_spacing_of_tiffs_is_kept(maskmend: Maskmend, tmp_path: Path) -> None:
    """It lies in CASE.json beside CASE_0000.tif; simulate takes it along, predict writes it."""
    data, noisy, spacing = tmp_path / "DATASET", tmp_path / "NOISY", Geometry((0.5, 0.25))
    rows, columns = np.mgrid[:32, :64]
    for number in range(4):
        label = ((rows - 16) ** 2 + (columns / 2 - 16) ** 2 < (8 + number) ** 2).astype(np.uint8)
        write_image(data / "imagesTr" / f"a{number}_0000.tif", label * 100, spacing)
        write_label(data / "labelsTr" / f"a{number}.tif", label, spacing)
    write_dataset(data, ("photo",), {"background": 0, "cell": 1}, ".tif", 4)
    fine(maskmend, "simulate", data, "-o", noisy, "--noise", "dilate_erode", "low=1", "high=2")
    for case in open_dataset(noisy).train:
        assert read_image(case.images).geometry.spacing_mm == (0.5, 0.25)
        assert case.label is not None
        assert read_label(case.label).geometry.spacing_mm == (0.5, 0.25)
        assert read_label(noisy / "labelsTr_truth" / case.label.name).geometry.spacing_mm == (0.5, 0.25)
    fine(maskmend, "train", noisy, "--method", "supervised", "-o", tmp_path / "RUN", *TINY, "--fast-dev-run")
    fine(maskmend, "predict", tmp_path / "RUN", noisy / "imagesTr", "-o", tmp_path / "OUT")
    assert read_label(tmp_path / "OUT" / "a2.tif").geometry.spacing_mm == (0.5, 0.25)


# --- going on ---------------------------------------------------------------------------------------------------------


def test_resuming_a_finished_run_does_nothing_and_says_so(maskmend: Maskmend, toys: Toys, trained: Path) -> None:
    before = state_of(trained)
    said = fine(maskmend, "train", toys(2, 2), "-o", trained, "--resume")
    assert said.startswith(f"{trained}: complete already, nothing to do")
    assert "dice 0." in said
    assert state_of(trained) == before


@pytest.mark.parametrize("method", ["supervised", "co_teaching", "gsd_net"])
def test_a_run_told_to_train_longer_equals_a_long_one(
    maskmend: Maskmend, toys: Toys, tmp_path: Path, method: str
) -> None:
    data, tiny = toys(2, 2), ["--device", "cpu", *TINY, *(["method.weight=none"] if method == "gsd_net" else [])]
    fine(maskmend, "train", data, "--method", method, "-o", tmp_path / "long", *tiny, "train.epochs=3")
    fine(maskmend, "train", data, "--method", method, "-o", tmp_path / "short", *tiny, "train.epochs=1")
    assert not same(tmp_path / "long", tmp_path / "short")
    fine(maskmend, "train", data, "-o", tmp_path / "short", "--device", "cpu", "--resume", "train.epochs=3")
    assert same(tmp_path / "long", tmp_path / "short")
    assert (tmp_path / "long" / "config.yaml").read_text() == (tmp_path / "short" / "config.yaml").read_text()


@pytest.mark.parametrize("method", ["{name: co_teaching, tau: 0.1}", "{name: robust}"])
def test_the_same_command_with_resume_begins_and_goes_on(
    maskmend: Maskmend, toys: Toys, tmp_path: Path, method: str
) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text(f"method: {method}\n")
    command = ("train", toys(2, 2), "-o", tmp_path / "RUN", "--config", config, *TINY, "train.epochs=1", "--resume")
    assert "complete" not in fine(maskmend, *command)
    assert "complete already" in fine(maskmend, *command)


def test_fast_dev_run(maskmend: Maskmend, toys: Toys, tmp_path: Path) -> None:
    command = ("train", toys(2, 2), "-o", tmp_path / "RUN", *TINY, "--fast-dev-run")
    fine(maskmend, *command)
    assert torch.load(tmp_path / "RUN" / "last.ckpt", weights_only=True)["done"] == 2
    assert len((tmp_path / "RUN" / "cases.csv").read_text().splitlines()) == 3
    assert "complete already" in fine(maskmend, *command, "--resume")


# --- one thing said in several ways -----------------------------------------------------------------------------------


def test_python_equals_the_command_line(maskmend: Maskmend, toys: Toys, tmp_path: Path) -> None:
    data, words = toys(2, 4), [*TINY, "train.epochs=1", "method.tau=0.1"]
    fine(maskmend, "train", data, "--method", "gsd_net", "-o", tmp_path / "shell", *words, "--device", "cpu")
    summary = package.train(data, tmp_path / "python", method="gsd_net", overrides=words, device="cpu")
    assert same(tmp_path / "shell", tmp_path / "python")
    for name in ("config.yaml", "plan.json", "cases.csv", "events.jsonl"):
        assert (tmp_path / "shell" / name).read_bytes() == (tmp_path / "python" / name).read_bytes()

    fine(maskmend, "predict", tmp_path / "shell", data / "imagesTr", "-o", tmp_path / "a", "--probabilities")
    found = package.predict(tmp_path / "python", data / "imagesTr", tmp_path / "b", probabilities=True)
    assert (found.count, found.failures) == (6, [])
    assert {p.name: p.read_bytes() for p in (tmp_path / "a").glob("*.png")} == {
        p.name: p.read_bytes() for p in (tmp_path / "b").glob("*.png")
    }
    with np.load(tmp_path / "a" / "case01.npz") as arrays:
        np.testing.assert_allclose(arrays["probabilities"].astype(np.float32).sum(0), 1, atol=5e-3)
    fine(maskmend, "evaluate", tmp_path / "a", data / "truth")
    scores = package.evaluate(tmp_path / "b", data / "truth")
    assert scores.foreground_mean == json.loads((tmp_path / "a" / "summary.json").read_text())["foreground_mean"]
    assert summary.scores["dice"] == pytest.approx(torch.load(tmp_path / "shell" / "last.ckpt")["scores"]["dice"])


@pytest.mark.parametrize("preset", PRESETS, ids=[str(path.relative_to(CONFIGS)) for path in PRESETS])
def test_every_preset_runs(maskmend: Maskmend, toys: Toys, tmp_path: Path, preset: Path) -> None:
    """A step of each, on smaller images."""
    grid = yaml.safe_load(preset.read_text()).get("data", {})
    lengths = grid.get("size") or grid.get("patch") or (0, 0)
    asked = yaml.safe_load(preset.read_text())["method"]
    side = asked.get("grid") or (32 if len(lengths) == 2 else 16)
    shrink = [f"data.{key}={[side] * len(lengths)}" for key in ("size", "patch") if grid.get(key)]
    shrink += ["data.sidemaps.superpixel_pixels=16", "data.sidemaps.supervoxel_voxels=64"]
    words = ("--config", preset, "--fast-dev-run", "network.width=4", "network.strides=[2,2]", "train.threads=1")
    fine(maskmend, "train", toys(len(lengths), 2), "-o", tmp_path / "RUN", *words, *shrink)
    used = yaml.safe_load((tmp_path / "RUN" / "config.yaml").read_text())["method"]
    assert {key: used[key] for key in asked} == asked


# --- nothing stale ----------------------------------------------------------------------------------------------------


def distances(data: Path, run: Path, case: str) -> np.ndarray:
    """The boundary distances that training on ``data`` sees for a case."""
    dataset = open_dataset(data)
    cases = [each for each in dataset.train if each.name == case]
    plan = Plan.model_validate_json((run / "plan.json").read_text())
    (batch,) = CaseSet(cases, dataset, plan, Cache(default_cache()), ("distance",)).scan()
    found: np.ndarray = batch.maps["distance"][0].numpy()
    return found


def test_an_edited_mask_is_seen(maskmend: Maskmend, dataset: Path, tmp_path: Path) -> None:
    def train(name: str) -> Path:
        words = ("--method", "gsd_net", "--device", "cpu", *TINY, "train.epochs=1", "fold=all")
        fine(maskmend, "train", dataset, "-o", tmp_path / name, *words)
        return tmp_path / name

    first, again = train("first"), train("again")
    assert same(first, again)
    old, path = distances(dataset, first, "case03"), dataset / "labelsTr" / "case03.png"
    label = read_label(path).array.copy()
    label[:6] = 1
    times = path.stat()
    write_label(path, label, FLAT)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # the time says nothing
    edited = train("edited")
    new = distances(dataset, edited, "case03")
    assert not np.array_equal(old, new)
    np.testing.assert_array_equal(new, distance(label, SideMapConfig()))
    assert not same(first, edited)
