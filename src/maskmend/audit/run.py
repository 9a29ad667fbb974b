"""From a data set to an audit: every label is checked, judged where somebody can, and what is doubted is written down.

One case is in memory at a time.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .. import __version__
from ..data.dataset import Case, Dataset
from ..data.geometry import Geometry
from ..data.scratch import scratch
from ..functional import doubt as doubts
from ..functional.edges import Offset
from ..metrics import dice, mean_sd, overlap
from ..progress import track
from . import edges, rank, store, tau
from .checks import Look, look_at, read_given, whole_class
from .findings import by_model
from .parts import around, mask_of
from .population import compare
from .rank import Judged
from .report import write_report
from .sources import Several
from .store import About, Audit, Doubted, Finding, Judge
from .suggest import joined

Array = NDArray[Any]
SCORES = ("regret", "margin", "softmin", "cross_entropy", "certainty")
"""Of ``functional.doubt``, in audit.csv."""
NOTHING = 0.01
"""Probability of anything but background that is none."""


@dataclass(frozen=True)
class Asked:
    """What an audit is asked for.

    judge: who predicts, or nobody. frozen: cases whose findings a person has spoken of: these stay as they are.
    reviewed: those that she is done with. said: of the choice of judges.
    settings: written to ``audit.json``, for the next audit.
    """

    dataset: Dataset
    folder: Path
    looks: Mapping[str, Look]
    judge: Several | None = None
    tolerance_mm: float | None = None
    checks: bool = True
    frozen: Collection[str] = ()
    reviewed: tuple[str, ...] = ()
    said: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)


def look_over(dataset: Dataset) -> dict[str, Look]:
    """What each labelled training case shows by itself."""
    cases = [case for case in dataset.train if case.label is not None]
    return {look.case: look for look in look_at(cases, dataset)}


def audit(asked: Asked) -> Audit:
    """Judge every given label, and write down what is doubted; ``audit.json`` last. Until every case is judged, what an
    audit before found stays as it is.

    Raises:
        InputError: a file of a judge cannot be used, or the folder cannot be written.
    """
    start, made = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    cases = [case for case in asked.dataset.train if case.name in asked.looks]
    looks, labels = asked.looks, asked.dataset.labels
    ends = edges.off({case: look.edges for case, look in looks.items()}, labels) if asked.checks else {}
    offsets = edges.shared([look.edges for look in looks.values()], labels) if asked.checks else {}
    checked = compare(list(looks.values()), asked.dataset, ends) if asked.checks else {}
    about = _about(asked, made)
    found: dict[str, tuple[Finding, ...]] = {}
    judged: dict[str, Judged] = {}
    with scratch(asked.folder / "cases") as new:
        for case in track(cases, "Judging" if asked.judge else "Writing"):
            look = asked.looks[case.name]
            doubted = [*look.broken, *checked.get(case.name, ())]
            found[case.name], verdict = _case(case, asked, about, doubted, new)
            if verdict is not None:
                judged[case.name] = verdict
        for case in cases:
            if case.name not in asked.frozen:
                _take(new, asked.folder, case.name, about.file_ending)
    kind = asked.judge.kind if asked.judge else ""
    lost = {case: edges.doubt(looks[case].edges, each, len(looks[case].shape)) for case, each in ends.items()}
    rows = rank.ordered([case.name for case in cases], judged, found, kind, asked.reviewed, lost)
    whole = _whole(asked, rows, judged, offsets, ends) | {"seconds": round(time.monotonic() - start, 2)}
    done = Audit(asked.folder, about.model_copy(update=whole), tuple(rows))
    store.write_rows(done.folder, rows)
    store.write_about(done.folder, done.about)
    write_report(done)
    return done


def _about(asked: Asked, made: str) -> About:
    data = asked.dataset
    return About(
        maskmend=__version__,
        dataset=str(data.root.resolve()),
        dims=max((len(look.shape) for look in asked.looks.values() if not look.broken), default=2),
        labels=data.labels,
        ignore=data.ignore,
        file_ending=data.file_ending,
        files={look.case: look.files for look in asked.looks.values()},
        tolerance_mm=asked.tolerance_mm,
        settings=dict(asked.settings),
        reviewed=asked.reviewed,
        made=made,
        seconds=0,
    )


def _case(
    case: Case, asked: Asked, about: About, doubted: Sequence[Doubted], new: Path
) -> tuple[tuple[Finding, ...], Judged | None]:
    """Judge one case, and write down its findings in the folder ``new``, unless a person spoke of them.

    Where the mask as a whole is doubted, every difference from the judge's is a finding, however thin.
    """
    if asked.looks[case.name].broken:
        nothing, nowhere = np.zeros((1,) * about.dims, np.int16), Geometry((1.0,) * about.dims)
        findings, _, _ = joined(case.name, nothing, doubted, about.labels, nowhere)
        store.write_case(new, about, case.name, findings, {}, nowhere)
        return findings, None
    assert case.label is not None
    label = read_given(case.label, about.ignore)
    maps: dict[str, Array] = {}
    doubted, verdict = [whole_class(each, label.array) for each in doubted], None
    if asked.judge is not None and case.name in asked.judge.names():
        prob, spread = asked.judge.opinion(case, label)
        verdict, maps = judge(prob, label.array, about.labels, spread)
        place = label.geometry
        tolerance_mm = 0.0 if about.tolerance_mm is None and verdict.regret > doubts.CUT else about.tolerance_mm
        found = by_model(label.array, prob, about.labels, place.spacing_mm, tolerance_mm, place.known)
        doubted = [*found, *doubted]
    if case.name in asked.frozen:
        return Audit(asked.folder, about, ()).findings(case.name), verdict
    findings, numbers, suggested = joined(case.name, label.array, doubted, about.labels, label.geometry)
    maps |= {"findings": numbers, "suggestions": suggested} if any(f.number for f in findings) else {}
    store.write_case(new, about, case.name, findings, maps, label.geometry)
    return findings, verdict


def _take(new: Path, folder: Path, case: str, ending: str) -> None:
    """The files of a case in ``folder`` become those in ``new``; those that it has no longer go. Its findings last."""
    for room, end in product(("numbers", "suggestions", "predicted", "doubt", "findings"), (ending, ".npz", ".json")):
        source, target = (root / room / f"{case}{end}" for root in (new, folder))
        if source.exists():
            target.parent.mkdir(exist_ok=True)
            source.replace(target)
        else:
            target.unlink(missing_ok=True)


def judge(
    prob: NDArray[np.float32], label: Array, labels: Mapping[str, int], spread: float | None
) -> tuple[Judged, dict[str, Array]]:
    """What probabilities (K, *S) say of a label (*S), and what is drawn of it: the judge's own mask, and the doubt.

    Only the box is looked at in which anything is given, or not quite surely background: beyond, there is no doubt.
    """
    mask = mask_of(prob).astype(label.dtype)
    np.copyto(mask, label, where=label < 0)
    doubted = (label != 0) | (prob[0] < 1 - NOTHING)
    box = around(doubted) if doubted.any() else tuple(slice(0, 1) for _ in label.shape)
    p, y = (torch.from_numpy(part).unsqueeze(0) for part in (prob[(slice(None), *box)], label[box]))
    scores = {name: float(getattr(doubts, name)(p, y)) for name in SCORES}
    agreement = [dice(c) for c in overlap(mask[box], label[box], range(1, len(prob))).values() if not c.empty]
    doubt, wrong = np.zeros(label.shape, np.uint8), doubts.wrong(p, y)
    wrong.given[0, 0] += (label == 0).sum() - (y == 0).sum().item()  # beyond the box, where nothing is wrong
    for part in doubts.planes(y.shape[1:]):
        found = doubts.voxels(p[:, :, part], y[:, part], torch.tensor([scores["margin"]]))
        doubt[box][part] = np.rint(255 * found[0].numpy())
    verdict = Judged(
        doubt=doubts.ranking(scores["margin"], scores["softmin"]),
        regret=scores["regret"],
        certainty=scores["certainty"],
        dice=mean_sd(agreement)[0] if agreement else 1.0,
        scores=scores | ({"spread": spread} if spread is not None else {}),
        wrong=wrong,
    )
    return verdict, {"predicted": mask, "doubt": doubt}


def _whole(
    asked: Asked,
    rows: Sequence[store.Row],
    judged: Mapping[str, Judged],
    offsets: Mapping[str, Offset],
    ends: Mapping[str, Mapping[int, float]],
) -> dict[str, Any]:
    """What is said of the data set as a whole."""
    rest = [each for case, each in judged.items() if case not in asked.reviewed]
    every, drawn = list(judged.values()), {k for look in asked.looks.values() for k in look.shapes}
    judges = _judges(asked, judged)
    left = [each for case, each in ends.items() if case not in asked.reviewed]
    contradicted = len(rest) if offsets else len(left)
    names = list(store.class_names(asked.dataset.labels).values())
    image, by_class = tau.told(every, names, judges, offsets)
    dims = max((len(look.shape) for look in asked.looks.values() if not look.broken), default=2)
    return {
        "judges": tuple(judges),
        "tau": by_class,
        "tau_image": image,
        "looks_clean": rank.looks_clean(rest, judges, contradicted) if rest else None,
        "edges_mm": {name: offset.mm for name, offset in offsets.items()},
        "sentences": (
            *rank.of_files([look.case for look in asked.looks.values() if look.broken]),
            *rank.of_classes([name for name, value in asked.dataset.labels.items() if value and value not in drawn]),
            *asked.said,
            *rank.of_edges(offsets, [row.case for row in rows], _known_mm(asked), bool(asked.reviewed)),
            *rank.of_ends(left, {k: name for name, k in asked.dataset.labels.items()}, _known_mm(asked)),
            *rank.sentences(rows, judged, judges, contradicted),
            *tau.sentences(image, by_class, judges, dims),
            *rank.of_test(sum(case.reference is not None for case in asked.dataset.test)),
        ),
    }


def _judges(asked: Asked, judged: Mapping[str, Judged]) -> list[Judge]:
    """Who judged, by kind."""
    judges = []
    for kind in dict.fromkeys(source.kind for source in (asked.judge.sources if asked.judge else ())):
        sources = [source for source in asked.judge.sources if source.kind == kind] if asked.judge else []
        seen = frozenset[str]().union(*(source.names() for source in sources)) & judged.keys()
        judges.append(
            Judge(
                kind=kind,
                paths=tuple(path for source in sources for path in source.paths),
                held_out=all(source.held_out for source in sources),
                cases=len(seen),
                temperature=float(getattr(sources[0], "temperature", 1.0)),
                dice=float(np.mean([judged[case].dice for case in seen])) if seen else None,
            )
        )
    return judges


def _known_mm(asked: Asked) -> bool:
    return any(look.geometry.known for look in asked.looks.values() if look.geometry)
