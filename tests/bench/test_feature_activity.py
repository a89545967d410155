"""Active latents: symbols are those that are coded, channels count once, other codecs are refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from smalto.bench.feature_activity import ActivityProbe, activity, activity_table, planes
from smalto.codecs.hyperprior_frozen import FrozenHyperprior
from smalto.codecs.index_planes import freeze_index_planes
from smalto.codecs.lloyd_max import LloydMax
from smalto.codecs.truncation import Truncation
from smalto.errors import UsageError
from tests.codecs.test_index_planes import TINY, plane, tiny


def test_shares_are_those_of_the_decoded_symbols() -> None:
    network = freeze_index_planes(tiny())
    levels = plane(64, 96).astype(np.float32)
    found = activity(network, [levels], 255)
    code = network.encode_levels(levels, 255)
    y_hat = network.codec.decode(code, 4, 6)
    coder = network.codec
    assert isinstance(coder, FrozenHyperprior)
    mean = coder.mean_path(coder.decode_hyper(code, 4, 6).float())[:, :, :4, :6]
    nonzero = (y_hat - mean)[0].abs() > 1e-4
    assert found.symbols == pytest.approx(float(nonzero.float().mean()), abs=0.02)
    assert 0 < found.symbols < found.channels <= 1
    assert found.channels == pytest.approx(float(nonzero.flatten(1).any(1).float().mean()), abs=0.1)
    with torch.no_grad():
        coder.gain.zero_()
    assert activity(network, [levels, levels], 255) == activity(network, [levels], 255)
    assert activity(network, [levels], 255).channels == 0


def test_rows_stand_linear_beside_transformed() -> None:
    network = freeze_index_planes(tiny())
    generator = np.random.default_rng(0)
    features = [generator.standard_t(2, (4, 24, 24)).astype(np.float32) for _ in range(3)]
    transform, cut = LloydMax.fit([f.astype(np.float16) for f in features]), Truncation.fit(features)
    row = ActivityProbe(network, network, 255).row("t", features, transform, cut)
    table = activity_table([row], 255)
    cells = dict(zip(table.columns, table.rows[0], strict=True))
    assert cells["values"] == 3 * 4 * 24 * 24
    assert float(cells["symbols_after_percent"] or 0) > float(cells["symbols_before_percent"] or 0)
    (whole,) = planes(features, cut.forward)
    assert whole.dtype == np.float32
    assert whole.size == 3 * 4 * 24 * 24


def test_nothing_to_count_is_refused() -> None:
    network = freeze_index_planes(tiny())
    with pytest.raises(UsageError, match="no planes"):
        activity(network, [], 0)
    network.codec = torch.nn.Identity()  # type: ignore[assignment]
    with pytest.raises(UsageError, match="hyperprior"):
        activity(network, [np.zeros((64, 64), np.float32)], 0)
    assert TINY.filters == 8
