"""`maskmend fuse`, and training on what several raters drew, each rule by one word."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from maskmend import fuse
from maskmend.data.dataset import open_dataset, write_dataset
from maskmend.data.formats import Geometry, read_label, write_image, write_label
from maskmend.data.fusion import choose, disagreement, staple
from maskmend.data.fusion import fuse as fused_label
from maskmend.errors import InputError

from ..toy import write_toy
from .conftest import TINY

RATERS = ("anna", "bert", "cleo")
RULES = ("majority", "staple", "random_rater", "cycle")


def rate(root: Path) -> Path:
    """Three raters of every case, cleo the most careless, who left out the last one."""
    for number, path in enumerate(sorted((root / "labelsTr").iterdir())):
        given = read_label(path)
        for r, rater in enumerate(RATERS):
            rng = np.random.default_rng([number, r])
            wrong = rng.random(given.array.shape) < 0.05 + 0.1 * r
            drawn = np.where(wrong, rng.integers(0, given.array.max() + 1, wrong.shape), given.array)
            if (number, rater) != (5, "cleo"):
                write_label(root / "labelsTr_raters" / rater / path.name, drawn.astype(np.uint8), given.geometry)
    return root


@pytest.fixture
def rated(dataset: Path) -> Path:
    for name in ("case00", "case01"):
        write_label(dataset / "labelsTs" / f"{name}.png", np.zeros((32, 32), np.uint8), Geometry((1.0, 1.0)))
        shutil.copytree(dataset / "labelsTs", dataset / "labelsTs_raters" / "anna", dirs_exist_ok=True)
        (dataset / "imagesTs").mkdir(exist_ok=True)
        shutil.copy(dataset / "imagesTr" / f"{name}_0000.png", dataset / "imagesTs")
    shutil.rmtree(dataset / "truth")  # what nnU-Net does not know is not carried over
    return rate(dataset)


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("rule", RULES)
def test_the_new_data_set_has_fused_labels_and_all_else(rated: Path, tmp_path: Path, rule: str) -> None:
    before = tree(rated)
    summary = fuse(rated, tmp_path / "fused", rule, seed=1)
    assert tree(rated) == before
    after, source = tree(tmp_path / "fused"), open_dataset(rated)
    changed = {name for name in before if after[name] != before[name]}
    assert changed <= {f"labelsTr/case0{i}.png" for i in (2, 3, 4, 5)} | {"dataset.json"}
    assert after.keys() - before.keys() == {"fusion.json"}
    for case in source.train[2:]:
        drawn = [read_label(path).array.astype(np.int16) for path in case.raters]
        if rule in ("majority", "staple"):
            expected = fused_label(drawn, rule, 2)
        else:
            expected = read_label(choose(case, source, rule, seed=1)).array
        assert (read_label(tmp_path / "fused" / "labelsTr" / f"{case.name}.png").array == expected).all()
    found = open_dataset(tmp_path / "fused")
    assert [case.trust for case in found.train] == [case.trust for case in source.train]
    assert [len(case.raters) for case in found.train] == [3, 3, 3, 3, 3, 2]
    assert re.match(r"labels are .* 3 raters \(anna, bert, cleo\)", json.loads(after["dataset.json"])["annotation"])
    assert [bool(case.raters) for case in summary.cases] == [False, False, True, True, True, True]


def test_fusion_json_says_how_well_each_rater_draws(rated: Path, tmp_path: Path) -> None:
    summary = fuse(rated, tmp_path / "fused", "staple")
    said = json.loads((tmp_path / "fused" / "fusion.json").read_text())
    assert (said["rule"], said["measured_against"]) == ("staple", "staple")
    for measure in ("dice", "sensitivity", "specificity"):
        of = [said["raters"][rater][measure] for rater in RATERS]
        assert of == sorted(of, reverse=True)
    assert [said["raters"][rater]["cases"] for rater in RATERS] == [4, 4, 3]
    assert said["cases"]["case00"] == {"chosen": None, "disagreement": None, "raters": {}}
    drawn = [read_label(rated / "labelsTr_raters" / rater / "case03.png").array.astype(np.int16) for rater in RATERS]
    truth = staple(drawn, 2).argmax(0)
    case = said["cases"]["case03"]
    assert case["disagreement"] == pytest.approx(disagreement(drawn))
    for rater, label in zip(RATERS, drawn, strict=True):
        expected = 2 * (label * truth).sum() / (label.sum() + truth.sum())
        assert case["raters"][rater]["dice"] == {"part1": pytest.approx(expected)}
    mean = np.mean([said["cases"][f"case0{i}"]["raters"]["bert"]["sensitivity"]["part1"] for i in (2, 3, 4, 5)])
    assert summary.raters()["bert"]["sensitivity"] == pytest.approx(mean)


def test_one_rater_is_measured_against_all(rated: Path, tmp_path: Path) -> None:
    """Against the chosen one, he would be without fault."""
    summary = fuse(rated, tmp_path / "fused", "random_rater")
    assert summary.measured_against == "majority"
    assert {case.chosen for case in summary.fused} <= set(RATERS)
    assert all(case.raters[case.chosen].mean("dice") < 1 for case in summary.fused)
    again = fuse(rated, tmp_path / "again", "random_rater")
    assert again.manifest() == summary.manifest()


def test_on_the_command_line(maskmend: Callable[..., object], rated: Path, tmp_path: Path) -> None:
    result = maskmend("fuse", rated, "-o", tmp_path / "fused", "--rule", "staple")
    assert result.exit_code == 0, result.output
    assert "4 labels by staple, 2 as given" in result.output
    assert re.search(r"against STAPLE's label", " ".join(result.output.split()))
    assert [line.split()[:2] for line in result.output.splitlines() if line.strip()[:4] in RATERS] == [
        ["anna", "4"],
        ["bert", "4"],
        ["cleo", "3"],
    ]


@pytest.mark.parametrize(
    ("break_it", "rule", "parts"),
    [
        (lambda root: None, "stapel", ("no rule 'stapel'", "did you mean staple?")),
        (lambda root: shutil.rmtree(root / "labelsTr_raters"), "staple", ("holds no rater's label", "RATER/CASE.png")),
        (
            lambda root: write_label(
                root / "labelsTr_raters/bert/case03.png", np.zeros((5, 5), np.uint8), Geometry((1.0, 1.0))
            ),
            "majority",
            ("bert/case03.png", "(5, 5)", "(32, 32)", "one grid"),
        ),
        (lambda root: (root.parent / "fused" / "a").mkdir(parents=True), "majority", ("not empty",)),
    ],
    ids=["rule", "no_raters", "shape", "not_empty"],
)
def test_bad_input(
    maskmend: Callable[..., object], rated: Path, tmp_path: Path, break_it: object, rule: str, parts: tuple[str, ...]
) -> None:
    break_it(rated)
    before = sorted(tmp_path.iterdir())
    result = maskmend("fuse", rated, "-o", tmp_path / "fused", "--rule", rule)
    assert result.exit_code == 2
    assert all(part in result.stderr for part in parts), result.stderr
    assert result.stderr.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before
    with pytest.raises(InputError, match="the seed -1 is negative"):
        fuse(rated, tmp_path / "other", seed=-1)


def test_volumes_of_many_classes_keep_their_geometry(tmp_path: Path) -> None:
    """Half of a case is annotated, and stays so."""
    volumes = rate(write_toy(tmp_path / "volumes", 3, 3, cases=6, clean=2))
    labels = {"background": 0, "part1": 1, "part2": 2, "ignore": 3}
    write_dataset(volumes, ("grey",), labels, ".nii.gz", 6)
    path = volumes / "labelsTr_raters/anna/case04.nii.gz"
    seen = read_label(path)
    partly = np.where(np.arange(16) < 8, seen.array, 3).astype(np.uint8)
    for rater in RATERS:
        write_label(path.parents[1] / rater / path.name, partly, seen.geometry)
    for rule in ("majority", "staple"):
        fuse(volumes, tmp_path / rule, rule)
        label = read_label(tmp_path / rule / "labelsTr" / path.name)
        assert label.geometry == seen.geometry
        assert (label.array == partly).all()


def test_spacings_beside_tiffs_go_along(tmp_path: Path) -> None:
    root, step = tmp_path / "data", Geometry((0.5, 0.5))
    for name in "ab":
        write_image(root / "imagesTr" / f"{name}_0000.tif", np.arange(64, dtype=np.uint8).reshape(8, 8), step)
        for folder in ("labelsTr", "labelsTr_raters/anna", "labelsTr_raters/bert"):
            write_label(root / folder / f"{name}.tif", np.eye(8, dtype=np.uint8), step)
    write_dataset(root, ("grey",), {"background": 0, "line": 1}, ".tif", 2)
    fuse(root, tmp_path / "fused", "staple")
    assert tree(tmp_path / "fused").keys() - tree(root).keys() == {"fusion.json"}
    assert read_label(tmp_path / "fused/labelsTr/b.tif").geometry.spacing_mm == (0.5, 0.5)


@pytest.mark.parametrize("rule", [*RULES, "sampled"])
def test_any_method_learns_from_any_rule(
    maskmend: Callable[..., object], rated: Path, tmp_path: Path, rule: str
) -> None:
    words = (*TINY, "train.epochs=1", "fold=all", f"data.annotation={rule}")
    for method, more in (("supervised", ()), ("gsd_net", ("method.tau=0.01", "method.weight_cap=2"))):
        result = maskmend("train", rated, "-o", tmp_path / method, "--method", method, *words, *more)
        assert result.exit_code == 0, result.output
    again = maskmend("train", rated, "-o", tmp_path / "supervised", "--resume", "train.epochs=2")
    assert again.exit_code == 0, again.output


@pytest.mark.parametrize("target", ["average", "staple"])
def test_soft_labels_learn_and_go_on(maskmend: Callable[..., object], rated: Path, tmp_path: Path, target: str) -> None:
    words = (*TINY, "train.epochs=1", f"method.target={target}", "augment.rotate_deg=20", "augment.affine=1")
    result = maskmend("train", rated, "-o", tmp_path / "RUN", "--method", "soft_labels", *words)
    assert result.exit_code == 0, result.output
    assert "warning" not in result.output
    again = maskmend("train", rated, "-o", tmp_path / "RUN", "--resume", "train.epochs=2")
    assert again.exit_code == 0, again.output
    drawn = rated / "labelsTr_raters/anna/case02.png"
    write_label(drawn, 1 - read_label(drawn).array, Geometry((1.0, 1.0)))
    changed = maskmend("train", rated, "-o", tmp_path / "RUN", "--resume", "train.epochs=3")
    assert changed.exit_code == 2
    assert "labels changed" in changed.output


def test_the_help_names_every_rule(maskmend: Callable[..., object]) -> None:
    text = maskmend("fuse", "--help").output
    assert "Example: maskmend fuse" in text
    assert all(rule in text for rule in RULES)
