"""Metrics against the numbers that the evaluation code of earlier work (MedPy) gives for one pair of masks."""

from __future__ import annotations

import numpy as np
import pytest

from maskmend.metrics import asd, assd, dice, hd95_pooled, jaccard, overlap, surface_distances

NAME = "alc_dsc_mlb_alc_parents"


@pytest.fixture
def arrays(golden):
    return golden(NAME)


def test_overlap_and_distances(arrays):
    pair = arrays["met_pred"].astype(np.uint8), arrays["met_gt"].astype(np.uint8)
    counts, distances = overlap(*pair, [1])[1], surface_distances(*pair, [1])[1]
    found = [dice(counts), jaccard(counts), hd95_pooled(distances), asd(distances)]
    assert found == pytest.approx(arrays["met_dc_jc_hd95_asd_pred_gt"].tolist(), rel=1e-12)
    assert assd(distances) == pytest.approx(arrays["met_assd"].item(), rel=1e-12)


def test_the_average_distance_has_a_direction(arrays):
    swapped = surface_distances(arrays["met_gt"], arrays["met_pred"], [1])[1]
    assert asd(swapped) == pytest.approx(arrays["met_asd_gt_pred"].item(), rel=1e-12)


def test_spacing(arrays):
    distances = surface_distances(arrays["met_pred"], arrays["met_gt"], [1], (0.625, 0.625, 0.625))[1]
    assert hd95_pooled(distances) == pytest.approx(arrays["met_hd95_spacing_.625"].item(), rel=1e-12)
    assert asd(distances) == pytest.approx(arrays["met_asd_spacing_.625"].item(), rel=1e-12)
