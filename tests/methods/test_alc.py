"""ALC's parts: its ablations and their cost, who is taught by what, and what runs once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from maskmend.config import load_config
from maskmend.functional.rng import seed_all
from maskmend.functional.teacher import fuse
from maskmend.methods.alc import ALC, Config
from maskmend.types import IGNORE, Batch, Progress, Trust

PRESETS = Path(__file__).parents[2] / "configs" / "alc"
LATE = Progress(9, 10, 9, 1)
ABLATIONS = {
    "all": ({}, 8),
    "without selection": ({"select": 1.0}, 8),
    "without refinement": ({"refine": "mean"}, 8),
    "direct pseudo-labels": ({"refine": "single"}, 8),
    "mean teacher": ({"alpha": 0.0, "beta": 0.0, "passes": 1}, 1),
}


class Net(nn.Module):
    """A convolution, dropout, a convolution; counts the calls of each part."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.drop, self.head = nn.Conv2d(1, 4, 3, padding=1), nn.Dropout(0.5), nn.Conv2d(4, 3, 1)
        self.encoded = self.decoded = 0

    def encode(self, image: Tensor) -> list[Tensor]:
        self.encoded += 1
        return [self.first(image).relu()]

    def decode(self, stages: list[Tensor]) -> Tensor:
        self.decoded += 1
        return self.drop(stages[0])

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.decode(self.encode(image)))


def a_batch(clean: int = 2, noisy: int = 4) -> Batch:
    count = clean + noisy
    trust = torch.tensor([int(Trust.CLEAN)] * clean + [int(Trust.NOISY)] * noisy)
    return Batch(torch.randn(count, 1, 8, 8), torch.randint(0, 3, (count, 8, 8)), trust, torch.arange(count), {})


@pytest.mark.parametrize("row", ABLATIONS)
def test_every_ablation_trains_at_its_cost(row: str) -> None:
    options, passes = ABLATIONS[row]
    method = ALC(Net, Config(**options))
    method.step(a_batch(), LATE, lambda loss, group="main": loss.backward())
    assert method.student.encoded == 1
    assert method.teacher.encoded == passes
    assert all(p.grad.abs().sum() > 0 for p in method.student.parameters())
    assert all(p.grad is None for p in method.teacher.parameters())


def test_without_input_noise_the_part_before_dropout_runs_once() -> None:
    method = ALC(Net, Config(noise=0.0, passes=6))
    image = torch.randn(3, 1, 8, 8)
    seed_all(0)
    passes = method.passes(image)
    assert (method.teacher.encoded, method.teacher.decoded) == (1, 6)
    seed_all(0)
    for margin in passes:
        logits = method.teacher(image)
        torch.testing.assert_close(margin, logits[:, 1:] - logits[:, :1])
    assert not torch.equal(passes[0], passes[1])


def test_an_outlier_pass_is_outvoted() -> None:
    """Three passes say class 1 by a little, one says class 0 for sure: their mean is fooled, the fusion is not."""
    prob = torch.tensor([0.45, 0.45, 0.45, 0.999])
    passes = [((1 - p) / p).log().view(1, 1, 1, 1) for p in prob]
    fused = fuse(passes)
    assert fused.mean.argmax(1).item() == 0
    assert fused.vote.argmax(1).item() == 1


def test_the_surest_share_is_taught_by_refined_labels() -> None:
    """Cases whose passes vary least; the given labels of these play no part, those of the others do."""
    method, batch = ALC(Net, Config(ramp=0.0)), a_batch()

    def loss_of(label: Tensor) -> float:
        seed_all(3)
        seen: list[Tensor] = []
        changed = Batch(batch.image, label, batch.trust, batch.index, {})
        method.step(changed, LATE, lambda loss, group="main": seen.append(loss))
        return seen[0].item()

    def another(case: int) -> Tensor:
        label = batch.label.clone()
        label[case] = (label[case] + 1) % 3
        return label

    seed_all(3)
    method.student(batch.image)
    passes = method.passes(batch.imperfect.image)
    sure = set((2 + fuse(passes).variance.argsort()[:2]).tolist())
    for case in range(2, 6):
        assert (loss_of(another(case)) == loss_of(batch.label)) == (case in sure)


def test_eq_9_as_printed_divides_by_one_more() -> None:
    """Of four imperfect cases two are taught by their given labels: the sum of their losses over 3 instead of 2."""
    seen = {}
    for divisor in ("terms", "literal"):
        seed_all(0)
        method = ALC(Net, Config(divisor=divisor))
        seen[divisor] = method.step(a_batch(), LATE, lambda loss, group="main": None)["noisy"].item()
    assert seen["literal"] == pytest.approx(seen["terms"] * 2 / 3)
    assert ALC(Net, Config(divisor="literal", select=1.0)).step(a_batch(), LATE, lambda *_: None)["noisy"] == 0


def test_eq_7_as_printed_chooses_by_another_order() -> None:
    """Of a case whose passes all say the same and one whose passes do not, it takes the second for the surer."""
    sure, unsure = torch.full((4, 1, 1, 2, 2), 5.0), torch.randn(4, 1, 1, 2, 2)
    taught = fuse(list(torch.cat((sure, unsure), 1)))
    for uncertainty, first in (("variance", 0), ("literal", 1)):
        method = ALC(Net, Config(uncertainty=uncertainty, passes=4))
        assert method.uncertainty(taught).argmin() == first


@pytest.mark.parametrize(
    ("preset", "iterations", "drop", "rises"),
    [
        ("paper_la", 30000, None, 6000),
        ("paper_nih", 30000, None, 6000),
        ("parents_la", 6000, 2500, 6000),
        ("mtcl_la", 8000, None, 6000),
    ],
)
def test_presets_are_as_long_as_what_they_name(preset: str, iterations: int, drop: int | None, rises: int) -> None:
    """UA-MT: 6000 iterations, a tenth every 2500; MTCL: 8000, polynomial; lambda highest at 6000 in all of them."""
    config = load_config(PRESETS / f"{preset}.yaml")
    _, settings = config.method_parts()
    assert config.train.epochs * config.train.steps == iterations
    assert (config.optim.every * config.train.steps if config.optim.schedule == "step" else None) == drop
    assert settings.ramp * iterations == pytest.approx(rises)
    assert settings.ema == 0.99  # the paper, III-B


def test_the_teacher_follows_and_the_student_predicts() -> None:
    method = ALC(Net, Config())
    before = method.teacher.head.weight.clone()
    with torch.no_grad():
        method.student.head.weight += 1
    method.step(a_batch(), Progress(0, 10, 0, 1), lambda loss, group="main": None)
    assert torch.equal(method.teacher.head.weight, method.student.head.weight)
    assert not torch.equal(before, method.teacher.head.weight)
    with torch.no_grad():
        method.teacher.head.weight.zero_()
    image = torch.randn(1, 1, 8, 8)
    method.eval()
    torch.testing.assert_close(method.predict(image), method.student(image).softmax(1))


def test_unlabeled_cases_are_taught_by_the_teacher_alone() -> None:
    method, batch = ALC(Net, Config(select=0.0, ramp=0.0)), a_batch()
    batch.label[2:] = IGNORE
    logs = method.step(batch, LATE, lambda loss, group="main": loss.backward())
    assert logs["noisy"].item() == pytest.approx(0.0, abs=1e-6)
    assert logs["consistency"].item() > 0
