"""Samples that a profile of the fast tier is fitted on: as fields of finite values, and fewer of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from smalto.codecs.feature_values import bits_of, dtype_name_of, widened
from smalto.codecs.pack import checked_shape, to_field
from smalto.errors import UsageError

MAX_CHANNELS = 1 << 20
OUTLIER = 1e6
LARGEST = 1e37
USUAL_VALUES = 1 << 18


def sample_fields(samples: Sequence[np.ndarray], layout: str) -> list[np.ndarray]:
    """The samples as fields of finite values; what is not finite or absurdly far out becomes its channel's mean."""
    fields = []
    for sample in samples:
        array = np.asarray(sample)
        name = dtype_name_of(array)
        shape = checked_shape(array.shape, layout)
        stack = bits_of(array, name)[None].view(np.uint16 if name == "bfloat16" else name)
        if math.prod(shape):
            fields.append(np.ascontiguousarray(widened(to_field(stack, layout), name)))
    if not fields:
        raise UsageError("features: the samples have no values; give some that have")
    channels = fields[0].shape[3]
    if any(field.shape[3] != channels for field in fields) or channels > MAX_CHANNELS:
        raise UsageError("features: samples of different channel counts; fit one profile for each")
    rows = np.concatenate([field.reshape(-1, channels) for field in fields])
    some = rows.reshape(-1)[:: max(1, rows.size // USUAL_VALUES)]
    finite = some[np.isfinite(some)]
    if finite.size == 0:
        raise UsageError("features: the samples have no finite value; give some that have")
    middle = float(np.median(finite))
    with np.errstate(invalid="ignore", over="ignore"):
        usual = float(np.quantile(np.abs(finite - middle), 0.9)) or float(np.abs(finite - middle).max()) or 1.0
        reach = min(OUTLIER * usual, LARGEST)
        good = np.abs(rows - middle) <= reach
        if good.all():
            return fields
        mean = np.where(good, rows, 0).sum(0, dtype=np.float64) / np.maximum(good.sum(0), 1)
        return [np.where(np.abs(field - middle) <= reach, field, mean.astype(field.dtype)) for field in fields]


def thinned(fields: list[np.ndarray], num_values: int) -> list[np.ndarray]:
    """About ``num_values`` values of the fields: whole fields first, then bands of their rows."""
    total = sum(field.size for field in fields)
    if total <= num_values:
        return fields
    kept = []
    for field in fields:
        share = num_values * field.size // total
        samples, height = field.shape[:2]
        rows = max(1, min(height, share // (field.size // (samples * height))))
        count = max(1, min(samples, share // (rows * field.size // (samples * height))))
        middle = (height - rows) // 2
        kept.append(np.ascontiguousarray(field[:: max(1, samples // count)][:count, middle : middle + rows]))
    return kept
