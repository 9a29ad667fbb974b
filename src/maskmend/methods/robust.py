"""Cross-mending: two networks learn half of the cases each and judge all; masks that are clearly doubted are redrawn.

Three things tell that a mask is wrong, and each is used where the data has it. Masks that differ from their fellows are
doubted by networks that did not learn them by heart. Masks that all err alike end where images show no edge. And a few
clean masks show how much a right one is doubted.
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
"""Cases whose images are asked where their edges are, at most."""
LEVELS = torch.linspace(-3, 3, 13)
"""Log-odds above which a class may be drawn."""


class Config(types.Config):
    """All of it is ours. Looks and shares were chosen on chest X-rays."""

    looks: tuple[float, ...] = Field((0.3, 0.6), description="when masks are judged, as shares of the run")
    usual: float = Field(0.1, ge=0, lt=1, description="share of clean masks that are doubted as much as a redrawn one")
    edges: bool = Field(True, description="whether masks that all end where images have no edge are redrawn")
    core: float = Field(0.3, gt=0, le=1, description="share of an object, its inside, that too wide masks still teach")


class Robust(Method):
    paper = "MaskMend's own"
    maps = ("refined", "distance")
    clean_share = 0.25  # mixed in with the rest, the same clean masks won back half as much

    def __init__(self, build: Build, config: Config) -> None:
        super().__init__()
        self.net1, self.net2, self.config = build(), build(), config
        self.looked, self.trusted, self.skill = 0, False, 0.0
        self.offset: dict[int, float] = {}  # classes of which every mask is too wide, by so many pixels

    def get_extra_state(self) -> Tensor:
        offsets = [part for item in self.offset.items() for part in item]
        return torch.tensor([self.looked, self.trusted, self.skill, *offsets], dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        looked, trusted, self.skill, *offsets = state.tolist()
        self.looked, self.trusted = int(looked), bool(trusted)
        self.offset = {int(k): pixels for k, pixels in zip(offsets[::2], offsets[1::2], strict=True)}

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
        """The labels (B, *S) as mended so far. Before that, where images have no edge at any boundary of a class, the
        strip between both teaches nothing, twice as wide."""
        label = batch.maps["refined"]
        for k, offset in self.offset.items() if not self.looked else ():
            depth, own = batch.maps["distance"], batch.label == (k if offset > 0 else 0)
            wide = torch.full((len(batch),), 2 * abs(offset), device=label.device)
            if offset > 0:
                inside = torch.where(own, depth.float(), torch.nan).flatten(1)
                wide = torch.minimum(wide, inside.nanquantile(1 - self.config.core, 1).nan_to_num())
            label = torch.where(own & (depth < wide.view(-1, *[1] * (depth.ndim - 1))), IGNORE, label)
        return label

    # --- judging ------------------------------------------------------------------------------------------------------

    def begin_epoch(self, at: Progress, train: TrainSet) -> Logs:
        """At first, see what clean masks and edges can tell; at each look, redraw what is clearly doubted."""
        if at.epoch == 0:
            self.trusted = int((train.trust == Trust.CLEAN).sum()) >= ENOUGH
            self.offset = contradicted(train) if self.config.edges and not self.trusted else {}
        due = sum(at.epoch >= max(1, round(share * at.epochs)) for share in self.config.looks)
        if due <= self.looked:
            return {}
        self.looked = due
        redrawn = self.doubted(train)
        levels = {k: level for k in self.offset if (level := self.level(train, k)) is not None}
        for batch, prob in self.judged(train) if levels or redrawn.any() else ():
            pick = redrawn[batch.index.cpu()].to(self.device).view(-1, *[1] * (batch.label.ndim - 1))
            mended = torch.where(pick, doubt.predicted(prob, batch.label), batch.label)
            train.write("refined", batch.index, at_levels(mended, prob, batch, levels))
        return {"redrawn": 1.0 if levels else redrawn.float().mean()}

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

    def level(self, train: TrainSet, k: int) -> float | None:
        """The log-odds above which class ``k`` ends best where images change; None if given masks end as well."""
        tried = ((batch, torch.stack([batch.label == k, *(odds(prob[:, k]) > t for t in LEVELS)]))
                 for batch, prob in self.judged(train))  # fmt: skip
        given, *drawn = (edges.sharpness(list(each)) for each in profiles(train, tried, k))
        best = int(np.argmax(drawn))
        return LEVELS[best].item() if drawn[best] > edges.FACTOR * given else None

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


def at_levels(label: Tensor, prob: Tensor, batch: Batch, levels: dict[int, float]) -> Tensor:
    """Labels (B, *S) in which the classes of ``levels`` are where their log-odds are above these, not in clean ones."""
    if not levels:
        return label
    above = torch.stack([odds(prob[:, k]) - level for k, level in levels.items()], 1)
    best, which = above.max(1)
    free = (label == 0) | torch.isin(label, torch.tensor([*levels], device=label.device))
    free &= (batch.trust != Trust.CLEAN).view(-1, *[1] * (label.ndim - 1))
    drawn = torch.where(best > 0, torch.tensor([*levels], device=label.device)[which], 0)
    return torch.where(free, drawn, label)


# --- edges ------------------------------------------------------------------------------------------------------------


def contradicted(train: TrainSet) -> dict[int, float]:
    """The classes all of whose masks end where images show no edge, and by how many pixels they are too wide; below 0
    too tight. As an audit says it."""
    found = {}
    for k in range(1, train.sizes.shape[1]):
        step = thickness(train, k)
        tried = ((batch, (batch.label == k).unsqueeze(0)) for batch in train.scan(8))
        (given,) = profiles(train, tried, k)
        if offset := edges.verdict(list(given), step):
            found[k] = offset.mm
    return found


def profiles(train: TrainSet, tried: Iterator[tuple[Batch, Tensor]], k: int) -> NDArray[np.float64]:
    """How images change across the boundary of each of M masks of a class, (M, N', C, D), of the cases that hold it, or
    of as many as ``ASKED``. ``tried``: cases, and their masks (M, B, *S)."""
    held = (train.sizes[:, k] > 0).nonzero().flatten()
    asked, step, index, rows = set(held[:: -(-len(held) // ASKED) or 1].tolist()), thickness(train, k), [], []
    for batch, masks in tried:
        for place, case in enumerate(batch.index.tolist()):
            if case in asked:
                image, spacing = batch.image[place].cpu().numpy(), (1.0,) * (batch.image.ndim - 2)
                drawn = (mask.long().cpu().numpy() for mask in masks[:, place])
                rows.append(torch.from_numpy(np.stack([edges.profile(image, d, 1, spacing, step) for d in drawn])))
                index.append(case)
    found = train.gather(torch.tensor(index, dtype=torch.int64), torch.stack(rows) if rows else torch.empty(0))
    each: NDArray[np.float64] = found[sorted(asked)].transpose(0, 1).numpy()
    return each


def thickness(train: TrainSet, k: int) -> float:
    """Of the shells around a class, in pixels."""
    sizes = train.sizes[:, k]
    typical = float(sizes[sizes > 0].double().median()) if sizes.any() else 1.0
    return edges.thickness(typical, len(train.shapes[0]), 1.0)
