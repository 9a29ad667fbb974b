"""What is settled before training: the share of each batch that clean cases get."""

from __future__ import annotations

import pytest
import torch

from maskmend.engine.fit import TrainConfig
from maskmend.runs.train import with_clean_rows

CLEAN, NOISY, UNLABELED = 0, 1, 2


@pytest.mark.parametrize(
    ("batch", "share", "trust", "found"),
    [
        ({"any": 8}, 0.25, [CLEAN, NOISY], {"clean": 2, "imperfect": 6}),
        ({"any": 2}, 0.25, [CLEAN, UNLABELED], {"clean": 1, "imperfect": 1}),
        ({"any": 1}, 0.25, [CLEAN, NOISY], None),
        ({"any": 8}, 0.0, [CLEAN, NOISY], None),
        ({"any": 8}, 0.25, [CLEAN, CLEAN], None),
        ({"any": 8}, 0.25, [NOISY, UNLABELED], None),
        ({"any": 4, "clean": 1}, 0.25, [CLEAN, NOISY], None),
    ],
)
def test_clean_cases_get_their_share_of_a_batch_where_it_can_be_given(
    batch: dict[str, int], share: float, trust: list[int], found: dict[str, int] | None
) -> None:
    train = with_clean_rows(TrainConfig(batch=batch), share, torch.tensor(trust))
    assert train == TrainConfig(batch=found or batch)
