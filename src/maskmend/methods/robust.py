"""Cross-mending: two networks learn half of the cases each and judge all; masks that are clearly doubted are redrawn.

Three things tell that a mask is wrong, and each is used where the data has it. Masks that differ from their fellows are
doubted by networks that did not learn them by heart. Masks that end where their image has no edge, as others do, or all
alike, teach only what lies beyond the edge. And a few clean masks show how much a right one is doubted.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from .. import types
from ..functional import doubt, edges
from ..functional.losses import ce, dice_by_class, masked_mean, one_hot
from ..types import IGNORE, Batch, Logs, Progress, TrainSet, Trust, Update
from .base import Build, Method

ENOUGH = 8
"""Clean cases from which networks can learn alone."""
ASKED = 64
"""Cases that choose a level, at most."""
LEVELS = torch.linspace(-3, 3, 13)
"""Log-odds above which a class may be drawn."""


class Config(types.Config):
    """All of it is ours, and was chosen on chest X-rays."""

    looks: tuple[float, ...] = Field((0.3, 0.6), description="when masks are judged, as shares of the run")
    usual: float = Field(0.1, ge=0, lt=1, description="share of clean masks that are doubted as much as a redrawn one")
    edges: bool = Field(True, description="whether masks that end where their image has no edge are redrawn")
    core: float = Field(0.3, gt=0, le=1, description="share of an object, its inside, that too wide masks still teach")


class Robust(Method):
    paper = "MaskMend's own"
    maps = ("refined", "distance")
    clean_share = 0.25  # mixed in with the rest, the same clean masks won back half as much

    def __init__(self, build: Build, config: Config) -> None:
        super().__init__()
        self.net1, self.net2, self.config = build(), build(), config
        self.looked, self.trusted, self.skill = 0, False, 0.0
        self.offset = torch.zeros(0, 0)  # by how many pixels the mask of a class is too wide, (K, N)

    def get_extra_state(self) -> Tensor:
        about = [self.looked, self.trusted, self.skill, len(self.offset)]
        return torch.cat((torch.tensor(about, dtype=torch.float64), self.offset.flatten().double()))

    def set_extra_state(self, state: Tensor) -> None:
        looked, trusted, self.skill, classes = state[:4].tolist()
        self.looked, self.trusted = int(looked), bool(trusted)
        self.offset = state[4:].float().reshape(int(classes), -1) if classes else torch.zeros(0, 0)

    @property
    def nets(self) -> tuple[nn.Module, nn.Module]:
        return self.net1, self.net2

    # --- learning -----------------------------------------------------------------------------------------------------

    def step(self, batch: Batch, at: Progress, update: Update) -> Logs:
        label = self.believed(batch)
        losses = [loss(net, batch.image, label, self.learns(batch, half)) for half, net in enumerate(self.nets)]
        update(losses[0] + losses[1])
        return {"loss": (losses[0] + losses[1]) / 2}

    def learns(self, batch: Batch, half: int) -> Tensor:
        """The rows that a network learns from, (B,) bool: its half; after the last look every row."""
        if self.looked == len(self.config.looks):
            return torch.ones_like(batch.index, dtype=torch.bool)
        known = batch.trust == Trust.CLEAN if self.trusted and not self.looked else batch.index >= 0
        return known & (side(batch.index) == half)

    def believed(self, batch: Batch) -> Tensor:
        """The labels (B, *S) as mended so far. Before that, where a mask ends off its image's edge, the strip between
        both teaches nothing, twice as wide."""
        label = batch.maps["refined"]
        for k in self.off() if not self.looked else ():
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
            self.trusted = int((train.trust == Trust.CLEAN).sum()) >= ENOUGH
            self.offset = ends(train) if self.config.edges and not self.trusted else torch.zeros(0, 0)
            return {"off_edges": self.offset.any(0).float().mean()} if len(self.offset) else {}
        due = sum(at.epoch >= max(1, round(share * at.epochs)) for share in self.config.looks)
        if due <= self.looked:
            return {}
        self.looked = due
        redrawn = self.doubted(train)
        levels = {k: self.level(train, k) for k in self.off()}
        by_edges = torch.stack([self.accepted(train, k, level) for k, level in levels.items()]) if levels else None
        for batch, prob in self.judged(train) if redrawn.any() or levels else ():
            pick = redrawn[batch.index.cpu()].to(self.device).view(-1, *[1] * (batch.label.ndim - 1))
            mended = torch.where(pick, doubt.predicted(prob, batch.label), batch.label)
            for place, (k, level) in enumerate(levels.items()):
                assert by_edges is not None
                rows = by_edges[place][batch.index.cpu()].to(self.device)
                mended = with_class(mended, k, odds(prob[:, k]) > level, rows)
            train.write("refined", batch.index, mended)
        every = redrawn if by_edges is None else redrawn | by_edges.any(0)
        return {"redrawn": every.float().mean()}

    def judged(self, train: TrainSet) -> Iterator[tuple[Batch, Tensor]]:
        """Cases, and the probabilities of their classes (B, K, *S): by both networks, of clean cases by the one that
        did not learn them."""
        for batch in (part.to(self.device) for part in train.scan(8 if len(train.shapes[0]) == 2 else 1)):
            prob = torch.stack([net(batch.image).float().softmax(1) for net in self.nets])
            other = prob[1 - side(batch.index), torch.arange(len(batch), device=self.device)]
            clean = (batch.trust == Trust.CLEAN).view(-1, *[1] * (prob.ndim - 2))
            yield batch, torch.where(clean, other, prob.mean(0))

    def doubted(self, train: TrainSet) -> Tensor:
        """The cases whose masks are redrawn as a whole, (N,) bool: doubted more than is usual, and than the networks
        doubt their own. Judges that draw clean masks worse than those of the look before have no say."""
        index, seen = [], []
        for batch, prob in self.judged(train):
            agreement = 1 - dice_by_class(one_hot(prob.argmax(1), prob.shape[1]), batch.label)
            values = (doubt.regret(prob, batch.label), doubt.certainty(prob, batch.label), agreement)
            seen.append(torch.stack(values, 1).cpu())
            index.append(batch.index.cpu())
        regret, certainty, agreement = train.gather(torch.cat(index), torch.cat(seen)).unbind(1)
        clean, noisy = (train.trust == kind for kind in (Trust.CLEAN, Trust.NOISY))
        cut = doubt.usual(regret[noisy].numpy())
        if self.trusted:
            if (skill := float(agreement[clean].mean())) < self.skill:
                return torch.zeros_like(noisy)
            self.skill, cut = skill, float(regret[clean].quantile(1 - self.config.usual))
        found: Tensor = noisy & doubt.redraw(regret, certainty, cut)
        return found

    def level(self, train: TrainSet, k: int) -> float:
        """The log-odds above which class ``k`` ends best where images change, in cases whose masks do not."""
        off = self.offset[k].nonzero().flatten()
        drawn = ((batch, torch.stack([odds(prob[:, k]) > level for level in LEVELS]))
                 for batch, prob in self.judged(train))  # fmt: skip
        sharp = [edges.sharpness(list(each)) for each in profiles(train, drawn, k, off[:: -(-len(off) // ASKED)])]
        return LEVELS[int(np.argmax(sharp))].item() if max(sharp) > 0 else 0.0

    def accepted(self, train: TrainSet, k: int, level: float) -> Tensor:
        """The cases, (N,) bool, whose mask of class ``k`` ends off its image's edge, and is drawn to end at it."""
        off = self.offset[k] != 0
        drawn = ((batch, (odds(prob[:, k]) > level).unsqueeze(0)) for batch, prob in self.judged(train))
        places = torch.arange(len(off))
        (each,) = profiles(train, drawn, k, places)
        return off & (torch.from_numpy(edges.own(list(each))).abs() < edges.OFF)

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


def side(index: Tensor) -> Tensor:
    """The network that learns a case until the last look, 0 or 1."""
    return index % 2


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
    found = torch.zeros(train.sizes.shape[1], len(train))
    for k in range(1, len(found)):
        held = ((train.sizes[:, k] > 0) & (train.trust != Trust.CLEAN)).nonzero().flatten()
        given = ((batch, (batch.label == k).unsqueeze(0)) for batch in train.scan(8))
        (each,) = profiles(train, given, k, held)
        found[k, held] = torch.from_numpy(edges.offsets(list(each))).float() * thickness(train, k)
    return found


def profiles(train: TrainSet, drawn: Iterator[tuple[Batch, Tensor]], k: int, asked: Tensor) -> NDArray[np.float64]:
    """How images change across the boundary of each of M masks of a class, (M, N', C, D), of the cases ``asked`` (N',).
    ``drawn``: cases, and their masks (M, B, *S)."""
    wanted, step, index, rows = set(asked.tolist()), thickness(train, k), [], []
    fine = step < 1
    for batch, masks in drawn:
        for place in (i for i, case in enumerate(batch.index.tolist()) if case in wanted):
            image, each = batch.image[place].cpu().numpy(), [mask.cpu().numpy() for mask in masks[:, place]]
            pairs = [edges.finer(image, mask) if fine else (image, mask) for mask in each]
            spacing = (0.5 if fine else 1.0,) * each[0].ndim
            changes = [edges.profile(x, mask.astype(np.int64), 1, spacing, step) for x, mask in pairs]
            rows.append(torch.from_numpy(np.stack(changes)))
            index.append(int(batch.index[place]))
    found = train.gather(torch.tensor(index, dtype=torch.int64), torch.stack(rows) if rows else torch.empty(0, 1))
    every: NDArray[np.float64] = found[asked].transpose(0, 1).numpy()
    return every


def thickness(train: TrainSet, k: int) -> float:
    """Of the shells around a class, in pixels: half of one around objects of less than 25 in radius."""
    sizes = train.sizes[:, k]
    typical = float(sizes[sizes > 0].double().median()) if sizes.any() else 1.0
    thin = edges.thickness(typical, len(train.shapes[0]), 0.5)
    return thin if thin == 0.5 else max(thin, 1.0)
