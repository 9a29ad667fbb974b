"""Confident learning: against the rules as loops, against cleanlab where it is there, whole against streamed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from maskmend.functional import confident
from maskmend.functional.confident import Evidence, Rule
from maskmend.types import IGNORE

RULES: tuple[Rule, ...] = ("prune_by_class", "prune_by_noise_rate", "both", "segmentation")
SHAPES = {2: (6, 24, 24), 3: (3, 12, 12, 8)}


def noisy_labels(classes: int, dims: int, seed: int = 0, wrong: float = 0.15) -> tuple[Tensor, Tensor]:
    """Probabilities (B, K, *S) that mostly know the truth, and labels (B, *S) of which a share is wrong."""
    rng = torch.Generator().manual_seed(seed)
    shape = SHAPES[dims]
    weight = torch.linspace(1, 0.3, classes)
    truth = weight.expand(torch.Size(shape).numel(), -1).multinomial(1, generator=rng).view(shape)
    sharp = 4 * torch.rand((shape[0], 1, *shape[1:]), generator=rng)
    logits = torch.randn((shape[0], classes, *shape[1:]), generator=rng)
    logits += sharp * torch.nn.functional.one_hot(truth, classes).movedim(-1, 1)
    other = (truth + torch.randint(1, classes, shape, generator=rng)) % classes
    return logits.softmax(1), torch.where(torch.rand(shape, generator=rng) < wrong, other, truth)


def by_loops(prob: np.ndarray, label: np.ndarray, rule: str) -> np.ndarray:
    """The rules, pixel by pixel: prob (N, K) and label (N,) -> (N,) bool. Written from the text, in plain numpy."""
    n, classes = prob.shape
    limit = [
        max(prob[label == k, k].astype(float).mean(), 2e-6) if (label == k).any() else np.inf for k in range(classes)
    ]
    joint = np.zeros((classes, classes), order="F")  # summed in cleanlab's order: it decides between equal remainders
    elsewhere = 0
    for p, y in zip(prob, label, strict=True):
        sure = [k for k in range(classes) if p[k] >= limit[k] - 1e-6]
        if sure:
            joint[y, sure[0] if len(sure) == 1 else int(p.argmax())] += 1
        elsewhere += p.argmax() in sure and p.argmax() != y
    wrong = np.zeros(n, dtype=bool)
    if rule == "segmentation":
        wrong[np.argsort(prob[np.arange(n), label])[:elsewhere]] = True
        return wrong & (prob.argmax(1) != label)
    np.fill_diagonal(joint, np.maximum(joint.diagonal(), 1))
    own, other = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    size = np.bincount(label, minlength=classes)
    shares = (joint.T / joint.sum(1) * size).T
    for i, share in enumerate(shares / shares.sum() * size.sum()):
        here = np.flatnonzero(label == i)
        count = np.round(share)
        order = np.argsort(share - count)  # keep the row's total: move the entries for which it costs least
        while count.sum() < len(here):
            count[order[-1]], order = count[order[-1]] + 1, order[:-1]
        while count.sum() > len(here):
            count[order[0]], order = count[order[0]] - 1, order[1:]
        if len(here) and count[i] < 1:
            count -= (1 - count[i]) / max(np.count_nonzero(count) - 1, 1)
            count[i] = 1
        count = np.maximum(count, 0).astype(int)
        own[here[np.argsort(prob[here, i])][: max(len(here) - count[i], 0)]] = True
        for j in set(range(classes)) - {i}:
            margin = prob[here, j] - prob[here, i]
            other[here[np.argsort(-margin)][: count[j]]] = True
    wrong = {"prune_by_class": own, "prune_by_noise_rate": other, "both": own & other}[rule]
    return wrong & (prob.argmax(1) != label)


def anything(seed: int, pixels: int, classes: int) -> tuple[Tensor, Tensor]:
    """Probabilities (2, K, N) float64 of sharp and blunt, biased and fair networks; labels (2, N), often wrong."""
    rng, dice = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    truth = torch.randint(0, classes, (2, pixels), generator=rng)
    sharp = dice.choice([0, 1, 3, 6]) * torch.rand((2, 1, pixels), generator=rng)
    logits = dice.choice([0.3, 1, 3]) * torch.randn((2, classes, pixels), generator=rng)
    logits += dice.choice([0, 2]) * torch.randn((classes, 1), generator=rng)
    logits += sharp * torch.nn.functional.one_hot(truth, classes).movedim(-1, 1)
    other = (truth + torch.randint(1, classes, truth.shape, generator=rng)) % classes
    wrong = torch.rand(truth.shape, generator=rng) < dice.choice([0.02, 0.1, 0.4])
    return logits.double().softmax(1), torch.where(wrong, other, truth)


def flat(prob: Tensor, label: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """(N, K) float64 and (N,) of the annotated pixels."""
    seen = label != IGNORE
    return prob.movedim(1, -1)[seen].numpy(), label[seen].numpy()


def streamed(prob: Tensor, label: Tensor, rule: Rule) -> tuple[Tensor, Evidence]:
    """Three readings, one case at a time."""
    cases = [(p[None], y[None]) for p, y in zip(prob, label, strict=True)]
    threshold = confident.thresholds(sum(confident.self_confidence(*case) for case in cases))
    total = sum(confident.evidence(*case, threshold).flat() for case in cases)
    found = Evidence.of(total, prob.shape[1])
    limit = confident.limits(found, rule)
    return torch.cat([confident.flagged(*case, limit, rule) for case in cases]), found


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("dims", "classes"), [(2, 2), (2, 4), (3, 2), (3, 5)])
def test_it_is_what_the_loops_say(dims: int, classes: int, rule: Rule) -> None:
    prob, label = noisy_labels(classes, dims)
    label[:, :3] = IGNORE
    found = confident.find(prob.double(), label, rule)
    assert not found[label == IGNORE].any()
    assert found.any()
    np.testing.assert_array_equal(found[label != IGNORE].numpy(), by_loops(*flat(prob.double(), label), rule))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), classes=st.integers(2, 4), pixels=st.integers(1, 40), rule=st.sampled_from(RULES))
def test_it_is_what_the_loops_say_of_few_pixels(seed: int, classes: int, pixels: int, rule: Rule) -> None:
    """Classes of one pixel or none, and rows whose rounding does not add up."""
    rng = torch.Generator().manual_seed(seed)
    prob = (3 * torch.randn((1, classes, pixels), generator=rng)).double().softmax(1)
    label = torch.randint(0, classes, (1, pixels), generator=rng)
    found = confident.find(prob, label, rule)
    np.testing.assert_array_equal(found[0].numpy(), by_loops(*flat(prob, label), rule))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("classes", [2, 3, 5])
def test_it_is_what_cleanlab_says(classes: int, rule: Rule) -> None:
    pytest.importorskip("cleanlab", minversion="2.8")
    from cleanlab.count import compute_confident_joint
    from cleanlab.filter import find_label_issues
    from cleanlab.segmentation.filter import find_label_issues as segmentation_issues

    prob, label = noisy_labels(classes, 2)
    prob = prob.double()
    p, y = flat(prob, label)
    if rule == "segmentation":
        theirs = segmentation_issues(label.numpy(), prob.numpy(), n_jobs=1, verbose=False).reshape(-1)
    else:
        theirs = find_label_issues(y, p, filter_by=rule, n_jobs=1)
    np.testing.assert_array_equal(confident.find(prob, label, rule).flatten().numpy(), theirs)
    counts = streamed(prob, label, rule)[1]
    joint = compute_confident_joint(y, p, calibrate=False)
    off = ~np.eye(classes, dtype=bool)
    np.testing.assert_array_equal(counts.joint.numpy()[off], joint[off])


def test_it_is_what_cleanlab_says_of_anything() -> None:
    """Rows with equal remainders, more pixels wanted than are doubtful, networks that know nothing."""
    pytest.importorskip("cleanlab", minversion="2.8")
    from cleanlab.count import compute_confident_joint
    from cleanlab.filter import find_label_issues

    beyond = 0
    for seed in range(150):
        prob, label = anything(seed, 40 + 3 * seed, 2 + seed % 4)
        if seed % 3 == 0:
            label[torch.rand(label.shape, generator=torch.Generator().manual_seed(seed)) < 0.3] = IGNORE
        p, y = flat(prob, label)
        for rule in RULES[:3]:
            theirs = find_label_issues(y, p, filter_by=rule, n_jobs=1)
            np.testing.assert_array_equal(confident.find(prob, label, rule)[label != IGNORE].numpy(), theirs, f"{seed}")
        found = confident.evidence(prob, label, confident.thresholds(confident.self_confidence(prob, label)))
        ours = found.joint.numpy().copy()
        np.fill_diagonal(ours, ours.diagonal().clip(1))
        np.testing.assert_array_equal(ours, compute_confident_joint(y, p, calibrate=False))
        beyond += bool((confident.numbers(found) > found.histogram.sum(2)).any())
    assert beyond > 3


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), classes=st.integers(2, 5), pixels=st.integers(20, 300), rule=st.sampled_from(RULES))
def test_streamed_and_whole_differ_inside_a_bin_at_the_cut(seed: int, classes: int, pixels: int, rule: Rule) -> None:
    prob, label = anything(seed, pixels, classes)
    parts, found = streamed(prob, label, rule)
    threshold = confident.thresholds(confident.self_confidence(prob, label))
    counted, p, y = confident._counted(prob, label, threshold)
    assert torch.equal(found.joint, counted.joint)
    cut = confident._exact(p, y, counted, rule)
    p, y = prob.transpose(0, 1).flatten(1), label.flatten()
    score, cut = confident._suspicion(p, y), cut[y].T
    at_the_cut = (confident._bin(score) == confident._bin(cut)).any(0).view_as(label)
    assert not (parts ^ confident.find(prob, label, rule))[~at_the_cut].any()


def test_only_doubtful_pixels_are_ranked() -> None:
    """Those that are surely right have no place in the histogram, and change no flag."""
    prob, label = noisy_labels(3, 2, wrong=0.3)
    sure = torch.nn.functional.one_hot(label, 3).movedim(-1, 1) * 0.97 + 0.01
    prob = torch.cat((prob, sure))
    threshold = torch.full((3,), 0.6).double()
    one, two = (
        confident.evidence(prob[:6], label, threshold),
        confident.evidence(prob, torch.cat((label,) * 2), threshold),
    )
    assert torch.equal(one.histogram, two.histogram)
    assert torch.equal(two.joint - one.joint, torch.bincount(label.flatten()).diag())
    assert torch.equal(two.given, 2 * one.given)


@pytest.mark.parametrize("rule", RULES)
def test_a_class_as_probable_as_the_given_one_is_no_error(rule: Rule) -> None:
    """Within 1e-6, as in cleanlab; its filter for segmentation takes the most probable class exactly."""
    p = torch.tensor([0.9, 0.1, 0.5 - 1e-6, 0.5 - 1e-7, 0.5, 0.5 + 1e-7]).double()
    prob, label = torch.stack((p, 1 - p))[None], torch.zeros(1, len(p), dtype=torch.int64)
    wrong = confident.flagged(prob, label, torch.full((2, 2), 2.0), rule)
    assert wrong[0].tolist() == [False, True, True, rule == "segmentation", False, False]


def test_shapes_without_pixels() -> None:
    for shape in ((0, 8, 8), (2, 0)):
        prob, label = torch.rand(shape[0], 3, *shape[1:]), torch.zeros(shape, dtype=torch.int64)
        assert confident.find(prob, label).shape == shape


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("rule", RULES)
def test_a_gpu_says_the_same(rule: Rule) -> None:
    prob, label = noisy_labels(4, 2)
    label[:, :3] = IGNORE
    prob = prob.double()
    there = prob.cuda(), label.cuda()
    assert torch.equal(confident.find(*there, rule).cpu(), confident.find(prob, label, rule))
    flags, found = streamed(*there, rule)
    here, same = streamed(prob, label, rule)
    assert torch.equal(flags.cpu(), here)
    assert torch.equal(found.flat().cpu(), same.flat())


def test_a_joint_worked_by_hand() -> None:
    """Five pixels given 0 and five given 1: thresholds .7 and .74, one of each is surely of the other class."""
    p1 = torch.tensor([0.1, 0.1, 0.2, 0.3, 0.8, 0.9, 0.9, 0.8, 0.85, 0.25])
    label = torch.tensor([[0] * 5 + [1] * 5])
    prob = torch.stack((1 - p1, p1))[None]
    threshold = confident.thresholds(confident.self_confidence(prob, label))
    torch.testing.assert_close(threshold, torch.tensor([0.7, 0.74]).double())
    found = confident.evidence(prob, label, threshold)
    assert found.joint.tolist() == [[4, 1], [1, 4]]
    assert confident.numbers(found).tolist() == [[1, 1], [1, 1]]
    assert confident.find(prob, label).flatten().nonzero().flatten().tolist() == [4, 9]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("dims", "classes"), [(2, 2), (2, 4), (3, 3)])
def test_case_by_case_is_nearly_all_at_once(dims: int, classes: int, rule: Rule) -> None:
    """The joint is the same; by histogram, ranks differ by half a bin at the cut."""
    prob, label = noisy_labels(classes, dims)
    label[0, :2] = IGNORE
    whole = confident.find(prob, label, rule)
    parts, found = streamed(prob, label, rule)
    threshold = confident.thresholds(confident.self_confidence(prob, label))
    assert torch.equal(found.flat(), confident.evidence(prob, label, threshold).flat())
    assert not (parts ^ whole)[label == IGNORE].any()
    assert (parts ^ whole).sum() <= 0.02 * whole.sum() + 1


def test_a_bin_ends_where_the_next_begins() -> None:
    score = torch.cat((torch.logspace(-9, 0, 997), torch.linspace(0, 2, 997)))
    bins = confident._bin(score)
    assert bins.min() == 0
    assert bins.max() == confident.BINS - 1
    assert (score[bins < confident.BINS - 1] <= confident._edge(bins + 1)[bins < confident.BINS - 1]).all()
    assert (score > confident._edge(bins)).all()
    inner = bins[(score > 2**-24) & (score < 2)]
    width = confident._edge(inner + 1) / confident._edge(inner)
    assert width[confident._edge(inner) > 0].max() <= 1 + 2**-8 + 1e-6


@pytest.mark.parametrize("rule", RULES)
def test_what_nobody_annotated_says_nothing(rule: Rule) -> None:
    prob, label = noisy_labels(3, 2)
    nothing = torch.full_like(label, IGNORE)
    assert not confident.find(prob, nothing, rule).any()
    parts, found = streamed(prob, nothing, rule)
    assert not parts.any()
    assert not found.flat().any()


def test_a_class_that_nobody_gave_is_confident_nowhere() -> None:
    prob, label = noisy_labels(3, 2)
    label[label == 2] = 0
    threshold = confident.thresholds(confident.self_confidence(prob, label))
    assert threshold[2] == torch.inf
    assert not confident.evidence(prob, label, threshold).joint[:, 2].any()


def test_it_finds_wrong_labels() -> None:
    """Of labels that are wrong at random, and known to be: most of what is flagged."""
    prob, _ = noisy_labels(3, 2)
    label = prob.argmax(1)
    wrong = torch.rand(label.shape, generator=torch.Generator().manual_seed(1)) < 0.1
    label[wrong] = (label[wrong] + 1) % 3
    found = confident.find(prob, label, "both")
    assert wrong[found].float().mean() > 0.9
    assert found[wrong].float().mean() > 0.5
