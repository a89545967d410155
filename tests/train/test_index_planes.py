"""Training of the learned feature codec: loss, publishing, going on from what was published."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from smalto.codecs.index_planes import FrozenIndexPlaneCodec
from smalto.errors import UsageError
from smalto.train.image_codec import CodecObjective
from smalto.train.index_planes import IndexPlaneObjective, IndexPlaneObjectiveConfig
from smalto.train.recipes import build
from smalto.train.release import load_hyperprior
from smalto.train.release_planes import publish_index_planes
from smalto.weights.store import read_arrays
from tests.codecs.test_index_planes import TINY, plane
from tests.train.small import SMALL


def plane_batches() -> Iterator[Tensor]:
    """Smooth planes (2, 3, 64, 64) without end."""
    generator = torch.Generator().manual_seed(0)
    while True:
        coarse = torch.rand(2, 1, 8, 8, generator=generator)
        yield torch.nn.functional.interpolate(coarse, size=64, mode="bicubic").clamp(0, 1).expand(-1, 3, -1, -1)


def _objective(**settings: object) -> IndexPlaneObjective:
    torch.manual_seed(0)
    return IndexPlaneObjective(IndexPlaneObjectiveConfig(codec=TINY, **settings))  # type: ignore[arg-type]


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
    assert set(result.measures) == {"bpfp", "index_mse", "psnr_db"}
    assert all(p.grad is not None for p in objective.parameters())


def test_levels_of_one_lambda_and_of_all() -> None:
    fixed = _objective(fixed_q=128, lambdas=(0.004, 0.004))
    assert fixed.draw_levels(3, torch.device("cpu")).tolist() == [128.0] * 3
    assert fixed.lambda_of(torch.tensor([128.0])).tolist() == pytest.approx([0.004])
    levels = _objective().draw_levels(16, torch.device("cpu"))
    assert sorted((levels / 16).floor().tolist()) == list(range(16))


def test_preview_shows_three_reconstructions() -> None:
    assert _objective().preview(next(plane_batches())).shape == (3, 2 * 64, 4 * 64)


def test_published_codec_reads_its_own_bytes(tmp_path: Path) -> None:
    objective = _objective().eval()
    publish_index_planes(objective, plane_batches(), tmp_path)
    record = json.loads((tmp_path / "planes.json").read_text())
    arrays = read_arrays(tmp_path / "planes.safetensors")
    codec = FrozenIndexPlaneCodec.from_arrays(TINY, arrays)
    assert codec.digest.hex() == record["codec_digest"]
    assert codec.decode(codec.encode(plane(48, 64), 128), 48, 64).shape == (48, 64)
    fresh = _objective()
    load_hyperprior(fresh.codec.codec, arrays)
    before, after = objective.codec.codec.state_dict(), fresh.codec.codec.state_dict()
    assert all(torch.allclose(before[name], after[name], atol=2e-2) for name in before)


def test_other_objectives_are_not_published_as_planes(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a feature codec"):
        publish_index_planes(CodecObjective(SMALL), plane_batches(), tmp_path)
    with pytest.raises(UsageError, match="is no feature codec"):
        _objective().load_installed("lite-0")


def test_recipe_takes_one_lambda() -> None:
    run = build("feature-hyperprior", {"rate_lambda": "0.004", "crop_px": "64"})
    assert run.settings["rate_lambda"] == 0.004
    assert run.crops.size_px == 64
    assert build("feature-hyperprior", {}).settings["rate_lambda"] is None
