"""Wrong input gets one sentence with place, value and cure, exit code 2, and leaves nothing half-written."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.system.conftest import TINY, Maskmend
from tests.toy import write_toy
from typer.testing import Result

from maskmend.data.formats import Geometry, read_image, read_label, write_image, write_label

SUPERVISED = ("--method", "supervised", *TINY, "train.epochs=1")
FLAT = Geometry((1.0, 1.0))


def refused(result: Result, *parts: object) -> str:
    """The one sentence, which holds all ``parts``."""
    assert result.exit_code == 2, result.output + repr(result.exception)
    assert "Traceback" not in result.output
    errors = [line for line in result.stderr.splitlines() if not line.startswith(("warning: ", "epoch "))]
    assert len(errors) == 1, result.stderr
    assert errors[0].startswith("error: ")
    assert errors[0][-1] in ".?", errors[0]
    for part in parts:
        assert str(part) in errors[0], errors[0]
    return errors[0]


def content(folder: Path) -> dict[str, str]:
    """Every file of a folder, as digests."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def edit_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def relabel(path: Path, change: Callable[[np.ndarray], np.ndarray], geometry: Geometry | None = None) -> None:
    label = read_label(path)
    write_label(path, change(label.array), geometry or label.geometry)


# --- the data set -----------------------------------------------------------------------------------------------------


def no_description(root: Path) -> None:
    (root / "dataset.json").unlink()


def not_json(root: Path) -> None:
    (root / "dataset.json").write_text("{labels")


def regions(root: Path) -> None:
    edit_json(root / "dataset.json", labels={"background": 0, "whole": [1, 2], "core": 2})


def no_images(root: Path) -> None:
    for path in (root / "imagesTr").iterdir():
        path.unlink()


def other_shape(root: Path) -> None:
    relabel(root / "labelsTr" / "case03.png", lambda label: label[:16, :16])


def grey_mask(root: Path) -> None:
    relabel(root / "labelsTr" / "case03.png", lambda label: label * 255)


def undeclared(root: Path) -> None:
    relabel(root / "labelsTr" / "case03.png", lambda label: label * 7)


def half_an_image(root: Path) -> None:
    path = root / "imagesTr" / "case03_0000.png"
    path.write_bytes(path.read_bytes()[:200])


def colours(root: Path) -> None:
    write_image(root / "imagesTr" / "case03_0000.png", np.zeros((3, 32, 32), np.uint8), FLAT)


def a_channel_missing(root: Path) -> None:
    edit_json(root / "dataset.json", channel_names={"0": "T1", "1": "T2"})
    for path in list((root / "imagesTr").iterdir()):
        shutil.copy(path, path.with_name(path.name.replace("_0000", "_0001")))
    (root / "imagesTr" / "case03_0001.png").unlink()


def no_label(root: Path) -> None:
    (root / "labelsTr" / "case03.png").unlink()


def a_stranger(root: Path) -> None:
    (root / "supervision.csv").write_text("case,supervision\ncase33,noisy\n")


def a_strange_split(root: Path) -> None:
    (root / "splits_final.json").write_text('[{"train": ["case00"], "val": ["case33"]}]')


def a_class_nobody_drew(root: Path) -> None:
    edit_json(root / "dataset.json", labels={"background": 0, "part1": 1, "tumour": 2})


def nothing_but_foreground(root: Path) -> None:
    for path in (root / "labelsTr").iterdir():
        relabel(path, np.ones_like)


def nothing_but_ignored(root: Path) -> None:
    edit_json(root / "dataset.json", labels={"background": 0, "part1": 1, "ignore": 2})
    for path in (root / "labelsTr").iterdir():
        relabel(path, lambda label: np.full_like(label, 2))


def a_rater_of_no_case(root: Path) -> None:
    shutil.copytree(root / "labelsTr", root / "labelsTr_raters" / "A")
    (root / "labelsTr_raters" / "A" / "case03.png").rename(root / "labelsTr_raters" / "A" / "case33.png")


SPOILT_DATA = [
    (no_description, ("dataset.json is missing", "maskmend prepare")),
    (not_json, ("dataset.json", "JSON", "write it as")),
    (regions, ("dataset.json", "2 regions", "regions_class_order None", "in the order whole, core")),
    (no_images, ("imagesTr holds no image", "add them")),
    (other_shape, ("labelsTr/case03.png", "(16, 16)", "(32, 32)", "one grid")),
    (grey_mask, ("labelsTr/case03.png", "255", "maskmend prepare")),
    (undeclared, ("labelsTr/case03.png", "the value 7", "declare")),
    (half_an_image, ("imagesTr/case03_0000.png cannot be read", "whole copy")),
    (colours, ("imagesTr/case03_0000.png holds 3 channels", "names 1", "convert")),
    (a_channel_missing, ("case03_0001.png is missing", "2 channels", "add the file")),
    (no_label, ("case03_0000.png has no label", "supervision.csv")),
    (a_stranger, ("supervision.csv", "case33", "did you mean")),
    (a_class_nobody_drew, ("no training mask of fold 0", "'tumour' (2)", "dataset.json")),
    (nothing_but_foreground, ("no training mask of fold 0", "'background' (0); add such a mask.")),
    (nothing_but_ignored, ("fold 0 every pixel is unlabeled or has the ignore label",)),
    (a_rater_of_no_case, ("labelsTr_raters/A/case33.png", "no training case", "did you mean")),
    (a_strange_split, ("splits_final.json", "'case33'", "correct or remove it")),
]


@pytest.mark.parametrize(("spoil", "parts"), SPOILT_DATA, ids=lambda value: getattr(value, "__name__", ""))
def test_spoilt_data(
    maskmend: Maskmend, dataset: Path, tmp_path: Path, spoil: Callable[[Path], None], parts: tuple[str, ...]
) -> None:
    spoil(dataset)
    refused(maskmend("train", dataset, "-o", tmp_path / "RUN", *SUPERVISED), *parts)
    assert not (tmp_path / "RUN").exists()


def test_spoilt_raters(maskmend: Maskmend, dataset: Path, tmp_path: Path) -> None:
    train = ("train", dataset, "-o", tmp_path / "RUN", *SUPERVISED, "data.annotation=sampled")
    refused(maskmend(*train), "labelsTr_raters", "no rater's labels", "data.annotation=given")
    drawn = dataset / "labelsTr_raters" / "A"
    shutil.copytree(dataset / "labelsTr", drawn)
    relabel(drawn / "case03.png", lambda label: label[:16, :16])
    refused(maskmend(*train), drawn / "case03.png", "(16, 16)", "(32, 32)", "one grid")
    assert not (tmp_path / "RUN").exists()


def test_a_method_of_two_streams_needs_both(maskmend: Maskmend, dataset: Path, tmp_path: Path) -> None:
    train = ("train", dataset, "-o", tmp_path / "RUN", "--method", "alc", *TINY, "network.name=unet")
    refused(maskmend(*train, "train.batch={any: 4}"), "{'any': 4}", "alc needs both", "{clean: 2, imperfect: 6}")
    (dataset / "supervision.csv").write_text("case,supervision\n")
    refused(maskmend(*train), "alc needs clean cases", "supervision.csv")
    assert not (tmp_path / "RUN").exists()


def test_spoilt_volumes(maskmend: Maskmend, volumes: Path, tmp_path: Path) -> None:
    label, image = volumes / "labelsTr" / "case03.nii.gz", volumes / "imagesTr" / "case02_0000.nii.gz"
    whole = label.read_bytes()
    eye = tuple(np.eye(3).ravel())
    relabel(label, lambda values: values, Geometry((1.0, 1.0, 2.5), (0.0, 0.0, 0.0), eye))
    train = ("train", volumes, "-o", tmp_path / "RUN", *SUPERVISED)
    refused(maskmend(*train), label, "1 × 1 × 2.5 mm", "1 × 1 × 1 mm", "correct the header")

    label.write_bytes(whole)
    picture = read_image([image])
    values = picture.array[0].astype(np.float32)
    values[3, 4, 5] = np.nan
    write_image(image, values, picture.geometry)
    refused(maskmend(*train), image, "nan at (3, 4, 5)", "replace such values")
    assert not (tmp_path / "RUN").exists()


def test_a_single_case_has_no_fold(maskmend: Maskmend, tmp_path: Path) -> None:
    root = write_toy(tmp_path / "one", cases=1, clean=1)
    refused(maskmend("train", root, "-o", tmp_path / "RUN", *SUPERVISED), root, "1 labelled", "fold=all")
    assert not (tmp_path / "RUN").exists()
    assert maskmend("train", root, "-o", tmp_path / "RUN", *SUPERVISED, "fold=all").exit_code == 0


# --- settings ---------------------------------------------------------------------------------------------------------


SETTINGS = [
    ("--method gsd_nett", ("unknown method 'gsd_nett'", "did you mean 'gsd_net'?")),
    ("--method my_lab.method", ("my_lab", "PYTHONPATH")),
    ("method.name=superviced", ("'superviced'", "did you mean 'supervised'?")),
    ("network.name=nunet", ("'nunet'", "did you mean 'nnunet'?")),
    ("train.epoch=3", ("train.epoch;", "did you mean train.epochs?")),
    ("trian.epochs=3", ("trian;", "did you mean train?")),
    ("lr=3", ("setting lr;", "did you mean optim.lr?")),
    ("--method gsd_net tau=0.1", ("setting tau;", "did you mean method.tau?")),
    ("method.los=ce", ("method.los;", "did you mean method.loss?")),
    ("--method robust method.looks=0.5", ("method.looks=0.5: it should be a list; write method.looks=[0.5].",)),
    ("augment.weather=1", ("augment.weather", "known are flip")),
    ("data.sidemaps.compact=3", ("data.sidemaps.compact;", "data.sidemaps.compactness?")),
    ("train.epochs=many", ("train.epochs='many'", "valid integer")),
    ("train.epochs=0", ("train.epochs=0", "greater than 0")),
    ("train.epochs=true", ("train.epochs=True", "a number, not true or false")),
    ("data.size=[32,yes]", ("data.size=[32, True]", "a number, not true or false")),
    ("network.strides=[[2,99999999999999999999]]", ("network.strides", "below 2 ** 63")),
    ("--method ..x", ("unknown method '..x'", "gsd_net")),
    ("train=3", ("train=3", "train.NAME=VALUE")),
    ("method=supervised", ("method='supervised'", "method.NAME=VALUE")),
    ("train.epochs=3 train.epochs.more=3", ("train.epochs",)),
    ("fold=first", ("fold='first'", "integer", "'all'")),
    ("fold=9", ("folds 0 to 4, not 9", "fold=all")),
    ("optim.name=adm", ("optim.name='adm'", "use adam")),
    ("augment.scale=[2,1]", ("augment.scale=[2, 1]", "(lowest, highest)")),
    ("--method gsd_net method.tau=1.0", ("method.tau=1.0", "less than 1")),
    ("train.batch.any=0 train.batch.cleen=4", ("pool 'cleen'", "did you mean 'clean'?")),
    ("train.batch.unlabeled=2", ("fold 0", "pool 'unlabeled'", "supervision.csv")),
    ("train.batch.any=-1", ("train.batch.any=-1", "0 or more")),
    ("train.batch.any=0", ("train.batch", "train.batch.any=8")),
    ("data.size=[16,16,16]", ("data.size=[16, 16, 16]", "2D", "give 2 numbers")),
    ("data.size=[16,16] network.strides=[2,2,2,2,2]", ("network.strides", "32 × 32-fold", "fewer strides")),
    ("network.strides=[[2,2,2]]", ("[2, 2, 2]", "2D", "give 2 numbers")),
    pytest.param(
        "network.name=basic_unet",
        ("network.strides", "basic_unet", "choose unet or nnunet"),
        marks=pytest.mark.slow,  # imports MONAI
    ),
    ("epochs", ("'epochs'", "key=value")),
    ("--config nowhere.yaml", ("nowhere.yaml cannot be read", "No such file", "name a YAML file")),
    ("--resume --config nowhere.yaml", ("nowhere.yaml",)),
]


@pytest.mark.parametrize(("words", "parts"), SETTINGS, ids=lambda value: value if isinstance(value, str) else "")
def test_wrong_settings(maskmend: Maskmend, toys: Any, tmp_path: Path, words: str, parts: tuple[str, ...]) -> None:
    known = () if "--method" in words else ("--method", "supervised")
    result = maskmend("train", toys(2, 2), "-o", tmp_path / "RUN", *known, *TINY, *words.split())
    refused(result, *parts)
    assert not (tmp_path / "RUN").exists()


FILES = [
    ("train: {epoch: 3}", ("unknown setting train.epoch;", "did you mean train.epochs?")),
    ("augment:\n  flips: 0.1\n", ("augment.flips;", "did you mean augment.flip?")),
    ("method: {name: gsd_net, taw: 0.1}", ("method.taw;", "did you mean method.tau?")),
    ("method: {name: gsd_net, weight: heavy}", ("method.weight='heavy'", "'distance', 'rings' or 'none'")),
    ("method: gsd-net", ("method='gsd-net'", "method: {NAME: VALUE}")),
    ("method: {name: gsd-net}", ("unknown method 'gsd-net'", "did you mean 'gsd_net'?")),
    ("optim: {lr: fast}", ("optim.lr='fast'", "valid number")),
    ("train: [1", ("is not YAML", "line 1")),
    ("just words", ("must hold keys and values",)),
    ("\x00", ("no text", "UTF-8")),
]


@pytest.mark.parametrize(("text", "parts"), FILES, ids=[text.strip() for text, _ in FILES])
def test_wrong_settings_in_a_file_name_the_file(
    maskmend: Maskmend, toys: Any, tmp_path: Path, text: str, parts: tuple[str, ...]
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    refused(maskmend("train", toys(2, 2), "-o", tmp_path / "RUN", "--config", path), path, *parts)
    assert not (tmp_path / "RUN").exists()


def test_a_wrong_word_is_not_blamed_on_the_file(maskmend: Maskmend, toys: Any, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("train: {epochs: 3}")
    result = maskmend("train", toys(2, 2), "-o", tmp_path / "RUN", "--config", path, "train.epochs=x")
    assert "mine.yaml" not in refused(result, "train.epochs='x'")


def test_a_tracker_that_is_not_installed(
    maskmend: Maskmend, toys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maskmend.engine.events.find_spec", lambda name: None)
    result = maskmend("train", toys(2, 2), "-o", tmp_path / "RUN", *SUPERVISED, "events.mlflow=true")
    refused(result, "events.mlflow=true", "install maskmend[mlflow]")
    assert not (tmp_path / "RUN").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu(maskmend: Maskmend, toys: Any, trained: Path, tmp_path: Path) -> None:
    refused(maskmend("train", toys(2, 2), "-o", tmp_path / "RUN", *SUPERVISED, "--device", "cuda"), "cuda", "cpu")
    images = toys(2, 2) / "imagesTr"
    refused(maskmend("predict", trained, images, "-o", tmp_path / "OUT", "--device", "cuda"), "cuda", "cpu")
    assert not (tmp_path / "RUN").exists()
    assert not (tmp_path / "OUT").exists()


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_runs_on_a_cpu(maskmend: Maskmend, toys: Any, tmp_path: Path, precision: str) -> None:
    words = (*SUPERVISED, "--fast-dev-run", f"train.precision={precision}", f"predict.precision={precision}")
    assert maskmend("train", toys(2, 2), "-o", tmp_path / "RUN", *words).exit_code == 0


# --- folders and files where they cannot be ---------------------------------------------------------------------------


def test_a_file_where_a_folder_should_be(
    maskmend: Maskmend, toys: Any, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, file = toys(2, 2), tmp_path / "file"
    file.write_text("mine")
    noise = ("--noise", "dilate_erode", "low=1", "high=2")
    refused(maskmend("train", file, "-o", tmp_path / "RUN"), file / "dataset.json", "maskmend prepare")
    for output in (file, file / "deep" / "er"):
        refused(maskmend("train", data, "-o", output, *SUPERVISED), file, "choose another")
        refused(maskmend("train", data, "-o", output, "--resume"), file, "choose another")
        refused(maskmend("predict", trained, data / "imagesTr", "-o", output), file, "choose another")
        refused(maskmend("simulate", data, "-o", output, *noise), file)
    refused(maskmend("evaluate", data / "truth", data / "labelsTr", "-o", file / "summary.json"), file, "-o")
    refused(maskmend("evaluate", file, data / "labelsTr"), file, "not a folder")
    refused(maskmend("predict", file, data / "imagesTr", "-o", tmp_path / "OUT"), file, "run folder")
    refused(maskmend("prepare", file, "-o", tmp_path / "OUT"), file, "not a folder")
    monkeypatch.setenv("MASKMEND_CACHE", str(file / "cache"))
    refused(maskmend("train", data, "-o", tmp_path / "RUN", *SUPERVISED), file, "MASKMEND_CACHE")
    assert file.read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_must_not_be_written(
    maskmend: Maskmend, toys: Any, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    data = toys(2, 2)
    refused(maskmend("train", data, "-o", tmp_path / "RUN", *SUPERVISED), tmp_path, "permission denied", "-o")
    refused(maskmend("predict", trained, data / "imagesTr", "-o", tmp_path / "OUT"), tmp_path, "permission denied")
    assert not any(tmp_path.iterdir())


def test_a_run_is_not_overwritten(maskmend: Maskmend, toys: Any, a_run: Path) -> None:
    before = content(a_run)
    refused(maskmend("train", toys(2, 2), "-o", a_run, *SUPERVISED), a_run, "holds a run already", "--resume")
    assert content(a_run) == before


def test_images_are_not_overwritten_by_masks(maskmend: Maskmend, trained: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", np.zeros((32, 32), np.uint8), FLAT)
    before = content(tmp_path)
    for images in (tmp_path, tmp_path / "a.png"):
        refused(maskmend("predict", trained, images, "-o", tmp_path), tmp_path, "choose another folder")
    assert content(tmp_path) == before


# --- going on ---------------------------------------------------------------------------------------------------------


def test_resume_with_something_else(maskmend: Maskmend, dataset: Path, a_run: Path, tmp_path: Path) -> None:
    before = content(a_run)
    config = tmp_path / "mine.yaml"
    config.write_text((a_run / "config.yaml").read_text().replace("lr: 0.005", "lr: 0.5"))

    def resume(*words: object) -> Result:
        return maskmend("train", dataset, "-o", a_run, "--resume", *words)

    refused(resume("optim.lr=0.1"), a_run / "config.yaml", "optim.lr=0.005, not 0.1")
    refused(resume("--config", config), a_run / "config.yaml", "optim.lr=0.005, not 0.5", "start a new run")
    refused(resume("--method", "gsd_net"), "'supervised'", "'gsd_net'")
    refused(resume("network.width=8"), "network.width=4, not 8")
    for path in (dataset / "labelsTr").iterdir():
        relabel(path, np.fliplr)
    refused(resume("train.epochs=4"), dataset, "changed", "start a new run")
    refused(maskmend("train", dataset, "-o", tmp_path, "--resume"), tmp_path, "holds no run")
    assert content(a_run) == before


@pytest.mark.parametrize("damage", ["truncated", "pickled", "other method", "other networks"])
def test_resume_from_a_damaged_checkpoint(
    maskmend: Maskmend, toys: Any, a_run: Path, tmp_path: Path, damage: str
) -> None:
    for name in ("last.ckpt", "last.previous.ckpt"):
        spoil_checkpoint(a_run / name, damage, tmp_path / "harmed")
    before = content(a_run)
    cure = {"other method": "name the run of", "other networks": "train again"}.get(damage, "train again")
    result = maskmend("train", toys(2, 2), "-o", a_run, "--resume", "train.epochs=4")
    refused(result, a_run / "last.", cure)
    assert content(a_run) == before
    assert not (tmp_path / "harmed").exists()


class Evil:
    """What a pickle may do when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def spoil_checkpoint(path: Path, damage: str, harmed: Path) -> None:
    state = torch.load(path, weights_only=True)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-5000])
    elif damage == "pickled":
        torch.save(state | {"more": Evil(harmed)}, path)
    elif damage == "bare pickle":
        path.write_bytes(pickle.dumps(Evil(harmed)))
    elif damage == "other method":
        torch.save(state | {"method_name": "gsd_net"}, path)
    else:
        torch.save(state | {"method": {name: value[:1] for name, value in state["method"].items() if value.ndim}}, path)


# --- predicting -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["truncated", "pickled", "bare pickle", "other method", "other networks"])
def test_predict_with_a_damaged_checkpoint(
    maskmend: Maskmend, toys: Any, a_run: Path, tmp_path: Path, damage: str
) -> None:
    spoil_checkpoint(a_run / "best.ckpt", damage, tmp_path / "harmed")
    parts = {"other method": ("'gsd_net'", "'supervised'"), "other networks": ("config.yaml",)}.get(damage, ("read",))
    refused(maskmend("predict", a_run, toys(2, 2) / "imagesTr", "-o", tmp_path / "OUT"), a_run / "best.ckpt", *parts)
    assert not (tmp_path / "harmed").exists()
    assert not (tmp_path / "OUT").exists()


def test_predict_with_half_a_run(maskmend: Maskmend, toys: Any, a_run: Path, tmp_path: Path) -> None:
    predict = ("predict", a_run, toys(2, 2) / "imagesTr", "-o", tmp_path / "OUT")
    (a_run / "best.ckpt").unlink()
    refused(maskmend(*predict), a_run / "best.ckpt", "does not exist", "train first")
    (a_run / "config.yaml").unlink()
    refused(maskmend(*predict), a_run / ["config.yaml", "cannot", "be", "read"][0], "No such file")
    (a_run / "plan.json").write_text("{}")
    refused(maskmend(*predict), a_run / "plan.json", "train again")
    (a_run / "plan.json").unlink()
    refused(maskmend(*predict), a_run / "plan.json", "does not exist", "maskmend train -o RUN")
    assert not (tmp_path / "OUT").exists()


def test_predict_into_a_data_set_replaces_none_of_its_masks(
    maskmend: Maskmend, dataset: Path, trained: Path, tmp_path: Path
) -> None:
    before = {path: path.read_bytes() for path in sorted(dataset.rglob("*")) if path.is_file()}
    for folder in ("labelsTr", "imagesTr", "."):
        result = maskmend("predict", trained, dataset / "imagesTr", "-o", dataset / folder)
        assert result.exit_code == 2
        assert "choose another folder with -o" in result.stderr
    assert before == {path: path.read_bytes() for path in sorted(dataset.rglob("*")) if path.is_file()}


def test_predict_images_that_are_not_there(maskmend: Maskmend, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("nothing")
    refused(maskmend("predict", trained, tmp_path / "no", "-o", tmp_path / "OUT"), tmp_path / "no", "does not exist")
    refused(maskmend("predict", trained, tmp_path / "empty", "-o", tmp_path / "OUT"), "holds no image", ".nii.gz")
    assert not (tmp_path / "OUT").exists()


def test_predict_images_of_three_channels_with_a_model_of_one(
    maskmend: Maskmend, trained: Path, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        write_image(tmp_path / "images" / f"{name}.png", np.zeros((3, 32, 32), np.uint8), FLAT)
    result = maskmend("predict", trained, tmp_path / "images", "-o", tmp_path / "OUT")
    refused(result, "images/a.png has 3 channel", "1 are expected", "convert")
    assert not (tmp_path / "OUT").exists()


def test_predict_lacks_a_channel(maskmend: Maskmend, dataset: Path, tmp_path: Path) -> None:
    a_channel_missing(dataset)
    shutil.copy(dataset / "imagesTr" / "case03_0000.png", dataset / "imagesTr" / "case03_0001.png")
    assert maskmend("train", dataset, "-o", tmp_path / "RUN", *SUPERVISED, "--fast-dev-run").exit_code == 0
    (dataset / "imagesTr" / "case04_0000.png").unlink()
    result = maskmend("predict", tmp_path / "RUN", dataset / "imagesTr", "-o", tmp_path / "OUT")
    assert result.exit_code == 1
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("failed: ")]
    assert all(part in line for part in (str(dataset / "imagesTr"), "case04", "channel 0000", "add the file"))
    assert sorted(path.name for path in (tmp_path / "OUT").glob("case*")) == [f"case0{n}.png" for n in (0, 1, 2, 3, 5)]


def test_one_unreadable_image_does_not_stop_the_others(maskmend: Maskmend, dataset: Path, trained: Path) -> None:
    half_an_image(dataset)
    (dataset / "imagesTr" / "case01_0000.png").write_bytes(b"")
    output = dataset / "OUT"
    result = maskmend("predict", trained, dataset / "imagesTr", "-o", output)
    assert result.exit_code == 1
    assert "4 masks" in result.stdout
    first, second = result.stderr.splitlines()
    assert re.fullmatch(r"failed: case01: .*case01_0000\.png cannot be read \(.*\); replace it by .*\.", first)
    assert second.startswith("failed: case03: ")
    assert sorted(path.name for path in output.glob("case*")) == [f"case{n:02d}.png" for n in (0, 2, 4, 5)]


# --- a full disk ------------------------------------------------------------------------------------------------------


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Makes a disk of so many kilobytes; skips where that is not allowed."""
    mounted: list[Path] = []

    def make(kilobytes: int) -> Path:
        place = tmp_path / "disk"
        place.mkdir()
        words = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(place)]
        try:
            subprocess.run(words, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("a small disk cannot be mounted here")
        mounted.append(place)
        return place

    yield make
    for place in mounted:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def leftovers(folder: Path) -> list[Path]:
    """Files that were begun and not finished."""
    return [path for path in folder.rglob("*") if path.suffix == ".part" or path.name.startswith(".")]


def test_a_full_disk_at_a_checkpoint(maskmend: Maskmend, toys: Any, tiny_disk: Callable[[int], Path]) -> None:
    run = tiny_disk(100) / "RUN"
    refused(maskmend("train", toys(2, 2), "-o", run, *SUPERVISED, "train.epochs=2"), run, "disk is full", "--resume")
    assert torch.load(run / "best.ckpt", weights_only=True)["done"] == 1
    assert not leftovers(run)


def test_a_full_disk_at_the_cache(
    maskmend: Maskmend, dataset: Path, tiny_disk: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cache = tiny_disk(16)
    monkeypatch.setenv("MASKMEND_CACHE", str(cache))
    refused(maskmend("train", dataset, "-o", tmp_path / "RUN", *SUPERVISED), cache, "disk is full", "MASKMEND_CACHE")
    assert not (tmp_path / "RUN").exists()
    assert not leftovers(cache)


def test_a_full_disk_at_predictions(
    maskmend: Maskmend, toys: Any, trained: Path, tiny_disk: Callable[[int], Path]
) -> None:
    output = tiny_disk(16) / "OUT"
    result = maskmend("predict", trained, toys(2, 2) / "imagesTr", "-o", output, "--probabilities")
    refused(result, output, "cannot be written", "No space left on device", "choose another folder")
    assert not leftovers(output)
    assert all(read_label(path).array.shape == (32, 32) for path in output.glob("*.png"))


def test_a_full_disk_at_simulated_noise(maskmend: Maskmend, toys: Any, tiny_disk: Callable[[int], Path]) -> None:
    disk = tiny_disk(16)
    refused(maskmend("simulate", toys(2, 2), "-o", disk / "NOISY", "--noise", "markov"), disk, "space")
    assert not any(disk.iterdir())


@pytest.mark.parametrize("verb", ["train", "predict", "evaluate", "simulate"])
def test_every_verb_tells_of_a_full_disk(
    maskmend: Maskmend, dataset: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """Without a disk to fill: nothing can be renamed to its final name."""

    def full(source: Any, target: Any, **_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(source), None, str(target))

    monkeypatch.setattr(os, "replace", full)
    monkeypatch.setattr(os, "rename", full)
    output = tmp_path / "OUT"
    words = {
        "train": (dataset, "-o", output, *SUPERVISED),
        "predict": (trained, dataset / "imagesTr", "-o", output),
        "evaluate": (dataset / "labelsTr", dataset / "truth", "-o", output / "summary.json"),
        "simulate": (dataset, "-o", output, "--noise", "markov"),
    }[verb]
    refused(maskmend(verb, *words), "OUT", "pace")
    assert not output.exists() or not any(output.iterdir())


# --- the other verbs --------------------------------------------------------------------------------------------------


SIMULATE = [
    ("--noise markof", ("'markof'", "did you mean 'markov'?")),
    ("--noise markov step=3", ("'markov'", "'step'", "did you mean 'steps'?")),
    ("--noise markov steps=few", ("'markov'", "steps='few'", "valid integer")),
    ("--noise markov preference=3", ("preference=3", "less than or equal to 1")),
    ("--noise dilate_erode low=3 high=2", ("'dilate_erode'", "low (3) must not be larger than high (2)")),
    ("--noise markov --seed -1", ("seed -1", "0 or more")),
]


@pytest.mark.parametrize(("words", "parts"), SIMULATE, ids=[words for words, _ in SIMULATE])
def test_wrong_noise(maskmend: Maskmend, toys: Any, tmp_path: Path, words: str, parts: tuple[str, ...]) -> None:
    refused(maskmend("simulate", toys(2, 2), "-o", tmp_path / "NOISY", *words.split()), *parts)
    assert not any(tmp_path.iterdir())


def test_wrong_share_of_noise(maskmend: Maskmend, toys: Any, tmp_path: Path) -> None:
    for share in ("1.5", "-0.1", "nan"):
        words = ("--noise", "markov", "--fraction", share)
        result = maskmend("simulate", toys(2, 2), "-o", tmp_path / "NOISY", *words)
        refused(result, f"fraction {share}", "between 0 and 1")
    assert not any(tmp_path.iterdir())


def test_noise_into_a_folder_in_use_and_from_bad_data(maskmend: Maskmend, dataset: Path, tmp_path: Path) -> None:
    simulate = ("simulate", dataset, "--noise", "markov", "-o")
    before = content(dataset)
    refused(maskmend(*simulate, dataset), dataset, "not empty", "another output folder")
    assert content(dataset) == before
    grey_mask(dataset)
    refused(maskmend(*simulate, tmp_path / "NOISY"), "case03.png", "255", "maskmend prepare")
    no_description(dataset)
    refused(maskmend(*simulate, tmp_path / "NOISY"), "dataset.json is missing", "maskmend prepare")
    assert [path.name for path in tmp_path.iterdir()] == ["dataset"]


def test_prepare_refuses_what_does_not_pair(maskmend: Maskmend, tmp_path: Path) -> None:
    source, output = tmp_path / "raw", tmp_path / "DATASET"
    mask = np.eye(8, dtype=np.uint8) * 255
    for name in "abc":
        write_image(source / "images" / f"{name}.png", mask, FLAT)
        write_label(source / "masks" / f"{name}_mask.png", mask, FLAT)
    (source / "masks" / "b_mask.png").rename(source / "masks" / "x.png")
    refused(maskmend("prepare", source, "-o", output), "images/b.png has no mask", "add the masks")
    (source / "images" / "b.png").unlink()
    refused(maskmend("prepare", source, "-o", output), "masks/x.png has no image", "add the images")
    (source / "masks" / "x.png").unlink()
    write_label(source / "masks" / "c_mask.png", mask[:4], FLAT)
    refused(maskmend("prepare", source, "-o", output), "c_mask.png", "(4, 8)", "(8, 8)", "one grid")
    refused(maskmend("prepare", tmp_path / "nothing", "-o", output), "nothing is not a folder")
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_evaluate_what_does_not_match(maskmend: Maskmend, dataset: Path) -> None:
    predictions, references = dataset / "truth", dataset / "labelsTr"
    evaluate = ("evaluate", predictions, references)
    before = content(predictions)
    (references / "case03.png").rename(references / "case44.png")
    refused(maskmend(*evaluate), predictions, "no prediction for case44", "predict them")
    (references / "case44.png").unlink()
    whole = (references / "case02.png").read_bytes()
    relabel(references / "case02.png", lambda label: label[:16])
    refused(maskmend(*evaluate), "case02.png", "(32, 32)", "(16, 32)", "on the grid of the reference")
    (references / "case02.png").write_bytes(whole)
    grey_mask_of = predictions / "case05.png"
    original = grey_mask_of.read_bytes()
    relabel(grey_mask_of, lambda label: label * 255)
    refused(maskmend(*evaluate), "truth/case05.png", "255")
    grey_mask_of.write_bytes(original)
    assert content(predictions) == before
    shutil.rmtree(references)
    refused(maskmend(*evaluate), references, "not a folder")


# --- as a process -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("train", "nowhere", "-o", "RUN"), ("nowhere/dataset.json is missing", "maskmend prepare")),
        (("predict", "nowhere", "images", "-o", "OUT"), ("nowhere/plan.json does not exist", "name a run folder")),
    ],
)
def test_as_a_process(tmp_path: Path, words: tuple[str, ...], parts: tuple[str, ...]) -> None:
    done = subprocess.run([sys.executable, "-m", "maskmend", *words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert all(part in done.stderr for part in parts)
    assert not any(tmp_path.iterdir())
