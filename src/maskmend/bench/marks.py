"""What the folders of runs say: what rows were told that nobody knows in practice, and which runs failed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..texts import read_object
from .compare import Result

ORACLES = {
    "tau": ("τ", "was told the true noise rate"),
    "clean": ("C", "was given a clean set"),
    "networks": ("N", "averages several networks when it predicts"),
    "truth": ("T", "learned from true masks"),
}
"""Oracle inputs: the mark on the row, and what it means. What else ``run.json`` calls an oracle is shown as it is."""
BY_LABELS = {"given_and_clean": "clean", "clean": "clean", "truth": "truth"}
REPORTED_AS = {"clean": "_clean_only", "truth": "_all_clean"}  # how the reported keys end


@dataclass(frozen=True)
class Runs:
    """What is known of runs beside their scores.

    ``oracles`` by run (keys of ``ORACLES``, or other words); ``failed``: the reason by run; ``methods``: by row, what
    papers' numbers of it are filed under, or fields of theirs that go before all others; ``reported``: which cells, as
    ``reported.find`` takes them, belong to a (data set, noise). Where it says nothing, those whose data set and noise
    are called the same. ``done``: what ``done.json`` holds, by run that ended well.
    """

    oracles: Mapping[str, Sequence[str]] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    methods: Mapping[str, str | Mapping[str, str]] = field(default_factory=dict)
    reported: Mapping[tuple[str, str], Sequence[Mapping[str, str]]] = field(default_factory=dict)
    done: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def marks(self, results: Iterable[Result]) -> list[str]:
        """The oracle marks of some results, each once."""
        words = (word for result in results for key in result.keys for word in self.oracles.get(key, ()))
        return list(dict.fromkeys(ORACLES[word][0] if word in ORACLES else word for word in words))


def read_runs(about: Iterable[Mapping[str, Any]], out: Path) -> Runs:
    """From what each ``run.json`` holds, and from ``done.json`` and ``config.yaml`` beside it in OUT/runs/KEY."""
    oracles: dict[str, Sequence[str]] = {}
    failed: dict[str, str] = {}
    methods: dict[str, str | Mapping[str, str]] = {}
    ended: dict[str, Mapping[str, Any]] = {}
    for run in about:
        key, folder = str(run["key"]), out / "runs" / str(run["key"])
        done = _content(folder / "done.json")
        name = str(run.get("method_name") or run["method"]) + REPORTED_AS.get(str(run.get("labels")), "")
        methods[str(run["method"])] = run.get("reported") or name
        words = ["tau" if str(word).startswith("method.tau") else str(word) for word in run.get("oracle", ())]
        words += [BY_LABELS[labels]] if (labels := run.get("labels")) in BY_LABELS else []
        settings = _content(folder / "config.yaml").get("method") or {}
        several = int(done.get("predicts_with", 1)) > 1 or settings.get("inference") == "mean"
        oracles[key] = tuple(dict.fromkeys([*words, *(["networks"] if several else [])]))
        if done.get("failed"):
            row = "/".join(str(run[name]) for name in ("dataset", "noise", "method", "network") if run[name])
            failed[f"{row} seed {run['seed']} ({key})"] = str(done["failed"])
        elif done:
            ended[key] = done
    return Runs(oracles, failed, methods, done=ended)


def read_about(out: Path) -> list[dict[str, Any]]:
    """Every ``run.json`` in OUT/runs."""
    return [_content(path) for path in sorted(out.glob("runs/*/run.json"))]


def _content(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    if path.suffix == ".json":
        return read_object(path, "remove its folder and run it again")
    from ..config import read_tree  # it knows every method, and so torch

    return read_tree(path)
