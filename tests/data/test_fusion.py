"""One label of several raters': against SimpleITK's own answers, an EM by brute force, and pictures worked by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from tests.toy import write_toy

from maskmend.config import load_config
from maskmend.data.augment import AugmentConfig, apply, draw
from maskmend.data.cache import Cache
from maskmend.data.dataset import Dataset, open_dataset
from maskmend.data.formats import read_label, write_label
from maskmend.data.fusion import average, choose, disagreement, fuse, majority, rate, staple
from maskmend.data.plan import DataConfig, make_plan
from maskmend.data.refined import RefinedStore
from maskmend.data.sidemaps import SideMapConfig, distance
from maskmend.data.trainset import CaseSet
from maskmend.errors import InputError
from maskmend.types import IGNORE
from maskmend.verbs.simulate import simulate


def panel(shape: Sequence[int], classes: int, errors: Sequence[float], seed: int = 0) -> list[np.ndarray]:
    """What raters make of a box in slices of classes, each wrong in his share of the pixels."""
    rng = np.random.default_rng(seed)
    truth = np.zeros(shape, np.int16)
    inside = truth[tuple(slice(n // 4, n - n // 4) for n in shape)]
    inside[:] = 1 + np.arange(inside.shape[-1]) * (classes - 1) // inside.shape[-1]
    return [np.where(rng.random(shape) < e, rng.integers(0, classes, shape), truth).astype(np.int16) for e in errors]


def brute_force(labels: Sequence[np.ndarray], classes: int) -> tuple[np.ndarray, np.ndarray]:
    """EM in full: W (K, M), and P(said | true) (R, K, K) as [rater, said, true].

    It begins, as SimpleITK does, at the mean vote of two classes, and at the undisputed majority of more.
    """
    votes = np.stack([label.ravel() for label in labels])
    hot = np.stack([votes == k for k in range(classes)], 1).astype(float)  # (R, K, M)
    weight, prior = hot.sum(0) / np.maximum(hot.sum((0, 1)), 1), hot.sum((0, 2)) / hot.sum()
    if classes > 2:
        best = weight == weight.max(0)
        weight = best * (best.sum(0) == 1.0)
    for _ in range(3000):
        confusion = np.stack([each @ weight.T / (weight * each.any(0)).sum(1) for each in hot])
        joint = prior[:, None] * np.prod(
            [np.where(v < 0, 1, c[v].T) for c, v in zip(confusion, votes, strict=True)], axis=0
        )
        weight = joint / joint.sum(0) * hot.any((0, 1))
    return weight, confusion


# --- STAPLE


@pytest.mark.parametrize("shape", [(16, 20), (8, 9, 10)])
def test_staple_of_two_classes_is_brute_force_and_simpleitk(shape: tuple[int, ...]) -> None:
    labels = panel(shape, 2, (0.1, 0.2, 0.4))
    prob = staple(labels, 2, margin=100)
    weight, confusion = brute_force(labels, 2)
    np.testing.assert_allclose(prob.reshape(2, -1), weight, atol=1e-5)
    em = sitk.STAPLEImageFilter()
    em.SetForegroundValue(1)
    found = sitk.GetArrayFromImage(em.Execute([sitk.GetImageFromArray(label.astype(np.uint8)) for label in labels]))
    np.testing.assert_allclose(prob[1], found, atol=1e-5)
    sensitivity, specificity = rate(labels, prob, margin=100)
    np.testing.assert_allclose(sensitivity[:, 1], em.GetSensitivity(), atol=1e-5)
    np.testing.assert_allclose(specificity[:, 1], em.GetSpecificity(), atol=1e-5)
    np.testing.assert_allclose(sensitivity[:, 1], confusion[:, 1, 1], atol=1e-5)


@pytest.mark.parametrize("shape", [(40, 44), (12, 13, 14)])  # where a class has few pixels, EM's beginning matters
def test_staple_of_four_classes_is_brute_force_and_simpleitk(shape: tuple[int, ...]) -> None:
    labels = panel(shape, 4, (0.1, 0.2, 0.3, 0.3))
    prob = staple(labels, 4, margin=100)
    weight, confusion = brute_force(labels, 4)
    np.testing.assert_allclose(prob.reshape(4, -1), weight, atol=1e-3)
    em = sitk.MultiLabelSTAPLEImageFilter()
    em.SetTerminationUpdateThreshold(1e-7)
    found = sitk.GetArrayFromImage(em.Execute([sitk.GetImageFromArray(label.astype(np.uint8)) for label in labels]))
    assert (fuse(labels, "staple", 4)[found < 4] == found[found < 4]).mean() > 0.99  # ours in the box, with a margin
    assert (prob.argmax(0) == found).all()
    np.testing.assert_allclose(rate(labels, prob, margin=100)[0], confusion[:, range(4), range(4)], atol=1e-3)


def test_background_far_away_changes_nothing() -> None:
    labels = panel((12, 12), 2, (0.1, 0.2, 0.3))
    wide = [np.pad(label, 40) for label in labels]
    near = staple([np.pad(label, 5) for label in labels], 2)
    far = staple(wide, 2)
    np.testing.assert_array_equal(far[:, 35:-35, 35:-35], near)
    assert (far[0].sum(), far[1].sum()) == pytest.approx((92 * 92 - near[1].sum(), near[1].sum()))
    everything = staple(wide, 2, margin=100)
    false = [1 - rate(wide, prob, margin)[1][2, 1] for prob, margin in ((far, 5), (everything, 100))]
    assert false[1] < 0.1 * false[0]  # all that background would drive every specificity to 1


def test_the_careful_weigh_more_than_the_many() -> None:
    """Sloppy raters agree by chance where the careful one does not."""
    labels = panel((40, 40), 2, (0.02, 0.3, 0.5, 0.6), seed=3)
    truth = panel((40, 40), 2, (0.0,))[0]
    wrong = {rule: (fuse(labels, rule, 2) != truth).mean() for rule in ("majority", "staple")}
    assert wrong["staple"] < 0.5 * wrong["majority"]
    sensitivity, specificity = rate(labels, staple(labels, 2))
    assert (np.diff(sensitivity[:, 1]) < 0).all()
    assert (np.diff(specificity[:, 1]) < 0).all()


@pytest.mark.parametrize("classes", [2, 3])
def test_where_all_agree_there_is_nothing_to_weigh(classes: int) -> None:
    (label,) = panel((12, 12), classes, (0.0,))
    hot = np.stack([label == k for k in range(classes)])
    for labels in ([label], [label] * 3, [np.zeros_like(label)] * 2):
        prob = staple(labels, classes)
        assert (prob == (hot if labels[0].any() else np.stack([k == label * 0 for k in range(classes)]))).all()


@pytest.mark.parametrize("classes", [2, 3])
def test_raters_who_share_nothing_leave_numbers(classes: int) -> None:
    one, other, none = np.zeros((3, 12, 12), np.int16)
    one[:4], other[8:] = 1, classes - 1
    for labels in ([one, other], [one, none], [one, none, none], [one, other, none]):
        prob = staple(labels, classes)
        assert np.isfinite(prob).all()
        np.testing.assert_allclose(prob.sum(0), 1, atol=1e-6)


@pytest.mark.parametrize("classes", [2, 3])
def test_where_a_rater_has_no_opinion_the_others_decide(classes: int) -> None:
    labels = panel((30, 30), classes, (0.1, 0.2, 0.3))
    labels[0][:, 20:], labels[1][:, 23:], labels[2][:, 25:] = IGNORE, IGNORE, IGNORE
    prob = staple(labels, classes, margin=100)
    weight, confusion = brute_force(labels, classes)
    np.testing.assert_allclose(prob.reshape(classes, -1), weight, atol=1e-5)
    np.testing.assert_allclose(rate(labels, prob, 100)[0], confusion[:, range(classes), range(classes)], atol=1e-5)
    fused = fuse(labels, "staple", classes)
    assert not prob[:, :, 25:].any()
    assert (fused[:, 25:] == IGNORE).all()
    assert (fused[:, :25] != IGNORE).all()


# --- votes, by hand

ANNA = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 0, 0], [2, 2, 0, -1]], np.int16)
BERT = np.array([[0, 1, 1, 1], [0, 0, 1, 2], [2, 2, 0, 0], [0, 2, 0, -1]], np.int16)
CLEO = np.array([[0, 1, 1, 1], [0, 0, 0, 0], [2, 1, 0, 0], [1, 2, 0, 1]], np.int16)


def test_majority_by_hand() -> None:
    expected = [[0, 1, 1, 1], [0, 0, 1, 0], [2, 2, 0, 0], [0, 2, 0, 1]]  # (1, 3), (3, 0) tie: the lowest
    assert majority([ANNA, BERT, CLEO]).tolist() == expected
    assert majority([ANNA, BERT]).tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 0, 0], [0, 2, 0, -1]]
    assert (majority([np.full((2, 2), IGNORE, np.int16)]) == IGNORE).all()
    assert majority([label.clip(0).astype(np.uint8) for label in (ANNA, BERT)]).dtype == np.uint8


def test_average_by_hand() -> None:
    share = average([ANNA, BERT, CLEO], 3)
    assert share[:, 0, 1] == pytest.approx([1 / 3, 2 / 3, 0])
    assert share[:, 1, 3] == pytest.approx([1 / 3, 1 / 3, 1 / 3])
    assert share[:, 3, 3].tolist() == [0, 1, 0]  # one opinion
    assert average([ANNA, BERT], 3)[:, 3, 3].tolist() == [0, 0, 0]
    assert (average([ANNA, BERT, CLEO], 3).argmax(0) == majority([ANNA, BERT, CLEO])).all()


def test_quality_by_hand() -> None:
    prob = average([BERT], 3)  # BERT as the fused label, unknown at (3, 3)
    (sensitivity, _), (specificity, _) = rate([ANNA, CLEO], prob)
    assert sensitivity == pytest.approx([6 / 7, 3 / 4, 3 / 4])  # of 7, 4 and 4 pixels
    assert specificity == pytest.approx([7 / 8, 10 / 11, 10 / 11])
    assert math.isnan(rate([ANNA * 0], average([ANNA * 0], 3))[0][0, 1])


def test_disagreement_by_hand() -> None:
    assert disagreement([ANNA, ANNA]) == disagreement([ANNA * 0, ANNA * 0]) == 0
    assert disagreement([ANNA, BERT]) == pytest.approx(3 / 9)  # of the nine that one of them drew
    assert disagreement([ANNA, BERT, CLEO]) == pytest.approx(5 / 10)


# --- training on them

RATERS = ("anna", "bert", "cleo")


@pytest.fixture
def rated(tmp_path: Path) -> Dataset:
    """A toy data set, its first two cases clean; cleo left out the last one."""
    root = write_toy(tmp_path / "data", 2, 3, cases=6, clean=2)
    for number, path in enumerate(sorted((root / "labelsTr").iterdir())):
        given = read_label(path)
        for r, rater in enumerate(RATERS):
            rng = np.random.default_rng([number, r])
            wrong = rng.random(given.array.shape) < 0.1 * (r + 1)
            drawn = np.where(wrong, rng.integers(0, 3, given.array.shape), given.array).astype(np.uint8)
            if (number, rater) != (5, "cleo"):
                write_label(root / "labelsTr_raters" / rater / path.name, drawn, given.geometry)
    return open_dataset(root)


def drawn_of(dataset: Dataset, i: int) -> list[np.ndarray]:
    return [read_label(path).array.astype(np.int16) for path in dataset.train[i].raters]


def given_of(dataset: Dataset, i: int) -> np.ndarray:
    return read_label(dataset.train[i].label).array


def made(dataset: Dataset, maps: Sequence[str] = ("refined", "distance"), **data: object) -> CaseSet:
    config = DataConfig(normalisation="none", **data)
    plan, cache = make_plan(dataset, dataset.train, config), Cache(dataset.root.parent / "cache")
    return CaseSet(dataset.train, dataset, plan, cache, maps, RefinedStore(dataset.root.parent / "refined"))


@pytest.mark.parametrize("rule", ["majority", "staple", "random_rater", "cycle"])
def test_a_case_is_learnt_from_what_the_rule_makes_of_it(rated: Dataset, rule: str) -> None:
    cases = made(rated, annotation=rule)
    (scanned,) = cases.scan()
    patch = cases.load(torch.arange(6), [7] * 6)
    for i in range(6):
        if i < 2:  # clean: its own
            expected = given_of(rated, i)
        elif rule in ("majority", "staple"):
            expected = fuse(drawn_of(rated, i), rule, 3)
        else:
            expected = read_label(choose(rated.train[i], rated, rule)).array
        for batch in (scanned, patch):
            assert (batch.label[i].numpy() == expected).all()
            assert (batch.maps["refined"][i] == batch.label[i]).all()
            np.testing.assert_array_equal(batch.maps["distance"][i], distance(expected, SideMapConfig()))
        assert (cases.whole(i)[1].numpy() == given_of(rated, i)).all()  # validation: what was given
        assert cases.sizes[i].tolist() == [(expected == k).sum() for k in range(3)]
    assert not (scanned.label[2:].numpy() == np.stack([given_of(rated, i) for i in range(2, 6)])).all()
    assert cases.content != made(rated).content


def test_what_was_fused_is_kept_until_a_rater_changes(rated: Dataset) -> None:
    before = [prepared.label for prepared in made(rated, annotation="majority")._prepared]
    times = [label.path.stat().st_mtime_ns for label in before]
    again = [prepared.label for prepared in made(rated, annotation="majority")._prepared]
    assert [(label, label.path.stat().st_mtime_ns) for label in again] == list(zip(before, times, strict=True))
    path = rated.train[3].raters[0]
    geometry = read_label(path).geometry
    write_label(path, np.zeros((32, 32), np.uint8), geometry)
    changed = [prepared.label for prepared in made(rated, annotation="majority")._prepared]
    assert [a == b for a, b in zip(before, changed, strict=True)] == [True, True, True, False, True, True]


@pytest.mark.parametrize("rule", ["random_rater", "cycle"])
def test_one_rater_is_the_one_that_simulate_takes(rated: Dataset, tmp_path: Path, rule: str) -> None:
    (rated.root / "supervision.csv").unlink()
    dataset = open_dataset(rated.root)
    turn = "cycle" if rule == "cycle" else "random"
    for seed in range(3):
        done = simulate(rated.root, tmp_path / f"noisy{seed}", "random_rater", {"turn": turn}, seed=seed).cases
        chosen = [choose(case, dataset, rule, seed).parent.name for case in dataset.train]
        assert chosen == [case.done["rater"] for case in done]
        cases = made(dataset, annotation=rule, annotation_seed=seed)
        (batch,) = cases.scan()
        for i, rater in enumerate(chosen):
            drawn = read_label(rated.root / "labelsTr_raters" / rater / f"case{i:02d}.png").array
            assert (batch.label[i].numpy() == drawn).all()


def test_sampled_leaves_clean_cases_alone(rated: Dataset) -> None:
    cases = made(rated, annotation="sampled")
    for seed in range(5):
        assert (cases.load(torch.tensor([0]), [seed]).label[0].numpy() == given_of(rated, 0)).all()


@pytest.mark.parametrize("rule", ["average", "staple"])
def test_shares_come_as_a_map_for_each_class(rated: Dataset, rule: str) -> None:
    cases = made(rated, (rule, "distance"))
    assert cases.maps == (f"{rule}_1", f"{rule}_2", "distance")
    (batch,) = cases.scan()
    share = {"average": average, "staple": staple}[rule]
    for i in range(6):
        expected = share(drawn_of(rated, i) if i > 1 else [given_of(rated, i)], 3)
        for k in (1, 2):
            assert batch.maps[f"{rule}_{k}"].dtype == torch.float32
            np.testing.assert_array_equal(batch.maps[f"{rule}_{k}"][i], expected[k])


def test_shares_follow_the_image(rated: Dataset) -> None:
    """Resized linearly, padded with nothing, and turned with the image."""
    smaller, wider = made(rated, ("average",), size=(16, 16)), made(rated, ("average",), patch=(48, 48))
    (batch,) = smaller.scan()
    share = torch.from_numpy(average(drawn_of(rated, 3), 3))
    resized = torch.nn.functional.interpolate(share[None], size=(16, 16), mode="bilinear", antialias=True)[0]
    torch.testing.assert_close(batch.maps["average_1"][3], resized[1])
    padded = wider.load(torch.tensor([3]), [0])
    assert (padded.maps["average_2"][padded.label == IGNORE] == 0).all()
    (whole,) = made(rated, ("average",)).scan()
    moved = apply(whole, draw(AugmentConfig(rotate90=0.0, flip=1.0), 2, [1] * 6))
    assert torch.equal(moved.maps["average_1"], whole.maps["average_1"].flip(-1, -2))
    turned = apply(whole, draw(AugmentConfig(flip=0.0, rotate90=0.0, rotate_deg=20), 2, [1] * 6))
    assert turned.maps["average_1"].min() >= 0
    assert turned.maps["average_1"].max() <= 1


def test_where_no_rater_has_an_opinion_the_given_label_stands(rated: Dataset) -> None:
    dataset = replace(rated, ignore=3)
    for path in rated.train[3].raters:
        drawn = read_label(path)
        write_label(path, np.where(np.arange(32) < 16, drawn.array, 3).astype(np.uint8), drawn.geometry)
    (batch,) = made(dataset, ("average",)).scan()
    given = given_of(rated, 3)
    for k in (1, 2):
        assert (batch.maps[f"average_{k}"][3, :, 16:].numpy() == (given == k)[:, 16:]).all()
    (batch,) = made(dataset, annotation="majority").scan()
    assert (batch.label[3, :, 16:] == IGNORE).all()


def test_an_unlabeled_case_stays_unlabeled(rated: Dataset) -> None:
    (rated.root / "supervision.csv").write_text("case,supervision\ncase03,unlabeled\n")
    dataset = open_dataset(rated.root)
    for rule in ("majority", "sampled", "random_rater"):
        cases = made(dataset, ("average",), annotation=rule)
        batch = cases.load(torch.tensor([3]), [0])
        assert (batch.label == IGNORE).all()
        assert not batch.maps["average_1"].any()


@pytest.mark.parametrize("rule", ["majority", "staple", "random_rater", "cycle"])
def test_without_raters_there_is_nothing_to_fuse(rated: Dataset, rule: str) -> None:
    plain = replace(rated, train=tuple(replace(case, raters=()) for case in rated.train))
    with pytest.raises(InputError, match=rf"data\.annotation={rule}, but .*labelsTr_raters holds no rater's labels"):
        made(plain, annotation=rule)
    write_label(rated.train[3].raters[0], np.zeros((5, 5), np.uint8), read_label(rated.train[3].label).geometry)
    seed = next(s for s in range(99) if choose(rated.train[3], rated, "random_rater", s).parent.name == "anna")
    with pytest.raises(InputError, match=r"anna/case03\.png has the shape \(5, 5\), but its image .* \(32, 32\)"):
        made(rated, annotation=rule, annotation_seed=seed)


def test_shares_without_raters_are_the_given_label_and_a_warning_says_so(rated: Dataset) -> None:
    plain = replace(rated, train=tuple(replace(case, raters=()) for case in rated.train))
    with pytest.warns(UserWarning, match="labelsTr_raters holds no rater's labels of noisy cases"):
        cases = made(plain, ("staple",))
    (batch,) = cases.scan()
    assert torch.equal(batch.maps["staple_2"], (batch.label == 2).float())


def test_an_unknown_rule_is_a_sentence() -> None:
    with pytest.raises(InputError, match=r"data\.annotation"):
        load_config(overrides=["data.annotation=median"])
