"""Phantoms: images rendered from a seed, whose true masks are exact. The data set of the demo, the tests and the docs.

2D looks like ultrasound: speckle, layers, attenuation with depth, shadows, and a lesion that is little darker than
what lies around it, among things that resemble it. 3D looks like MRI: three structures that touch, a bias field, Rician
noise, thick slices. A seed gives the same bytes on every machine: the random stream is numpy's PCG64, the arithmetic is
float64, and pixels are whole numbers, far coarser than what separates one machine's ``exp`` from another's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..progress import track
from .dataset import Dataset, open_dataset, write_dataset
from .formats import Geometry, read_image, read_label, write_image, write_json, write_label
from .scratch import check_new, new_folder

Field = NDArray[np.float64]
Label = NDArray[np.uint8]
Corrupt = Callable[[NDArray[Any], int], NDArray[Any]]

LESION_SHARE = (0.02, 0.30)
"""Smallest and largest share of a 2D image that its lesion takes."""
SPACING_3D = (3.0, 1.0, 1.0)
LABELS = {2: {"background": 0, "lesion": 1}, 3: {"background": 0, "head": 1, "body": 2, "shell": 3}}
CHANNEL = {2: "ultrasound", 3: "MRI"}
ENDING = {2: ".png", 3: ".nii.gz"}


# --- 2D: ultrasound ---------------------------------------------------------------------------------------------------


def render_2d(seed: int, size: int = 128) -> tuple[NDArray[np.uint8], Label]:
    """An ultrasound-like image (size, size) of 0..255 and its true mask of 0 and 1; depth is the first axis."""
    rng = np.random.default_rng(seed)
    rows = ((np.arange(size) + 0.5) / size)[:, None]
    columns = ((np.arange(size) + 0.5) / size)[None]
    truth, level = _lesion(rng, rows, columns)
    tissue_db = _layers(rng, rows, columns) + 2.0 * _texture(rng, size, 0.09) + _distractors(rng, rows, columns)
    lesion_db = tissue_db - rng.uniform(9.0, 14.0) + 1.5 * _texture(rng, size, 0.05)
    inside = _sigmoid((1 - level) / rng.uniform(0.02, 0.08))
    scatter_db = tissue_db * (1 - inside) + lesion_db * inside
    loss_db = rng.uniform(6, 14) + rng.uniform(0, 22) * inside + _ribs(rng, rows, columns)
    scatter_db = scatter_db - np.cumsum(loss_db, axis=0) / size
    echo = _speckle(rng, 10.0 ** (scatter_db / 20))
    shown = 255 * (20 * np.log10(echo + 1e-4) + rng.uniform(29, 34)) / 48
    return _whole(shown, 255).astype(np.uint8), truth.astype(np.uint8)


def _lesion(rng: np.random.Generator, rows: Field, columns: Field) -> tuple[NDArray[np.bool_], Field]:
    """The mask of one lesion, and a field that is 1 on its outline, 0 at its middle, larger outside.

    One star shape, or two that overlap, grown until it takes the share of the image that was drawn.
    """
    low, high = LESION_SHARE[0] * 1.1, LESION_SHARE[1] * 0.95
    share = rng.uniform(low**0.5, high**0.5) ** 2
    reach = (share / np.pi) ** 0.5
    centre = 0.5 + (0.5 - min(reach + 0.04, 0.4)) * rng.uniform(-1, 1, 2)
    level = _star(rng, rows - centre[0], columns - centre[1])
    if rng.random() < 0.4:
        angle = rng.uniform(0, 2 * np.pi)
        other = centre + 0.9 * reach * np.array([0.6 * np.sin(angle), np.cos(angle)])
        level = np.minimum(level, _star(rng, rows - other[0], columns - other[1]) * rng.uniform(1.1, 1.6))
    ordered = np.sort(level, axis=None)
    count = round(share * level.size)
    level = level / ((ordered[count - 1] + ordered[count]) / 2)
    return level < 1, level


def _star(rng: np.random.Generator, y: Field, x: Field) -> Field:
    """Distance from the origin over the radius of a wavy, tilted, flattened outline in that direction."""
    tilt, flat = rng.uniform(-0.5, 0.5), rng.uniform(0.55, 0.95)
    y, x = (np.cos(tilt) * y - np.sin(tilt) * x) / flat, np.sin(tilt) * y + np.cos(tilt) * x
    distance = np.sqrt(x * x + y * y)
    direction = (x + 1j * y) / np.maximum(distance, 1e-9)
    radius, turned = np.ones_like(distance), direction
    for wave in range(2, 8):
        turned = turned * direction
        phase = rng.uniform(0, 2 * np.pi)
        radius += rng.uniform(0, 0.28) / wave**0.8 * (np.cos(phase) * turned.real - np.sin(phase) * turned.imag)
    return np.asarray(distance / np.maximum(radius, 0.3))


def _layers(rng: np.random.Generator, rows: Field, columns: Field) -> Field:
    """Echo strength in dB of skin, fat, gland and muscle, with wavy borders."""
    strength = np.full(np.broadcast_shapes(rows.shape, columns.shape), rng.uniform(3, 6))
    for depth, step_db in ((0.05, -9), (rng.uniform(0.15, 0.3), 7), (rng.uniform(0.7, 0.85), -6)):
        border = depth + 0.02 * np.sin(2 * np.pi * (rng.uniform(0.5, 1.5) * columns + rng.random()))
        border = border + 0.01 * np.sin(2 * np.pi * (rng.uniform(2, 4) * columns + rng.random()))
        strength = strength + (step_db + rng.uniform(-1.5, 1.5)) * _sigmoid((rows - border) / 0.012)
    stripes = np.sin(2 * np.pi * (rows * rng.uniform(12, 18) + rng.uniform(-1, 1) * columns))
    return strength + 2.0 * stripes * _sigmoid((rows - 0.8) / 0.03)


def _distractors(rng: np.random.Generator, rows: Field, columns: Field) -> Field:
    """Dark lobules and bright strands, in dB: smaller or fainter than a lesion, without its shadow."""
    total = np.zeros(np.broadcast_shapes(rows.shape, columns.shape))
    for _ in range(rng.integers(2, 6)):
        y, x = rows - rng.uniform(0.1, 0.95), columns - rng.uniform(0, 1)
        level = _star(rng, y, x) / rng.uniform(0.04, 0.08)
        total += rng.choice([-6.0, -4.5, 6.0]) * _sigmoid((1 - level) / 0.15)
    return total


def _ribs(rng: np.random.Generator, rows: Field, columns: Field) -> Field:
    """Loss in dB per image depth under strong reflectors near the top: dark columns that are not lesions."""
    loss = np.zeros(np.broadcast_shapes(rows.shape, columns.shape))
    for _ in range(rng.integers(0, 3)):
        across = _sigmoid((rng.uniform(0.02, 0.06) - np.abs(columns - rng.uniform(0, 1))) / 0.012)
        loss += rng.uniform(5, 14) * across * (rows > rng.uniform(0.05, 0.5))
    return loss


def _speckle(rng: np.random.Generator, amplitude: Field) -> Field:
    """The envelope of random scatterers of this ``amplitude`` (H, W), seen through a pulse that is wide and short."""
    size = amplitude.shape[0]
    parts = []
    for _ in range(2):
        field = amplitude * rng.standard_normal(amplitude.shape)
        parts.append(_smooth(field, (0.006 * size, 0.012 * size)))
    gain = 2 * np.sqrt(np.pi * 0.006 * 0.012) * size
    return np.asarray(np.sqrt(parts[0] ** 2 + parts[1] ** 2) * gain)


# --- 3D: MRI ----------------------------------------------------------------------------------------------------------


def render_3d(seed: int, shape: Sequence[int] = (16, 48, 48)) -> tuple[NDArray[np.uint16], Label]:
    """An MRI-like volume (D, H, W), slices ``SPACING_3D`` apart, and its true labels 0..3.

    Two lobes that meet at a plane (1 and 2) and a shell around part of both (3). Each slice averages three thin ones.
    """
    rng = np.random.default_rng(seed)
    thin = 3
    z, y, x = np.meshgrid(*[2 * (np.arange(n) + 0.5) / n - 1 for n in (shape[0] * thin, *shape[1:])], indexing="ij")
    levels = _structures(rng, z, y, x)
    label = _nearest_structure(levels)
    means = np.array([90.0, 150.0, 195.0, 120.0]) + rng.uniform(-8, 8, 4)
    tissue = means[label] + 10 * _volume_texture(rng, z, y, x)
    tissue = np.where((label == 0) & (levels[3] > 2.2 + 0.5 * _volume_texture(rng, z, y, x)), 60.0, tissue)
    thick = _smooth(tissue.reshape(shape[0], thin, *shape[1:]).mean(1), (0.0, 0.6, 0.6))
    centre = slice(thin // 2, None, thin)
    bias = np.exp(0.25 * _volume_texture(rng, z[centre], y[centre], x[centre], waves=1))
    noise = rng.standard_normal((2, *shape)) * rng.uniform(8, 14)
    seen = np.sqrt((thick * bias + noise[0]) ** 2 + noise[1] ** 2)
    return _whole(seen * 8, 4095).astype(np.uint16), label[centre].astype(np.uint8)


def _structures(rng: np.random.Generator, z: Field, y: Field, x: Field) -> list[Field]:
    """A level field for each label (index 0 unused): below 1 inside."""
    middle = rng.uniform(-0.12, 0.12, 3)
    turn = rng.uniform(-0.6, 0.6)
    z, y, x = z - middle[0], y - middle[1], x - middle[2]
    y, x = np.cos(turn) * y - np.sin(turn) * x, np.sin(turn) * y + np.cos(turn) * x
    apart, size = rng.uniform(0.2, 0.28), rng.uniform(0.9, 1.15)

    def lobe(offset: float, radii: tuple[float, float, float]) -> Field:
        a, b, c = (z / radii[0], y / radii[1], (x - offset) / radii[2])
        wave = np.ones_like(a)
        for _ in range(4):
            direction = rng.uniform(-1, 1, 3)
            wave += 0.09 * np.sin(2.5 * (direction[0] * a + direction[1] * b + direction[2] * c) + rng.uniform(0, 6.28))
        return np.asarray(np.sqrt(a * a + b * b + c * c) / (wave * size))

    head = lobe(-apart, (0.45, 0.3, 0.3))
    body = lobe(apart, (0.38, 0.22, 0.38))
    shell = np.minimum(head, body) / rng.uniform(1.3, 1.45) + 0.5 * _sigmoid((y - 0.05) / 0.05)
    return [np.ones_like(head), head, body, shell]


def _nearest_structure(levels: list[Field]) -> NDArray[np.int64]:
    """0..3: of the two lobes the one that lies deeper; the shell where neither is."""
    _, head, body, shell = levels
    lobes = np.where(head < body, 1, 2)
    return np.where(np.minimum(head, body) < 1, lobes, np.where(shell < 1, 3, 0))


def _volume_texture(rng: np.random.Generator, z: Field, y: Field, x: Field, waves: int = 6) -> Field:
    """A smooth random field of unit size: a few plane waves (``waves`` = 1: one, slower than the volume)."""
    total = np.zeros_like(z)
    for _ in range(waves):
        pull = rng.uniform(-1, 1, 3) * (1.2 if waves == 1 else 7.0)
        total += np.sin(pull[0] * z + pull[1] * y + pull[2] * x + rng.uniform(0, 2 * np.pi)) / (0.5 * waves) ** 0.5
    return total


# --- shared -----------------------------------------------------------------------------------------------------------


def _sigmoid(value: Field) -> Field:
    return np.asarray(0.5 * (1 + np.tanh(value / 2)))


def _smooth(field: Field, sigmas: Sequence[float]) -> Field:
    """Gaussian blur, ``sigmas`` in pixels by axis."""
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(field, tuple(sigmas), mode="reflect", truncate=3.0))


def _texture(rng: np.random.Generator, size: int, grain: float) -> Field:
    """A smooth random field (size, size) of about unit size; ``grain`` is its length as a share of the image."""
    coarse = max(round(2 / grain), 4)
    knots = rng.standard_normal((coarse, coarse))
    place = (np.arange(size) + 0.5) / size * (coarse - 1)
    first = np.minimum(place.astype(int), coarse - 2)
    part = place - first
    part = part * part * (3 - 2 * part)
    rows = knots[first] * (1 - part)[:, None] + knots[first + 1] * part[:, None]
    return np.asarray(1.3 * (rows[:, first] * (1 - part) + rows[:, first + 1] * part))


def _whole(value: Field, highest: int) -> Field:
    """Whole numbers of 0..highest. Rounded down, not to the nearest, so that flat, saturated parts sit on no border."""
    return np.clip(np.floor(value), 0, highest)


# --- a data set -------------------------------------------------------------------------------------------------------


def write_phantom(
    root: Path,
    dims: int = 2,
    train: int = 40,
    test: int = 20,
    size: int | None = None,
    seed: int = 0,
    corrupt: Corrupt | None = None,
) -> Dataset:
    """Write an nnU-Net raw data set of phantoms to the new folder ``root``, whole or not at all.

    train, test: numbers of cases. size: side of an image in pixels (2D: 128; 3D: 48, with a third as many slices).
    corrupt: ``corrupt(label, seed)`` makes the labels to train with; then labelsTr_truth holds the true ones
    and noise.json the Dice that each was left with. Test labels are always true.
    Raises InputError if ``root`` holds anything already.
    """
    root = Path(root)
    check_new(root)
    size = size or {2: 128, 3: 48}[dims]
    places = [("Tr", number) for number in range(train)] + [("Ts", number) for number in range(test)]
    left: dict[str, dict[str, Any]] = {}
    with new_folder(root) as part:
        for split, number in track(places, "Rendering phantoms"):
            case_seed = int(np.random.SeedSequence([seed, split == "Ts", number]).generate_state(1)[0])
            name = f"phantom_{split.lower()}_{number:03d}"
            left[name] = _write_case(part, split, name, (dims, size, case_seed), corrupt if split == "Tr" else None)
        write_dataset(part, [CHANNEL[dims]], LABELS[dims], ENDING[dims], train, name=f"{CHANNEL[dims]} phantoms")
        if corrupt is not None:
            write_json(part / "noise.json", {"seed": seed, "cases": dict(list(left.items())[:train])})
    return open_dataset(root)


def _write_case(
    root: Path, split: str, name: str, scene: tuple[int, int, int], corrupt: Corrupt | None
) -> dict[str, Any]:
    """Render (dims, size, seed), write its image and labels, return its seed and the Dice the given label has left."""
    dims, size, seed = scene
    image, truth = render_2d(seed, size) if dims == 2 else render_3d(seed, (max(size // 3, 1), size, size))
    geometry = Geometry(SPACING_3D if dims == 3 else (1.0, 1.0))
    given = truth if corrupt is None else corrupt(truth, seed)
    labels = {f"labels{split}": given} | ({} if corrupt is None else {f"labels{split}_truth": truth})
    for folder in (f"images{split}", *labels):
        (root / folder).mkdir(parents=True, exist_ok=True)
    write_image(root / f"images{split}" / f"{name}_0000{ENDING[dims]}", image, geometry)
    for folder, label in labels.items():
        write_label(root / folder / f"{name}{ENDING[dims]}", label, geometry)
    pairs = {word: (given == value, truth == value) for word, value in LABELS[dims].items() if value}
    dice = {word: round(float(2 * (a & b).sum() / (a.sum() + b.sum())), 4) for word, (a, b) in pairs.items()}
    return {"seed": seed, "dice": dice, "dice_mean": round(sum(dice.values()) / len(dice), 4)}


def _there(label: NDArray[Any]) -> list[int]:
    """The foreground classes in ``label``."""
    return [int(value) for value in np.unique(label) if value > 0]


def picture(root: Path, path: Path, count: int = 12) -> None:
    """Write a contact sheet of the first training cases: true outlines green, given ones red where they differ."""
    from matplotlib.figure import Figure

    dataset = open_dataset(Path(root))
    shown = dataset.train[:count]
    columns = min(6, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(2 * columns, 2 * rows + 0.4), layout="constrained")
    for place, case in enumerate(shown):
        axes = figure.add_subplot(rows, columns, place + 1)
        axes.axis("off")
        if case.label is None:
            continue
        image, given = read_image(case.images).array[0], read_label(case.label).array
        true_file = dataset.root / "labelsTr_truth" / case.label.name
        truth = read_label(true_file).array if true_file.exists() else given
        if image.ndim == 3:
            middle = int(np.argmax((truth > 0).sum((1, 2))))
            image, given, truth = image[middle], given[middle], truth[middle]
        axes.imshow(image, cmap="gray")
        for value in _there(truth):
            axes.contour(truth == value, [0.5], colors="lime", linewidths=1)
        for value in _there(given):
            if (given != truth).any():
                axes.contour(given == value, [0.5], colors="red", linewidths=1)
    figure.suptitle(f"{dataset.name}: truth green, given label red", fontsize=9)
    figure.savefig(path, dpi=100)
