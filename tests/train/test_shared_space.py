"""The shared space's objective: it learns, its regulariser vanishes for what is equivariant, it publishes."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalto.encoders.shared_cnn import SharedEncoder
from smalto.errors import UsageError
from smalto.heads.shared_decoder import SharedDecoder
from smalto.layers.shared_planes import SharedPlanes
from smalto.systems.shared_space import shared_decoder_digest, shared_networks
from smalto.train import release_shared_space
from smalto.train.equivariance import AffineRange
from smalto.train.image_codec import CodecObjective
from smalto.train.recipes import neural_space as recipe
from smalto.train.release_shared_space import publish_shared_space
from smalto.train.shared_space import SharedSpaceConfig, SharedSpaceObjective
from smalto.train.soap import Soap
from smalto.weights.store import read_arrays
from tests.shared_space import smooth_pictures
from tests.train.small import SMALL


def _objective(**settings: object) -> SharedSpaceObjective:
    torch.manual_seed(0)
    return SharedSpaceObjective(SharedSpaceConfig(**settings))  # type: ignore[arg-type]


def _losses(objective: SharedSpaceObjective, optimiser: torch.optim.Optimizer, steps: int) -> list[float]:
    batch, losses = smooth_pictures(2, 32), []
    for _ in range(steps):
        torch.manual_seed(1)  # the same affines each time
        result = objective(batch)
        optimiser.zero_grad()
        result.loss.backward()
        optimiser.step()
        losses.append(float(result.loss.detach()))
    return losses


@pytest.mark.parametrize("method", ["adam", "soap"])
def test_a_few_steps_lower_the_loss(method: str) -> None:
    objective = _objective(margin_px=4.0)
    parameters = list(objective.parameters())
    optimiser = torch.optim.Adam(parameters, 1e-3) if method == "adam" else Soap(parameters, 1e-3)
    losses = _losses(objective, optimiser, 8)
    assert losses[-1] < 0.8 * losses[0]
    assert all(p.grad is not None for p in parameters)


def test_measures_and_the_ablation() -> None:
    batch = smooth_pictures(3, 32)
    full = _objective(margin_px=4.0)(batch)
    assert set(full.measures) == {"psnr_db", "transformed_psnr_db", "z_b_error", "z_t_error"}
    assert all(not value.requires_grad for value in full.measures.values())
    plain = _objective(regulariser_weight=0.0)(batch)
    assert set(plain.measures) == {"psnr_db"}
    assert float(plain.loss.detach()) < float(full.loss.detach())


class _Means(nn.Module):
    """Means over blocks: of a linear ramp they move exactly with the picture."""

    def forward(self, x: Tensor) -> SharedPlanes:
        """(B, 3, H, W) -> planes of three channels."""
        return SharedPlanes(F.avg_pool2d(x, 2), F.avg_pool2d(x, 4))


class _Lines(nn.Module):
    """Linear interpolation: of a linear ramp it gives the ramp back."""

    def forward(self, planes: SharedPlanes) -> Tensor:
        """Planes -> (B, 3, H, W)."""
        return F.interpolate(planes.z_b, scale_factor=2, mode="bilinear", align_corners=False)


def test_the_regulariser_is_zero_for_what_is_equivariant() -> None:
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    ramps = torch.stack([0.2 + x / 128, 0.9 - y / 96, 0.1 + (x + y) / 256])[None].repeat(4, 1, 1, 1)
    losses = {}
    for weight in (0.0, 1.0):
        objective = _objective(
            regulariser_weight=weight, regularised_share=1.0, affines=AffineRange(180.0, (0.8, 1.25), 0.1)
        )
        objective.encoder, objective.decoder = _Means(), _Lines()  # type: ignore[assignment]
        torch.manual_seed(3)
        result = objective(ramps)
        losses[weight] = float(result.loss)
        if weight:
            assert float(result.measures["z_b_error"]) < 1e-3
            assert float(result.measures["z_t_error"]) < 1e-3
            assert float(result.measures["transformed_psnr_db"]) > 70
    assert losses[1.0] == pytest.approx(losses[0.0], abs=1e-4)


def test_pictures_shown_side_by_side() -> None:
    objective = _objective()
    objective.start(iter(()))
    with torch.no_grad():
        shown = objective.preview(smooth_pictures(2, 32))
    assert shown.shape == (3, 64, 128)
    torch.testing.assert_close(shown[:, :, :32], shown[:, :, 32:64], rtol=0, atol=1e-4)


def test_published_networks_are_those_that_were_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    objective = _objective()
    publish_shared_space(objective, iter(()), tmp_path)
    record = json.loads((tmp_path / "space.json").read_text())
    assert record["num_parameters"] == 754_304 + 301_571
    assert record["objective"]["regulariser_weight"] == 0.25
    arrays = read_arrays(tmp_path / "space.safetensors")
    encoder, decoder = shared_networks(arrays, "space.safetensors")
    assert isinstance(encoder, SharedEncoder)
    assert isinstance(decoder, SharedDecoder)
    assert shared_decoder_digest(decoder).hex() == record["decoder_digest"]
    x = smooth_pictures(1, 16)
    with torch.no_grad():
        torch.testing.assert_close(decoder(encoder(x)), objective.decoder(objective.encoder(x)), rtol=0, atol=5e-3)
    monkeypatch.setattr(release_shared_space, "system_record", lambda name: SimpleNamespace(files={"space": None}))
    monkeypatch.setattr(release_shared_space, "read_installed", lambda entry: arrays)
    torch.manual_seed(9)
    other = SharedSpaceObjective()
    other.load_installed("neural-space")
    for name, value in encoder.state_dict().items():
        assert torch.equal(other.encoder.state_dict()[name], value)


def test_what_is_no_shared_space_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="not a shared space; publish"):
        publish_shared_space(CodecObjective(SMALL), iter(()), tmp_path)
    with pytest.raises(UsageError, match="system default is not a shared space"):
        _objective().load_installed("default")
    monkeypatch.setattr(release_shared_space, "system_record", lambda name: SimpleNamespace(files={"space": None}))
    monkeypatch.setattr(release_shared_space, "read_installed", lambda entry: {})
    with pytest.raises(UsageError, match="not weights of the shared neural space"):
        _objective().load_installed("neural-space")
    with pytest.raises(UsageError, match="regularised_share"):
        SharedSpaceConfig(regularised_share=0.0)


def test_the_recipe_passes_its_settings_on() -> None:
    run = recipe.neural_space(regulariser_weight=0.0, method="adam", crop_px=96, max_scale=2.0)
    objective = run.objective()
    assert isinstance(objective, SharedSpaceObjective)
    assert objective.config.regulariser_weight == 0.0
    assert objective.config.affines.scale == (0.5, 2.0)
    assert (run.optimisation.method, run.optimisation.betas, run.crops.size_px) == ("adam", (0.9, 0.98), 96)
