"""What is packed comes back."""

from __future__ import annotations

import pytest
import torch

from maskmend.functional.packed import Packed


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64])
@pytest.mark.parametrize("shape", [(2, 3, 4), (0, 5), (3, 2, 4, 4)])
def test_what_goes_in_comes_out(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    value = torch.randint(0 if dtype == torch.uint8 else -1, 200, shape).to(dtype)
    for view in (value, value.transpose(0, 1)):
        back = Packed.of(view).open()
        assert back.dtype == dtype
        assert torch.equal(back, view)
        back.zero_()  # its memory is its own


def test_a_mask_becomes_small() -> None:
    mask = torch.zeros(256, 256, dtype=torch.int16)
    mask[100:150, 80:170] = 1
    assert len(Packed.of(mask).data) < mask.numel() * 2 / 50
