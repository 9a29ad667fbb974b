"""From scores to what is said of each method under each (data set, noise): statistics, on arrays cut from the scores.

The score of a case is its mean over classes, of a run its mean over cases; what was not scored is left out.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import InputError
from .measures import DICE, Measure
from .scores import Checkpoint, Score
from .statistics import (
    Array,
    Interval,
    Spread,
    bootstrap,
    friedman,
    gap,
    holm,
    mean_ranks,
    over_last_epochs,
    over_seeds,
    wilcoxon,
)

NO_INTERVAL = Interval(math.nan, math.nan, math.nan)


@dataclass(frozen=True, order=True)
class Row:
    """A row of the tables."""

    method: str
    preset: str
    network: str


@dataclass(frozen=True)
class Options:
    """What methods are held against, and how. ``reference``: the method that differences, p and the gap start from;
    ``truth``: the method that learned from true masks, the end of the gap; ``clean``: the noise that is none, where
    ``truth`` (else ``reference``) is looked for if it is not beside; ``last``: epochs of the papers' ±;
    ``measure``: the metric that is spoken of."""

    reference: str = "supervised"
    truth: str = "truth"
    clean: str = "none"
    last: int = 10
    level: float = 0.95
    draws: int = 9999
    seed: int = 0
    measure: Measure = DICE

    @classmethod
    def of(cls, about: Iterable[Mapping[str, Any]]) -> Options:
        """As the runs were measured: ``last`` of what their ``run.json`` hold."""
        return cls(last=max((int(run["last"]) for run in about if "last" in run), default=cls.last))


@dataclass(frozen=True)
class Ranks:
    """``mean`` ranks of methods by ``names`` over as many ``settings``, and Friedman's p that all are alike."""

    names: tuple[str, ...]
    mean: tuple[float, ...]
    settings: int
    friedman: float


@dataclass(frozen=True)
class CaseTable:
    """A metric of runs on cases: ``values`` (R, N), R ``seeds``, N ``cases``; NaN where there is none."""

    seeds: tuple[int, ...]
    cases: tuple[str, ...]
    values: Array


@dataclass(frozen=True)
class Result:
    """A row under one (data set, noise); NaN where nothing can be said.

    ``last``: the L model, ``best``: the B model, mean ± sd over seeds. ``late``: the papers' ±, mean and sd of the last
    epochs within a run, then averaged over runs, ``n`` the fewest epochs. ``interval`` of the L model, and
    ``difference`` of it from the reference, over cases; ``p`` of that difference, ``p_holm`` corrected for all rows of
    this (data set, noise). ``gap``: share recovered, by
    means of L models, of what lies between the reference and ``truth``. ``classes``: the L model by class.
    """

    dataset: str
    noise: str
    row: Row
    keys: tuple[str, ...]
    cases: int
    last: Spread
    best: Spread
    late: Spread
    interval: Interval
    classes: Mapping[str, Spread]
    difference: Interval = NO_INTERVAL
    p: float = math.nan
    p_holm: float = math.nan
    truth: float = math.nan
    gap: float = math.nan


Place = tuple[str, str, Row]  # data set, noise, row
Groups = dict[Place, dict[Checkpoint, list[Score]]]


def case_table(scores: Iterable[Score]) -> CaseTable:
    """A metric by seed and case, the mean over classes; folds of one seed, each with its own cases, come together."""
    cells: dict[tuple[int, str], dict[str, Score]] = defaultdict(dict)
    for score in scores:
        other = cells[score.seed, score.case].setdefault(score.class_name, score)
        if other is not score:
            raise InputError(
                f"scores: the runs {other.key} and {score.key} both score class {score.class_name!r} of case "
                f"{score.case!r} with seed {score.seed}; leave one of them out"
            )
    seeds, cases = sorted({seed for seed, _ in cells}), sorted({case for _, case in cells})
    values = np.full((len(seeds), len(cases)), np.nan)
    for r, seed in enumerate(seeds):
        for n, case in enumerate(cases):
            values[r, n] = _mean([score.value for score in cells.get((seed, case), {}).values()])
    return CaseTable(tuple(seeds), tuple(cases), values)


def curves(scores: Iterable[Score]) -> tuple[Array, Array]:
    """Epochs (E,) and the metric by run and epoch (R, E), the mean over classes, of the rows of checkpoint "epoch"."""
    cells: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for score in scores:
        if score.checkpoint == "epoch":
            cells[score.key][score.epoch].append(score.value)
    epochs = sorted({epoch for curve in cells.values() for epoch in curve})
    values = [[_mean(curve.get(epoch, [])) for epoch in epochs] for _, curve in sorted(cells.items())]
    return np.array(epochs, dtype=float), np.array(values, dtype=float).reshape(len(values), len(epochs))


def difference(method: CaseTable, reference: CaseTable) -> Array:
    """method - reference, (R, N): the same seed on the same case, over the seeds and cases that both have."""
    seeds = [seed for seed in method.seeds if seed in reference.seeds]
    cases = [case for case in method.cases if case in reference.cases]

    def cut(table: CaseTable) -> Array:
        return table.values[np.ix_([table.seeds.index(s) for s in seeds], [table.cases.index(c) for c in cases])]

    return cut(method) - cut(reference)


def group(scores: Iterable[Score]) -> Groups:
    """Scores by (data set, noise, row), in the order in which these first appear."""
    groups: Groups = {}
    for score in scores:
        row = Row(score.method, score.preset, score.network)
        groups.setdefault((score.dataset, score.noise, row), defaultdict(list))[score.checkpoint].append(score)
    return groups


def compare(scores: Sequence[Score], options: Options | None = None) -> list[Result]:
    """What the metric of ``options`` says of every row under every (data set, noise), in the order of the scores."""
    options = options or Options()
    groups = group(score for score in scores if score.metric == options.measure.name)
    tables = {place: case_table(found["last"]) for place, found in groups.items()}
    results = {place: _alone(place, found, tables[place], options) for place, found in groups.items()}
    sign = options.measure.sign
    for place, result in results.items():
        if (beside := _find(results, place, options.reference)) in (None, place):
            continue
        apart = difference(tables[place], tables[beside])
        interval = bootstrap(apart, level=options.level, draws=options.draws, seed=options.seed)
        truth = _truth(results, place, options)
        ours, theirs = result.last.mean, results[beside].last.mean
        recovered = gap(sign * ours, sign * theirs, sign * truth, options.measure.least_gap)
        results[place] = replace(result, difference=interval, p=wilcoxon(apart), truth=truth, gap=recovered)
    return _holm(list(results.values()), options)


def ranking(results: Sequence[Result], options: Options) -> Ranks:
    """Methods by their L models over settings (data set, noise, network): those that all of them were run in.

    Where noise is none there is nothing to win, and what learned from true masks does not compete: both are left out,
    and with them whatever was run there alone.
    """
    competing = [r for r in results if r.row.method != options.truth and r.noise != options.clean]
    names = list(dict.fromkeys(row_name(r.row) for r in competing))
    settings = list(dict.fromkeys((r.dataset, r.noise, r.row.network) for r in competing))
    table = np.full((len(settings), len(names)), np.nan)
    for r in competing:
        table[settings.index((r.dataset, r.noise, r.row.network)), names.index(row_name(r.row))] = (
            options.measure.sign * r.last.mean
        )
    if not names:
        return Ranks((), (), 0, math.nan)
    mean, number = mean_ranks(table)
    return Ranks(tuple(names), tuple(map(float, mean)), number, friedman(table))


def row_name(row: Row, network: bool = False) -> str:
    """What a row is called."""
    name = f"{row.method} ({row.preset})" if row.preset else row.method
    return f"{name}, {row.network}" if network and row.network else name


def places(results: Iterable[Result]) -> list[tuple[str, str]]:
    """Every (data set, noise), in order."""
    return list(dict.fromkeys((result.dataset, result.noise) for result in results))


def at_place(results: Iterable[Result], place: tuple[str, str]) -> list[Result]:
    """The results of one (data set, noise)."""
    return [result for result in results if (result.dataset, result.noise) == place]


def slug(text: str) -> str:
    """A name for a file."""
    return re.sub(r"[^\w.+-]+", "-", text).strip("-.") or "x"


def _alone(place: Place, found: Mapping[Checkpoint, list[Score]], table: CaseTable, options: Options) -> Result:
    """What is said of a row by itself."""
    best, last = case_table(found["best"]), found["last"]
    runs = [over_last_epochs(curve[~np.isnan(curve)], options.last) for curve in curves(found["epoch"])[1]]
    late = Spread(
        _mean([run.mean for run in runs]), _mean([run.sd for run in runs]), min((r.n for r in runs), default=0)
    )
    names = dict.fromkeys(score.class_name for score in last)
    classes = {name: [score for score in last if score.class_name == name] for name in names}
    return Result(
        *place,
        keys=tuple(dict.fromkeys(score.key for scores in found.values() for score in scores)),
        cases=len(table.cases),
        last=over_seeds([_mean(run) for run in table.values]),
        best=over_seeds([_mean(run) for run in best.values]),
        late=late,
        interval=bootstrap(table.values, level=options.level, draws=options.draws, seed=options.seed),
        classes={name: over_seeds([_mean(run) for run in case_table(own).values]) for name, own in classes.items()},
    )


def _find(results: Mapping[Place, Result], place: Place, method: str) -> Place | None:
    """The row of a method beside another: of the same network, or of the only one it was run with."""
    dataset, noise, row = place
    rows = [other for d, n, other in results if (d, n, other.method) == (dataset, noise, method)]
    near = [other for other in rows if other.network == row.network] or (rows if len(rows) == 1 else [])
    return (dataset, noise, near[0]) if near else None


def _truth(results: Mapping[Place, Result], place: Place, options: Options) -> float:
    """The mean of what learned from true masks: beside the row, else where noise is none; NaN where nothing did."""
    dataset, noise, row = place
    places = [(noise, options.truth), (options.clean, options.truth), (options.clean, options.reference)]
    found = (_find(results, (dataset, where, row), method) for where, method in places)
    return next((results[at].last.mean for at in found if at is not None), math.nan)


def _holm(results: list[Result], options: Options) -> list[Result]:
    """p corrected within each (data set, noise), for all rows but the one that learned from true masks."""
    out = list(results)
    for setting in places(results):
        at = [i for i, r in enumerate(results) if (r.dataset, r.noise) == setting and r.row.method != options.truth]
        for i, p in zip(at, holm([results[i].p for i in at]), strict=True):
            out[i] = replace(results[i], p_holm=float(p))
    return out


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan
