"""Deep Self-cleansing against a float64 reference of its equations and scikit-learn. No code was released."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from maskmend.functional.gmm import Mixture, fit, small
from maskmend.functional.prototypes import cells, likeness, prototypes, representation, representative
from maskmend.functional.regions import tidy

Arrays = dict[str, np.ndarray]


@pytest.fixture
def reference(golden: Callable[[str], Arrays]) -> dict[str, Tensor]:
    arrays = golden("alc_dsc_mlb_reference_readings")
    return {name: torch.from_numpy(np.ascontiguousarray(arrays[name])) for name in arrays if name[:3] in ("lfm", "lcm")}


def assert_is(found: Mixture, reference: dict[str, Tensor], suffix: str = "") -> None:
    for name, value in (("mu", found.mean), ("var", found.var), ("w", found.weight)):
        torch.testing.assert_close(value, reference[f"lfm_{name}{suffix}"], rtol=1e-10, atol=1e-12)


def test_the_mixture_and_its_posteriors(reference: dict[str, Tensor]) -> None:
    value = reference["lfm_Lnorm"]
    found = fit(value)
    assert_is(found, reference)
    torch.testing.assert_close(found.posterior(value), reference["lfm_p_clean"], rtol=1e-10, atol=1e-12)


def test_a_mixture_with_one_wide_component(reference: dict[str, Tensor]) -> None:
    """The reference made three rounds; ours would stop a little before, at the same tolerance."""
    loss = reference["lfm_L_wide"]
    value = (loss - loss.min()) / (loss.max() - loss.min())
    found = fit(value, iterations=3, tolerance=0)
    assert_is(found, reference, "_wide")
    torch.testing.assert_close(found.posterior(value), reference["lfm_p_clean_wide"], rtol=1e-10, atol=1e-12)
    assert torch.equal(small(loss, monotone=False), reference["lfm_p_clean_wide"] > 0.5)


@pytest.mark.parametrize("monotone", [True, False])
def test_decisions_are_those_of_sklearn(monotone: bool, reference: dict[str, Tensor]) -> None:
    chosen = small(reference["lfm_L"], monotone)
    assert torch.equal(chosen, reference["lfm_p_clean_sklearn"] > 0.5)


def test_grid_prototypes_and_the_pseudo_label(reference: dict[str, Tensor]) -> None:
    """Eqs. 4-6 against a double loop over cells and over pixels, and the mask that remains."""
    features, region, side = reference["lcm_f"][None], reference["lcm_R"][None, None], int(reference["lcm_K"])
    cell = tuple(n // side for n in region.shape[2:])
    found = cells(features, region, cell)
    assert found.place.tolist() == reference["lcm_in_R"].nonzero().flatten().tolist()
    expected = reference["lcm_grid_feat"].T[found.place].float()
    torch.testing.assert_close(found.means, expected, rtol=1e-5, atol=1e-6)

    degree = representation(found, 1)
    torch.testing.assert_close(degree, reference["lcm_D"][found.place].float(), rtol=1e-5, atol=1e-5)
    chosen = representative(degree, found, 1, 0.7)
    assert found.place[chosen].tolist() == reference["lcm_rep"].nonzero().flatten().tolist()

    likely = likeness(features, prototypes(features, region, cell, 0.7))[:, 0]
    torch.testing.assert_close(likely[0], reference["lcm_Pfg"].float(), rtol=1e-5, atol=1e-6)
    assert torch.equal(likely[0] > 0.7, reference["lcm_raw"])
    assert torch.equal(tidy(likely > 0.7, 0.1)[0], reference["lcm_post"])
