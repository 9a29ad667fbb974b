"""The edges of a data set's images beside its masks, gathered one case at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..functional.edges import Offset, profile, thickness, verdict
from .parts import Floats


@dataclass
class Profiles:
    """The profiles of a data set's cases, gathered one case at a time. labels: name -> value, background first."""

    labels: Mapping[str, int]
    found: dict[str, list[Floats]] = field(default_factory=lambda: defaultdict(list))
    steps_mm: dict[str, float] = field(default_factory=dict)

    def add(self, image: NDArray[Any], label: NDArray[Any], spacing_mm: Sequence[float]) -> None:
        """A case: image (C, *S), label (*S) with IGNORE where nobody annotated."""
        for name, value in self.labels.items():
            voxels = int((label == value).sum())
            if value == 0 or not voxels:
                continue
            if name not in self.steps_mm:
                volume = voxels * float(np.prod(spacing_mm))
                self.steps_mm[name] = thickness(volume, label.ndim, min(spacing_mm))
            self.found[name].append(profile(image, label, value, spacing_mm, self.steps_mm[name]))

    def verdicts(self) -> dict[str, Offset]:
        """Of the classes whose masks all disagree with the image's edges."""
        said = {name: verdict(profiles, self.steps_mm[name]) for name, profiles in self.found.items()}
        return {name: offset for name, offset in said.items() if offset is not None}
