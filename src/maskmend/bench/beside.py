"""What a benchmark tells beside its scores: what each method costs, and how right the labels are that it mended."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .compare import Options, Row, row_name
from .measures import DICE
from .render import Table
from .statistics import over_seeds

About = Mapping[str, Any]
"""What ``run.json`` and ``done.json`` of a run that ended well hold."""
PASSES = "passes: learnt from + looked at"
UNKNOWN = ("not known", "not known", "")
"""How right labels are, and what was gained, where nobody knows the true ones."""


def cost_table(runs: Iterable[About], options: Options) -> Table:
    """What each method costs on each data set: seconds of training, without validation; passes through its networks;
    milliseconds for one patch; and hours of all its runs."""
    once = {str(run["key"]): run for run in runs}.values()  # a run may stand under several noises
    groups: dict[tuple[str, Row], list[About]] = {}
    hours: dict[tuple[str, Row], float] = {}
    for run in once:
        place = (run["dataset"], _row(run))
        hours[place] = hours.get(place, 0.0) + run["seconds"] / 3600
        if run.get("training_seconds") is not None:
            groups.setdefault(place, []).append(run)
    seconds = {place: over_seeds([run["training_seconds"] for run in found]) for place, found in groups.items()}
    references = {(place, row.network): seconds[place, row] for place, row in groups if row.method == options.reference}
    rows = []
    for (dataset, row), found in groups.items():
        spread = seconds[dataset, row]
        beside = references.get((dataset, row.network))
        rows.append((
            dataset, row_name(row, network=True), str(spread.n), f"{spread.mean:.1f}" + _plus_minus(spread.sd),
            f"{spread.mean / beside.mean:.2f}" if beside and beside.mean else "", _passes(found),
            f"{min(run['prediction_ms'] for run in found):.1f}", str(max(run["predicts_with"] for run in found)),
            ", ".join(sorted({str(run["device"]) for run in found})),
            str(max(map(int, memory))) if (memory := [m for run in found if (m := run.get("memory_mib"))]) else "",
            f"{hours[dataset, row]:.2f}",
        ))  # fmt: skip
    columns = (
        "data set", "row", "runs", "training, s: mean ± sd over runs", f"training, × {options.reference}", PASSES,
        "prediction of a patch, ms: fastest", "networks that predict", "device",
        "GPU memory, MiB: largest", "all runs, h",
    )  # fmt: skip
    legend = (
        "wall time: compare it only where runs ran one at a time, on one machine that did nothing else",
        "passes of one row of one step through networks: with gradients, which are learnt from, + without",
        f"hours: {sum(hours.values()):.1f} of all runs together, with what is measured; of runs that were killed and "
        "went on, since they went on; all else leaves these out",
    )
    return Table("What it cost", columns, tuple(rows), legend).kept()


def _passes(found: Sequence[About]) -> str:
    """Means over runs; "" of runs that did not count them."""
    known = [run["passes"] for run in found if run.get("passes")]
    return " + ".join(f"{sum(each) / len(each):.2f}" for each in zip(*known, strict=True))


def labels_table(runs: Iterable[About]) -> Table:
    """Dice of the doubtful training labels with the truth: as they were given, and as the method left them."""
    groups: dict[tuple[str, str, Row], list[About]] = {}
    for run in runs:
        if "refined_dice" in run:
            groups.setdefault((run["dataset"], run["noise"], _row(run)), []).append(run)
    rows = []
    for (dataset, noise, row), found in groups.items():
        known = [run for run in found if run["refined_dice"] is not None]
        given, refined = (over_seeds([run[name] for run in known]) for name in ("given_dice", "refined_dice"))
        dice = [*map(DICE.spread, (given, refined)), f"{DICE.scale * (refined.mean - given.mean):+.2f}"]
        rows.append((dataset, noise, row_name(row, True), str(len(known or found)), *(dice if known else UNKNOWN)))
    columns = ("data set", "noise", "row", "runs", "given", "refined", "gained")
    legend = (
        "Dice in percent on the training grid, a mean over the cases that were not given as clean; ± over runs",
        "methods that refine labels within a step only, and keep none, are not here",
        *(["not known: nothing says what the true masks are"] if any(UNKNOWN[0] in row for row in rows) else []),
    )
    return Table("How right the training labels are", columns, tuple(rows), legend)


def _row(run: About) -> Row:
    return Row(run["method"], run["preset"], run["network"])


def _plus_minus(sd: float) -> str:
    return "" if math.isnan(sd) else f" ± {sd:.1f}"
