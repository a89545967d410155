"""Release: what ships decodes, and training goes on from it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from smalto.codecs.hyperprior import NUM_LEVELS
from smalto.codecs.hyperprior_frozen import FrozenHyperprior
from smalto.train import release
from smalto.train.image_codec import CodecObjective, principal_blocks
from smalto.weights.store import read_arrays
from tests.train.small import SMALL


def _batches() -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(0)
    while True:
        coarse = torch.rand(2, 3, 8, 8, generator=generator)
        yield torch.nn.functional.interpolate(coarse, size=64, mode="bicubic").clamp(0, 1)


def _objective() -> CodecObjective:
    torch.manual_seed(0)
    objective = CodecObjective(SMALL)
    objective.start(_batches())
    return objective.eval()


@given(st.lists(st.floats(0.01, 0.5), min_size=18, max_size=18))
def test_levels_rise_strictly_whatever_the_curve(increments: list[float]) -> None:
    rates, total = [], 0.02
    for number, increment in enumerate(increments):
        total += increment
        rates.append((15.0 * number, total))
    positions = release.place_levels(rates)
    assert positions.shape == (NUM_LEVELS,)
    assert bool((positions.diff() > 0).all())
    assert float(positions[0]) >= 0
    assert float(positions[-1]) <= NUM_LEVELS - 1


def test_levels_meet_the_rate_curve() -> None:
    rates = [(float(level), 0.05 * 1.015**level) for level in range(0, 256, 15)]
    positions = release.place_levels(rates)
    for quality, bpp in release.RATE_CURVE:
        level = float(positions[round(quality * 255 / 100)])
        assert 0.05 * 1.015**level == pytest.approx(bpp, rel=0.02)


def test_published_codec_reads_its_own_bytes(tmp_path: Path) -> None:
    objective = _objective()
    release.publish_codec(objective, _batches(), tmp_path)
    record = json.loads((tmp_path / "codec.json").read_text())
    arrays = read_arrays(tmp_path / "codec.safetensors")
    codec = FrozenHyperprior.from_arrays(
        SMALL.codec, {name[6:]: array for name, array in arrays.items() if name.startswith("codec.")}
    )
    y = objective.encoder(next(_batches())[:1]).detach()
    code = codec.encode(y, 128)
    decoded = codec.decode(code, y.shape[2], y.shape[3])
    assert float((decoded - y).abs().mean()) < float(y.abs().mean())
    assert release.codec_digest(codec).hex() == record["codec_digest"]


def test_principal_blocks_are_orthonormal() -> None:
    basis, deviation = principal_blocks(_batches(), 16, 12, num_batches=4)
    rows = basis.reshape(12, -1)
    torch.testing.assert_close(rows @ rows.T, torch.eye(12), rtol=0, atol=1e-4)
    assert bool((deviation.diff() <= 1e-6).all())


def test_another_objective_is_refused(tmp_path: Path) -> None:
    with pytest.raises(release.UsageError, match="not a super-resolution head"):
        release.publish_upscale(_objective(), _batches(), tmp_path)
