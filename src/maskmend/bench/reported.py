"""What five papers report, number by number: ``reported_results.csv``, read and asked. Never mixed with our own.

The file holds 1,437 cells of the result tables of ALC, Deep Self-Cleansing ("DeepSelfCleansing"), GSD-Net, MLB-Seg and
SP-Guided, as printed (strings, trailing zeros kept). ``table`` is the paper's table, ``source_line`` the line in a text
extract of the paper ("seed text" in the notes), ``note`` whatever makes a number less than it seems. Each was found
again on its line; five printed averages disagree with their printed parts, and say so. Numbers of two papers cannot be
compared: splits, image sizes and noise differ, and so does what their ± and their checkpoint mean (``CAVEATS``).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files

CAVEATS = {
    "ALC": "source of ± and checkpoint not stated; a clean subset exists",
    "DeepSelfCleansing": "2D patches; B: best on validation, L: epoch 500; no clean subset",
    "GSD-Net": "± is the sd over the last 10 epochs of one run, on the test set, not over seeds; mean Dice over "
    "images; GSD-Net and RMD average two networks",
    "MLB-Seg": "best of a validation of 4 cases in its Table 1; a clean subset exists",
    "SP-Guided": "mean over the last 10 epochs of one run, no sd; no clean subset",
}
OTHER_NAMES = {"self_cleansing": "deep_self_cleansing", "strong_weak": "strong_weak_dual_branch"}  # ours -> the file's


@dataclass(frozen=True)
class Reported:
    """One printed cell. ``mean`` and ``std`` are the strings as printed, "" where none is; ``proposed`` is "1" for the
    paper's own method; ``structure`` is an organ or a rater, "" where the table has but one."""

    paper: str
    dataset: str
    noise_setting: str
    method: str
    metric: str
    mean: str
    std: str
    method_key: str
    table: str
    structure: str
    checkpoint: str
    train_setting: str
    unit: str
    better: str
    proposed: str
    source_line: str
    note: str

    @property
    def text(self) -> str:
        """``mean ± std`` as printed."""
        return f"{self.mean} ± {self.std}" if self.std else self.mean


FIELDS = tuple(field.name for field in fields(Reported))


@cache
def load() -> tuple[Reported, ...]:
    """Every reported number, in the order of the file."""
    text = files(__package__).joinpath("reported_results.csv").read_text(encoding="utf-8")
    return tuple(Reported(**row) for row in csv.DictReader(io.StringIO(text)))


def find(**wanted: str) -> list[Reported]:
    """The cells whose fields are all as wanted: ``find(paper="GSD-Net", dataset="Kvasir", method_key="jocor")``.

    Letters' case does not matter. ``noise_setting`` may be the code before its bracket: "S_R" finds "S_R (Markov, …)".
    """
    if unknown := sorted(wanted.keys() - set(FIELDS)):
        raise ValueError(f"no such fields: {', '.join(unknown)}; there are {', '.join(FIELDS)}")
    return [row for row in load() if all(same(getattr(row, name), name, value) for name, value in wanted.items())]


def headline(rows: Iterable[Reported], metric: str = "Dice") -> list[Reported]:
    """The cells a table of a metric shows: of the whole training set, and of the paper's own backbone, where there are
    others too; the average where there is one beside its parts. How good the training labels were is no result of a
    model, and is left out."""
    found = [row for row in rows if row.metric == metric and not row.note.startswith("Dice of ")]
    found = [row for row in found if "backbone=" not in row.train_setting] or found
    whole = [row for row in found if not row.train_setting or "100% of images" in row.train_setting]
    means = [row for row in whole or found if row.structure in ("average", "vs mean")]
    return means or whole or found


def keys(method: str, preset: str = "") -> tuple[str, ...]:
    """Under which ``method_key`` a method of ours may be found, the preset's own key first."""
    return (f"{method}_{preset}", OTHER_NAMES.get(method, method))


def of_method(rows: Iterable[Reported], method: str, preset: str = "") -> list[Reported]:
    """The cells of a method of ours, by the first of its ``keys`` that is among them."""
    cells = list(rows)
    by_key = ([row for row in cells if row.method_key == key] for key in keys(method, preset))
    return next((found for found in by_key if found), [])


def cell(rows: Iterable[Reported]) -> str:
    """One table cell of several numbers: each once, with what tells it from the others where there is more than one."""
    unique: dict[str, Reported] = {}
    for row in rows:  # tables repeat each other; the same number once
        unique.setdefault(f"{row.text}|{row.structure}|{_checkpoint(row)}", row)
    found = list(unique.values())
    parts = [(row.structure, _checkpoint(row), row.train_setting, f"Table {row.table}") for row in found]
    differ = [column for column in range(4) if len({part[column] for part in parts}) > 1]
    tags = [", ".join(part[column] for column in differ if part[column]) for part in parts]
    return "; ".join(f"{row.text} ({tag})" if tag else row.text for row, tag in zip(found, tags, strict=True))


def _checkpoint(row: Reported) -> str:
    """ "B" or "L" where the paper tells them apart."""
    return row.checkpoint[0] if row.checkpoint[1:7] == "-model" else ""


def same(value: str, name: str, wanted: str) -> bool:
    """Whether the field ``name`` of a cell is what is ``wanted``, as ``find`` takes it."""
    value, wanted = value.casefold(), wanted.casefold()
    return value == wanted or (name == "noise_setting" and value.partition(" (")[0] == wanted)
