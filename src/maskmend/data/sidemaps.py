"""Maps beside the image that methods ask for: superpixels of the image, distances in the label. One number a pixel.

They are computed once from the preprocessed arrays and cached, then cropped and warped along with the image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal
from zipfile import BadZipFile

import numpy as np
import torch
from pydantic import Field

from ..errors import InputError
from ..types import IGNORE, Config
from .backed import planes
from .fusion import soft_maps, soft_part
from .refined import TARGET, target_maps, target_part

SUPERPIXEL = "superpixel"
SIZES = {2: 64.0, 3: 512.0}
"""Mean size of a superpixel by the image's axes, in pixels, where nothing asks for another."""
NO_BOUNDARY = 1e3
"""Distance, in pixels, where a label has no boundary at all."""

SLAB = 2**25
"""Voxels of a volume whose supervoxels are found at once, some 40 bytes of memory each."""

Positive = Annotated[float, Field(gt=0)]


class SideMapConfig(Config):
    """Parameters of the side maps. The superpixels' are those of GSD-Net: 1024 on 256 x 256 pixels."""

    def superpixel_size(self, dims: int) -> float:
        """Mean size of a superpixel of images with so many axes, in pixels."""
        return getattr(self, size_setting(dims)) or SIZES[dims]

    superpixel_pixels: Positive | None = None
    """Mean size of a superpixel (2D), in pixels. None: 64, or less, so that the smallest class has room for some."""
    supervoxel_voxels: Positive | None = None
    """Mean size of a supervoxel (3D), in voxels. None: 512, or less, likewise."""
    compactness: Annotated[float, Field(ge=1e-6, le=1e6)] = 10.0
    """Weight of nearness against likeness, for intensities of 0..100 (the range of L in Lab)."""
    sigma: Annotated[float, Field(ge=0, le=1000)] = 1.0
    """Standard deviation of the Gaussian that smooths the image first, in pixels."""
    features: Path | None = None
    """Folder of CASE.npz with probabilities, as `maskmend predict RUN IMAGES -o FOLDER --probabilities` writes them:
    superpixels then go by the image and by what that run sees in it. For images without colour (SP-guided Sec. 2.1)."""
    temperature: Positive = 5.0
    """Divides the logits of these probabilities, which softens them (SP-guided, released code)."""
    ring_cap: Positive = 10.0
    """Where the rings end, in pixels from the boundary (GSD-Net, released code)."""


def size_setting(dims: int) -> str:
    """The name of the setting that sizes the superpixels of images with so many axes."""
    return "superpixel_pixels" if dims == 2 else "supervoxel_voxels"


@dataclass(frozen=True)
class SideMap:
    """How one map is made: ``make(array, config)``, from the image (C, *S) or the label (*S), to (*S); what is made of
    the image may take features and the spacing too.

    ``reads`` names the parameters it depends on; ``dtype`` is its type in a batch, and ``version`` is raised when the
    same input would give another map.
    """

    of: Literal["image", "label"]
    make: Callable[..., np.ndarray]
    dtype: type[np.generic]
    reads: tuple[str, ...] = ()
    version: int = 1

    def key(self, name: str, source: str, config: SideMapConfig) -> Mapping[str, Any]:
        """What the map depends on, for the cache; ``source`` is the key of the array it is made from."""
        parameters = {field: getattr(config, field) for field in self.reads}
        return {"map": name, "version": self.version, "of": source, **parameters}


def superpixel(
    image: np.ndarray,
    config: SideMapConfig,
    features: np.ndarray | None = None,
    spacing_mm: Sequence[float] | None = None,
) -> np.ndarray:
    """SLIC superpixels (2D) or supervoxels (3D) of an image (C, *S): (*S) int32, ids 0, 1, 2, ... without a gap.

    Achanta et al., TPAMI 2012. The image is first scaled to its own range; three channels in 2D are taken for RGB and
    compared in Lab. Grey values are compared as 0..100, so that ``compactness`` means the same in every case; so are
    ``features`` (F, *S) of 0..1, such as ``read_features`` gives, as further channels. Supervoxels are about as long in
    mm along each axis; those of a volume of more than ``SLAB`` voxels are found slab by slab. Below two pixels each,
    every pixel is a superpixel.
    """
    if config.superpixel_size(image.ndim - 1) < 2:
        return np.arange(image[0].size, dtype=np.int32).reshape(image.shape[1:])
    low, high = float(image.min()), float(image.max())

    def scaled(part: slice) -> np.ndarray:
        found = (np.asarray(image[:, part], np.float32) - low) / max(high - low, 1e-8)
        return found if features is None else np.concatenate((found, features[:, part]))

    if image.ndim == 3:
        return _compact(_slic_2d(scaled(slice(None)), config, lab=len(image) == 3 and features is None))
    grid = sides(config.superpixel_size(3), spacing_mm or (1.0,) * 3)
    return _compact(_by_slabs(lambda part: _slic_3d(scaled(part), config, grid), image.shape[1:], grid, config.sigma))


def _by_slabs(
    make: Callable[[slice], np.ndarray], shape: Sequence[int], grid: Sequence[int], sigma: float
) -> np.ndarray:
    """SLIC's segments (*S) int32, from those of slabs of the first axis, each of ``SLAB`` voxels at most or so.

    A segment is numbered by its place in the grid of seeds, and slabs begin and end where they have the seeds of the
    whole: so a segment that two slabs share has one number. Slabs show three seeds more at each end than they count
    for, for a segment hardly ever depends on one further away.
    """
    step, rest = grid[0], shape[0] % grid[0]
    around = (3 + math.ceil(4 * sigma / step)) * step
    own = max(SLAB // math.prod(shape[1:]) - 2 * around, around) // step * step
    if math.prod(shape) <= SLAB or own + 2 * around >= shape[0]:
        return make(slice(None))
    layer = math.prod(max(1, n // k) for n, k in zip(shape[1:], grid[1:], strict=True))
    out = np.empty(shape, np.int32)
    free = shape[0] // step * layer
    for first in range(0, shape[0], own):
        start, stop = max(0, first - around), min(shape[0], first + own + around + rest)
        found = make(slice(start, stop))[first - start : first - start + own].astype(np.int32)
        seeds = (stop - start) // step * layer
        out[first : first + own] = np.where(found < seeds, found + start // step * layer, found - seeds + free)
        free += max(0, int(found.max()) + 1 - seeds)
    return out


def sides(voxels: float, spacing_mm: Sequence[float]) -> list[int]:
    """Voxels along each axis of a box of about so many ``voxels`` that is as near to a cube of mm as can be.

    >>> sides(512, (1, 1, 1)), sides(512, (10, 1.5, 1.5)), sides(20, (10, 1, 1))
    ([8, 8, 8], [2, 15, 15], [1, 4, 4])
    """
    step, lengths = np.asarray(spacing_mm, np.float64), np.ones(len(spacing_mm))
    thick = np.ones(len(step), bool)
    while thick.any():
        side_mm = (voxels * step[thick].prod()) ** (1 / thick.sum())
        lengths[thick] = side_mm / step[thick]
        if (lengths >= 1).all():
            break
        thick &= lengths > 1
        lengths[~thick] = 1
    rounded: list[int] = np.rint(lengths).astype(int).tolist()
    return rounded


def features_file(config: SideMapConfig, case: str) -> Path:
    """The file in ``config.features`` that belongs to a case.

    Raises:
        InputError: there is none.
    """
    path = Path(config.features or "") / f"{case}.npz"
    if not path.exists():
        raise InputError(
            f"{path} does not exist, but data.sidemaps.features asks for the probabilities of every case; write them "
            "with `maskmend predict RUN DATASET/imagesTr -o FOLDER --probabilities`, RUN being a run of any method."
        )
    return path


def read_features(path: Path, temperature: float) -> np.ndarray:
    """Probabilities of the foreground classes at a ``temperature``, (K - 1, *S) float32 on the grid of the file.

    softmax(z / T) from p = softmax(z): p^(1 / T), divided by its sum over classes.

    Raises:
        InputError: the file holds no probabilities.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            prob = arrays["probabilities"].astype(np.float32)
    except (OSError, EOFError, KeyError, ValueError, BadZipFile) as error:
        raise InputError(f"{path} holds no probabilities ({type(error).__name__}); predict the case again.") from None
    soft = np.maximum(prob, 1e-7) ** (1 / temperature)
    foreground: np.ndarray = soft[1:] / soft.sum(0)
    return foreground


def _slic_2d(image: np.ndarray, config: SideMapConfig, lab: bool) -> np.ndarray:
    """scikit-image's SLIC, as GSD-Net uses it; it scales its input to 0..1, hence the compactness for grey images."""
    from skimage.segmentation import slic

    segments: np.ndarray = slic(
        np.moveaxis(image, 0, -1),
        n_segments=max(1, round(image[0].size / config.superpixel_size(2))),
        compactness=config.compactness if lab else config.compactness / 100,
        sigma=config.sigma,
        convert2lab=lab,
        start_label=0,
        channel_axis=-1,
    )
    return segments


def _slic_3d(image: np.ndarray, config: SideMapConfig, grid: Sequence[int]) -> np.ndarray:
    """SimpleITK's SLIC, several times faster in 3D; one thread, so that its sums have one order."""
    import SimpleITK as sitk
    from scipy.ndimage import gaussian_filter

    smooth = np.stack([gaussian_filter(100 * channel, config.sigma) for channel in image], axis=-1)
    slic: Any = sitk.SLICImageFilter()  # type: ignore[no-untyped-call]
    slic.SetSuperGridSize(list(reversed(grid)))
    slic.SetSpatialProximityWeight(config.compactness)
    slic.SetMaximumNumberOfIterations(10)
    slic.SetNumberOfThreads(1)
    segments: np.ndarray = sitk.GetArrayFromImage(slic.Execute(sitk.GetImageFromArray(smooth, isVector=True)))
    return segments


def _compact(ids: np.ndarray) -> np.ndarray:
    """The same segments with ids 0, 1, 2, ..., int32, without a gap and in their order."""
    present = np.zeros(int(ids.max()) + 1, bool)
    for part in planes(ids.shape):
        present[ids[part]] = True
    number = (np.cumsum(present) - 1).astype(np.int32)
    renamed = np.empty(ids.shape, np.int32)
    for part in planes(ids.shape):
        renamed[part] = number[ids[part]]
    return renamed


def boundary(label: np.ndarray) -> np.ndarray:
    """Pixels of (*S) with another class among their 8 (26 in 3D) neighbours, both sides of it: (*S) bool.

    GSD-Net Eq. 7. ``IGNORE`` is no class: it neither has nor makes a boundary.
    """
    edge = np.zeros(label.shape, bool)
    for step in product((-1, 0, 1), repeat=label.ndim):
        if step <= (0,) * label.ndim:  # each pair of neighbours once
            continue
        here = tuple(slice(max(0, -d), n - max(0, d)) for d, n in zip(step, label.shape, strict=True))
        there = tuple(slice(max(0, d), n - max(0, -d)) for d, n in zip(step, label.shape, strict=True))
        a, b = label[here], label[there]
        differ = (a != b) & (a != IGNORE) & (b != IGNORE)
        edge[here] |= differ
        edge[there] |= differ
    return edge


def distance(label: np.ndarray, config: SideMapConfig) -> np.ndarray:
    """Euclidean distance to the ``boundary`` of a label (*S), in pixels: (*S) float32, 0 on it. GSD-Net Eq. 8.

    ``NO_BOUNDARY`` everywhere if the label has none.
    """
    capped: np.ndarray = np.minimum(_to_nearest(boundary(label)), np.float32(NO_BOUNDARY))
    return capped


def other_class_distance(label: np.ndarray) -> np.ndarray:
    """Distance of each pixel of (*S) to the nearest one of another class, in pixels: (*S) float32, at least 1.

    Infinite where there is no other class, and on ``IGNORE``, which is no class.
    """
    classes = np.unique(label)
    out = np.full(label.shape, np.inf, np.float32)
    for value in classes[classes != IGNORE]:
        here = label == value
        out[here] = _to_nearest(~here & (label != IGNORE))[here]
    return out


def rings(label: np.ndarray, config: SideMapConfig) -> np.ndarray:
    """Whole pixels to the nearest other class, 1..``ring_cap``: (*S) float32. GSD-Net's released code.

    Its empty and full masks, whose distance SciPy leaves undefined, are ``ring_cap`` everywhere here.
    """
    whole: np.ndarray = np.floor(np.minimum(other_class_distance(label), np.float32(config.ring_cap)))
    return whole


def _to_nearest(target: np.ndarray) -> np.ndarray:
    """Euclidean distance to the nearest True, in pixels; infinite if there is none."""
    import edt

    found: np.ndarray = edt.edt(np.ascontiguousarray(~target), black_border=False)
    return found


SIDEMAPS: dict[str, SideMap] = {
    SUPERPIXEL: SideMap(
        "image", superpixel, np.int64, ("superpixel_pixels", "supervoxel_voxels", "compactness", "sigma")
    ),
    "distance": SideMap("label", distance, np.float32),
    "rings": SideMap("label", rings, np.float32, ("ring_cap",)),
}


def map_parts(name: str, classes: int) -> tuple[str, ...]:
    """The side maps that ``name`` stands for."""
    return target_maps(classes) if name == TARGET else soft_maps(name, classes)


def map_type(name: str) -> torch.dtype:
    """Of a label or a map in a batch."""
    floating = soft_part(name) or target_part(name) or (name in SIDEMAPS and SIDEMAPS[name].dtype is np.float32)
    return torch.float32 if floating else torch.int64
