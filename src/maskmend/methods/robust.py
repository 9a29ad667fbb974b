"""Co-mending: two networks judge every mask before they know it by heart, and redraw what they clearly doubt.

Three things tell that a mask is wrong, and each is used where the data has it. Masks that differ from their fellows are
doubted by networks that have learnt what most masks share. Masks that end where their image has no edge, as others do,
or all alike, teach only what lies beyond the edge. And a few clean masks teach the judges alone, and show how much a
right one is doubted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import repeat
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from .. import types
from ..functional import doubt, edges
from ..functional.losses import ce, dice_by_class, masked_mean, most_likely, one_hot
from ..functional.windows import whole
from ..types import IGNORE, Batch, Logs, Progress, TrainSet, Trust, Update
from .base import Build, Method, scan

ENOUGH = 4
"""Clean cases that teach judges, and tell how much doubt is usual."""
ASKED = 64
"""Cases that choose a level, at most."""
LEVELS = torch.linspace(-3, 3, 13)
"""Log-odds above which a class may be drawn."""


class Config(types.Config):
    """All of it is ours, and was chosen on chest X-rays."""

    looks: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field(
        (0.3, 0.6), description="when masks are judged, as shares of the run"
    )
    usual: float = Field(0.1, ge=0, lt=1, description="share of clean masks that are doubted as much as a redrawn one")
    edges: bool = Field(True, description="whether masks that end where their image has no edge are redrawn")
    core: float = Field(0.3, gt=0, le=1, description="share of an object, its inside, that too wide masks still teach")


class Robust(Method):
    paper = "MaskMend's own"
    maps = ("refined", "distance")

    def __init__(self, build: Build, config: Config) -> None:
        super().__init__()
        self.net1, self.net2, self.config = build(), build(), config
        self.side = torch.zeros(0, dtype=torch.int64)  # the network that learns a clean case until the last look, (N,)
        self.offset = torch.zeros(0, 0)  # by how many pixels the mask of a class is too wide, (K, N)
        self.skill: Tensor
        self.register_buffer("skill", torch.tensor(0.0))  # Dice with clean masks, at the look before

    def get_extra_state(self) -> dict[str, Tensor]:
        return {"side": self.side, "offset": self.offset}

    def set_extra_state(self, state: dict[str, Tensor]) -> None:
        self.side, self.offset = state["side"].cpu(), state["offset"].cpu()

    @property
    def nets(self) -> tuple[nn.Module, nn.Module]:
        return self.net1, self.net2

    # --- learning -----------------------------------------------------------------------------------------------------

    def step(self, batch: Batch, at: Progress, update: Update) -> Logs:
        label = self.believed(batch, at)
        losses = [loss(net, batch.image, label, self.learns(batch, at, side)) for side, net in enumerate(self.nets)]
        update(losses[0] + losses[1])
        return {"loss": (losses[0] + losses[1]) / 2}

    def looks(self, at: Progress) -> list[int]:
        """The epochs that begin with a look, of those that the run reaches; none before the second."""
        return [epoch for share in self.config.looks if (epoch := max(1, round(share * at.epochs))) < at.epochs]

    def looked(self, at: Progress) -> int:
        """The looks that were taken until the end of ``begin_epoch``."""
        return sum(at.epoch >= epoch for epoch in self.looks(at))

    def rows(self, batch: Mapping[str, int], trust: Tensor, at: Progress) -> Mapping[str, int]:
        """Where clean cases judge and no pools are named, all rows are theirs until the first look, and half then."""
        if set(batch) != {"any"} or not len(sides(trust)) or not self.looks(at):
            return batch
        clean = batch["any"] // 2 if self.looked(at) else batch["any"]
        return {"clean": clean, "imperfect": batch["any"] - clean} if clean else batch

    def learns(self, batch: Batch, at: Progress, side: int) -> Tensor:
        """The rows that a network learns from, (B,) bool: all. But where clean cases judge, its half of them, by which
        the other is judged: alone until the first look, and beside masks that were not redrawn until the last."""
        if not len(self.side) or self.looked(at) == len(self.looks(at)):
            return torch.ones_like(batch.index, dtype=torch.bool)
        own = self.side.to(batch.index.device)[batch.index] == side
        stood = (batch.maps["refined"] == batch.label).flatten(1).all(1) & (batch.trust != Trust.CLEAN)
        return own | stood if self.looked(at) else own

    def believed(self, batch: Batch, at: Progress) -> Tensor:
        """The labels (B, *S) as mended so far. Before that, where a mask ends off its image's edge, the strip between
        both teaches nothing, twice as wide."""
        label = batch.maps["refined"]
        for k in () if self.looked(at) else self.off():
            offset, depth = self.offset[k].to(label.device)[batch.index], batch.maps["distance"].float()
            own = batch.label == torch.where(offset > 0, k, 0).view(-1, *[1] * (depth.ndim - 1))
            inside = torch.where(own, depth, torch.nan).flatten(1).nanquantile(1 - self.config.core, 1).nan_to_num()
            wide = torch.where(offset > 0, torch.minimum(2 * offset, inside), -2 * offset)
            label = torch.where(own & (depth < wide.view(-1, *[1] * (depth.ndim - 1))), IGNORE, label)
        return label

    def off(self) -> list[int]:
        """Classes that have masks which end off their image's edge."""
        return self.offset.any(1).nonzero().flatten().tolist() if len(self.offset) else []

    # --- judging ------------------------------------------------------------------------------------------------------

    def begin_epoch(self, at: Progress, train: TrainSet) -> Logs:
        """At first, see what clean masks and edges can tell; at each look, redraw what is clearly doubted."""
        if at.epoch == 0:
            looks = self.looks(at)
            self.side = sides(train.trust)[: len(train) if looks else 0]
            self.offset = ends(train) if looks and self.config.edges else torch.zeros(0, 0)
            self.sentences = self.at_first(train)
            return {"off_edges": self.offset.any(0).float().mean() if len(self.offset) else 0.0}
        if self.looked(at) == self.looked(replace(at, epoch=at.epoch - 1)):
            return {}
        redrawn, lack = self.doubted(train)
        if redrawn is None:
            self.sentences = ["The networks draw the clean masks worse than before: nothing is redrawn anew."]
            return {"redrawn": 0.0}
        levels = self.levels(train)
        by_edges = self.accepted(train, levels, lack)
        for batch, prob in self.judged(train) if redrawn.any() or levels else ():
            pick = redrawn[batch.index.cpu()].to(prob.device).view(-1, *[1] * (batch.label.ndim - 1))
            mended = torch.where(pick, doubt.predicted(prob, batch.label), batch.label)
            for k, level in levels.items():
                rows = by_edges[k][batch.index.cpu()].to(prob.device)
                mended = with_class(mended, k, odds(prob[:, k]) > level, rows)
            train.write("refined", batch.index, mended)
        every = torch.stack([redrawn, *by_edges.values()]).any(0)
        count = f"{int(every.sum())} of {len(every)} masks are redrawn"
        self.sentences = [f"{count}." if every.any() else "No mask is doubted enough to be redrawn."]
        return {"redrawn": every.float().mean()}

    def at_first(self, train: TrainSet) -> list[str]:
        """What is known before the first step, as a person is told."""
        clean = int((train.trust == Trust.CLEAN).sum())
        said = [f"{clean} clean masks judge the others."] * bool(len(self.side))
        if 0 < clean < ENOUGH:
            said = [f"{clean} clean masks are too few to judge the others; {ENOUGH} of this fold are needed."]
        for k in self.off():
            pixels = self.offset[k][self.offset[k] != 0]
            ways = [way for way, there in (("wide", (pixels > 0).any()), ("tight", (pixels < 0).any())) if there]
            said.append(
                f"{len(pixels)} of {len(train)} masks of {train.classes[k]} end off the edge in their image, too "
                f"{' or too '.join(ways)}, by about {float(pixels.abs().median()):.1f} pixels as trained on."
            )
        return said or ["Images contradict no mask."] * bool(len(self.offset))

    def judged(self, train: TrainSet) -> Iterator[tuple[Batch, Tensor]]:
        """Cases, and the probabilities of their classes (B, K, *S): by both networks, of clean cases by the one that
        did not learn them."""
        return whole(scan(train), self.answer, self.device)

    def answer(self, batch: Batch) -> Tensor:
        """Of a batch's own voxels."""
        prob = torch.stack([batch.own(net(batch.image).float()).softmax(1) for net in self.nets])
        seen = prob.mean(0)
        if len(self.side):
            clean = batch.trust == Trust.CLEAN
            seen[clean] = prob[1 - self.side.to(self.device)[batch.index[clean]], clean]
        return seen

    def doubted(self, train: TrainSet) -> tuple[Tensor | None, Tensor]:
        """The cases whose masks are redrawn as a whole, (N,) bool: the given ones are doubted more than is usual, than
        the networks doubt their own, and than theirs miss clean masks by, or where none judge, half of all. And what
        they expect their own to lack, in Dice by class, (N, K - 1).

        None: judges that draw clean masks worse than those of the look before have no say.
        """
        index: list[Tensor] = []
        seen: dict[str, list[Tensor]] = {"regret": [], "agreement": [], "lack": []}
        for batch, prob in self.judged(train):
            index.append(batch.index.cpu())
            seen["regret"].append(doubt.regret(prob, batch.label).cpu())
            seen["lack"].append(1 - doubt.soft_dice(prob, doubt.predicted(prob, batch.label)).cpu())
            seen["agreement"].append(1 - dice_by_class(one_hot(most_likely(prob), prob.shape[1]), batch.label).cpu())
        found = {name: train.gather(torch.cat(index), torch.cat(parts)) for name, parts in seen.items()}
        clean, noisy = (train.trust == kind for kind in (Trust.CLEAN, Trust.NOISY))
        cut, skill = doubt.usual(found["regret"][noisy].numpy()), found["agreement"][clean | noisy].quantile(0.5)
        if len(self.side):
            cut, skill = float(found["regret"][clean].quantile(1 - self.config.usual)), found["agreement"][clean].mean()
            if skill < self.skill.cpu():
                return None, found["lack"]
            self.skill.copy_(skill)
        cut = max(cut, 1 - float(skill))
        return noisy & doubt.redraw(found["regret"], 1 - found["lack"].mean(1), cut), found["lack"]

    def levels(self, train: TrainSet) -> dict[int, float]:
        """Of classes that have masks off their edges: the log-odds above which they end best where images change."""
        off = {k: self.offset[k].nonzero().flatten() for k in self.off()}
        asked = {k: cases[:: -(-len(cases) // ASKED)] for k, cases in off.items()}

        def drawn(prob: Tensor, k: int) -> Tensor:
            return torch.stack([odds(prob[:, k]) > level for level in LEVELS])

        found = {}
        for k, each in profiles(train, self.judged(train), drawn, asked).items():
            sharp = [edges.sharpness(list(of_level)) for of_level in each]
            found[k] = LEVELS[int(np.argmax(sharp))].item() if max(sharp) > 0 else 0.0
        return found

    def accepted(self, train: TrainSet, levels: Mapping[int, float], lack: Tensor) -> dict[int, Tensor]:
        """By class the cases, (N,) bool, whose mask ends off its image's edge, and is drawn to end at it, by networks
        that expect their own to lack little beside what it loses."""
        sizes, dims = train.sizes, len(train.steps)
        asked, found = {k: sizes[:, k].nonzero().flatten() for k in levels}, {}

        def drawn(prob: Tensor, k: int) -> Tensor:
            return (odds(prob[:, k]) > levels[k]).unsqueeze(0)

        for k, (each,) in profiles(train, self.judged(train), drawn, asked).items():
            found[k] = torch.zeros(len(sizes), dtype=torch.bool)
            found[k][asked[k]] = torch.from_numpy(np.abs(edges.own(list(each))) < edges.OFF)
            lost = map(
                edges.lost, self.offset[k].tolist(), (sizes[:, k] * math.prod(train.steps)).tolist(), repeat(dims)
            )
            found[k] &= (self.offset[k] != 0) & (torch.tensor([*lost]) > doubt.AGAIN * lack[:, k - 1])
        return found

    def predict(self, image: Tensor) -> Tensor:
        return torch.stack([net(image).float().softmax(1) for net in self.nets]).mean(0)


def loss(net: nn.Module, image: Tensor, label: Tensor, rows: Tensor) -> Tensor:
    """(Cross-entropy + Dice loss) / 2 of some rows, as in plain training."""
    if not rows.any():
        nothing: Tensor = 0 * net(image[:1]).sum()  # so that every weight has a gradient, on every rank
        return nothing
    logits, label = net(image[rows]), label[rows]
    overlap = dice_by_class(logits.float().softmax(1), label).mean()
    return (masked_mean(ce(logits, label), label != IGNORE) + overlap) / 2


def sides(trust: Tensor) -> Tensor:
    """The network, 0 or 1, that learns a clean case until the last look, -1 for other cases, (N,); (0,) where clean
    cases are not enough, or nobody else is there to be judged."""
    clean = trust == Trust.CLEAN
    found = torch.where(clean, clean.cumsum(0) % 2, -1)
    return found if ENOUGH <= int(clean.sum()) < len(trust) else found[:0]


def odds(prob: Tensor) -> Tensor:
    """Log-odds."""
    return prob.clamp(1e-6, 1 - 1e-6).logit()


def with_class(label: Tensor, k: int, mask: Tensor, rows: Tensor) -> Tensor:
    """Labels (B, *S) in which class ``k`` is where ``mask`` says, in some rows (B,), but not in place of others."""
    drawn = torch.where(mask & (label == 0), k, torch.where(~mask & (label == k), 0, label))
    return torch.where(rows.view(-1, *[1] * (label.ndim - 1)), drawn, label)


# --- edges ------------------------------------------------------------------------------------------------------------


def ends(train: TrainSet) -> Tensor:
    """By how many pixels the mask of each class reaches beyond its image's edge in each case, (K, N), below 0 ends
    before it; 0 where it does not, where edges tell nothing, and in clean cases."""
    held = train.sizes > 0
    asked = {k: held[:, k].nonzero().flatten() for k in range(1, held.shape[1])}
    found, given = torch.zeros(held.T.shape), ((batch, batch.label) for batch in scan(train))
    thick = thickness(train)
    for k, (each,) in profiles(train, given, lambda label, k: (label == k).unsqueeze(0), asked).items():
        found[k, asked[k]] = torch.from_numpy(edges.offsets(list(each))).float() * thick[k]
    return found * (train.trust != Trust.CLEAN)


def profiles(
    train: TrainSet,
    cases: Iterable[tuple[Batch, Tensor]],
    drawn: Callable[[Tensor, int], Tensor],
    asked: Mapping[int, Tensor],
) -> dict[int, NDArray[np.float64]]:
    """How images change across the boundary of M masks of a class, (M, N', C, D), of each class and its cases ``asked``
    (N',). ``drawn``: these masks (M, B, *S), from what comes with each batch of ``cases``."""
    wanted, thick = {k: set(index.tolist()) for k, index in asked.items()}, thickness(train)
    rows: dict[int, dict[int, Tensor]] = {k: {} for k in asked}
    for batch, seen in cases if any(wanted.values()) else ():
        image, known, index = batch.image.cpu().numpy(), (batch.label != IGNORE).cpu().numpy(), batch.index.tolist()
        for k, some in wanted.items():
            places = [place for place, case in enumerate(index) if case in some]
            masks = drawn(seen, k).cpu().numpy() if places else np.empty(0, bool)
            for i in places:
                rows[k][index[i]] = torch.from_numpy(
                    edges.across(image[i], masks[:, i], known[i], train.steps, thick[k])
                )
    found = {}
    for k, mine in rows.items():
        value = torch.stack(list(mine.values())) if mine else torch.empty(0, 1)
        every = train.gather(torch.tensor(list(mine), dtype=torch.int64), value)
        found[k] = every[asked[k]].transpose(0, 1).numpy()
    return found


def thickness(train: TrainSet) -> list[float]:
    """Of the shells around each class, (K), in pixels where they are nearest: half of one around objects of less than
    25 in radius."""
    dims, found = len(train.steps), []
    for sizes in train.sizes.T:
        typical = float(sizes[sizes > 0].double().median()) if sizes.any() else 1.0
        thin = edges.thickness(typical * math.prod(train.steps), dims, 0.5)
        found.append(thin if thin == 0.5 else max(thin, 1.0))
    return found
