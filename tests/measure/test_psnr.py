"""PSNR against its formula, for arrays and for batches."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from smalto.errors import UsageError
from smalto.measure.psnr import mean_squared_error, psnr_db, psnr_tensor


def test_known_values() -> None:
    black = np.zeros((4, 4, 3), np.uint8)
    assert psnr_db(black, black) == math.inf
    assert psnr_db(black, black + 255) == 0.0
    assert psnr_db(black, black + 1) == pytest.approx(48.1308, abs=1e-4)
    assert mean_squared_error(black, black + 16) == 256.0
    assert psnr_db(black / 255.0, (black + 1) / 255.0) == pytest.approx(48.1308, abs=1e-4)


@given(st.integers(0, 2**31 - 1))
@settings(max_examples=20, deadline=None)
def test_tensor_and_array_agree_picture_by_picture(seed: int) -> None:
    generator = np.random.default_rng(seed)
    pictures = generator.integers(0, 256, (2, 3, 5, 8, 3)).astype(np.uint8)
    first, second = (torch.from_numpy(part).permute(0, 3, 1, 2).float() / 255 for part in pictures)
    for value, a, b in zip(psnr_tensor(first, second), *pictures, strict=True):
        assert float(value) == pytest.approx(psnr_db(a, b), abs=1e-3)


def test_equal_batches_are_capped_and_have_a_gradient() -> None:
    picture = torch.rand(1, 3, 4, 4, requires_grad=True)
    value = psnr_tensor(picture, picture.detach())
    assert value.item() == pytest.approx(100.0)
    value.sum().backward()
    assert picture.grad is not None
    assert bool(torch.isfinite(picture.grad).all())


def test_wrong_use_is_named() -> None:
    byte, real = np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2, 3))
    with pytest.raises(UsageError, match="convert one"):
        psnr_db(byte, real)
    with pytest.raises(UsageError, match="cannot be compared"):
        psnr_db(byte, byte[:1])
    with pytest.raises(UsageError, match="not \\(B, C, H, W\\)"):
        psnr_tensor(torch.zeros(3, 4, 4), torch.zeros(3, 4, 4))
