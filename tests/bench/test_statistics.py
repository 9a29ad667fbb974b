"""Statistics against scipy, closed forms, brute force and published tables."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from maskmend.bench.statistics import (
    bootstrap,
    critical_difference,
    friedman,
    gap,
    holm,
    mean_ranks,
    over_last_epochs,
    over_seeds,
    wilcoxon,
)

RNG = np.random.default_rng(0)


def test_two_kinds_of_plus_minus() -> None:
    seeds = over_seeds([0.8, 0.9, np.nan, 0.7])
    assert (seeds.mean, seeds.sd, seeds.n) == (pytest.approx(0.8), pytest.approx(0.1), 3)
    epochs = over_last_epochs([0.0, 0.5, 0.7, 0.9], 3)
    assert (epochs.mean, epochs.sd, epochs.n) == (pytest.approx(0.7), pytest.approx(np.std([0.5, 0.7, 0.9])), 3)
    assert over_last_epochs([0.5, 0.7], 10).n == 2
    assert math.isnan(over_seeds([0.8]).sd)
    assert math.isnan(over_seeds([]).mean)
    with pytest.raises(ValueError, match="k is 0"):
        over_last_epochs([0.5], 0)


@pytest.mark.parametrize("kind", ["bca", "percentile"])
def test_one_run_is_scipys_bootstrap(kind: str) -> None:
    values = RNG.gamma(2.0, size=40)
    ours = bootstrap(values, draws=20_000, kind=kind)
    method = {"bca": "BCa", "percentile": "percentile"}[kind]
    (low, high) = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method=method, rng=np.random.default_rng(1)
    ).confidence_interval
    assert ours.estimate == pytest.approx(values.mean())
    assert (ours.low, ours.high) == (pytest.approx(low, abs=0.02), pytest.approx(high, abs=0.02))


def test_percentiles_are_those_of_every_possible_draw() -> None:
    values = np.array([0.1, 0.4, 0.2, 0.9, 0.5])
    every = [np.mean(draw) for draw in itertools.product(values, repeat=5)]  # 3125, equally likely
    ours = bootstrap(values, draws=20_000, kind="percentile", level=0.8)
    assert (ours.low, ours.high) == (pytest.approx(np.quantile(every, 0.1)), pytest.approx(np.quantile(every, 0.9)))


def test_runs_on_the_same_cases_do_not_make_more_cases() -> None:
    cases = RNG.normal(size=60)
    once, copied = bootstrap(cases), bootstrap(np.tile(cases, (4, 1)))
    assert (copied.low, copied.high) == (pytest.approx(once.low), pytest.approx(once.high))
    apart = bootstrap(np.tile(cases, (4, 1)), same_cases=False)
    assert apart.high - apart.low == pytest.approx((once.high - once.low) / 2, rel=0.1)  # sqrt(4): four times the cases


def test_strata_are_means_of_means_not_of_the_pool() -> None:
    values = np.array([[0.0, 0.0, np.nan, np.nan], [1.0, 1.0, 1.0, 1.0]])
    assert bootstrap(values).estimate == 0.5
    assert bootstrap(np.vstack([values, np.full(4, np.nan)])).estimate == 0.5  # a run without scores is no run


def test_what_was_not_scored_is_left_out() -> None:
    values = RNG.normal(size=30)
    with_holes = np.concatenate([values, np.full(3, np.nan)])
    ours, whole = bootstrap(with_holes, draws=20_000), bootstrap(values, draws=20_000)
    assert ours.estimate == pytest.approx(whole.estimate)
    assert (ours.low, ours.high) == (pytest.approx(whole.low, abs=0.05), pytest.approx(whole.high, abs=0.05))


def test_the_interval_covers_as_often_as_it_says() -> None:
    rng, level = np.random.default_rng(3), 0.9
    trials = [bootstrap(0.3 + rng.normal(size=50), draws=600, level=level, seed=i) for i in range(300)]
    covered = np.mean([t.low <= 0.3 <= t.high for t in trials])
    assert abs(covered - level) < 0.06


def test_the_same_seed_draws_the_same_and_shifts_with_the_values() -> None:
    values = RNG.normal(size=(2, 25))
    first, again, shifted = bootstrap(values), bootstrap(values), bootstrap(values + 1)
    assert first == again
    assert (shifted.low, shifted.high) == (pytest.approx(first.low + 1), pytest.approx(first.high + 1))
    assert bootstrap(values, seed=1) != first


def test_degenerate_intervals() -> None:
    same = bootstrap(np.full((2, 10), 0.25))
    assert (same.estimate, same.low, same.high) == (0.25, 0.25, 0.25)
    lone = bootstrap([[0.5]])
    assert lone.estimate == 0.5
    assert math.isnan(lone.low)
    assert math.isnan(bootstrap(np.full((2, 3), np.nan)).estimate)


def test_wilcoxon_counts_a_case_once() -> None:
    values = RNG.normal(0.4, 1, size=(3, 20))
    assert wilcoxon(values) == pytest.approx(stats.wilcoxon(values.mean(0)).pvalue)
    assert wilcoxon(np.tile(values[:1], (5, 1))) == pytest.approx(wilcoxon(values[0]))


def test_wilcoxon_by_every_sign() -> None:
    values = np.array([0.3, -0.1, 0.7, 0.5, 0.2, -0.4, 0.6])
    ranks = stats.rankdata(np.abs(values))
    sums = np.array([ranks @ signs for signs in itertools.product([0, 1], repeat=7)])
    seen, middle = ranks[values > 0].sum(), ranks.sum() / 2
    assert wilcoxon(values) == pytest.approx(np.mean(np.abs(sums - middle) >= abs(seen - middle)))


def test_wilcoxon_of_nothing() -> None:
    assert wilcoxon(np.zeros(5)) == 1
    assert math.isnan(wilcoxon(np.full(5, np.nan)))


def test_holm_by_hand() -> None:
    # sorted .005 .01 .03 .04: times 4, 3, 2, 1 = .02 .03 .06 .04, never falling = .02 .03 .06 .06
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    out = holm([0.5, np.nan, 0.9])
    assert out[[0, 2]] == pytest.approx([1, 1])
    assert math.isnan(out[1])
    assert holm([]).size == 0


def test_holm_rejects_what_the_steps_reject() -> None:
    for _ in range(50):
        p, alpha = RNG.uniform(0, 0.1, size=6), 0.05
        rejected = np.zeros(6, bool)
        for step, at in enumerate(np.argsort(p)):
            if p[at] > alpha / (6 - step):
                break
            rejected[at] = True
        assert ((holm(p) <= alpha) == rejected).all()


def test_mean_ranks_share_ties_and_leave_out_holes() -> None:
    scores = [[0.9, 0.8, 0.8], [0.7, 0.8, 0.6], [0.9, np.nan, 0.1]]
    ranks, settings = mean_ranks(scores)
    assert settings == 2
    assert ranks == pytest.approx([(1 + 2) / 2, (2.5 + 1) / 2, (2.5 + 3) / 2])
    assert np.isnan(mean_ranks([[np.nan, 1.0]])[0]).all()


@pytest.mark.parametrize(("methods", "q"), [(2, 1.960), (3, 2.343), (5, 2.728), (10, 3.164)])
def test_critical_difference_is_demsars(methods: int, q: float) -> None:
    """Table 5a of Demšar, JMLR 2006."""
    assert critical_difference(methods, 10) == pytest.approx(q * math.sqrt(methods * (methods + 1) / 60), abs=2e-3)


def test_friedman_needs_three_methods() -> None:
    scores = RNG.normal(size=(8, 4)) + np.arange(4)
    assert friedman(scores) == pytest.approx(stats.friedmanchisquare(*scores.T).pvalue)
    assert math.isnan(friedman(scores[:, :2]))


def test_gap() -> None:
    assert gap(0.8, 0.6, 0.9) == pytest.approx(2 / 3)
    assert gap(0.5, 0.6, 0.9) == pytest.approx(-1 / 3)
    assert math.isnan(gap(0.8, 0.895, 0.9))
    assert math.isnan(gap(0.8, 0.9, 0.6))
    assert math.isnan(gap(math.nan, 0.6, 0.9))
