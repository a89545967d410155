"""Training of the ELIC feature codec: loss, publishing, the tier that reads what was published, going on from it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from smalto.codecs.elic_frozen import FrozenElic
from smalto.codecs.elic_planes import ElicPlaneCodec, FrozenElicPlaneCodec
from smalto.codecs.index_planes import IndexPlaneCodec
from smalto.systems.feature_networks import LearnedTier, codec_of_file, fit_learned
from smalto.systems.feature_tiers import FitGoal
from smalto.train.index_planes import IndexPlaneObjective, IndexPlaneObjectiveConfig, plane_codec
from smalto.train.recipes import build
from smalto.train.release import load_hyperprior
from smalto.train.release_planes import part_of, plane_rates, publish_index_planes
from smalto.weights.store import read_arrays
from tests.codecs.test_index_planes import TINY
from tests.systems.test_feature_networks import tokens
from tests.tiny_elic import TINY_ELIC_PLANES
from tests.train.test_index_planes import plane_batches


def _objective(**settings: object) -> IndexPlaneObjective:
    torch.manual_seed(0)
    return IndexPlaneObjective(IndexPlaneObjectiveConfig(codec=TINY_ELIC_PLANES, **settings))  # type: ignore[arg-type]


def test_the_configuration_chooses_the_codec() -> None:
    assert isinstance(plane_codec(TINY_ELIC_PLANES), ElicPlaneCodec)
    assert isinstance(plane_codec(TINY), IndexPlaneCodec)
    assert part_of(plane_codec(TINY_ELIC_PLANES)) == "elic"
    with torch.device("meta"):
        objective = build("feature-elic", {"rate_lambda": "0.007"}).objective()
    assert isinstance(objective, IndexPlaneObjective)
    assert isinstance(objective.codec, ElicPlaneCodec)
    assert objective.config.lambdas == (0.007, 0.007)
    assert sum(p.numel() for p in objective.parameters()) == pytest.approx(37.48e6, rel=0.001)


def test_loss_falls_and_every_weight_learns() -> None:
    objective = _objective()
    optimiser = torch.optim.Adam(objective.parameters(), 2e-3)
    batch, losses = next(plane_batches()), []
    for _ in range(40):
        result = objective(batch)
        optimiser.zero_grad()
        result.loss.backward()
        optimiser.step()
        losses.append(float(result.loss.detach()))
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
    assert all(p.grad is not None for p in objective.parameters())


def test_published_codec_is_read_by_its_tier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_index_planes(_objective().eval(), plane_batches(), tmp_path)
    record = json.loads((tmp_path / "elic.json").read_text())
    codec = codec_of_file(tmp_path / "elic.safetensors")
    assert isinstance(codec, FrozenElicPlaneCodec)
    assert codec.config == TINY_ELIC_PLANES
    assert codec.digest.hex() == record["codec_digest"]
    tier = LearnedTier(fit_learned("elic", tokens(4), "float32", FitGoal(), codec), codec)
    arrays = tokens(3, 1)
    arrays[0][3, 4] = np.nan
    part = tier.encode(arrays, "float32")
    read: list[Tensor] = []
    own = FrozenElic.read_symbols

    def reading(self: FrozenElic, *arguments: object) -> Tensor:
        read.append(own(self, *arguments))  # type: ignore[arg-type]
        return read[-1]

    monkeypatch.setattr(FrozenElic, "read_symbols", reading)
    threads = torch.get_num_threads()
    try:
        backs = []
        for number in (1, 3):
            torch.set_num_threads(number)
            backs.append(tier.decode(part, 3, (32, 48), "float32"))
    finally:
        torch.set_num_threads(threads)
    assert len(read) == 2
    assert read[0].abs().sum() > 0
    assert torch.equal(read[0], read[1])
    assert all(np.allclose(first, second, atol=1e-4, equal_nan=True) for first, second in zip(*backs, strict=True))
    assert np.isnan(backs[0][0][3, 4])


def test_training_goes_on_from_what_was_published(tmp_path: Path) -> None:
    objective = _objective()
    publish_index_planes(objective, plane_batches(), tmp_path)
    torch.manual_seed(8)
    fresh = plane_codec(TINY_ELIC_PLANES)
    load_hyperprior(fresh.codec, read_arrays(tmp_path / "elic.safetensors"))
    before, after = objective.codec.codec.state_dict(), fresh.codec.state_dict()
    assert all(torch.allclose(before[name], after[name], atol=2e-2) for name in before)


def test_one_lambda_is_measured_at_its_own_level() -> None:
    rates = plane_rates(_objective(fixed_q=128, lambdas=(0.007, 0.007)), plane_batches(), 1)
    assert [level for level, _ in rates] == [128.0]
    assert len(plane_rates(_objective(), plane_batches(), 1)) == 18
