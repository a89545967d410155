"""The denoising objective: it learns, the space stays, heads publish and come back."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from smalto.errors import UsageError, WeightsError
from smalto.heads.denoise import Denoiser, LightDenoiser
from smalto.heads.pixel_denoise import PixelDenoiser
from smalto.train import denoising
from smalto.train.denoising import DenoiseConfig, DenoiseObjective
from smalto.train.loop import Budget, train
from smalto.train.recipes.neural_space_denoise import neural_space_denoise
from smalto.train.release_heads import denoise_network, publish_denoise, read_denoise
from smalto.train.shared_start import start_passing
from smalto.weights.store import read_arrays
from tests.shared_space import seeded_networks, smooth_pictures
from tests.train.small import pictures


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def _networks():  # type: ignore[no-untyped-def]
    encoder, decoder = seeded_networks()
    with torch.random.fork_rng():
        torch.manual_seed(1)
        start_passing(encoder, decoder)
    return encoder, decoder


def _objectives() -> list[DenoiseObjective]:
    return [DenoiseObjective(_networks), DenoiseObjective(_networks, "light"), DenoiseObjective(None)]


@pytest.mark.parametrize("number", range(3))
def test_the_head_learns_and_the_space_stays(number: int) -> None:
    objective = _objectives()[number]
    objective.start(iter(()))
    before = copy.deepcopy(objective.frozen.state_dict()) if objective.frozen is not None else {}
    optimiser, losses = torch.optim.Adam(objective.parameters(), 1e-3), []
    for _ in range(6):
        torch.manual_seed(3)
        result = objective(smooth_pictures(2, 32))
        optimiser.zero_grad()
        result.loss.backward()
        assert all(p.grad is not None for p in objective.head.parameters())
        optimiser.step()
        losses.append(float(result.loss.detach()))
    assert losses[-1] < 0.97 * losses[0]
    assert set(result.measures) == {"psnr_db", "noisy_psnr_db", "plane_error"}
    if objective.frozen is not None:
        assert all(torch.equal(value, before[name]) for name, value in objective.frozen.state_dict().items())
        assert all(p.grad is None for p in objective.frozen.parameters())
    assert all(name.startswith("head.") for name in objective.state_dict())


def test_the_loss_is_equation_six() -> None:
    config = DenoiseConfig(deviations=(20.0, 20.0), plane_weight=0.5)
    objective, x = DenoiseObjective(_networks, "exact", config), smooth_pictures(2, 32)
    assert objective.frozen is not None
    torch.manual_seed(5)
    loss = objective(x).loss
    torch.manual_seed(5)
    clean = objective.head(objective.frozen.planes(x)).z_b  # type: ignore[union-attr, arg-type]
    cleaned = objective.head(objective.frozen.planes(objective.noisy(x)))  # type: ignore[arg-type]
    variance = (clean - clean.mean(dim=(0, 2, 3), keepdim=True)).square().mean()
    error = (clean - cleaned.z_b).square().mean() / variance
    picture = denoising.reconstruction_loss(objective.frozen.decoder(cleaned), x, config.reconstruction)
    torch.testing.assert_close(loss, picture + 0.5 * error)


def test_noise_has_the_deviation_it_is_said_to_have() -> None:
    objective = DenoiseObjective(None, config=DenoiseConfig(deviations=(25.0, 25.0)))
    x = torch.full((4, 3, 128, 128), 0.5)
    assert float((objective.noisy(x) - x).std()) * 255 == pytest.approx(25.0, rel=0.02)
    spread = DenoiseObjective(None, config=DenoiseConfig(deviations=(10.0, 50.0)))
    deviations = (spread.noisy(x.repeat(8, 1, 1, 1)) - 0.5).std(dim=(1, 2, 3)) * 255
    assert 9 < float(deviations.min()) < 20 < 40 < float(deviations.max()) < 51


@pytest.mark.parametrize("number", range(3))
def test_heads_publish_and_come_back(number: int, tmp_path: Path) -> None:
    objective = _objectives()[number].requires_grad_(False)

    def batches():  # type: ignore[no-untyped-def]
        while True:
            yield smooth_pictures(2, 32)

    publish_denoise(objective, batches(), tmp_path / "weights")
    head = read_denoise(tmp_path)
    assert type(head) is (Denoiser, LightDenoiser, PixelDenoiser)[number]
    given: object = smooth_pictures(1, 32)
    if objective.frozen is not None:
        given = objective.frozen.planes(given)  # type: ignore[arg-type]
    shipped = copy.deepcopy(objective.head).half().float()
    ours, theirs = shipped(given), head(given)  # type: ignore[arg-type]
    for one, other in zip(*((a,) if isinstance(a, Tensor) else a for a in (ours, theirs)), strict=True):
        torch.testing.assert_close(one, other)
    record = json.loads((tmp_path / "weights" / "denoise.json").read_text())
    assert record["num_parameters"] == sum(p.numel() for p in head.parameters())
    assert (record["space"] == "pixels") == (number == 2)


def test_what_is_no_head_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no denoise\.safetensors"):
        read_denoise(tmp_path)
    with pytest.raises(WeightsError, match="not weights of a denoising head"):
        denoise_network({}, "a.safetensors")
    with pytest.raises(UsageError, match="deviations"):
        DenoiseConfig(deviations=(5.0, 1.0))


def test_a_run_on_pixels_publishes(tmp_path: Path) -> None:
    run = neural_space_denoise(space="pixels", batch_size=2, crop_px=32)
    train(run, Budget(pictures(tmp_path / "pictures"), tmp_path / "run", 1.0, max_steps=2), lambda line: None)
    arrays = read_arrays(tmp_path / "run" / "weights" / "denoise.safetensors")
    assert any(float(abs(a).max()) > 0 for name, a in arrays.items() if name.endswith("running_mean"))
    assert list((tmp_path / "run" / "samples").glob("*.png"))
