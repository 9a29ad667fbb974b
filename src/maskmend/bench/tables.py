"""The tables of a benchmark: one for each (data set, noise) and metric, one over all of them, and the runs that failed.

Shares in percent, distances as they are. What a row was told that a practitioner does not know is marked on it; what
papers report stands in columns of their own, headed by the paper, as printed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from . import figures, render, reported
from .beside import cost_table, labels_table
from .compare import Options, Result, Row, at_place, compare, places, ranking, row_name, slug
from .marks import ORACLES, Runs, read_runs
from .measures import DICE, MEASURES, Measure
from .render import Table
from .reported import Reported
from .scores import Score
from .statistics import Spread

NAMES = ("method", "preset", "network", "oracle")


def setting_table(results: Sequence[Result], options: Options, runs: Runs) -> Table:
    """The results of one (data set, noise); columns that say nothing are left out."""
    first, measure = results[0], options.measure
    theirs = _reported(results, runs, measure)
    classes = list(dict.fromkeys(name for result in results for name in result.classes))
    classes = classes if len(classes) > 1 else []
    ci = f"[{options.level:.0%} CI over cases]"
    columns = [
        *NAMES, "seeds", "cases", "L model: mean ± sd over seeds", f"L model {ci}", "B model: mean ± sd over seeds",
        f"mean ± sd over the last {options.last} epochs (the papers' ±)", f"difference from {options.reference} {ci}",
        "p (Wilcoxon, Holm)", "gap recovered", *(f"L model, {name}" for name in classes),
        *(f"reported by {paper}" for paper in theirs),
    ]  # fmt: skip
    rows: list[tuple[str, ...]] = []
    for r in results:
        cells = [reported.cell(found.get(r.row, [])) for found in theirs.values()]
        rows.append((
            *_names(r.row, [r], runs), str(r.last.n), str(r.cases), measure.spread(r.last), measure.ends(r.interval),
            measure.spread(r.best), _late(r.late, options), measure.signed(r.difference), _p(r.p_holm), _share(r.gap),
            *(measure.spread(r.classes[c]) if c in r.classes else "" for c in classes), *cells,
        ))  # fmt: skip
    legend = [*_legend(results, options, runs), *_caveats(theirs)]
    title = f"{first.dataset}, {first.noise}{_of_metric(measure)}"
    return Table(title, tuple(columns), tuple(rows), tuple(legend)).kept()


def summary_table(results: Sequence[Result], options: Options, runs: Runs) -> Table:
    """The L model's mean of every row under every (data set, noise), its mean rank and the mean share of the gap."""
    settings, ranks = places(results), ranking(results, options)
    rank_of = dict(zip(ranks.names, ranks.mean, strict=True))
    by_row: dict[Row, dict[tuple[str, str], Result]] = {}
    for result in results:
        by_row.setdefault(result.row, {})[result.dataset, result.noise] = result
    rows = []
    for row, found in by_row.items():
        gaps = [r.gap for r in found.values() if not math.isnan(r.gap)]
        means = [options.measure.number(found[place].last.mean) if place in found else "" for place in settings]
        rank = rank_of.get(row_name(row), math.nan)
        recovered = f"{_share(sum(gaps) / len(gaps))} ({len(gaps)})" if gaps else ""
        ranked = "" if math.isnan(rank) else f"{rank:.2f}"
        rows.append((*_names(row, found.values(), runs), *means, ranked, recovered))
    heads = [f"{dataset}, {noise}" for dataset, noise in settings]
    columns = (*NAMES, *heads, "mean rank", "mean gap recovered (settings)")
    measure = options.measure
    legend = [f"{measure.name} ({measure.means}) of the L model (after the last epoch), mean over seeds"]
    legend += _oracle_legend(results, runs)
    if ranks.settings:
        legend.append(
            f"ranks: over {ranks.settings} settings (data set, noise, network), those with every ranked method"
        )
    return Table(f"Summary{_of_metric(measure)}", columns, tuple(rows), tuple(legend)).kept()


def failure_table(runs: Runs) -> Table:
    """The runs that failed: no table counts them."""
    return Table("Runs that failed", ("run", "reason"), tuple(runs.failed.items()))


def results_csv(results: Mapping[str, Sequence[Result]], runs: Runs) -> Table:
    """Every number of every result by metric, shares as shares, with all their digits: the file to calculate with."""
    rows = []
    for metric, r in ((metric, r) for metric, found in results.items() for r in found):
        numbers = (
            r.last.mean, r.last.sd, r.interval.low, r.interval.high, r.best.mean, r.best.sd, r.late.mean, r.late.sd,
            r.late.n, r.difference.estimate, r.difference.low, r.difference.high, r.p, r.p_holm, r.gap,
        )  # fmt: skip
        cells = (r.dataset, r.noise, *_names(r.row, [r], runs), metric, r.last.n, r.cases, *numbers)
        rows.append(tuple("" if isinstance(c, float) and math.isnan(c) else str(c) for c in cells))
    columns = (
        "dataset", "noise", *NAMES, "metric", "seeds", "cases", "last_mean", "last_sd_seeds",
        "last_low", "last_high", "best_mean", "best_sd_seeds", "late_mean", "late_sd_epochs", "late_epochs",
        "difference", "difference_low", "difference_high", "p", "p_holm", "gap",
    )  # fmt: skip
    return Table("results", columns, tuple(rows))


def write(
    scores: Sequence[Score],
    about: Sequence[Mapping[str, Any]],
    out: Path,
    options: Options | None = None,
    cells: Mapping[tuple[str, str], Sequence[Mapping[str, str]]] | None = None,
) -> list[Path]:
    """Tables of a benchmark in OUT/tables (Markdown, CSV, LaTeX), and OUT/report.html, which needs nothing beside it.

    ``about``: what each ``run.json`` holds. ``cells``: which reported cells, as ``reported.find`` takes them, belong to
    a (data set, noise). The figures of the page are drawn into OUT/figures. Returns all paths written.
    """
    options = options or Options.of(about)
    runs = replace(read_runs(about, out), reported=cells or {})
    metrics = [MEASURES[name] for name in dict.fromkeys(score.metric for score in scores)]
    each = {measure: replace(options, measure=measure) for measure in metrics}
    results = {measure: compare(scores, own) for measure, own in each.items()}
    tables = {name: table for m, own in each.items() for name, table in _of_measure(results[m], own, runs).items()}
    ended = [{**run, **runs.done[str(run["key"])]} for run in about if str(run["key"]) in runs.done]
    more = {"labels": labels_table(ended), "cost": cost_table(ended, options), "failed": failure_table(runs)}
    tables |= {name: table for name, table in more.items() if table.rows}
    folder = out / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    paths = [path for name, table in tables.items() for path in render.write(folder, name, table)]
    paths.append(folder / "results.csv")
    every = results_csv({measure.name: found for measure, found in results.items()}, runs)
    paths[-1].write_text(render.as_csv(every), encoding="utf-8", newline="")
    drawn = figures.draw(out / "figures", scores, results.get(DICE, []), options)
    captions = {caption: svg.read_text(encoding="utf-8") for caption, (_, svg) in drawn.items()}
    paths.append(out / "report.html")
    paths[-1].write_text(render.html("MaskMend benchmark", list(tables.values()), captions), encoding="utf-8")
    return [*paths, *(path for files in drawn.values() for path in files)]


def _of_measure(results: Sequence[Result], options: Options, runs: Runs) -> dict[str, Table]:
    """The tables of one metric by the names of their files."""
    more = "" if options.measure is DICE else f"__{slug(options.measure.name)}"
    tables = {f"summary{more}": summary_table(results, options, runs)} if results else {}
    for place in places(results):
        tables["__".join(map(slug, place)) + more] = setting_table(at_place(results, place), options, runs)
    return tables


def _of_metric(measure: Measure) -> str:
    """What a title says of its metric, if that is not the usual one."""
    return "" if measure is DICE else f": {measure.name}"


def _reported(results: Sequence[Result], runs: Runs, measure: Measure) -> dict[str, dict[Row, list[Reported]]]:
    """Reported cells of a metric for the rows of one (data set, noise), by paper, if it knows any.

    A row that names fields of its own gets the cells that have them, the fields of the place being weaker.
    """
    place = (results[0].dataset, results[0].noise)
    wanted = runs.reported.get(place, [{"dataset": place[0], "noise_setting": place[1]}])
    theirs: dict[str, dict[Row, list[Reported]]] = {}
    for row in (result.row for result in results):
        told = runs.methods.get(row.method, row.method)
        own = {} if isinstance(told, str) else told
        found = (cell for query in wanted for cell in reported.find(**{**query, **own}))
        cells = reported.headline(found, measure.reported)
        for paper in dict.fromkeys(cell.paper for cell in cells):
            of_paper = [cell for cell in cells if cell.paper == paper]
            if of_row := _of(of_paper, told, row.preset) if isinstance(told, str) else of_paper:
                theirs.setdefault(paper, {})[row] = of_row
    return theirs


def _of(cells: Sequence[Reported], method: str, preset: str) -> list[Reported]:
    """Cells of a row: by its method and the preset's name, else by the folder that the preset lies in."""
    path = PurePosixPath(preset)
    return reported.of_method(cells, method, path.stem) or reported.of_method(cells, path.parent.name)


def _caveats(theirs: Mapping[str, Mapping[Row, Sequence[Reported]]]) -> list[str]:
    lines = [f"{paper} reports: {reported.CAVEATS[paper]}" for paper in theirs]
    shown = (cell for rows in theirs.values() for cells in rows.values() for cell in cells)
    return list(dict.fromkeys([*lines, *(f"{c.paper}, Table {c.table}: {c.note}" for c in shown if c.note)]))


def _legend(results: Sequence[Result], options: Options, runs: Runs) -> list[str]:
    measure = options.measure
    legend = [f"{measure.name}: {measure.means}", "L model: after the last epoch"]
    if any(r.best.n for r in results):
        legend.append(
            "B model: of the epoch of best Dice, chosen on the very cases it is measured on, and so optimistic"
        )
    truths = dict.fromkeys(measure.number(r.truth) for r in results if not math.isnan(r.gap))
    if truths:
        ends = f"{options.reference} and training on true masks ({' or '.join(truths)})"
        legend.append(f"gap recovered: of what lies between {ends}")
    return legend + _oracle_legend(results, runs)


def _oracle_legend(results: Sequence[Result], runs: Runs) -> list[str]:
    seen = runs.marks(results)
    return [f"oracle {mark}: {meaning}" for mark, meaning in ORACLES.values() if mark in seen]


def _names(row: Row, results: Iterable[Result], runs: Runs) -> tuple[str, ...]:
    return row.method, row.preset, row.network, " ".join(runs.marks(results))


def _late(spread: Spread, options: Options) -> str:
    """With the number of epochs where there were fewer than wanted."""
    return options.measure.spread(spread) + (f" (of {spread.n})" if 0 < spread.n < options.last else "")


def _p(p: float) -> str:
    return "" if math.isnan(p) else "<0.001" if p < 0.001 else f"{p:.3f}"


def _share(share: float) -> str:
    return "" if math.isnan(share) else f"{100 * share:.0f} %"
