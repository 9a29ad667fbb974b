"""A picture of masks: images in rows, the true outline and the drawn one on each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.formats import read_image, read_label, replacing

TRUE, DRAWN = "#56b4e9", "#e69f00"
"""Sky blue and orange, which colour-blind eyes tell apart."""
SIDE, GAP = 1.65, 0.2
"""Of one panel, in inches; and how wide a gap is beside it."""


@dataclass(frozen=True)
class Panel:
    """One case: a grey image (H, W), the true mask and the drawn one, bool (H, W), and the Dice of the two."""

    image: NDArray[Any]
    truth: NDArray[np.bool_]
    drawn: NDArray[np.bool_]
    dice: float


@dataclass(frozen=True)
class Row:
    """Panels side by side, and the words before them; None is a gap, in all rows at one place."""

    words: str
    panels: tuple[Panel | None, ...]


def panel(image: Path, truth: Path, drawn: Path, dice: float) -> Panel:
    """The panel of a 2D case: its first channel, everything that is not background in one."""
    return Panel(read_image([image]).array[0], read_label(truth).array > 0, read_label(drawn).array > 0, dice)


def write_picture(rows: Sequence[Row], path: Path, title: str) -> None:
    """Write the rows, one below the other, as a PNG.

    Raises:
        InputError: the file cannot be written.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    widths = [GAP if shown is None else 1.0 for shown in max((row.panels for row in rows), key=len)]
    figure = Figure(figsize=(SIDE * sum(widths) + 0.9, (SIDE + 0.2) * len(rows) + 0.7), layout="constrained")
    grid = figure.subplots(len(rows), len(widths), squeeze=False, width_ratios=widths)
    for row, line in zip(rows, grid, strict=True):
        for axes, shown in zip(line, row.panels, strict=False):
            if shown is not None:
                _draw(axes, shown)
        for axes in line:
            axes.set(xticks=[], yticks=[], frame_on=False)
        line[0].set_ylabel(row.words, fontsize=9)
    handles = [Line2D([], [], color=colour) for colour in (TRUE, DRAWN)]
    figure.legend(handles, ["true outline", "the mask, or what the model draws"], loc="outside lower center", ncols=2)
    figure.suptitle(title, fontsize=11)
    with replacing(path) as part:
        figure.savefig(part, dpi=100)


def _draw(axes: Any, shown: Panel) -> None:
    axes.imshow(shown.image, cmap="gray")
    for mask, colour in ((shown.truth, TRUE), (shown.drawn, DRAWN)):
        if mask.any() and not mask.all():
            axes.contour(mask, [0.5], colors=colour, linewidths=1.3)
    axes.set_title(f"Dice {100 * shown.dice:.0f}", fontsize=8, pad=2)
