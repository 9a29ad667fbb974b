"""What ``audit.py`` compares: scores that rank cases, and guards that let a network redraw a mask."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maskmend.audit.merit import (
    Estimate,
    auroc,
    average_precision,
    estimate,
    mean,
    precision_at_k,
    resampled,
    share,
    spearman,
)
from maskmend.audit.rank import with_edges
from maskmend.functional import doubt
from maskmend.functional.losses import one_hot

Floats = NDArray[np.float64]
RIGHT = 0.95
"""Dice with the truth, of every class, from which a mask is right."""
NEAR = 3
"""Voxels around given and true objects where it matters which voxels are doubted."""


@dataclass(frozen=True)
class Cell:
    """A data set, a noise and a seed, and what two networks say of it.

    nets: (2, N, K, *S). label, truth: (N, *S). half: (N,) the network that did not learn the case. done: (N,) what was
    done to the label, "" for nothing. edges: (N,) the Dice that masks lose which end off the edge in their image.
    """

    name: str
    noise: str
    seed: int
    nets: Tensor
    label: Tensor
    truth: Tensor
    half: Tensor
    done: NDArray[np.str_]
    edges: Floats

    @cached_property
    def prob(self) -> Tensor:
        """(N, K, *S) the mean of both."""
        return self.nets.mean(0)

    @cached_property
    def held_out(self) -> Tensor:
        """(N, K, *S) of the network that did not learn the case."""
        return self.nets[self.half, torch.arange(len(self.half))]

    @cached_property
    def dice(self) -> Floats:
        """(N,) of the given masks with the truth."""
        return overlap(self.label, self.truth, self.nets.shape[2]).mean(1)

    @cached_property
    def wrong(self) -> NDArray[np.bool_]:
        """(N,) whether the given mask is wrong in any class."""
        found: NDArray[np.bool_] = overlap(self.label, self.truth, self.nets.shape[2]).min(1) < RIGHT
        return found

    @cached_property
    def temperature(self) -> float:
        """By the held-out voxels of the band."""
        near = torch.from_numpy(near_boundaries(self.label))
        return doubt.temperature(self.held_out.movedim(1, -1)[near], self.label[near])


def load(name: str, noise: str, seed: int, path: Path) -> Cell:
    """A cell that was kept."""
    with np.load(path) as file:
        front = torch.from_numpy(file["prob"]).float()
        nets = torch.cat((1 - front.sum(2, keepdim=True), front), 2).clamp(0, 1)
        label, truth, half = (torch.from_numpy(file[key].astype(np.int64)) for key in ("label", "truth", "half"))
        return Cell(name, noise, seed, nets, label, truth, half, file["done"], file["edges"])


def near_boundaries(label: Tensor) -> NDArray[np.bool_]:
    """Voxels at most ``NEAR`` steps from another class, of (N, *S)."""
    from scipy.ndimage import maximum_filter, minimum_filter

    masks, size = label.numpy(), (1, *[2 * NEAR + 1] * (label.ndim - 1))
    found: NDArray[np.bool_] = maximum_filter(masks, size) != minimum_filter(masks, size)
    return found


def overlap(mask: Tensor, truth: Tensor, classes: int) -> Floats:
    """Dice (N, K - 1) of masks (N, *S); 1 where neither has the class."""
    a, b = (one_hot(value, classes)[:, 1:].flatten(2).double() for value in (mask, truth))
    size = a.sum(2) + b.sum(2)
    found: Floats = torch.where(size > 0, 2 * (a * b).sum(2) / size.clamp_min(1), 1.0).numpy()
    return found


# --- scores -----------------------------------------------------------------------------------------------------------


def issues(cell: Cell) -> Floats:
    """cleanlab's num_pixel_issues, by cleanlab itself; a volume as one high picture."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from cleanlab.segmentation.rank import get_label_quality_scores
    prob, label = (t.flatten(-t.ndim + s, -2).numpy() for t, s in ((cell.prob, 2), (cell.label, 1)))
    quality, _ = get_label_quality_scores(label, prob, method="num_pixel_issues", n_jobs=1, verbose=False)
    return 1 - np.asarray(quality, float)


def by(score: Callable[[Tensor, Tensor], Tensor], held_out: bool = False) -> Callable[[Cell], Floats]:
    """A score of ``functional.doubt``, by both networks or the one that did not learn the case."""

    def of(cell: Cell) -> Floats:
        return score(cell.held_out if held_out else cell.prob, cell.label).double().numpy()

    return of


SCORES: dict[str, Callable[[Cell], Floats]] = {
    "doubt (the default)": lambda cell: with_edges(
        doubt.ranking(by(doubt.margin)(cell), by(doubt.softmin)(cell)), cell.edges
    ),
    "edges": lambda cell: cell.edges,
    "regret": by(doubt.regret),
    "margin": by(doubt.margin),
    "softmin": by(doubt.softmin),
    "num_pixel_issues": issues,
    "cross entropy": by(doubt.cross_entropy),
    "random": lambda cell: np.random.default_rng((cell.seed, 2)).random(len(cell.label)),
    "regret, held out": by(doubt.regret, True),
    "softmin, held out": by(doubt.softmin, True),
}
PLACES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "doubt": doubt.voxels,
    "1 - p": lambda prob, label: 1 - doubt.given(prob, label),
}


def places(cell: Cell) -> dict[str, float]:
    """Average precision of each score of voxels, near given and true objects."""
    from sklearn.metrics import average_precision_score

    pool = torch.nn.functional.max_pool2d if cell.label.ndim == 3 else torch.nn.functional.max_pool3d
    objects = ((cell.label > 0) | (cell.truth > 0)).float().unsqueeze(1)
    near = pool(objects, 2 * NEAR + 1, 1, NEAR)[:, 0] > 0
    wrong = (cell.label != cell.truth)[near]
    if not wrong.any():
        return {}
    return {n: float(average_precision_score(wrong, of(cell.prob, cell.label)[near])) for n, of in PLACES.items()}


def scores_table(cells: Sequence[Cell]) -> str:
    """Markdown: of every data set and noise, the mean over seeds with intervals over cases; against softmin; places."""
    lines = [
        "| data | noise | seeds | score | AUROC | less softmin's | AP (chance) | precision@k | Spearman |",
        "|---" * 9 + "|",
    ]
    average: dict[str, list[float]] = defaultdict(list)
    for (name, noise), group in grouped(cells).items():
        draws: dict[str, list[Floats]] = {}
        for score, of in SCORES.items():
            draws[score] = [_ranked(of(cell), cell) for cell in group]
        chance = np.mean([cell.wrong.mean() for cell in group])
        for score, found in draws.items():
            auc, ap, at_k, rank = np.mean(found, axis=0)
            less = auc - np.mean(draws["softmin"], axis=0)[0]
            texts = [told(auc), told(less), f"{told(ap)} ({chance:.2f})", told(at_k), told(rank)]
            lines.append(f"| {name} | {noise} | {len(group)} | {score} | " + " | ".join(texts) + " |")
            average[score].append(float(auc[0]))
    lines += ["", "| score | mean AUROC over data and noises |", "|---|---|"]
    lines += [f"| {score} | {np.nanmean(found):.3f} |" for score, found in average.items()]
    lines += ["", "| data | noise | voxel AP: doubt | 1 - p |", "|---|---|---|---|"]
    for (name, noise), group in grouped(cells).items():
        each = [placed for cell in group if (placed := places(cell))]
        if each:
            lines.append(
                f"| {name} | {noise} | "
                + " | ".join(f"{np.mean([placed[p] for placed in each]):.3f}" for p in PLACES)
                + " |"
            )
    return "\n".join(lines)


def _ranked(score: Floats, cell: Cell) -> Floats:
    """(4, B) AUROC, AP, precision@k and Spearman with what the Dice lacks, for every draw of cases."""
    weights, wrong = resampled(len(score), cell.seed), cell.wrong
    measures = [measure(score, wrong, weights) for measure in (auroc, average_precision, precision_at_k)]
    return np.stack([*measures, spearman(score, 1 - cell.dice, weights)])


def grouped(cells: Iterable[Cell]) -> dict[tuple[str, str], list[Cell]]:
    """The seeds of each data set and noise."""
    found: dict[tuple[str, str], list[Cell]] = defaultdict(list)
    for cell in cells:
        found[cell.name, cell.noise].append(cell)
    return found


def told(draws: Floats, digits: int = 3) -> str:
    """The value with its interval."""
    found: Estimate = estimate(draws)
    return found.text(digits)


# --- guards -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Known:
    """What a judge knows of each case without its truth, (N,) each; and what its masks are worth.

    calibrated: the regret at the temperature that the held-out voxels near boundaries give. agreement: Dice of the two
    networks' masks. dice_own: Dice of the judge's masks with the truth.
    """

    regret: Floats
    certainty: Floats
    calibrated: Floats
    agreement: Floats
    dice_own: Floats

    @classmethod
    def of(cls, cell: Cell, held_out: bool) -> Known:
        """Of both networks, or the one that did not learn the case."""
        prob = cell.held_out if held_out else cell.prob
        scores = (doubt.regret(prob, cell.label), doubt.certainty(prob, cell.label))
        cool = doubt.regret(doubt.sharpened(prob, cell.temperature), cell.label)
        one, other = (net.argmax(1) for net in cell.nets)
        regret, certainty, calibrated = (score.double().numpy() for score in (*scores, cool))
        return cls(
            regret,
            certainty,
            calibrated,
            overlap(one, other, cell.nets.shape[2]).mean(1),
            overlap(prob.argmax(1), cell.truth, cell.nets.shape[2]).mean(1),
        )


Guard = Callable[[Known], NDArray[np.bool_]]
GUARDS: dict[str, Guard] = {
    "none redrawn": lambda k: k.regret > np.inf,
    "regret > .1": lambda k: k.regret > 0.1,
    "and certainty > .8": lambda k: (k.regret > 0.1) & (k.certainty > 0.8),
    "and agreement > .85": lambda k: (k.regret > 0.1) & (k.agreement > 0.85),
    "calibrated regret > .1": lambda k: k.calibrated > 0.1,
    "and regret > 3/4 (1 - certainty)": lambda k: doubt.redraw(k.regret, k.certainty),
    "and regret > 3/2 (1 - certainty)": lambda k: (k.regret > 0.1) & (k.regret > (1 - k.certainty) * 3 / 2),
    "regret > usual": lambda k: k.regret > doubt.usual(k.regret),
    "chosen: usual, and 3/4": lambda k: doubt.redraw(k.regret, k.certainty, doubt.usual(k.regret)),
}
HELD_OUT = ("regret > .1", "and certainty > .8", "and regret > 3/4 (1 - certainty)", "chosen: usual, and 3/4")


def guards_table(cells: Sequence[Cell]) -> str:
    """Markdown: of every data set and noise, the Dice of the masks where a guard lets the networks redraw."""
    head = "| data | noise | guard | redrawn | of them wrong | wrong masks | right masks | all masks | gain of all |"
    lines = [head, "|---" * 9 + "|"]
    for (name, noise), group in grouped(cells).items():
        for judge, guards in (("", GUARDS), ("held out: ", HELD_OUT)):
            known = [Known.of(cell, bool(judge)) for cell in group]
            for guard in guards:
                pairs = zip(known, group, strict=True)
                redrawn, rightly, *rest = np.mean([_mended(GUARDS[guard](k), k.dice_own, c) for k, c in pairs], axis=0)
                texts = [f"{redrawn[0]:.2f}", f"{rightly[0]:.2f}", *map(told, rest)]
                lines.append(f"| {name} | {noise} | {judge}{guard} | " + " | ".join(texts) + " |")
    return "\n".join(lines)


def _mended(redrawn: NDArray[np.bool_], own: Floats, cell: Cell) -> Floats:
    """(6, B) share redrawn, and of them wrong; Dice of wrong, of right and of all masks, and what all gain."""
    weights, after = resampled(len(redrawn), cell.seed), np.where(redrawn, own, cell.dice)
    wrong, right = (np.where(which, after, np.nan) for which in (cell.wrong, ~cell.wrong))
    count, rightly = redrawn.astype(float), (redrawn & cell.wrong).astype(float)
    shares = [mean(count, weights), share(rightly, count, weights)]
    return np.stack([*shares, *(mean(dice, weights) for dice in (wrong, right, after, after - cell.dice))])
