"""How much of the labels is wrong, as methods with a ``tau`` mean it, and whether a judge can know that at all.

The value is what a judge believes. Its interval also holds the judge's own error: at least what is in the masks that it
would redraw, less what it is unsure of; at most all that it would draw otherwise, and what it is unsure of beside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..functional.doubt import redraw, usual
from ..functional.edges import Offset
from .rank import DRAWS, LEAST_CASES, Judged, learnt, listed, lost, percent, weak
from .store import Judge, Share, spoken

Floats = NDArray[np.float64]
TORN = 0.9
"""How one-sided a judge differs from the median mask, from which it may be misled: .97 to 1.00 where 60 % of the masks
were all too wide or all too tight, at most .82 where errors went either way, and in right masks."""
EITHER = "most masks are wholly wider or wholly tighter than the judge draws them, and either may be right"
SPEAKS = 8
"""Voxels that differ, below which a mask says nothing of sides."""


def shares(judged: Sequence[Judged], names: Sequence[str], seed: int = 0) -> tuple[Share, dict[str, Share]] | None:
    """Of all voxels, and of those given each class, the share believed wrong; both ends of its 95 % interval also vary
    over cases. None where nothing was judged.

    names: of the classes, the background's first.
    """
    tables = [each.wrong for each in judged if each.wrong is not None]
    if not tables:
        return None
    doubted, certain = np.array([(each.regret, each.certainty) for each in judged if each.wrong is not None]).T
    sure = redraw(doubted, certain, usual(doubted))
    believed, other, unsure, given = (
        np.stack([getattr(table, name)[0].double().numpy() for table in tables])
        for name in ("believed", "other", "unsure", "given")
    )
    least, most = np.clip(other - unsure, 0, None) * sure[:, None], np.minimum(other + unsure, given)
    draws = np.random.default_rng(seed).integers(0, len(tables), (DRAWS, len(tables)))

    def share(kinds: slice) -> Share:
        whole = given[:, kinds].sum(1)
        value = float(_ratio(believed[:, kinds].sum(), whole.sum()))
        low, high = (_ratio(part[:, kinds].sum(1)[draws].sum(1), whole[draws].sum(1)) for part in (least, most))
        ends = float(np.quantile(low, 0.025)), float(np.quantile(high, 0.975))
        return Share(value=value, low=min(value, ends[0]), high=max(value, ends[1]))

    return share(slice(None)), {name: share(slice(k, k + 1)) for k, name in enumerate(names)}


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.minimum(np.asarray(part) / np.maximum(whole, 1), 1.0)


def told(
    judged: Sequence[Judged], names: Sequence[str], judges: Sequence[Judge], offsets: Mapping[str, Offset]
) -> tuple[Share | None, dict[str, Share]]:
    """``shares``, each with the reason why it is not known, if it is not: of all and of the background where it is not
    of a class."""
    found = shares(judged, names)
    if found is None:
        return None, {}
    image, by_class = found
    why = dict.fromkeys(names, _of_judge(judged, judges))
    if not any(why.values()) and not _saw_right_masks(judges):
        why |= {name: _torn(judged, k) for k, name in enumerate(names)}
        why |= {name: f"every mask looks too {'wide' if offset.mm > 0 else 'tight'}, which no network sees"
                for name, offset in offsets.items()}  # fmt: skip
        why[names[0]] = next(filter(None, (why[name] for name in (*names[1:], names[0]))), "")
    by_class = {name: share.model_copy(update={"unknown": why[name]}) for name, share in by_class.items()}
    return image.model_copy(update={"unknown": why[names[0]]}), by_class


def _of_judge(judged: Sequence[Judged], judges: Sequence[Judge]) -> str:
    """Why this judge cannot know of any class; "" where it can."""
    if len(judged) < LEAST_CASES:
        return f"fewer than {LEAST_CASES} masks were judged"
    if lost(judged):
        return "the judge draws next to nothing as these masks do"
    if weak(judged):
        return "the judge is not sure of its own masks"
    return "the judge may have learnt these masks" if any(map(learnt, judges)) else ""


def _saw_right_masks(judges: Sequence[Judge]) -> bool:
    """Whether judges learnt reviewed masks only: they see what all others share."""
    return {judge.kind for judge in judges} == {"reviewed"}


def _torn(judged: Sequence[Judged], k: int) -> str:
    """Whether most masks of class ``k`` differ from the judge's to one side as a whole: then it lies between two ways
    to draw, and does not know which is right."""
    tables = [each.wrong for each in judged if each.wrong is not None]
    less, more = (np.array([float(getattr(table, name)[0, k]) for table in tables]) for name in ("other", "gained"))
    differ = less + more
    speaking = differ >= SPEAKS
    if speaking.sum() < max(LEAST_CASES, len(tables) / 2):
        return ""
    sides = np.abs(less - more)[speaking] / differ[speaking]
    return EITHER if np.median(sides) > TORN else ""


def spread(share: Share) -> str:
    """ "4.4 % (1.8 % to 13 %)"."""
    return f"{percent(share.value)} ({percent(share.low)} to {percent(share.high)})"


def sentences(image: Share | None, by_class: Mapping[str, Share], judges: Sequence[Judge], dims: int) -> list[str]:
    """What a person is told: the shares that are known, and why the others are not."""
    if image is None:
        return []
    noun = "pixels" if dims == 2 else "voxels"
    every = {f"all {noun}": image} | {f"those of {spoken(name)}": share for name, share in by_class.items()}
    known = [f"{spread(share)} of {name}" for name, share in every.items() if not share.unknown]
    beside = "" if _saw_right_masks(judges) else " What all masks share is not in it."
    said = [f"Believed wrong: {listed(known)}.{beside}"] if known else []
    for why in dict.fromkeys(share.unknown for share in every.values() if share.unknown):
        whose = [name for name, share in every.items() if share.unknown == why]
        of = "" if len(whose) == len(every) else f" of {listed(whose)}"
        said.append(f"How much{of} is wrong is not known: {why}.")
    return said
