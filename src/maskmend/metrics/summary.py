"""What an evaluation found: per case and class, as nnU-Net's ``summary.json``, as CSV, and as a table to read."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .overlap import Counts, dice, jaccard

Metrics = dict[str, float]


@dataclass(frozen=True)
class CaseResult:
    """One prediction against its reference: the counts of each foreground label value."""

    name: str
    reference_file: str
    prediction_file: str
    counts: Mapping[int, Counts]

    def metrics(self, label: int) -> Metrics:
        """Dice, IoU and the pixel counts of one label, by nnU-Net's names."""
        c = self.counts[label]
        overlaps: Metrics = {"Dice": dice(c), "IoU": jaccard(c)}
        return overlaps | {"TP": c.tp, "FP": c.fp, "FN": c.fn, "TN": c.tn, "n_pred": c.tp + c.fp, "n_ref": c.tp + c.fn}


@dataclass(frozen=True)
class Summary:
    """All cases of an evaluation. ``labels``: the foreground classes, name -> value."""

    labels: Mapping[str, int]
    cases: tuple[CaseResult, ...]

    def values(self, metric: str, label: int) -> list[float]:
        """One metric of one label, case after case; NaN where neither prediction nor reference holds the label."""
        return [case.metrics(label)[metric] for case in self.cases]

    @property
    def mean(self) -> dict[int, Metrics]:
        """Each metric of each label, averaged over the cases that say something about it."""
        rows = {label: [case.metrics(label) for case in self.cases] for label in self.labels.values()}
        return {label: {m: mean_sd(row[m] for row in found)[0] for m in found[0]} for label, found in rows.items()}

    @property
    def foreground_mean(self) -> Metrics:
        """Each metric of ``mean``, averaged over labels as nnU-Net does: one that no case speaks of makes it NaN."""
        means = list(self.mean.values())
        return {metric: float(np.mean([mean[metric] for mean in means])) for metric in means[0]}

    @property
    def empty(self) -> dict[int, int]:
        """For each label, the cases in which neither prediction nor reference holds it; the means leave them out."""
        return {label: sum(case.counts[label].empty for case in self.cases) for label in self.labels.values()}

    def case_means(self, metric: str = "Dice") -> dict[str, float]:
        """One number for each case: the metric averaged over its labels (NaN if all of them are empty)."""
        return {case.name: mean_sd(case.metrics(k)[metric] for k in self.labels.values())[0] for case in self.cases}

    def as_dict(self) -> dict[str, Any]:
        """The content of nnU-Net's ``summary.json``."""
        per_case = [
            {
                "metrics": {str(label): case.metrics(label) for label in self.labels.values()},
                "prediction_file": case.prediction_file,
                "reference_file": case.reference_file,
            }
            for case in self.cases
        ]
        mean = {str(label): metrics for label, metrics in self.mean.items()}
        return {"foreground_mean": self.foreground_mean, "mean": mean, "metric_per_case": per_case}

    def write_json(self, path: Path) -> None:
        """nnU-Net's ``summary.json``; like nnU-Net it writes NaN where a case says nothing about a label."""
        _write(path, json.dumps(self.as_dict(), indent=4, sort_keys=True) + "\n")

    def write_csv(self, path: Path) -> None:
        """One row for each case and class."""
        rows = [
            {"case": case.name, "class": name, "label": label, **case.metrics(label)}
            for case in self.cases
            for name, label in self.labels.items()
        ]
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        _write(path, text.getvalue())

    def table(self) -> str:
        """Markdown: mean ± sd over cases of Dice and Jaccard in percent, for each class and for each case's mean."""
        rows: list[tuple[str, ...]] = [("class", "Dice", "Jaccard", "cases", "empty")]
        for name, label in self.labels.items():
            scores = (percent(self.values("Dice", label)), percent(self.values("IoU", label)))
            rows.append((name, *scores, str(len(self.cases)), str(self.empty[label])))
        if len(self.labels) > 1:
            scores = (percent(self.case_means("Dice").values()), percent(self.case_means("IoU").values()))
            rows.append(("mean of classes", *scores, str(len(self.cases)), ""))
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        rows.insert(1, tuple("-" * width for width in widths))
        lines = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
        return "\n".join(f"| {line} |" for line in lines)


def mean_sd(values: Iterable[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (n - 1) of the values that are not NaN; NaN where they are too few."""
    known = [value for value in values if not math.isnan(value)]
    mean = float(np.mean(known)) if known else math.nan
    return mean, float(np.std(known, ddof=1)) if len(known) > 1 else math.nan


def percent(values: Iterable[float]) -> str:
    """``mean ± sd`` in percent; a dash where there is none."""
    mean, sd = mean_sd(values)
    if math.isnan(mean):
        return "–"
    return f"{100 * mean:.2f}" + ("" if math.isnan(sd) else f" ± {100 * sd:.2f}")


def _write(path: Path, text: str) -> None:
    """The whole file or none of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
