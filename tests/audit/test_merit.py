"""Every measure equals scikit-learn's or SciPy's, for the cases as they are and for every resampling of them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from maskmend.audit import merit

rng = np.random.default_rng(1)
N = 40
WRONG = rng.random(N) < 0.3
SCORES = {"distinct": rng.random(N) + WRONG / 3, "tied": np.round(rng.random(N) + WRONG / 3, 1), "same": np.zeros(N)}
WEIGHTS = merit.resampled(N)[:12]


def drawn(weights: np.ndarray, *values: np.ndarray) -> list[np.ndarray]:
    """The cases one by one."""
    return [np.repeat(value, weights.astype(int)) for value in values]


@pytest.mark.parametrize("name", SCORES)
def test_as_others_have_it(name: str) -> None:
    score = SCORES[name]
    found = [f(score, WRONG, WEIGHTS) for f in (merit.auroc, merit.average_precision, merit.effort)]
    for place, weights in enumerate(WEIGHTS):
        s, wrong = drawn(weights, score, WRONG)
        area = metrics.roc_auc_score(wrong, s)
        expected = area, metrics.average_precision_score(wrong, s), (area - 0.5) * (1 - wrong.mean())
        assert [f[place] for f in found] == pytest.approx(expected)


def test_precision_at_k() -> None:
    found = merit.precision_at_k(SCORES["distinct"], WRONG, WEIGHTS)
    for place, weights in enumerate(WEIGHTS):
        score, wrong = drawn(weights, SCORES["distinct"], WRONG)
        assert found[place] == pytest.approx(wrong[np.argsort(-score)][: wrong.sum()].mean())
    assert merit.precision_at_k(SCORES["same"], WRONG, WEIGHTS[:1]) == pytest.approx(WRONG.mean())


@pytest.mark.parametrize("name", ["distinct", "tied"])
def test_spearman(name: str) -> None:
    other = rng.random(N).round(1) + SCORES[name]
    found = merit.spearman(SCORES[name], other, WEIGHTS)
    expected = [stats.spearmanr(*drawn(weights, SCORES[name], other)).statistic for weights in WEIGHTS]
    assert found == pytest.approx(np.array(expected))


def test_an_interval_is_scipys() -> None:
    values = rng.normal(size=60)
    found = merit.estimate(merit.mean(values, merit.resampled(60)))
    expected = stats.bootstrap((values,), np.mean, method="percentile", rng=0).confidence_interval
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("wrong", [np.zeros(N, bool), np.ones(N, bool)])
def test_nothing_is_said_where_all_are_alike(wrong: np.ndarray) -> None:
    assert merit.estimate(merit.auroc(SCORES["tied"], wrong, WEIGHTS)) == merit.Estimate(value=None)
    assert merit.Estimate(value=None).text() == "–"


def test_of_no_case_nothing_is_said() -> None:
    none = np.zeros(0)
    for measure in (merit.auroc, merit.average_precision, merit.precision_at_k, merit.effort):
        assert merit.estimate(measure(none, none > 0, merit.resampled(0))).value is None
