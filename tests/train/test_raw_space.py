"""The RAW encoder's objective: it learns, the space it learns against stays, it publishes and comes back."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from smalto.encoders.shared_cnn import SharedEncoder
from smalto.errors import UsageError, WeightsError
from smalto.heads.shared_decoder import SharedDecoder
from smalto.layers.bayer import mosaic_of
from smalto.systems.shared_space import shared_arrays, shared_decoder_digest
from smalto.train import release_raw_space
from smalto.train.raw_space import RawSpaceConfig, RawSpaceObjective, relative_error
from smalto.train.raw_start import start_from_pictures, window_demosaicing
from smalto.train.recipes.neural_space_raw import neural_space_raw
from smalto.train.release_raw_space import publish_raw_encoder, raw_encoder_of, raw_networks, space_networks
from smalto.train.shared_space import SharedSpaceObjective
from smalto.train.shared_start import start_passing
from smalto.weights.store import read_arrays, write_arrays
from tests.shared_space import seeded_networks, smooth_pictures


def _networks() -> tuple[SharedEncoder, SharedDecoder]:
    """A space that hands pictures through."""
    encoder, decoder = seeded_networks()
    with torch.random.fork_rng():
        torch.manual_seed(1)
        start_passing(encoder, decoder)
    return encoder, decoder


def _objective(**settings: object) -> RawSpaceObjective:
    torch.manual_seed(0)
    return RawSpaceObjective(_networks, RawSpaceConfig(**settings))  # type: ignore[arg-type]


def test_the_space_stays_and_the_encoder_moves() -> None:
    objective = _objective()
    objective.start(iter(()))
    before = copy.deepcopy(objective.frozen.state_dict())
    digest = shared_decoder_digest(objective.frozen.decoder)
    moving = copy.deepcopy(objective.encoder.state_dict())
    optimiser, losses = torch.optim.Adam(objective.parameters(), 1e-5), []
    for _ in range(8):
        result = objective(smooth_pictures(2, 32))
        optimiser.zero_grad()
        result.loss.backward()
        optimiser.step()
        losses.append(float(result.loss.detach()))
    assert losses[-1] < 0.95 * losses[0]
    assert all(p.grad is not None for p in objective.encoder.parameters())
    assert all(p.grad is None and not p.requires_grad for p in objective.frozen.parameters())
    assert all(torch.equal(before[name], value) for name, value in objective.frozen.state_dict().items())
    assert shared_decoder_digest(objective.frozen.decoder) == digest
    assert any(not torch.equal(moving[name], value) for name, value in objective.encoder.state_dict().items())


def test_only_the_raw_encoder_is_trained_and_saved() -> None:
    objective = _objective()
    assert sum(p.numel() for p in objective.parameters()) == 752_256
    assert all(name.startswith("encoder.") for name in objective.state_dict())
    assert {id(p) for p in objective.parameters()}.isdisjoint(id(p) for p in objective.frozen.parameters())


def test_measures_are_those_of_the_decodes() -> None:
    objective = _objective()
    objective.start(iter(()))
    batch = smooth_pictures(2, 32)
    measures = objective(batch).measures
    assert set(measures) == {"psnr_db", "decoder_psnr_db", "decodes_psnr_db", "z_b_error", "z_t_error"}
    assert all(not value.requires_grad for value in measures.values())
    assert float(measures["decoder_psnr_db"]) > 60  # the space hands pictures through
    assert float(measures["psnr_db"]) == pytest.approx(float(measures["decodes_psnr_db"]), abs=0.1)


def test_perfect_planes_cost_nothing() -> None:
    objective = _objective()
    batch = smooth_pictures(2, 32)

    class Cheat(torch.nn.Module):
        """Knows the answer."""

        def forward(self, raw: torch.Tensor) -> object:
            """The teacher's planes, whatever the mosaic."""
            assert torch.equal(raw, mosaic_of(batch))
            return objective.frozen.target(batch)[0]

    objective.encoder = Cheat()  # type: ignore[assignment]
    assert float(objective(batch).loss) == pytest.approx(0.0, abs=2e-3)  # decodes outside 0..1 alone cost


def test_the_planes_error_is_relative() -> None:
    torch.manual_seed(2)
    plane = torch.randn(2, 8, 10, 10)
    assert float(relative_error(plane, plane)) == 0.0
    assert float(relative_error(plane.flip(0), plane)) == pytest.approx(2.0, rel=0.1)
    assert float(relative_error(3 * plane + 0.3, 3 * plane)) == pytest.approx(0.01, rel=0.1)


def test_the_start_is_the_teacher_behind_a_filter() -> None:
    teacher, raw = seeded_networks()[0], SharedEncoder(1)
    start_from_pictures(raw, teacher)
    flat = torch.tensor([[0.2, 0.5, 0.9], [0.7, 0.1, 0.4]])[:, :, None, None].expand(2, 3, 96, 96)
    with torch.no_grad():
        for ours, theirs in zip(raw(mosaic_of(flat)), teacher(flat), strict=True):
            inner = slice(ours.shape[-1] // 2 - 2, ours.shape[-1] // 2 + 2)
            torch.testing.assert_close(ours[..., inner, inner], theirs[..., inner, inner], rtol=1e-3, atol=1e-4)
    with pytest.raises(UsageError, match="one channel"):
        start_from_pictures(teacher, teacher)


def test_the_filter_demosaics_ramps_inside_its_window() -> None:
    guess = window_demosaicing()
    torch.testing.assert_close(guess.sum(dim=(3, 4)), torch.ones(3, 4, 4))
    y, x = torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij")
    ramp = torch.stack([0.1 * x + 0.2 * y, 0.3 * x - 0.1 * y, 0.5 - 0.2 * x])
    seen = mosaic_of(ramp[None], "BGGR")[0, 0]
    guessed = torch.einsum("cijkl,kl->cij", guess, seen)
    torch.testing.assert_close(guessed[:, 1:3, 1:3], ramp[:, 1:3, 1:3])


def test_exposure_and_noise() -> None:
    grey = torch.full((64, 3, 32, 32), 0.4)
    plain = _objective()
    assert torch.equal(plain.exposed(grey), grey)
    assert torch.equal(plain.captured(grey), mosaic_of(grey))
    noisy = _objective(exposure=(0.5, 2.0), read_noise=0.03, shot_noise=0.001)
    exposed = noisy.exposed(grey)[:, 0, 0, 0]
    assert 0.2 <= float(exposed.min()) < 0.3
    assert 0.6 < float(exposed.max()) <= 0.8
    noise = noisy.captured(grey) - 0.4
    assert float(noise.std()) == pytest.approx((0.03**2 + 0.001 * 0.4) ** 0.5, rel=0.02)


def test_preview_shows_four_columns() -> None:
    objective = _objective()
    with torch.no_grad():
        assert objective.preview(smooth_pictures(2, 32)).shape == (3, 64, 128)


@pytest.mark.parametrize(
    "settings", [{"exposure": (0.0, 1.0)}, {"exposure": (2.0, 1.0)}, {"read_noise": -0.1}, {"plane_weight": -1.0}]
)
def test_impossible_settings_are_named(settings: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="RAW encoder"):
        RawSpaceConfig(**settings)  # type: ignore[arg-type]


def test_what_is_published_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    objective = _objective()
    publish_raw_encoder(objective, iter(()), tmp_path)
    record = json.loads((tmp_path / "raw.json").read_text())
    assert record["num_parameters"] == 752_256
    assert record["decoder_digest"] == shared_decoder_digest(objective.frozen.decoder).hex()
    arrays = read_arrays(tmp_path / "raw.safetensors")
    encoder, raw = raw_networks(arrays, "raw.safetensors"), mosaic_of(smooth_pictures(1, 16))
    with torch.no_grad():
        for ours, theirs in zip(encoder(raw), objective.encoder(raw), strict=True):
            assert float(F.mse_loss(ours, theirs)) < 1e-4 * float(theirs.var())
    of_run = raw_encoder_of(str(tmp_path), objective.frozen.decoder)
    assert all(torch.equal(of_run.state_dict()[name], value) for name, value in encoder.state_dict().items())
    with pytest.raises(UsageError, match="trained against decoder"):
        raw_encoder_of(str(tmp_path), seeded_networks()[1])
    with pytest.raises(UsageError, match=r"no raw\.safetensors inside"):
        raw_encoder_of(str(tmp_path / "none"), objective.frozen.decoder)
    (tmp_path / "raw.json").write_text("[]")
    with pytest.raises(WeightsError, match="names no decoder"):
        raw_encoder_of(str(tmp_path), objective.frozen.decoder)
    monkeypatch.setattr(release_raw_space, "system_record", lambda name: SimpleNamespace(files={"raw": None}))
    monkeypatch.setattr(release_raw_space, "read_installed", lambda entry: arrays)
    other = _objective()
    other.load_installed("neural-space")
    assert all(torch.equal(other.encoder.state_dict()[name], value) for name, value in encoder.state_dict().items())
    monkeypatch.setattr(release_raw_space, "read_installed", lambda entry: {})
    with pytest.raises(UsageError, match="not weights of a RAW encoder"):
        other.load_installed("neural-space")
    with pytest.raises(UsageError, match="holds no RAW encoder"):
        publish_raw_encoder(SharedSpaceObjective(), iter(()), tmp_path)


def test_the_space_comes_from_a_run(tmp_path: Path) -> None:
    networks = _networks()
    weights = tmp_path / "weights"
    weights.mkdir()
    write_arrays(weights / "space.safetensors", shared_arrays(*networks))
    expected = shared_decoder_digest(networks[1])
    for source in (tmp_path, weights, weights / "space.safetensors"):
        assert shared_decoder_digest(space_networks(str(source))[1]) == expected
    run = neural_space_raw(space=str(tmp_path), max_exposure=2.0, crop_px=64)
    objective = run.objective()
    assert isinstance(objective, RawSpaceObjective)
    assert objective.config.exposure == (0.5, 2.0)
    assert shared_decoder_digest(objective.frozen.decoder) == expected


def test_what_is_no_space_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no space\.safetensors inside"):
        space_networks(str(tmp_path))
    with pytest.raises(UsageError, match="--set space=RUN"):
        space_networks(str(tmp_path / "nothing"))
    with pytest.raises(UsageError, match="not a shared space"):
        space_networks("default")
    with pytest.raises(UsageError, match="no RAW encoder to start from"):
        _objective().load_installed("default")
    write_arrays(tmp_path / "space.safetensors", {"encoder.x": np.zeros(2, np.float32)})
    with pytest.raises(WeightsError, match="not weights of the shared neural space"):
        space_networks(str(tmp_path))
