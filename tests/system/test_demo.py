"""The demo makes everything it says, tells what came out, and never removes what is not its own."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from rich.console import Console

from maskmend.audit.rank import at_random
from maskmend.audit.store import open_audit
from maskmend.data.dataset import open_dataset
from maskmend.data.formats import read_label
from maskmend.errors import InputError
from maskmend.metrics import CaseResult, Counts, Summary
from maskmend.metrics.summary import percent
from maskmend.review.outcome import reviewed
from maskmend.types import Trust
from maskmend.verbs.demo import CEILING, MARKER, MENDED, PLAIN, ROBUST, DemoConfig, DemoResult, demo
from maskmend.verbs.demo_loop import Loop, to_review
from maskmend.verbs.picture import Panel, Row, write_picture

TINY = DemoConfig(train=10, test=3, size=32, epochs=1, wrong=1.0, judge_epochs=1, jobs=0)


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


@pytest.mark.slow
def test_it_makes_what_it_says(made: DemoResult) -> None:
    phantoms, noisy = open_dataset(made.folder / "phantoms"), open_dataset(made.folder / "noisy")
    assert (len(phantoms.train), len(phantoms.test), len(noisy.train)) == (10, 3, 10)
    assert list(made.scores) == [CEILING, PLAIN, ROBUST, MENDED]
    for training in made.scores:
        assert len(list((made.folder / "predictions" / training.folder).glob("*.png"))) == 3
    with Image.open(made.picture) as picture:
        assert min(picture.size) > 400
        assert np.asarray(picture.convert("L")).std() > 10


@pytest.mark.slow
def test_each_learns_from_its_own_masks_with_one_budget(made: DemoResult) -> None:
    runs = {
        training: yaml.safe_load((made.folder / "runs" / training.folder / "config.yaml").read_text())
        for training in made.scores
    }
    assert [run["method"]["name"] for run in runs.values()] == ["supervised", "supervised", "robust", "supervised"]
    assert all({**run, "method": 0} == {**runs[PLAIN], "method": 0} for run in runs.values())
    assert sum(dice < 1 for dice in made.masks["wrong"].case_means().values()) == round(TINY.wrong * TINY.train)


@pytest.mark.slow
def test_the_loop_goes_round_and_nothing_given_changes(made: DemoResult) -> None:
    """What was reviewed is the truth afterwards, and clean."""
    audit, root = open_audit(made.loop.audit), made.folder
    assert set(reviewed(audit)) == set(made.loop.reviewed) == set(audit.about.reviewed)
    assert made.loop.masks == root / "mended"
    for case in made.loop.reviewed:
        mended, true = (read_label(root / name / "labelsTr" / f"{case}.png") for name in ("mended", "phantoms"))
        np.testing.assert_array_equal(mended.array, true.array)
    assert {case.trust for case in open_dataset(root / "mended").train if case.name in made.loop.reviewed} == {
        Trust.CLEAN
    }
    assert made.loop.report.exists()
    assert made.loop.diff is not None


@pytest.mark.slow
@pytest.mark.parametrize("edges", [{}, {"lesion": -5.0}])
def test_what_is_reviewed_is_what_the_audit_asks_for(made: DemoResult, edges: dict[str, float]) -> None:
    """The most doubtful; but where all masks err the same way, those that the audit names."""
    audit = open_audit(made.loop.audit)
    audit = replace(audit, about=audit.about.model_copy(update={"edges_mm": edges}))
    names = [row.case for row in audit.rows]
    assert to_review(audit) == (at_random(names) if edges else names[:1])


@pytest.mark.slow
def test_the_table_tells_scores_masks_and_where_to_look(made: DemoResult) -> None:
    said = text(made)
    for training, summary in made.scores.items():
        masks = percent(made.masks[training.masks].case_means().values())
        assert re.search(rf"{masks} +│ {percent(summary.case_means().values())}", said)
    for place in (made.picture, made.loop.report, made.loop.diff, f"maskmend review {made.loop.audit}"):
        assert str(place) in said


@pytest.mark.parametrize(
    ("means", "verdict"),
    [
        ((0.9, 0.6, 0.8, 0.9), "cost supervised training 30.0 points. robust, which nobody told anything, won 67% of "
         "them back; mending the masks, after 1 of 1 were reviewed, won 100% of them back."),
        ((0.9, 0.6, 0.5, 0.6), "robust, which nobody told anything, won none of them back; mending the masks, after "
         "1 of 1 were reviewed, won none of them back."),
        ((0.6, 0.7, 0.9, 0.9), "nothing to win back"),
    ],
)  # fmt: skip
def test_the_verdict_is_what_happened(means: tuple[float, ...], verdict: str) -> None:
    scores = {
        training: Summary({"lesion": 1}, (CaseResult("a", "", "", {1: _counts(mean)}),))
        for training, mean in zip((CEILING, PLAIN, ROBUST, MENDED), means, strict=True)
    }
    masks = {training.masks: summary for training, summary in scores.items()}
    assert verdict in text(DemoResult(Path("demo"), masks, scores, Loop(Path("a"), Path("m"), ("a",)), 60.0))


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
