"""Scores of doubt, against hand-worked numbers, cleanlab itself, and what must not matter."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from maskmend.functional import confident, doubt
from maskmend.types import IGNORE

SCORES = ("regret", "margin", "softmin", "cross_entropy", "certainty", "expected_dice")


def example(n: int = 4, k: int = 3, size: int = 8) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    prob = (3 * torch.randn(n, k, size, size, generator=generator)).softmax(1)
    return prob, torch.randint(0, k, (n, size, size), generator=generator)


def test_by_hand() -> None:
    """One column is given, two are predicted: Dice of P with its own mask against that with the given one."""
    p = torch.tensor([0.9, 0.8, 0.1, 0.0]).expand(4, 4)
    prob = torch.stack([1 - p, p]).unsqueeze(0)
    label = torch.tensor([1, 0, 0, 0]).expand(1, 4, 4)
    own = (2 * 4 * (0.9 + 0.8) + 1) / (4 * 1.8 + 8 + 1)
    given = (2 * 4 * 0.9 + 1) / (4 * 1.8 + 4 + 1)
    assert doubt.certainty(prob, label).item() == pytest.approx(own)
    assert doubt.regret(prob, label).item() == pytest.approx(own - given)
    assert doubt.margin(prob, label).item() == pytest.approx(4 * (0.8 - 0.2) / 8)
    expected = np.tile(np.sqrt(0.3) * np.array([0.1, 0.8, 0.1, 0.0]), (4, 1))
    np.testing.assert_allclose(doubt.voxels(prob, label)[0], expected, atol=1e-6)
    wrong = doubt.wrong(prob, label)
    np.testing.assert_allclose(wrong.believed, [[4 * 0.6, 0]], atol=1e-6)
    np.testing.assert_allclose(wrong.unsure, [[4 * 0.3, 4 * 0.1]], atol=1e-6)
    assert (wrong.given.tolist(), wrong.other.tolist(), wrong.gained.tolist()) == ([[12, 4]], [[4, 0]], [[0, 4]])


@pytest.mark.parametrize("name", ["softmin", "num_pixel_issues"])
def test_these_are_cleanlabs(name: str) -> None:
    rank = pytest.importorskip("cleanlab.segmentation.rank")
    prob, label = example()
    theirs, _ = rank.get_label_quality_scores(label.numpy(), prob.numpy(), method=name, n_jobs=1, verbose=False)
    np.testing.assert_allclose(1 - getattr(doubt, name)(prob, label), theirs, atol=1e-5)
    assert np.std(theirs) > 1e-3


def test_issues_of_cases_read_one_at_a_time_are_those_of_all_together() -> None:
    prob, label = example(size=16)
    label[:, 0] = IGNORE
    cases = [(prob[i : i + 1], label[i : i + 1]) for i in range(len(prob))]
    threshold = confident.thresholds(torch.stack([confident.self_confidence(*case) for case in cases]).sum(0))
    counted = torch.stack([confident.evidence(*case, threshold).flat() for case in cases]).sum(0)
    limit = confident.limits(confident.Evidence.of(counted, 3), "segmentation")
    streamed = torch.cat([doubt.num_pixel_issues(*case, limit) for case in cases])
    torch.testing.assert_close(streamed, doubt.num_pixel_issues(prob, label), atol=0.01, rtol=0)
    assert streamed.min() > 0.1


@pytest.mark.parametrize("name", SCORES)
def test_block_by_block_is_the_same(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    prob, label = example(size=11)
    label[:, 3, 2:5] = IGNORE
    whole, wrong = getattr(doubt, name)(prob, label), doubt.wrong(prob, label)
    monkeypatch.setattr(doubt, "BLOCK", 100)
    assert len([*doubt.blocks(prob, label)]) > 4
    torch.testing.assert_close(getattr(doubt, name)(prob, label), whole)
    torch.testing.assert_close(vars(doubt.wrong(prob, label)), vars(wrong))


def test_a_mask_believes_the_same_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = example(n=1, size=9)[1][0].numpy()
    whole = doubt.from_mask(mask, 3, (2.0, 1.0))
    monkeypatch.setattr(doubt, "BLOCK", 20)
    np.testing.assert_array_equal(doubt.from_mask(mask, 3, (2.0, 1.0)), whole)


def test_nothing_annotated_is_not_doubted() -> None:
    prob, label = example()
    for name in ("regret", "margin", "softmin", "cross_entropy", "voxels"):
        assert not getattr(doubt, name)(prob, torch.full_like(label, IGNORE)).any(), name


@pytest.mark.parametrize("name", SCORES)
def test_what_nobody_annotated_does_not_matter(name: str) -> None:
    prob, label = example()
    label[:, :, 4:] = IGNORE
    score = getattr(doubt, name)
    other = prob.clone()
    other[..., 4:] = other[..., 4:].flip(1)
    torch.testing.assert_close(score(prob, label), score(other, label))
    torch.testing.assert_close(score(prob, label), score(prob[..., :4], label[..., :4]))


@pytest.mark.parametrize("name", SCORES)
def test_the_order_of_classes_does_not_matter(name: str) -> None:
    prob, label = example()
    swapped = torch.where(label > 0, 3 - label, label)
    score = getattr(doubt, name)
    torch.testing.assert_close(score(prob, label), score(prob[:, [0, 2, 1]], swapped))


@pytest.mark.parametrize("name", ["regret", "margin", "certainty"])
def test_more_background_does_not_matter(name: str) -> None:
    prob, label = example()
    sure = torch.zeros_like(prob)
    sure[:, 0] = 1
    score = getattr(doubt, name)
    wide = torch.cat([prob, sure], 2), torch.cat([label, torch.zeros_like(label)], 1)
    torch.testing.assert_close(score(*wide), score(prob, label))


def test_a_mask_is_most_probable_where_it_is() -> None:
    label = np.zeros((12, 12), int)
    label[2:8, 3:9], label[4:6, 4:6] = 1, 3
    prob = doubt.from_mask(label, 4, (1.0, 1.0))
    assert prob.dtype == np.float32
    np.testing.assert_allclose(prob.sum(0), 1, atol=1e-5)
    assert (prob.argmax(0) == label).all()
    assert prob[1:].max() <= doubt.MOST_SURE + 1e-6
    assert prob[1, 2, 5] < prob[1, 3, 6] < prob[1, 6, 7] + 1e-6, "surer inside"


def test_a_mask_believes_the_logistic_of_the_distance_to_its_boundary() -> None:
    label = np.zeros((1, 40), int)
    label[0, 20:] = 1
    prob = doubt.from_mask(label, 3, (2.0, 0.5))
    steps = np.arange(40) - 19.5
    np.testing.assert_allclose(prob[1, 0], np.minimum(1 / (1 + np.exp(-steps)), doubt.MOST_SURE), atol=1e-6)
    np.testing.assert_allclose(prob.sum(0), 1, atol=1e-6)
    assert not prob[2].any(), "no such class"


def test_what_is_far_from_a_mask_that_came_alone_does_not_matter() -> None:
    """Else small objects of large volumes would never be doubted."""
    label, drawn = np.zeros((2, 16, 16), int)
    label[4:12, 4:12], drawn[4:12, 4:8] = 1, 1
    found = []
    for side in (10, 100):
        mask, given = (np.pad(each, side) for each in (drawn, label))
        prob = torch.from_numpy(doubt.from_mask(mask, 2, (1.0, 1.0))).unsqueeze(0)
        found.append(doubt.regret(prob, torch.from_numpy(given).unsqueeze(0)).item())
    assert found[0] == pytest.approx(found[1], abs=1e-3)
    assert found[0] > 0.05


def test_the_temperature_that_was_put_in_is_found() -> None:
    generator = torch.Generator().manual_seed(0)
    true = (2 * torch.randn(20000, 3, generator=generator)).softmax(1)
    label = torch.multinomial(true, 1, generator=generator)[:, 0]
    label[:5000] = IGNORE
    found = doubt.temperature(doubt.sharpened(true, 1 / 3), label)
    assert found == pytest.approx(3, rel=0.08)


def test_only_a_judge_that_is_surer_of_its_own_mask_redraws() -> None:
    assert doubt.redraw(0.2, 0.9)
    assert not doubt.redraw(0.15, 0.6), "little beside what its own may lack"
    assert doubt.redraw(0.5, 0.6)
    assert not doubt.redraw(0.05, 0.99)
    assert not doubt.redraw(0.2, 0.9, cut=0.3)
    several = doubt.redraw(torch.tensor([0.15, 0.15]), torch.tensor([0.9, 0.6]))
    assert several.tolist() == [True, False]


def test_what_is_usual_of_regrets_is_not_moved_by_a_few() -> None:
    assert doubt.usual([]) == doubt.usual([0.01] * 10) == doubt.CUT
    common = np.linspace(0.1, 0.2, 101)
    assert doubt.usual(common) == pytest.approx(0.15 + 3 * 1.4826 * 0.025)
    assert doubt.usual(np.append(common, [0.9] * 10)) == pytest.approx(doubt.usual(common), abs=0.03)
