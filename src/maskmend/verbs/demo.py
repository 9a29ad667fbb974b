"""``maskmend demo``: made-up images, wrong masks, what is learnt from them as they are and mended, and a picture."""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ..data.dataset import Case, Dataset, open_dataset
from ..data.phantom import write_phantom
from ..errors import InputError
from ..metrics import Summary, mean_sd
from ..metrics.summary import percent
from ..runs.simulate import simulate
from ..runs.train import train
from ..types import Config
from .demo_loop import Loop, loop, say, show
from .evaluate import evaluate
from .picture import Panel, Row, panel, write_picture
from .predict import predict

MARKER = ".maskmend-demo"
"""Lies in every folder that the demo made, and in no other."""
MADE = ("phantoms", "noisy", "runs", "predictions", "audit", "mended", "scores", "picture.png")
SHOWN = 3
"""Training images in a row of the picture, and test images: these are the first ones, not chosen ones."""
Masks = Literal["true", "wrong", "mended"]


@dataclass(frozen=True)
class Training:
    """A method, and the masks it learns from."""

    method: str
    masks: Masks

    @property
    def folder(self) -> str:
        return f"{self.method}_on_{self.masks}_masks"


CEILING, PLAIN, ROBUST = Training("supervised", "true"), Training("supervised", "wrong"), Training("robust", "wrong")
MENDED = Training("supervised", "mended")


class DemoConfig(Config):
    """How large the demo is. The defaults take less than five minutes on two cores."""

    train: int = Field(64, ge=1, description="training images")
    test: int = Field(30, ge=1, description="test images")
    size: int = Field(64, ge=32, description="side that images of 128 pixels are trained at")
    epochs: int = Field(24, ge=1)
    judge_epochs: int = Field(24, ge=1, description="epochs of each network that judges the masks")
    jobs: int | None = Field(None, ge=0, description="such networks trained at a time; by default one a core")
    wrong: float = Field(0.4, gt=0, le=1, description="share of the training masks that are spoilt")
    noise_steps: int = Field(110, ge=0, description="Markov steps; half of GSD-Net's S_R, for half its image size")
    seed: int = 0

    def words(self) -> list[str]:
        """The settings of each training, as on the command line."""
        return ["fold=all", f"seed={self.seed}", *self._small(self.epochs), "optim.lr=0.02"]

    def judge_words(self) -> list[str]:
        """The settings of the networks that judge the masks."""
        return [f"seed={self.seed}", *self._small(self.judge_epochs)]

    def _small(self, epochs: int) -> list[str]:
        """Such small images gain little from a second thread."""
        return [f"data.size=[{self.size},{self.size}]", f"train.epochs={epochs}", "train.threads=1"]


DEFAULT = DemoConfig()


@dataclass(frozen=True)
class DemoResult:
    """What came out. ``scores``: the evaluation of each training on the test images; ``masks``: that of the training
    masks; both against the true ones."""

    folder: Path
    masks: Mapping[Masks, Summary]
    scores: Mapping[Training, Summary]
    loop: Loop
    seconds: float

    @property
    def picture(self) -> Path:
        return self.folder / "picture.png"

    def dice(self, training: Training) -> float:
        """Mean over the test images."""
        return mean_sd(self.scores[training].case_means().values())[0]

    @property
    def lost(self) -> float:
        """What wrong masks cost supervised training."""
        return self.dice(CEILING) - self.dice(PLAIN)

    def won(self, training: Training) -> float:
        """How much of it a training wins back; negative if it loses more."""
        return self.dice(training) - self.dice(PLAIN)

    def table(self) -> Any:
        """For rich: a row a training, then what it means and where the pictures are."""
        from rich.console import Group
        from rich.table import Table

        count = len(self.scores[PLAIN].cases)
        table = Table("trained with", "on", "Dice of these masks", f"Dice on {count} new images")
        for training, summary in self.scores.items():
            cells = (self.masks[training.masks], summary)
            table.add_row(
                training.method, f"{training.masks} masks", *(percent(s.case_means().values()) for s in cells)
            )
        return Group(table, *self._sentences())

    def _sentences(self) -> list[str]:
        reviewed, total = len(self.loop.reviewed), len(self.masks["wrong"].cases)
        return [
            "Dice with the true masks, in percent, mean ± sd: 100 is the true mask, 0 has nothing in common with it.",
            *self._verdicts(f"mending the masks, after {reviewed} of {total} were reviewed,"),
            f"{self.seconds / 60:.1f} minutes. Look at {self.picture}",
            f"Which masks are doubted, and where: {self.loop.report}",
            *([f"What was changed, mask by mask: {self.loop.diff}"] if self.loop.diff else []),
            f"Review some yourself, in your browser: maskmend review {shlex.quote(str(self.loop.audit))}",
        ]

    def _verdicts(self, mending: str) -> list[str]:
        if self.lost <= 0:
            return ["Wrong masks cost supervised training nothing here, so there was nothing to win back."]
        said = [f"Wrong masks cost supervised training {100 * self.lost:.1f} points."]
        for training, name in ((ROBUST, "robust, which nobody told anything,"), (MENDED, mending)):
            won = self.won(training)
            said.append(f"{name} won {f'{won / self.lost:.0%}' if won > 0 else 'none'} of them back")
        return [f"{said[0]} {said[1]}; {said[2]}."]


def demo(output: Path = Path("demo"), device: str = "auto", config: DemoConfig = DEFAULT) -> DemoResult:
    """Render ultrasound phantoms, spoil their training masks, train on them as they are and mended, and compare.

    Args:
        output: folder for everything it makes; one that an earlier demo made is made anew.
        device: auto, cpu or cuda.
        config: how large it is.

    Raises:
        InputError: ``output`` holds something that no demo made.
    """
    output, start = Path(output), time.monotonic()
    _clear(output)
    phantoms, noisy = output / "phantoms", output / "noisy"
    say(f"rendering {config.train + config.test} ultrasound phantoms into {phantoms}")
    write_phantom(phantoms, train=config.train, test=config.test, seed=config.seed)
    _spoil(phantoms, noisy, config)
    places: dict[Masks, Path] = {"true": phantoms, "wrong": noisy}
    scores = {
        training: _learn(output, places[training.masks], training, config.words(), device)
        for training in (CEILING, PLAIN, ROBUST)
    }
    looped = loop(noisy, output, config.judge_words(), device, config.jobs)
    places["mended"] = looped.masks
    scores[MENDED] = _learn(output, looped.masks, MENDED, config.words(), device)
    masks = {
        name: evaluate(place / "labelsTr", phantoms / "labelsTr", output / "scores" / name / "summary.json")
        for name, place in places.items()
    }
    result = DemoResult(output, masks, scores, looped, time.monotonic() - start)
    title = "Left: masks that a model learnt from, the worst that nobody reviewed. Right: what it draws on new images"
    write_picture(_rows(result, open_dataset(phantoms), places), result.picture, title)
    return result


def _clear(output: Path) -> None:
    """An output folder with nothing of an earlier demo in it; what somebody else put there stays."""
    if output.exists() and not (output / MARKER).exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"{output} holds something that is not an earlier demo; choose another folder with -o.")
    output.mkdir(parents=True, exist_ok=True)
    (output / MARKER).touch()
    for name in MADE:
        path = output / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _spoil(phantoms: Path, noisy: Path, config: DemoConfig) -> None:
    parameters = {"steps": config.noise_steps, "preference": 0.2, "variance": 0.05}
    words = [f"{name}={value}" for name, value in parameters.items()]
    show(
        "simulate",
        phantoms,
        "-o",
        noisy,
        "--noise",
        "markov",
        *words,
        "--fraction",
        config.wrong,
        "--seed",
        config.seed,
    )
    simulate(phantoms, noisy, "markov", parameters, config.wrong, config.seed)


def _learn(output: Path, dataset: Path, training: Training, words: list[str], device: str) -> Summary:
    """Train, predict the test images, evaluate; each step as a command that a person could type."""
    phantoms, run, predictions = (output / part for part in ("phantoms", "runs", "predictions"))
    run, predictions = run / training.folder, predictions / training.folder
    show("train", dataset, "--method", training.method, "-o", run, *words)
    train(dataset, run, training.method, overrides=words, device=device)
    show("predict", run, phantoms / "imagesTs", "-o", predictions)
    predict(run, phantoms / "imagesTs", predictions, device=device)
    show("evaluate", predictions, phantoms / "labelsTs")
    return evaluate(predictions, phantoms / "labelsTs")


def _rows(result: DemoResult, phantoms: Dataset, places: Mapping[Masks, Path]) -> list[Row]:
    """A row a training: the masks that it learnt from, where those that nobody reviewed are worst, and its answers to
    the first test images."""
    given, reviewed = result.masks["wrong"].case_means(), result.loop.reviewed
    worst = sorted(phantoms.train, key=lambda case: (case.name in reviewed, given[case.name]))[:SHOWN]
    rows = []
    for training, summary in result.scores.items():
        masks = result.masks[training.masks].case_means()
        answers = result.folder / "predictions" / training.folder
        left = _panels(worst, places[training.masks] / "labelsTr", masks)
        right = _panels(phantoms.test[:SHOWN], answers, summary.case_means())
        words = f"{training.method}\non {training.masks} masks\nDice {100 * result.dice(training):.1f}"
        rows.append(Row(words, (*left, None, *right)))
    return rows


def _panels(cases: Iterable[Case], drawn: Path, dice: Mapping[str, float]) -> tuple[Panel, ...]:
    """Each case with the mask that the folder ``drawn`` holds of it."""
    truths = [(case, case.label or case.reference) for case in cases]
    return tuple(
        panel(case.images[0], truth, drawn / truth.name, dice[case.name]) for case, truth in truths if truth is not None
    )
