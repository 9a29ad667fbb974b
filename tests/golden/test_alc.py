"""ALC against arrays of its parents' released code (MTCL, UA-MT) and of a float64 reference of its equations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from maskmend.functional.losses import ce_dice
from maskmend.functional.teacher import Fused, ema_, fuse
from maskmend.methods.alc import ALC, Config
from maskmend.types import Progress

Arrays = dict[str, np.ndarray]


def tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


@pytest.fixture
def reference(golden: Callable[[str], Arrays]) -> Arrays:
    return golden("alc_dsc_mlb_reference_readings")


@pytest.fixture
def parents(golden: Callable[[str], Arrays]) -> Arrays:
    return golden("alc_dsc_mlb_alc_parents")


def test_refined_labels_and_order(reference: Arrays) -> None:
    """Eqs. 4-7: the fused vector, the label, the uncertainty and the order of samples."""
    log = tensor(reference["alc_P"]).log()
    fused = fuse([each[:, 1:] - each[:, :1] for each in log], eps=float(reference["alc_eps"]))
    torch.testing.assert_close(fused.mean, tensor(reference["alc_avg"]).float(), rtol=1e-5, atol=1e-6)
    # ours is normalised; the reference keeps the constant 1 / m of Eq. 6
    expected = tensor(reference["alc_fused"]).float()
    torch.testing.assert_close(fused.vote, expected / expected.sum(1, keepdim=True), rtol=1e-5, atol=1e-6)
    assert torch.equal(fused.vote.argmax(1), tensor(reference["alc_ref"]))
    torch.testing.assert_close(fused.variance, tensor(reference["alc_U"]).float(), rtol=1e-4, atol=1e-6)
    assert fused.variance.argsort().tolist() == reference["alc_order"].tolist()


def test_uncertainty_as_printed(reference: Arrays) -> None:
    """Eq. 7 with its bracket where it is printed: another order, here nearly the reverse."""
    mean = tensor(reference["alc_avg"]).float()
    taught = Fused(mean, mean, tensor(reference["alc_U"]).float())
    for kind, name in (("variance", "alc_U"), ("literal", "alc_U_literal_eq7")):
        found = ALC(lambda: nn.Conv2d(1, 2, 1), Config(uncertainty=kind, passes=8)).uncertainty(taught)
        torch.testing.assert_close(found, tensor(reference[name]).float(), rtol=1e-5, atol=0)


def test_consistency(reference: Arrays) -> None:
    """Eq. 10 with the teacher's mean: squared, and as a norm; and as printed, with the sum of its passes."""
    teacher, student = (tensor(reference[name]).float() for name in ("alc_avg", "alc_student"))
    for kind, name in (("squared", "alc_Lc_mse"), ("norm", "alc_Lc_l2norm"), ("literal", "alc_Lc_literal_eq10")):
        method = ALC(lambda: nn.Conv2d(1, 2, 1), Config(consistency=kind, passes=8))
        assert method.distance(teacher, student).item() == pytest.approx(float(reference[name]), rel=1e-4)


def test_segmentation_loss(parents: Arrays) -> None:
    """Eq. 1 for each sample, and as MTCL sums it over the batch."""
    logits, label = tensor(parents["seg_logits"]), tensor(parents["seg_labels"])
    expected = tensor(parents["seg_half_sum_per_sample"]).float()
    torch.testing.assert_close(ce_dice(logits, label), expected, rtol=1e-5, atol=1e-6)
    assert ce_dice(logits, label, together=True).item() == pytest.approx(float(parents["seg_half_sum"]), rel=1e-5)


def test_ramp(parents: Arrays) -> None:
    """lambda(t): a stair every 150 iterations, highest at 6000 of 30000."""
    method = ALC(lambda: nn.Conv2d(1, 2, 1), Config())
    for step, expected in zip(parents["ramp_iters"].tolist(), parents["ramp_lambda"].tolist(), strict=True):
        assert method.weight(Progress(0, 100, step, 300)) == pytest.approx(expected, rel=1e-12)


def test_moving_average(parents: Arrays) -> None:
    """The first step copies the student; the decay then grows to its limit."""
    teacher, student = nn.Linear(1, 1, bias=False).double(), nn.Linear(1, 1, bias=False).double()
    for step, value, expected in zip(
        parents["ema_steps"].tolist(), parents["ema_student"].tolist(), parents["ema_teacher"].tolist(), strict=True
    ):
        student.weight.data.fill_(value)
        ema_(teacher, student, 0.99, step)
        assert teacher.weight.item() == pytest.approx(expected, rel=1e-12)
