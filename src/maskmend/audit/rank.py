"""Who comes first, which masks may be redrawn, and what a person is told of the data set as a whole."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from ..functional.doubt import CUT, Wrong, redraw, usual
from ..functional.edges import Offset
from .store import Doubted, Finding, Judge, Row, length, spoken

Hint = Literal["redraw", "review", "fine", "reviewed"]
LIKELY = 0.5
"""Confidence of a check's finding from which its case is to be looked at, whatever the networks think of the mask."""
SHOWN = 4
"""How many times as much what an image itself shows counts. At 1, right masks that networks doubted came before wrong
ones where most masks were too wide."""
SURE = 0.9
"""Confidence of a check's finding from which the checks are said to be sure."""
WEAK = 0.8
"""Mean Dice that a judge expects of its own masks, below which it had better not redraw any."""
LOST = 0.2
"""Mean Dice with the labels, below which networks learnt nothing of them: empty masks are sure of themselves too."""
AT_RANDOM = 8
"""Cases to review where all may err the same way."""
LEAST_CASES = 8
"""Cases that a judge must have seen, before it is believed how much of all is wrong."""
DRAWS = 1000
LEAST = 5
"""Differing cases of a hundred that even careful labels have."""


@dataclass(frozen=True)
class Judged:
    """What a judge says of one label.

    doubt: by which cases are ranked. regret: by which masks differ clearly, and may be redrawn. scores: name -> higher
    is worse. certainty: the Dice it expects of its own mask. dice: of its mask with the label.
    wrong: voxels of each class believed wrong, (1, K).
    """

    doubt: float
    regret: float
    certainty: float
    dice: float
    scores: Mapping[str, float] = field(default_factory=dict)
    wrong: Wrong | None = None


def with_edges(doubt: Any, lost: Any) -> Any:
    """The doubt of a mask, and what it loses in Dice by ending off the edge in its image; of one case or (N,)."""
    return doubt + (1 - doubt) * (1 - (1 - lost) ** SHOWN)


def suspicion(found: Sequence[Doubted | Finding]) -> float:
    """How sure the checks of a label are that something is wrong with it, in [0, 1]: the surest of them."""
    return max((each.confidence for each in found if each.source == "check"), default=0.0)


def hint(judged: Judged | None, checks: float, cut: float = CUT) -> Hint:
    """What to do about a case; ``cut`` is the doubt that is still usual."""
    if judged is not None and redraw(judged.regret, judged.certainty, cut):
        return "redraw"
    doubted = checks >= LIKELY or (judged is not None and judged.regret > CUT)
    return "review" if doubted else "fine"


def ordered(
    cases: Sequence[str],
    judged: Mapping[str, Judged],
    found: Mapping[str, Sequence[Finding]],
    kind: str = "cross",
    reviewed: Collection[str] = (),
    edges: Mapping[str, float] | None = None,
) -> list[Row]:
    """The rows of ``audit.csv``, the most doubtful case first.

    Where a judge saw a case its doubt is the judge's; cases that no judge saw follow in the order of their checks, of
    which the surest is their doubt where nobody judged anything. A label that cannot be used at all comes first; those
    that are ``reviewed`` come last, for nothing is left to do about them. A mask that its own image contradicts, by a
    Dice of ``edges``, is doubted for that before anything a judge says: networks repeat what most masks have in common.

    kind: of the judge. Only networks trained for it may redraw: those of reviewed labels wherever they differ, those of
    a cross-fit where that is out of the ordinary. Judges from elsewhere, that had not learnt from the labels, harmed
    right ones (by a tenth of Dice on untouched dermoscopy). Nor may networks that learnt nothing.
    """
    checks = {case: suspicion(found[case]) for case in cases}
    broken = {case for case in cases if any(f.kind == "file" and f.confidence == 1 for f in found[case])}
    doubt = {
        case: with_edges(each.doubt, (edges or {}).get(case, 0.0))
        if (each := judged.get(case))
        else (None if judged else checks[case])
        for case in cases
    }
    doubt |= dict.fromkeys(broken, 1.0)
    cut = {"reviewed": CUT, "cross": usual([each.regret for each in judged.values()])}.get(kind, math.inf)
    cut = math.inf if kind == "cross" and lost(list(judged.values())) else cut
    names = sorted(cases, key=lambda case: (-1.0 if (d := doubt[case]) is None else d, checks[case]), reverse=True)
    names.sort(key=lambda case: (case in reviewed, case not in broken))
    rows = [_row(case, rank, doubt[case], cut, judged.get(case), found[case]) for rank, case in enumerate(names, 1)]
    if edges is not None:
        rows = [row.model_copy(update={"scores": {**row.scores, "edges": edges.get(row.case, 0.0)}}) for row in rows]
    return [row.model_copy(update={"hint": "reviewed"}) if row.case in reviewed else row for row in rows]


def _row(case: str, rank: int, doubt: float | None, cut: float, judged: Judged | None, found: Sequence[Finding]) -> Row:
    worst = max(found, key=lambda f: f.confidence * max(f.voxels, 1), default=None)
    checks = suspicion(found)
    volumes, depths = [f.volume_ml for f in found if f.volume_ml], [f.depth_mm for f in found if f.depth_mm]
    return Row(
        case=case,
        rank=rank,
        doubt=doubt,
        hint=hint(judged, checks, cut),
        classes=tuple(sorted({f.class_ for f in found if f.class_})),
        findings=len(found),
        worst_kind=worst.kind if worst else None,
        worst_slice=worst.slice if worst else None,
        volume_ml=sum(volumes) if volumes else None,
        depth_mm=max(depths) if depths else None,
        scores={**(judged.scores if judged else {}), "checks": checks},
    )


# --- the data set -----------------------------------------------------------------------------------------------------


def looks_clean(judged: Sequence[Judged], judges: Sequence[Judge] = (), off: int = 0) -> bool:
    """Whether no more labels differ from what the judge expects than of careful raters: at most ``LEAST`` of 100. One
    that is not sure of its own masks, or may have learnt the labels, cannot tell. off: masks that images contradict."""
    if not judged or weak(judged) or lost(judged) or any(map(learnt, judges)):
        return False
    return max(off, sum(each.regret > CUT for each in judged)) <= LEAST / 100 * len(judged)


def weak(judged: Sequence[Judged]) -> bool:
    """Whether the judge had better not redraw: it is not sure of its own masks."""
    return bool(judged) and float(np.mean([each.certainty for each in judged])) < WEAK


def lost(judged: Sequence[Judged]) -> bool:
    """Whether the judge draws next to nothing as the labels do."""
    return bool(judged) and float(np.mean([each.dice for each in judged])) < LOST


def sentences(rows: Sequence[Row], judged: Mapping[str, Judged], judges: Sequence[Judge], off: int = 0) -> list[str]:
    """What a person is told first, in whole sentences; what she has reviewed counts no more. off: masks that images
    contradict."""
    rest = [row for row in rows if row.hint != "reviewed"]
    asked = [judged[row.case] for row in rest if row.case in judged]
    said = [*_of_judges(rest, asked, judges, off), *_of_checks(rest, bool(asked))] if rest else []
    if done := len(rows) - len(rest):
        said.append(f"{counted(done, 'mask')} {'is' if done == 1 else 'are'} reviewed and no longer counted.")
    return said


def few_left(rows: Sequence[Row]) -> bool:
    """Whether something is reviewed, and no more is left to look at than even careful masks have; a judge that is not
    sure of its own masks cannot tell."""
    rest = [row for row in rows if row.hint != "reviewed"]
    certainty = [row.scores["certainty"] for row in rest if "certainty" in row.scores]
    unsure = bool(certainty) and float(np.mean(certainty)) < WEAK
    left = sum(row.hint != "fine" for row in rest)
    return len(rest) < len(rows) and not unsure and left <= LEAST / 100 * len(rows)


def of_files(broken: Sequence[str]) -> list[str]:
    """Labels that cannot be read, or do not fit their images."""
    return [f"Not to be used as given: {counted(len(broken), 'mask')} ({listed(broken)})."] if broken else []


def of_test(masks: int) -> list[str]:
    """Test masks, which no audit looks at."""
    was = "was" if masks == 1 else "were"
    return [f"{counted(masks, 'test mask')} {was} not looked at, and may be wrong as well."] if masks else []


def of_classes(absent: Sequence[str]) -> list[str]:
    """Classes that are declared, and drawn nowhere."""
    names = listed([spoken(name) for name in absent])
    return [f"No usable mask holds {names}: draw what is missing, or correct dataset.json."] if absent else []


def of_edges(
    offsets: Mapping[str, Offset],
    cases: Sequence[str],
    known_mm: bool,
    reviewed: bool = False,
) -> list[str]:
    """Classes whose given masks all end elsewhere than the image changes: networks repeat that; a person must judge,
    who is told which to look at until she has ``reviewed`` some."""
    said = []
    for name, offset in offsets.items():
        how = "wide" if offset.mm > 0 else "tight"
        by = f"by about {length(abs(offset.mm), known_mm)}, by the images' edges"
        said.append(f"Every given mask of {spoken(name)} looks too {how}, {by}.")
    if said and not reviewed:
        names = ", ".join(at_random(cases))
        said.append(
            f"No network can see what all masks share: review some chosen at random ({names}), then audit with --again."
        )
    return said


def of_ends(off: Sequence[Mapping[int, float]], names: Mapping[int, str], known_mm: bool) -> list[str]:
    """Classes some of whose masks end off the edge in their own image. off: of each such case, by how much its classes
    reach beyond it."""
    said = []
    for k in sorted({k for each in off for k in each}):
        found = np.array([each[k] for each in off if k in each])
        wide, tight = int((found > 0).sum()), int((found < 0).sum())
        sides = f"{wide} too wide and {tight} too tight" if wide and tight else f"too {'wide' if wide else 'tight'}"
        by = f"by about {length(float(np.median(np.abs(found))), known_mm)}"
        does = "ends" if len(found) == 1 else "end"
        said.append(
            f"{counted(len(found), 'mask')} of {spoken(names[k])} {does} off the edge in the image, {sides}, {by}."
            " Networks repeat what most masks do; images do not."
        )
    return said


def at_random(cases: Sequence[str], seed: int = 0) -> list[str]:
    """Cases to review where all may err the same way; the same in whatever order they are named."""
    names = sorted(cases)
    return sorted(names[i] for i in np.random.default_rng(seed).permutation(len(names))[:AT_RANDOM])


def _of_judges(rows: Sequence[Row], judged: Sequence[Judged], judges: Sequence[Judge], off: int) -> list[str]:
    if not judged:
        return ["No network judged these masks; add --cross 2 to train some that do."]
    who = "what was predicted" if all(judge.kind == "predictions" for judge in judges) else "what the networks expect"
    said = []
    differing, redrawn = sum(each.regret > CUT for each in judged), sum(row.hint == "redraw" for row in rows)
    if looks_clean(judged, judges, off):
        said.append(f"These masks look clean: hardly any differs from {who}.")
    else:
        said.append(f"{differing} of {counted(len(judged), 'mask')} differ clearly from {who}.")
    if lost(judged):
        said.append("The judge draws next to nothing as these masks do: let it learn longer, or correct its settings.")
    elif weak(judged):
        said.append("The judge is not sure of its own masks here: review before you mend.")
    elif redrawn:
        said.append(f"{redrawn} of them can be redrawn without a person (mend --accept automatic).")
    if len(judged) < len(rows):
        said.append(f"{counted(len(rows) - len(judged), 'mask')} had no judge, and only checks speak of them.")
    for judge in judges:
        if learnt(judge):
            said.append(
                f"{judge.paths[0]} agrees with the given masks almost everywhere (Dice {judge.dice:.3f}): it may have "
                "learnt them, and then says nothing of their errors."
            )
    return said


def learnt(judge: Judge) -> bool:
    """Whether predictions that somebody gave agree with the labels as only those do that learnt them."""
    return judge.kind == "predictions" and (judge.dice or 0) > 0.99


def _of_checks(rows: Sequence[Row], judged: bool) -> list[str]:
    doubted = [row.case for row in rows if row.scores.get("checks", 0) >= SURE and row.worst_kind != "file"]
    if doubted:
        return [f"The checks are sure of something wrong in {counted(len(doubted), 'mask')}: {listed(doubted)}."]
    broken = any(row.worst_kind == "file" for row in rows)
    return [] if judged or broken else ["The checks are sure of nothing wrong."]


def counted(number: int, noun: str) -> str:
    """ "1 mask", "2 masks"."""
    return f"{number} {noun}{'s' * (number != 1)}"


def percent(share: float) -> str:
    """ "12 %"; below ten with a decimal, "4.1 %"."""
    return f"{100 * share:.{0 if share == 0 or share >= 0.0995 else 1}f} %"


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
