from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from maskmend.data import sidemaps
from maskmend.data.sidemaps import (
    NO_BOUNDARY,
    SIDEMAPS,
    SideMapConfig,
    boundary,
    distance,
    features_file,
    other_class_distance,
    read_features,
    rings,
    superpixel,
)
from maskmend.errors import InputError
from maskmend.types import IGNORE

CONFIG = SideMapConfig()


def brute_distance(label: np.ndarray) -> np.ndarray:
    """Eqs. 7-8 by hand: every pixel against every boundary pixel."""
    points = np.argwhere(np.ones(label.shape, bool))
    edge = []
    for p in points:
        near = points[np.abs(points - p).max(1) == 1]
        values = label[tuple(near.T)]
        if label[tuple(p)] != IGNORE and ((values != label[tuple(p)]) & (values != IGNORE)).any():
            edge.append(p)
    gaps = np.linalg.norm(points[:, None] - np.array(edge)[None], axis=-1).min(1)
    return gaps.reshape(label.shape)


@pytest.mark.parametrize("shape", [(9, 11), (5, 6, 7)])
def test_distance_equals_brute_force_with_classes_and_ignore(shape: tuple[int, ...]) -> None:
    label = np.zeros(shape, np.int8)
    label[2:4, 1:4] = 1
    label[4:, 3:] = 2
    label[0] = IGNORE
    np.testing.assert_allclose(distance(label, CONFIG), brute_distance(label), rtol=1e-6)


def test_both_sides_of_a_boundary_are_on_it() -> None:
    label = np.zeros((4, 4), np.int8)
    label[:, 2:] = 1
    assert boundary(label).tolist() == [[False, True, True, False]] * 4
    assert distance(label, CONFIG).tolist() == [[1, 0, 0, 1]] * 4


def test_a_diagonal_neighbour_counts() -> None:
    label = np.eye(2, dtype=np.int8)
    corner = np.pad(label[:1, :1], ((0, 3), (0, 3)))
    assert boundary(corner)[1, 1]
    assert distance(corner, CONFIG)[3, 3] == pytest.approx(np.hypot(2, 2))


@pytest.mark.parametrize("value", [0, 1, IGNORE])
def test_no_boundary_is_far_away(value: int) -> None:
    label = np.full((6, 6), value, np.int8)
    assert (distance(label, CONFIG) == NO_BOUNDARY).all()
    assert (rings(label, CONFIG) == 10).all()


def test_ignore_makes_no_boundary() -> None:
    label = np.ones((5, 5), np.int8)
    label[:, 3:] = IGNORE
    assert not boundary(label).any()
    assert np.isinf(other_class_distance(label)).all()


def test_rings_of_several_classes_measure_to_the_nearest_other() -> None:
    label = np.array([[0, 0, 0, 1, 2, 2, 2]], np.int8)
    assert rings(label, CONFIG).tolist() == [[3, 2, 1, 1, 1, 2, 3]]


@pytest.mark.parametrize("name", ["disk", "ring_border", "pixel", "two"])
def test_rings_equal_the_released_distance(golden: Callable[[str], dict[str, np.ndarray]], name: str) -> None:
    arrays = golden("sp_gsd_gda")
    official = arrays[f"dist_float_{name}"]
    ours = np.minimum(other_class_distance(arrays[f"mask_{name}"].astype(np.int8)), 10)
    np.testing.assert_allclose(ours, official, rtol=1e-6)
    np.testing.assert_array_equal(rings(arrays[f"mask_{name}"].astype(np.int8), CONFIG), np.floor(official))


@pytest.mark.parametrize("name", ["disk", "ring_border", "pixel", "two"])
def test_distance_gives_the_papers_weight(golden: Callable[[str], dict[str, np.ndarray]], name: str) -> None:
    arrays = golden("sp_gsd_gda")
    raw = distance(arrays[f"mask_{name}"].astype(np.int8), CONFIG)
    for epoch, expected in zip(arrays["epochs"], arrays[f"W_paper_{name}"], strict=True):
        weight = np.maximum(np.minimum(raw, 10) - epoch / 100 * 10, 1)
        np.testing.assert_allclose(weight, expected, atol=1e-5)


def two_halves(shape: tuple[int, ...], channels: int) -> np.ndarray:
    image = np.random.default_rng(0).normal(0, 0.05, (channels, *shape)).astype(np.float32)
    image[..., shape[-1] // 2 :] += 3
    return image


@pytest.mark.parametrize(("shape", "channels"), [((64, 64), 1), ((64, 64), 3), ((64, 64), 2), ((24, 24, 24), 1)])
def test_superpixels_keep_to_edges(shape: tuple[int, ...], channels: int) -> None:
    ids = superpixel(two_halves(shape, channels), SideMapConfig(sigma=0))
    assert ids.shape == shape
    assert ids.dtype == np.int32
    assert np.array_equal(np.unique(ids), np.arange(ids.max() + 1))
    expected = np.prod(shape) / (64 if len(shape) == 2 else 512)
    assert expected / 2 < ids.max() + 1 < expected * 2
    middle = shape[-1] // 2
    assert not set(ids[..., :middle].ravel()) & set(ids[..., middle:].ravel())


def test_superpixels_repeat_and_do_not_depend_on_the_images_range() -> None:
    image = np.cumsum(np.random.default_rng(1).normal(size=(1, 48, 48)), axis=2).astype(np.float32)
    ids = superpixel(image, CONFIG)
    assert np.array_equal(ids, superpixel(image, CONFIG))
    assert np.array_equal(ids, superpixel(image * 8 + 16, CONFIG))


def test_grey_images_are_as_compact_as_colour_ones() -> None:
    grey = np.cumsum(np.random.default_rng(1).normal(size=(1, 64, 64)), axis=2).astype(np.float32)
    loose, tight = (superpixel(grey, SideMapConfig(compactness=c)) for c in (1.0, 1000.0))

    def spread(ids: np.ndarray) -> float:
        return float(np.mean([np.argwhere(ids == i).std(0).sum() for i in range(ids.max() + 1)]))

    assert spread(tight) < spread(superpixel(grey, CONFIG)) < spread(loose)


def test_a_constant_or_tiny_image_has_superpixels_too() -> None:
    assert superpixel(np.zeros((1, 16, 16), np.float32), CONFIG).max() >= 1
    assert superpixel(np.zeros((3, 4, 4), np.float32), CONFIG).max() == 0
    assert superpixel(np.zeros((1, 4, 5, 6), np.float32), CONFIG).max() == 0


@pytest.mark.parametrize(("shape", "count"), [((64, 64), 1), ((64, 64), 2), ((24, 24, 24), 1)])
def test_superpixels_keep_to_what_a_network_sees(shape: tuple[int, ...], count: int) -> None:
    """The image shows nothing at this edge; one grey channel and two features are not taken for RGB."""
    image = np.broadcast_to(np.linspace(0, 1, shape[0]).reshape(-1, *[1] * (len(shape) - 1)), (1, *shape))
    features = np.full((count, *shape), 0.2, np.float32)
    middle = shape[-1] // 2 + 3
    features[0, ..., middle:] = 0.8
    config = SideMapConfig(sigma=0)

    def across(ids: np.ndarray) -> int:
        return len(set(ids[..., :middle].ravel()) & set(ids[..., middle:].ravel()))

    assert across(superpixel(image, config)) > 2
    assert across(superpixel(image, config, features)) == 0


def test_features_are_softened_foreground_probabilities(tmp_path: Path) -> None:
    logits = np.random.default_rng(0).normal(0, 3, (3, 5, 6)).astype(np.float32)

    def softmax(z: np.ndarray) -> np.ndarray:
        return np.exp(z) / np.exp(z).sum(0)

    np.savez(tmp_path / "a.npz", probabilities=softmax(logits).astype(np.float16))
    config = SideMapConfig(features=tmp_path)
    found = read_features(features_file(config, "a"), 5.0)
    np.testing.assert_allclose(found, softmax(logits / 5)[1:], atol=2e-3)


def test_missing_or_strange_features_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"b\.npz does not exist.*--probabilities"):
        features_file(SideMapConfig(features=tmp_path), "b")
    np.savez(tmp_path / "b.npz", other=np.zeros(3))
    with pytest.raises(InputError, match=r"b\.npz holds no probabilities \(KeyError\)"):
        read_features(tmp_path / "b.npz", 5.0)
    (tmp_path / "b.npz").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(InputError, match=r"b\.npz holds no probabilities"):
        read_features(tmp_path / "b.npz", 5.0)


def test_a_key_holds_what_the_map_reads_and_nothing_else() -> None:
    other = SideMapConfig(compactness=1.0)
    assert SIDEMAPS["distance"].key("distance", "x", CONFIG) == SIDEMAPS["distance"].key("distance", "x", other)
    assert SIDEMAPS["superpixel"].key("superpixel", "x", CONFIG) != SIDEMAPS["superpixel"].key("superpixel", "x", other)


@pytest.mark.parametrize("shape", [(72, 24, 20), (77, 21, 30)])
def test_supervoxels_of_slabs_are_those_of_the_whole(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Their seeds are the same; a few voxels are another's, for they depend on what is far away."""
    smooth = gaussian_filter(np.random.default_rng(0).standard_normal(shape), 2)[None].astype(np.float32)
    config = SideMapConfig(supervoxel_voxels=64.0)
    whole = superpixel(smooth, config)
    monkeypatch.setattr(sidemaps, "SLAB", 50 * math.prod(shape[1:]))
    slabs = superpixel(smooth, config)
    assert slabs.max() == whole.max()
    assert (slabs != whole).mean() < 0.01
