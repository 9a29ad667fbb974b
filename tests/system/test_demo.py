"""The demo makes everything it says, tells what came out, and never removes what is not its own."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from PIL import Image
from rich.console import Console

from maskmend.data.dataset import open_dataset
from maskmend.errors import InputError
from maskmend.metrics import CaseResult, Counts, Summary
from maskmend.verbs.demo import CEILING, MARKER, PLAIN, ROBUST, DemoConfig, DemoResult, demo, wrong_share
from maskmend.verbs.picture import Panel, Row, write_picture

TINY = DemoConfig(train=8, test=3, size=32, epochs=1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> DemoResult:
    root = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MASKMEND_CACHE", str(root / "cache"))
        return demo(root / "demo", "cpu", TINY)


def text(result: DemoResult) -> str:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(result.table())
    return captured.get()


def test_it_makes_what_it_says(made: DemoResult) -> None:
    phantoms, noisy = open_dataset(made.folder / "phantoms"), open_dataset(made.folder / "noisy")
    assert (len(phantoms.train), len(phantoms.test), len(noisy.train)) == (8, 3, 8)
    assert list(made.scores) == [CEILING, PLAIN, ROBUST]
    for training in made.scores:
        assert len(list((made.folder / "predictions" / training.folder).glob("*.png"))) == 3
    with Image.open(made.picture) as picture:
        assert min(picture.size) > 400
        assert np.asarray(picture.convert("L")).std() > 10


def test_each_learns_from_its_own_masks_with_one_budget(made: DemoResult) -> None:
    runs = {
        training: yaml.safe_load((made.folder / "runs" / training.folder / "config.yaml").read_text())
        for training in made.scores
    }
    assert [run["method"]["name"] for run in runs.values()] == ["supervised", "supervised", "gsd_net"]
    assert all({**run, "method": 0} == {**runs[PLAIN], "method": 0} for run in runs.values())
    assert runs[ROBUST]["method"]["tau"] == pytest.approx(made.tau, abs=1e-4)
    assert made.tau == wrong_share(open_dataset(made.folder / "noisy"))
    assert 0.01 < made.tau < 0.2


def test_the_table_tells_scores_masks_and_the_picture(made: DemoResult) -> None:
    said = text(made)
    assert said.count("wrong masks") >= 2
    assert f"left with a Dice of {100 * made.given.dice()[0]:.2f}" in said
    assert str(made.picture) in said


@pytest.mark.parametrize(
    ("means", "verdict"),
    [
        ((0.9, 0.6, 0.8), "cost supervised training 30.0 points; gsd_net won 67% of them back"),
        ((0.9, 0.6, 0.5), "gsd_net won none of them back"),
        ((0.6, 0.7, 0.9), "nothing to win back"),
    ],
)
def test_the_verdict_is_what_happened(means: tuple[float, ...], verdict: str) -> None:
    scores = {
        training: Summary({"lesion": 1}, (CaseResult("a", "", "", {1: _counts(mean)}),))
        for training, mean in zip((CEILING, PLAIN, ROBUST), means, strict=True)
    }
    given = SimpleNamespace(cases=[SimpleNamespace(dice_mean=0.7)])
    assert verdict in text(DemoResult(Path("demo"), given, 0.05, scores, 60.0))


def _counts(dice: float) -> Counts:
    """A Dice of this, of 1000 pixels on each side."""
    hits = round(1000 * dice)
    return Counts(tp=hits, fp=1000 - hits, fn=1000 - hits, tn=0)


def test_a_folder_of_somebody_else_stays(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("three years of work")
    with pytest.raises(InputError, match="choose another folder with -o"):
        demo(tmp_path, "cpu", TINY)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_an_earlier_demo_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskmend.verbs.demo.write_phantom", _stop)
    (tmp_path / MARKER).touch()
    (tmp_path / "note.txt").write_text("mine")
    (tmp_path / "runs" / "old").mkdir(parents=True)
    with pytest.raises(KeyboardInterrupt):
        demo(tmp_path, "cpu", TINY)
    assert {path.name for path in tmp_path.iterdir()} == {MARKER, "note.txt"}
    with pytest.raises(KeyboardInterrupt):  # and one that was stopped can be begun again
        demo(tmp_path, "cpu", TINY)


def _stop(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_the_picture_draws_both_outlines_and_bears_empty_masks(tmp_path: Path) -> None:
    disc = np.hypot(*np.mgrid[-20:20, -20:20]) < 12
    grey = np.full((40, 40), 128, np.uint8)
    panels = (Panel(grey, disc, disc[::-1], 0.9), Panel(grey, disc, np.zeros_like(disc), 0.0))
    write_picture([Row("a", panels), Row("b", panels[:1])], tmp_path / "p.png", "title")
    with Image.open(tmp_path / "p.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert (np.abs(pixels - [0x56, 0xB4, 0xE9]).sum(-1) < 30).any()
    assert (np.abs(pixels - [0xE6, 0x9F, 0x00]).sum(-1) < 30).any()
