"""What an evaluation found: per case and class, as nnU-Net's ``summary.json``, as CSV, and as a table to read."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..types import Region
from .overlap import Counts, dice, jaccard

Metrics = dict[str, float]
Unit = Literal["mm", "px"]


@dataclass(frozen=True)
class CaseResult:
    """One prediction against its reference: the counts of each foreground class or region, and, where they were asked
    for, its ``surface_metrics``."""

    name: str
    reference_file: str
    prediction_file: str
    counts: Mapping[Region, Counts]
    surface: Mapping[Region, Metrics] = field(default_factory=dict)

    def metrics(self, label: Region) -> Metrics:
        """Dice, IoU and the pixel counts of one label, by nnU-Net's names, and its surface metrics if there are any."""
        c = self.counts[label]
        found: Metrics = {"Dice": dice(c), "IoU": jaccard(c)}
        found |= {"TP": c.tp, "FP": c.fp, "FN": c.fn, "TN": c.tn, "n_pred": c.tp + c.fp, "n_ref": c.tp + c.fn}
        return found | self.surface.get(label, {})


@dataclass(frozen=True)
class Scale:
    """What surface metrics were measured in: the unit of all distances, and the tolerance of NSD in it."""

    unit: Unit
    tolerance: float


@dataclass(frozen=True)
class Summary:
    """All cases of an evaluation. ``labels``: the foreground classes, name -> value, and regions, name -> values;
    ``scale``: of the surface metrics, None without them; ``counted``: what a case is, in the table; ``written``: the
    file that holds it, if any; ``regions``: those of ``labels`` that dataset.json asks for, where it has regions."""

    labels: Mapping[str, Region]
    cases: tuple[CaseResult, ...]
    scale: Scale | None = None
    counted: str = "cases"
    written: Path | None = None
    regions: Mapping[str, Region] = field(default_factory=dict)

    @property
    def declared(self) -> Mapping[str, Region]:
        """What nnU-Net scores: the regions, or where there are none all classes. Means over labels are over these."""
        return self.regions or self.labels

    def values(self, metric: str, label: Region) -> list[float]:
        """One metric of one label, case after case; NaN where neither prediction nor reference holds the label."""
        return [case.metrics(label)[metric] for case in self.cases]

    @property
    def mean(self) -> dict[Region, Metrics]:
        """Each metric of each label, averaged over the cases that say something about it."""
        rows = {label: [case.metrics(label) for case in self.cases] for label in self.labels.values()}
        return {label: {m: mean_sd(row[m] for row in found)[0] for m in found[0]} for label, found in rows.items()}

    @property
    def foreground_mean(self) -> Metrics:
        """Each metric of ``mean``, averaged over labels as nnU-Net does: one that no case speaks of makes it NaN."""
        means = [self.mean[label] for label in self.declared.values()]
        return {metric: float(np.mean([mean[metric] for mean in means])) for metric in means[0]}

    @property
    def empty(self) -> dict[Region, int]:
        """For each label, the cases in which neither prediction nor reference holds it; the means leave them out."""
        return {label: sum(case.counts[label].empty for case in self.cases) for label in self.labels.values()}

    @property
    def missed(self) -> dict[Region, int]:
        """For each label, the cases in which only one of prediction and reference shows a surface. Means of distances
        leave them out, though nothing is worse; Dice and NSD count them as 0. All 0 without surface metrics."""
        found = {label: [case.surface.get(label, {}) for case in self.cases] for label in self.labels.values()}
        return {label: sum(m.get("NSD") == 0 and math.isnan(m["HD"]) for m in rows) for label, rows in found.items()}

    def case_means(self, metric: str = "Dice") -> dict[str, float]:
        """One number for each case: the metric averaged over ``declared`` (NaN if all of them are empty)."""
        return {case.name: mean_sd(case.metrics(k)[metric] for k in self.declared.values())[0] for case in self.cases}

    def as_dict(self) -> dict[str, Any]:
        """The content of nnU-Net's ``summary.json``, with a key "surface" more where there are surface metrics."""
        per_case = [
            {
                "metrics": {str(label): case.metrics(label) for label in self.declared.values()},
                "prediction_file": case.prediction_file,
                "reference_file": case.reference_file,
            }
            for case in self.cases
        ]
        means = self.mean
        mean = {str(label): means[label] for label in self.declared.values()}
        content = {"foreground_mean": self.foreground_mean, "mean": mean, "metric_per_case": per_case}
        return content if self.scale is None else content | {"surface": self._surface_dict(self.scale)}

    def _surface_dict(self, scale: Scale) -> dict[str, Any]:
        """What nnU-Net has no word for: the scale, and by label the cases that no mean of distances speaks of."""
        counts = {"empty": self.empty, "missed": self.missed}
        by_label = {name: {str(k): found[k] for k in self.declared.values()} for name, found in counts.items()}
        return {"unit": scale.unit, "tolerance": scale.tolerance, **by_label}

    def write_json(self, path: Path) -> None:
        """nnU-Net's ``summary.json``; like nnU-Net it writes NaN where a case says nothing about a label."""
        _write(path, json.dumps(self.as_dict(), indent=4, sort_keys=True) + "\n")

    def write_csv(self, path: Path) -> None:
        """One row for each case and class or region; surface metrics with their unit and tolerance."""
        scale = {} if self.scale is None else asdict(self.scale)
        rows = [
            {"case": case.name, "class": name, "label": label, **case.metrics(label), **scale}
            for case in self.cases
            for name, label in self.labels.items()
        ]
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        _write(path, text.getvalue())

    def table(self) -> str:
        """Markdown: mean ± sd over cases, for each class or region and for each case's mean. Dice, Jaccard and NSD in
        percent."""
        columns, cases = self._columns(), str(len(self.cases))
        left_out = {"empty": self.empty} if self.scale is None else {"empty": self.empty, "missed": self.missed}
        rows = [("class", *(column.title for column in columns), self.counted, *left_out)]
        for name, label in self.labels.items():
            scores = (column.text(self.values(column.metric, label)) for column in columns)
            rows.append((name, *scores, cases, *(str(count[label]) for count in left_out.values())))
        if len(self.declared) > 1:
            scores = (column.text(self.case_means(column.metric).values()) for column in columns)
            what = "regions" if self.regions else "classes"
            rows.append((f"mean of {what}", *scores, cases, *("" for _ in left_out)))
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        rows.insert(1, tuple("-" * width for width in widths))
        lines = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
        said = ["", f"Written: {self.written}, and each case in cases.csv beside it"] if self.written else []
        return "\n".join([*(f"| {line} |" for line in lines), *said])

    def _columns(self) -> list[_Column]:
        """The metrics of the table."""
        columns = [_Column("Dice", "Dice", percent), _Column("Jaccard", "IoU", percent)]
        if self.scale is not None:
            unit, tolerance = self.scale.unit, self.scale.tolerance
            columns += [_Column(f"{metric} ({unit})", metric, spread) for metric in ("HD95", "ASSD", "ASD")]
            columns.append(_Column(f"NSD@{tolerance:g} {unit}", "NSD", percent))
        return columns


@dataclass(frozen=True)
class _Column:
    title: str
    metric: str
    text: Callable[[Iterable[float]], str]


def mean_sd(values: Iterable[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (n - 1) of the values that are not NaN; NaN where they are too few."""
    known = [value for value in values if not math.isnan(value)]
    mean = float(np.mean(known)) if known else math.nan
    return mean, float(np.std(known, ddof=1)) if len(known) > 1 else math.nan


def spread(values: Iterable[float], scale: float = 1.0) -> str:
    """``mean ± sd``, both times ``scale``; a dash where there is none."""
    mean, sd = mean_sd(values)
    if math.isnan(mean):
        return "–"
    return f"{scale * mean:.2f}" + ("" if math.isnan(sd) else f" ± {scale * sd:.2f}")


def percent(values: Iterable[float]) -> str:
    """``mean ± sd`` in percent; a dash where there is none."""
    return spread(values, 100)


def _write(path: Path, text: str) -> None:
    """The whole file or none of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
