"""``maskmend demo``: made-up images, wrong masks, two ways of learning from them, a table and a picture."""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from ..data.dataset import Case, Dataset, open_dataset
from ..data.formats import read_label
from ..data.phantom import write_phantom
from ..errors import InputError
from ..metrics import Summary, mean_sd
from ..metrics.summary import percent
from ..runs.simulate import SimulationSummary, simulate
from ..runs.train import train
from ..types import Config
from .evaluate import evaluate
from .picture import Panel, Row, panel, write_picture
from .predict import predict

MARKER = ".maskmend-demo"
"""Lies in every folder that the demo made, and in no other."""
MADE = ("phantoms", "noisy", "runs", "predictions", "picture.png")
SHOWN = 6
"""Images in a row of the picture: the first ones, not chosen ones."""


@dataclass(frozen=True)
class Training:
    """A method, and the masks it learns from."""

    method: str
    masks: Literal["true", "wrong"]

    @property
    def folder(self) -> str:
        return f"{self.method}_on_{self.masks}_masks"


CEILING, PLAIN, ROBUST = Training("supervised", "true"), Training("supervised", "wrong"), Training("gsd_net", "wrong")


class DemoConfig(Config):
    """How large the demo is. The defaults take two to three minutes, most of it on one core."""

    train: int = Field(64, ge=1, description="training images")
    test: int = Field(30, ge=1, description="test images")
    size: int = Field(64, ge=32, description="side that images of 128 pixels are trained at")
    epochs: int = Field(32, ge=1)
    noise_steps: int = Field(110, ge=0, description="Markov steps; half of GSD-Net's S_R, for half its image size")
    seed: int = 0

    def words(self, training: Training, tau: float) -> list[str]:
        """The settings of one training, as on the command line."""
        size = f"data.size=[{self.size},{self.size}]"
        length = [
            f"train.epochs={self.epochs}",
            "train.threads=1",
        ]  # such small images gain little from a second thread
        words = ["fold=all", f"seed={self.seed}", size, *length, "optim.lr=0.02"]
        if training != ROBUST:
            return words
        cap = max(10 * self.size / 256, 1)  # T: 10 pixels at 256² (GSD-Net, Sec. 4.2)
        return [*words, f"method.tau={tau:.4f}", f"method.tau_epochs={self.epochs // 2}", f"method.weight_cap={cap:g}"]


DEFAULT = DemoConfig()


@dataclass(frozen=True)
class DemoResult:
    """What came out. ``scores``: the evaluation of each training on the test images, against the true masks."""

    folder: Path
    given: SimulationSummary
    tau: float
    scores: Mapping[Training, Summary]
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

    @property
    def won(self) -> float:
        """How much of it gsd_net wins back; negative if it loses more."""
        return self.dice(ROBUST) - self.dice(PLAIN)

    def table(self) -> Any:
        """For rich: a row a training, then what it means and where the picture is."""
        from rich.console import Group
        from rich.table import Table

        count = len(self.scores[PLAIN].cases)
        table = Table("trained with", "on", f"Dice in percent, mean ± sd of {count} test images")
        for training, summary in self.scores.items():
            table.add_row(training.method, f"{training.masks} masks", percent(summary.case_means().values()))
        return Group(table, *self._sentences())

    def _sentences(self) -> list[str]:
        if self.lost <= 0:
            verdict = "Wrong masks cost supervised training nothing here, so there was nothing to win back."
        else:
            change = f"won {self.won / self.lost:.0%} of them back" if self.won > 0 else "won none of them back"
            verdict = f"Wrong masks cost supervised training {100 * self.lost:.1f} points; gsd_net {change}."
        return [
            f"The training masks were left with a Dice of {percent(case.dice_mean for case in self.given.cases)}.",
            verdict,
            f"gsd_net was told the true share of wrong pixels, method.tau={self.tau:.4f}. With your own masks it must "
            "be guessed, or looked for with --search tau.",
            f"{self.seconds / 60:.1f} minutes. Look at {self.picture}",
        ]


def demo(output: Path = Path("demo"), device: str = "auto", config: DemoConfig = DEFAULT) -> DemoResult:
    """Render ultrasound phantoms, spoil their training masks, train on them in two ways, and compare.

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
    _say(f"rendering {config.train + config.test} ultrasound phantoms into {phantoms}")
    write_phantom(phantoms, train=config.train, test=config.test, seed=config.seed)
    given = _spoil(phantoms, noisy, config)
    tau = wrong_share(open_dataset(noisy))
    scores = {
        training: _learn(output, training, config.words(training, tau), device) for training in (CEILING, PLAIN, ROBUST)
    }
    result = DemoResult(output, given, tau, scores, time.monotonic() - start)
    write_picture(_rows(result, open_dataset(phantoms)), result.picture, "Wrong masks, and what was learnt from them")
    return result


def wrong_share(noisy: Dataset) -> float:
    """The mean share of pixels whose simulated label is not the true one."""
    wrong = []
    for case in noisy.train:
        assert case.label is not None
        truth = read_label(noisy.root / "labelsTr_truth" / case.label.name).array
        wrong.append(float((read_label(case.label).array != truth).mean()))
    return float(np.mean(wrong))


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


def _spoil(phantoms: Path, noisy: Path, config: DemoConfig) -> SimulationSummary:
    parameters = {"steps": config.noise_steps, "preference": 0.2, "variance": 0.05}
    words = [f"{name}={value}" for name, value in parameters.items()]
    _show("simulate", phantoms, "-o", noisy, "--noise", "markov", *words, "--seed", config.seed)
    return simulate(phantoms, noisy, "markov", parameters, seed=config.seed)


def _learn(output: Path, training: Training, words: list[str], device: str) -> Summary:
    """Train, predict the test images, evaluate; each step as a command that a person could type."""
    phantoms, run, predictions = (output / part for part in ("phantoms", "runs", "predictions"))
    run, predictions = run / training.folder, predictions / training.folder
    dataset = phantoms if training.masks == "true" else output / "noisy"
    _show("train", dataset, "--method", training.method, "-o", run, *words)
    train(dataset, run, training.method, overrides=words, device=device)
    _show("predict", run, phantoms / "imagesTs", "-o", predictions)
    predict(run, phantoms / "imagesTs", predictions, device=device)
    _show("evaluate", predictions, phantoms / "labelsTs")
    return evaluate(predictions, phantoms / "labelsTs")


def _rows(result: DemoResult, phantoms: Dataset) -> list[Row]:
    """The wrong masks of the first training images, then each training's answer to the first test images."""
    left = {case.name: case.dice_mean for case in result.given.cases}
    rows = [Row("the wrong masks", _panels(phantoms.train[:SHOWN], result.folder / "noisy" / "labelsTr", left))]
    for training, summary in result.scores.items():
        words = f"{training.method}\non {training.masks} masks\nDice {100 * result.dice(training):.1f}"
        answers = result.folder / "predictions" / training.folder
        rows.append(Row(words, _panels(phantoms.test[:SHOWN], answers, summary.case_means())))
    return rows


def _panels(cases: Iterable[Case], drawn: Path, dice: Mapping[str, float]) -> tuple[Panel, ...]:
    """Each case with the mask that the folder ``drawn`` holds of it."""
    truths = [(case, case.label or case.reference) for case in cases]
    return tuple(
        panel(case.images[0], truth, drawn / truth.name, dice[case.name]) for case, truth in truths if truth is not None
    )


def _show(*words: object) -> None:
    """The command that does what comes next."""
    _say(f"$ maskmend {shlex.join(str(word) for word in words)}")


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
