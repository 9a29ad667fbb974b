"""The figures of a benchmark, as PNG and SVG: curves, mean ranks, differences. Safe for colour-blind eyes.

Colours are Okabe and Ito's (jfly.uni-koeln.de/color), the yellow darkened for white paper; beyond
eight, lines differ in dash. matplotlib is imported when a figure is drawn, without pyplot: no window, no global state.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .compare import Options, Result, at_place, compare, group, places, ranking, row_name, slug
from .compare import curves as cut_curves
from .measures import DICE
from .scores import Score
from .statistics import Interval
from .statistics import critical_difference as distance

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8A7F00")
DASHES = ("-", "--", ":", "-.")
Files = tuple[Path, Path]


def draw(folder: Path, scores: Sequence[Score], results: Sequence[Result], options: Options) -> dict[str, Files]:
    """Every figure that has something to show, as (PNG, SVG) by caption."""
    drawn: dict[str, Files] = {}
    folder.mkdir(parents=True, exist_ok=True)
    ranks = ranking(results, options)
    if ranks.settings > 1 and len(ranks.names) > 1:
        p = "" if math.isnan(ranks.friedman) else f"; Friedman's p that all are alike: {ranks.friedman:.2g}"
        caption = f"Mean ranks over {ranks.settings} settings; bars join what Nemenyi's test (5 %) cannot tell apart{p}"
        drawn[caption] = critical_difference(ranks.names, ranks.mean, ranks.settings, folder / "ranks")
    for place in places(results):
        name = "__".join(map(slug, place))
        here = [score for score in scores if (score.dataset, score.noise, score.metric) == (*place, DICE.name)]
        if any(score.checkpoint == "epoch" for score in here):
            caption = f"{', '.join(place)}: Dice by epoch, mean over runs; band: sd over runs"
            drawn[caption] = curves(here, folder / f"curves_{name}")
        rows = {row_name(r.row, network=True): r.difference for r in at_place(results, place)}
        known = {row: interval for row, interval in rows.items() if not math.isnan(interval.low)}
        if known:
            caption = f"{', '.join(place)}: difference from {options.reference}, {options.level:.0%} CI over cases"
            drawn[caption] = forest(known, options.reference, folder / f"forest_{name}")
    return drawn


def write(
    scores: Sequence[Score], about: Sequence[Mapping[str, Any]], out: Path, options: Options | None = None
) -> list[Path]:
    """Every figure of a benchmark in OUT/figures. ``about``: what each ``run.json`` holds."""
    options = options or Options.of(about)
    drawn = draw(out / "figures", scores, compare(scores, options), options)
    return [path for files in drawn.values() for path in files]


def curves(scores: Sequence[Score], path: Path) -> Files:
    """Dice in percent by epoch: the mean over runs, with a band of ± their sd (n - 1), for the scores of one (data
    set, noise). One run has no band. Writes ``path``.png and ``path``.svg."""
    figure, axes = _figure(7, 4.2)
    styles = [(colour, dash) for dash, colour in product(DASHES, OKABE_ITO)]
    for number, ((_, _, row), found) in enumerate(group(scores).items()):
        epochs, values = cut_curves(found["epoch"])
        if not epochs.size:
            continue
        colour, dash = styles[number % len(styles)]
        known = ~np.isnan(values)
        count = known.sum(0)
        mean = np.where(known, values, 0).sum(0) / np.maximum(count, 1)
        sd = np.sqrt(np.where(known, (values - mean) ** 2, 0).sum(0) / np.maximum(count - 1, 1))
        words = [word for word in (row.method, row.preset, row.network) if word]
        mean = np.where(count > 0, mean, np.nan)
        axes.plot(epochs, 100 * mean, color=colour, linestyle=dash, linewidth=1.6, label=", ".join(words))
        if len(values) > 1:
            band = (100 * (mean - sd), 100 * (mean + sd))
            axes.fill_between(epochs, *band, color=colour, alpha=0.18, linewidth=0)
    axes.set(xlabel="epoch", ylabel="Dice (%)")
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    return _save(figure, path)


def forest(intervals: Mapping[str, Interval], reference: str, path: Path) -> Files:
    """Differences from the reference with their intervals, in points of Dice, in the order given from the top."""
    figure, axes = _figure(7, 1.2 + 0.32 * len(intervals))
    at = np.arange(len(intervals))[::-1]
    found = 100 * np.array([(i.estimate, i.low, i.high) for i in intervals.values()]).reshape(-1, 3)
    axes.axvline(0, color="#777777", linewidth=1)
    axes.hlines(at, found[:, 1], found[:, 2], color=OKABE_ITO[0], linewidth=2)
    axes.plot(found[:, 0], at, "o", color=OKABE_ITO[1])
    axes.set_yticks(at, list(intervals))
    axes.set(xlabel=f"points of Dice more than {reference}", ylim=(-0.6, len(intervals) - 0.4))
    _bare(axes, "left", "right", "top")
    return _save(figure, path)


def critical_difference(
    names: Sequence[str], ranks: Sequence[float], settings: int, path: Path, alpha: float = 0.05
) -> Files:
    """Demšar's plot (JMLR 2006): mean ranks on a line, 1 the best, on the left; bars join ranks that Nemenyi's test
    cannot tell apart over so many ``settings``."""
    apart = distance(len(names), settings, alpha)
    order = np.argsort(np.asarray(ranks, dtype=float), kind="stable")
    sorted_ranks = np.asarray(ranks, dtype=float)[order]
    bars = cliques(sorted_ranks, apart)
    half = (len(names) + 1) // 2
    figure, axes = _figure(7.5, 1.3 + 0.14 * len(bars) + 0.26 * half)
    low, high, below = 1.0, float(max(len(names), 2)), 0.3 + 0.18 * len(bars)
    axes.hlines(0, low, high, color="black", linewidth=1)
    for tick in range(1, int(high) + 1):
        axes.vlines(tick, 0, 0.1, color="black", linewidth=1)
        axes.text(tick, 0.16, str(tick), ha="center", va="bottom", fontsize=9)
    axes.hlines(0.75, low, low + apart, color=OKABE_ITO[1], linewidth=2)
    axes.text(low, 0.8, f"critical difference {apart:.2f} ({settings} settings)", va="bottom", fontsize=8)
    for number, (first, last) in enumerate(bars):
        ends = sorted_ranks[first] - 0.03, sorted_ranks[last] + 0.03
        axes.hlines(-0.2 - 0.18 * number, *ends, color=OKABE_ITO[0], linewidth=4)
    for place, (at, rank) in enumerate(zip(order, sorted_ranks, strict=True)):
        left = place < half
        y = -below - 0.3 * (place if left else len(names) - 1 - place)
        side = low - 0.08 * (high - low) if left else high + 0.08 * (high - low)
        axes.plot([rank, rank, side], [0, y, y], color="#555555", linewidth=0.8, clip_on=False)
        text = f"{names[at]}  {rank:.2f}" if left else f"{rank:.2f}  {names[at]}"
        axes.text(side, y, f" {text} ", ha="right" if left else "left", va="center", fontsize=9)
    axes.set(xlim=(low - 0.1, max(high, low + apart) + 0.1), ylim=(-below - 0.3 * half, 1.1))
    axes.axis("off")
    return _save(figure, path)


def cliques(ranks: Sequence[float] | np.ndarray, apart: float) -> list[tuple[int, int]]:
    """The longest stretches (first, last) of ascending ``ranks``, two at least, that lie within ``apart``."""
    found: list[tuple[int, int]] = []
    for first, rank in enumerate(ranks):
        last = max(i for i, other in enumerate(ranks) if other - rank <= apart)
        if last > first and (not found or last > found[-1][1]):
            found.append((first, last))
    return found


def _figure(width_in: float, height_in: float) -> tuple[Figure, Axes]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in))
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _bare(axes: Axes, *sides: str) -> None:
    for side in sides:
        axes.spines[side].set_visible(False)


def _save(figure: Figure, path: Path) -> Files:
    """``path``.png and ``path``.svg, the same bytes for the same figure."""
    from matplotlib import rc_context

    png, svg = path.with_name(f"{path.name}.png"), path.with_name(f"{path.name}.svg")
    with rc_context({"svg.hashsalt": path.name, "svg.fonttype": "none"}):
        figure.savefig(png, dpi=150, bbox_inches="tight")
        figure.savefig(svg, bbox_inches="tight", metadata={"Date": None})
    return png, svg
