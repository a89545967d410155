"""Samples to fit on: fields of finite values, thinned, refused when there is nothing in them."""

from __future__ import annotations

import numpy as np
import pytest

from smalto.codecs.feature_samples import sample_fields, thinned
from smalto.errors import UsageError


def test_thinning_keeps_channels_and_about_the_number() -> None:
    fields = [np.zeros((3, 40, 30, 8), np.float32), np.zeros((1, 10, 10, 8), np.float32)]
    some = thinned(fields, 4000)
    assert [field.shape[3] for field in some] == [8, 8]
    assert 1000 < sum(field.size for field in some) < 8000
    assert thinned(fields, 1 << 20) is fields


def test_what_is_not_finite_or_absurd_becomes_the_mean_of_its_channel() -> None:
    sample = np.tile(np.array([1.0, 2.0, 3.0], np.float32), (50, 1))
    sample[3, 0], sample[4, 1], sample[5, 2] = np.nan, -np.inf, 1e30
    field = sample_fields([sample], "tokens")[0]
    assert field.shape == (1, 50, 1, 3)
    assert np.allclose(field, [1, 2, 3])


def test_half_precision_maps() -> None:
    sample = np.arange(24, dtype=np.float16).reshape(2, 3, 4)
    field = sample_fields([sample], "maps")[0]
    assert field.dtype == np.float32
    assert np.array_equal(field[0, :, :, 1], sample[1])


@pytest.mark.parametrize(
    "samples",
    [
        [np.zeros((0, 4), np.float32)],
        [np.full((3, 4), np.nan, np.float32)],
        [np.zeros((3, 4), np.float32), np.zeros((3, 5), np.float32)],
        [np.zeros((3, 4), np.int32)],
        [np.zeros(4, np.float32)],
    ],
)
def test_nothing_to_fit_on(samples: list[np.ndarray]) -> None:
    with pytest.raises(UsageError):
        sample_fields(samples, "tokens")
