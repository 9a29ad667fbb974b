"""A case as it is looked at: planes of its arrays, windows, letters and sides, superpixels of a plane.

Everything has three axes here, (D, H, W); a picture is one slice. A plane across ``axis`` has the other two as rows and
columns, in their order. What is flipped is the view alone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..audit.pictures import SHOWN, is_ct, sample, sides
from ..audit.store import Audit, Finding
from ..data.formats import Picture
from ..errors import InputError
from ..types import IGNORE
from .edit import check_same, current, planes
from .journal import CaseState

NOBODY = 65535
"""In a plane of labels: what nobody annotated."""
HELD = 2 << 30
"""Bytes of cases that are kept in memory."""
PLANES = 16
"""Planes of superpixels that are kept of a case."""
REGION = 60
"""Pixels of a superpixel, about."""
PRESETS = {
    "soft tissue": (-160.0, 240.0),
    "lung": (-1350.0, 150.0),
    "bone": (-450.0, 1050.0),
    "brain": (0.0, 80.0),
    "liver": (-40.0, 160.0),
}
"""Windows of CT, in HU."""

Array = NDArray[Any]


@dataclass
class View:
    """One case in memory. image: (C, D, H, W) in its own numbers, or None; the labels are (D, H, W)."""

    audit: Audit
    case: str
    picture: Picture
    image: Array | None
    state: CaseState = field(default_factory=CaseState)
    regions: dict[tuple[int, int, int], Array] = field(default_factory=dict)

    @property
    def given(self) -> Array:
        return planes(self.picture.array)

    @cached_property
    def suggestion(self) -> Array | None:
        found = self.audit.map("suggestions", self.case)
        return None if found is None else planes(found)

    @cached_property
    def numbers(self) -> Array | None:
        found = self.audit.map("findings", self.case)
        return None if found is None else planes(found)

    @cached_property
    def doubt(self) -> Array | None:
        found = self.audit.doubt(self.case)
        return None if found is None else planes(found)

    @cached_property
    def label(self) -> Array:
        """As it stands; the given one itself while nothing was accepted or drawn."""
        if not (self.state.accepted or self.state.strokes):
            check_same(self.audit, self.case, self.state)
            return self.given
        read = {"findings": self.numbers, "suggestions": self.suggestion}.get
        return planes(current(self.audit, self.case, self.state, self.picture, read).array)

    def now(self, state: CaseState) -> None:
        """What was said and drawn meanwhile."""
        self.state = state
        self.__dict__.pop("label", None)

    @property
    def weight(self) -> int:
        image = 0 if self.image is None else self.image.nbytes
        return image + 4 * self.given.nbytes

    @property
    def colour(self) -> bool:
        """Whether the image is one picture in colour; three scans of bytes are three channels."""
        one_file = len(self.audit.cases[self.case].images) == 1
        return one_file and self.image is not None and len(self.image) == 3 and self.image.dtype == np.uint8

    def labels(self, axis: int, index: int, hidden: set[int]) -> bytes:
        """Given, suggestion, numbers of findings and the label as it stands, one plane after the other, uint16."""
        given = _plane(self.given, axis, index).copy()
        numbers = np.zeros_like(given) if self.numbers is None else _plane(self.numbers, axis, index).copy()
        suggestion, told = given.copy(), (numbers > 0) & ~np.isin(numbers, list(hidden))
        if self.suggestion is not None:
            np.copyto(suggestion, _plane(self.suggestion, axis, index), where=told)
        as_given = np.may_share_memory(self.label, self.given)
        found = (given, suggestion, numbers, given if as_given else _plane(self.label, axis, index).copy())
        return b"".join(np.where(plane == IGNORE, NOBODY, plane).astype("<u2").tobytes() for plane in found)

    def shown(self, axis: int, index: int, channel: int, window: tuple[float, float] | None) -> Array:
        """The image of a plane, (rows, columns, bands) uint8."""
        assert self.image is not None
        if self.colour:
            return np.stack([_plane(band, axis, index) for band in self.image], -1)
        low, high = window or (self.channels[channel]["low"], self.channels[channel]["high"])
        plane = _plane(self.image[channel], axis, index).astype(np.float32)
        grey = np.nan_to_num((plane - low) * (255 / max(high - low, 1e-6)))
        return grey.clip(0, 255).astype(np.uint8)[..., None]

    def superpixels(self, axis: int, index: int, channel: int) -> Array:
        """Regions of a plane (SLIC; Achanta et al., PAMI 2012), uint32."""
        from skimage.segmentation import slic

        key = (axis, index, channel)
        if key not in self.regions:
            plane = self.shown(axis, index, channel, None).astype(np.float32) / 255
            count = max(2, plane.shape[0] * plane.shape[1] // REGION)
            found = slic(plane, n_segments=count, compactness=0.1, channel_axis=-1, start_label=1, convert2lab=False)
            while len(self.regions) >= PLANES:
                self.regions.pop(next(iter(self.regions)))
            self.regions[key] = found.astype("<u4")
        return self.regions[key]

    @cached_property
    def channels(self) -> list[dict[str, Any]]:
        """Name and window of each channel: percentiles, and those of CT where values look like HU."""
        if self.image is None:
            return []
        names = self.audit.dataset.channel_names
        return [
            {"name": names[n] if n < len(names) else str(n), **_window(channel)} for n, channel in enumerate(self.image)
        ]

    def about(self) -> dict[str, Any]:
        """What the page is told of the grid."""
        steps = self.picture.geometry.spacing_mm
        letters, flip = sides(self.picture.geometry)
        return {
            "case": self.case,
            "shape": list(self.given.shape),
            "spacing_mm": [1.0] * (3 - len(steps)) + list(steps),
            "known_mm": self.picture.geometry.known,
            "letters": letters,
            "flip": flip,
            "channels": self.channels,
            "rgb": self.colour,
            "image": self.image is not None,
        }


def load(audit: Audit, case: str) -> View:
    """A case, read from its files; without its image where that is gone."""
    label = audit.given(case)
    try:
        image: Array | None = audit.image(case, label).array
    except InputError:
        image = None
    if image is not None and image.ndim == 3:
        image = image[:, None]
    return View(audit, case, label, image)


class Shelf:
    """The cases looked at last, as many as ``HELD`` bytes hold."""

    def __init__(self, read: Callable[[str], View]) -> None:
        self.read, self.held = read, OrderedDict[str, View]()

    def __getitem__(self, case: str) -> View:
        if case not in self.held:
            self.held[case] = self.read(case)
        self.held.move_to_end(case)
        while len(self.held) > 1 and sum(view.weight for view in self.held.values()) > HELD:
            self.held.popitem(last=False)
        return self.held[case]


def _plane(volume: Array, axis: int, index: int) -> Array:
    """A view: of a plane that lies across memory, each voxel is a wait, so read no more of them than needed."""
    plane: Array = np.moveaxis(volume, axis, 0)[index]
    return plane


def _window(channel: Array) -> dict[str, Any]:
    part = sample(channel)
    low, high = (float(v) for v in np.percentile(part, SHOWN)) if part.size else (0.0, 1.0)
    presets = [{"name": name, "low": a, "high": b} for name, (a, b) in PRESETS.items()] if is_ct(part) else []
    return {"low": low, "high": max(high, low + 1e-6), "presets": presets}


def finding(each: Finding, state: CaseState, hidden: bool) -> dict[str, Any]:
    """A finding as the page has it; ``slice`` and ``box`` with three axes."""
    told = each.model_dump(by_alias=True, mode="json")
    if each.slice is not None and len(each.slice) == 2:
        told["slice"] = [0, *each.slice]
    if each.box is not None and len(each.box) == 2:
        told["box"] = [[0, 1], *map(list, each.box)]
    said = state.verdicts.get(each.id)
    verdict = said.verdict if said else None
    return told | {"hidden": hidden, "verdict": verdict, "comment": state.comments.get(each.id, "")}


def words(state: CaseState) -> Mapping[str, Any]:
    """What was said and drawn of a case, as the page has it."""
    return {
        "done": state.done is not None,
        "can_undo": state.undo is not None,
        "can_redo": state.redo is not None,
        "comment": state.comments.get(None, ""),
        "drawn": bool(state.strokes),
    }
