"""``maskmend audit``: which masks are wrong, where, and how sure that is."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .. import config as configs
from ..audit import run
from ..audit.advice import of_audit
from ..audit.calibrated import calibrated
from ..audit.checks import Look, given_label
from ..audit.cross import CrossConfig, Crossing
from ..audit.pictures import told
from ..audit.rank import counted, few_left
from ..audit.report import HINTS
from ..audit.run import Asked
from ..audit.sources import Several, several
from ..audit.sources import runs as of_runs
from ..audit.store import Audit, is_audit, open_audit
from ..audit.stored import nnunet as of_nnunet
from ..audit.stored import predictions as of_folder
from ..audit.trust import choose
from ..data.dataset import Dataset, open_dataset
from ..data.formats import Picture
from ..data.lock import hold
from ..errors import InputError
from ..review.outcome import reviewed, touched
from ..runs.execute import check_engine

SHOWN = 10
"""Cases in the printed table."""


@dataclass(frozen=True)
class AuditSummary:
    """A finished audit: ``audit.rows`` are the cases, the most doubtful first; ``report`` is the page to look at."""

    audit: Audit

    @property
    def report(self) -> Path:
        return self.audit.folder / "report.html"

    def table(self) -> str:
        about, rows = self.audit.about, self.audit.rows
        lines = [*about.sentences, ""]
        worst = [row for row in rows if row.findings or row.hint != "fine"][:SHOWN]
        width = max((len(row.case) for row in worst), default=0)
        for row in worst:
            doubt = "    " if row.doubt is None else f"{row.doubt:.2f}"
            hint = f"{HINTS[row.hint]:{max(map(len, HINTS.values()))}s}"
            lines.append(f"{row.rank:4d}  {row.case:{width}s}  {doubt}  {hint}  {self._worst(row.case)}".rstrip())
        lines += [f"      … {counted(len(rows), 'case')} in {self.audit.folder / 'audit.csv'}", ""] if worst else []
        folder = shlex.quote(str(self.audit.folder))
        lines.append(f"Look: {self.report}")
        lines.append(f"Next: maskmend {f'mend {folder} -o DATASET' if few_left(rows) else f'review {folder}'}")
        lines.append(f"To train with: {of_audit(self.audit).line}")
        return "\n".join(lines)

    def _worst(self, case: str) -> str:
        """What is said of a case first; "" where nothing is."""
        spelt = [each for _, each in told(self.audit.findings(case))]
        return max(spelt, key=lambda f: f.confidence * max(f.voxels, 1)).text if spelt else ""


def audit(
    dataset: Path,
    output: Path,
    *,
    runs: Sequence[Path] = (),
    nnunet: Path | None = None,
    predictions: Sequence[Path] = (),
    cross: int | None = None,
    method: str | None = None,
    overrides: Sequence[str] = (),
    checks: bool = True,
    tolerance_mm: float | None = None,
    engine: str = "local",
    jobs: int | None = None,
    options: Mapping[str, Any] | None = None,
    device: str = "auto",
    again: bool = False,
) -> AuditSummary:
    """Find the masks of a data set that are wrong, and where.

    Without a judge (``runs``, ``nnunet``, ``predictions``, ``cross``) labels are only checked. Into a folder that holds
    an audit of the same data set it is made anew; what a person has spoken of, and her words, stay.

    Args:
        dataset: folder with dataset.json, imagesTr, labelsTr.
        output: the audit's folder: audit.json, audit.csv, report.html, findings/, suggestions/.
        runs: run folders of this package, each of which judges the cases it did not learn from.
        nnunet: nnU-Net's TRAINER__PLANS__CONFIG, whose folds were validated.
        predictions: folders of NAME.npz or masks, of cases that were held out.
        cross: train so many networks here, each on all folds but one, to judge.
        method: how these learn; by default plain training.
        overrides: further settings of that training, as of ``train``.
        checks: also check each label by itself and beside the others.
        tolerance_mm: depth up to which a difference is no finding; by default one voxel.
        engine, jobs, options: where trainings run, as of ``bench``.
        device: auto, cpu or cuda.
        again: let the labels that were reviewed judge the others.

    Raises:
        InputError: anything about the data, the judges or the folder that would spoil it, before anything is trained.
    """
    asked: dict[str, Any] = {
        "runs": [str(path) for path in runs],
        "nnunet": str(nnunet) if nnunet else None,
        "cross": cross,
    }
    asked |= {"predictions": [str(path) for path in predictions], "tolerance_mm": tolerance_mm, "checks": checks}
    crossing = {
        "method": method,
        "overrides": tuple(overrides),
        "engine": engine,
        "jobs": jobs,
        "options": options or {},
    }
    return _audit(Path(dataset), Path(output), asked, crossing | {"device": device}, again)


def _audit(dataset: Path, output: Path, asked: dict[str, Any], crossing: dict[str, Any], again: bool) -> AuditSummary:
    if asked["tolerance_mm"] is not None and not 0 <= asked["tolerance_mm"] < 1e6:
        raise InputError(f"the tolerance {asked['tolerance_mm']} mm is no depth; take one of 0 or more.")
    check_engine(crossing["engine"], crossing["options"])
    data = open_dataset(dataset, images=again or bool(asked["runs"] or asked["cross"]))
    if not any(case.label is not None for case in data.train):
        raise InputError(f"{dataset} holds no mask to audit; add labelsTr.")
    before = _before(output, data, again)
    with hold(output):
        if before is not None and again:
            asked, crossing = _as_before(before, asked, crossing)
        spoken = touched(before) if before else frozenset()
        done = reviewed(before) if before else {}
        if again and not done:
            raise InputError(
                f"{output} holds no case that you are done with and sure of; review some with `maskmend review`."
            )
        config = _cross_config(asked["cross"], crossing)
        looks = run.look_over(data)
        judge, said = _judge(data, output, asked, config, looks, before if again else None, done)
        settings = {**asked, **({"fit": config.model_dump(mode="json")} if config else {})}
        wanted = Asked(
            *(data, output, looks, judge, asked["tolerance_mm"], asked["checks"], spoken),
            reviewed=tuple(sorted(done)),
            said=said,
            settings=settings,
        )
        return AuditSummary(run.audit(wanted))


def _before(output: Path, data: Dataset, again: bool) -> Audit | None:
    """The audit that the folder holds. Raises InputError where it holds anything else, or one of other data."""
    root = data.root.resolve()
    if output.resolve() == root or root in output.resolve().parents:
        raise InputError(f"{output} lies in the data set; name a folder beside it.")
    if not is_audit(output):
        if again:
            raise InputError(f"{output} holds no audit yet; make one first, without --again.")
        known = {"networks", "findings", "numbers", "suggestions", "predicted", "doubt", "audit.csv"}
        there = [path.name for path in output.iterdir()] if output.is_dir() else []
        strange = [name for name in there if name not in known and not name.startswith(".")]  # else of one stopped
        if strange:
            raise InputError(f"{output} holds {min(strange)} and no audit; name a new folder.")
        return None
    before = open_audit(output)
    if Path(before.about.dataset) != root:
        raise InputError(f"{output} is an audit of {before.about.dataset}, not of {root}; name another folder.")
    return before


def _as_before(before: Audit, asked: dict[str, Any], crossing: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The judges and settings of the audit before, where none are given."""
    old = dict(before.about.settings)
    judged = any(asked[name] for name in ("runs", "nnunet", "predictions", "cross"))
    asked = asked if judged else {name: old.get(name, asked[name]) for name in asked}
    fit = old.get("fit") or {}
    method, words = crossing["method"] or fit.get("method"), crossing["overrides"] or tuple(fit.get("overrides", ()))
    if not any(asked[name] for name in ("runs", "nnunet", "predictions", "cross")):
        asked["cross"] = 2
    return asked, crossing | {"method": method, "overrides": words}


def _cross_config(folds: int | None, crossing: dict[str, Any]) -> CrossConfig | None:
    if folds is None:
        if crossing["overrides"] or crossing["method"]:
            raise InputError(
                "a method and settings are of networks that are trained here; add --cross 2, or leave them out."
            )
        return None
    if folds < 2:
        raise InputError(f"--cross {folds}: it takes two folds at least.")
    dealt = next((word for word in crossing["overrides"] if word.partition("=")[0].strip() == "fold"), None)
    if dealt is not None:
        raise InputError(f"{dealt}: --cross deals the folds itself; leave it out.")
    words = {name: value for name, value in crossing.items() if value is not None}
    return configs.parse(CrossConfig, {"folds": folds, **words})


def _judge(
    data: Dataset,
    output: Path,
    asked: dict[str, Any],
    config: CrossConfig | None,
    looks: Mapping[str, Look],
    before: Audit | None,
    done: Mapping[str, Picture],
) -> tuple[Several | None, tuple[str, ...]]:
    """Everyone who judges, and what is said of the choice."""
    device = torch.device("cuda" if config and config.device != "cpu" and torch.cuda.is_available() else "cpu")
    found: list[Any] = []
    if asked["runs"]:
        found.append(of_runs([Path(path) for path in asked["runs"]], data, device))
    usable = {look.case: frozenset({0, *look.shapes}) for look in looks.values() if not look.broken}
    cases = [case for case in data.train if case.name in usable]
    elsewhere = [of_nnunet(Path(asked["nnunet"]), data)] if asked["nnunet"] else []
    elsewhere += [several([of_folder(Path(path), data)]) for path in asked["predictions"]]
    found += [calibrated(judge, cases, lambda case: given_label(case, data)) for judge in elsewhere]
    if config is None and before is None:
        return (several(found) if found else None), ()
    crossing = Crossing(data, output / "networks", config or CrossConfig(), usable)
    if before is not None:
        choice = choose(crossing, before, done, several(found) if found else None)
        return choice.judge, (choice.sentence,)
    return several([*found, crossing.given(done)]), ()
