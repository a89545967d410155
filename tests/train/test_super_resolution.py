"""The super-resolution objective on a small space: what is frozen stays, what is trained moves."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from smalto.heads.super_resolve import SuperResolver, SuperResolverConfig
from smalto.train import super_resolution
from smalto.train.super_resolution import UpscaleObjective
from tests.tiny_models import TINY_SUPER, seeded, tiny_system


@pytest.fixture
def objective(monkeypatch: pytest.MonkeyPatch) -> UpscaleObjective:
    """The objective over the tiny system instead of an installed one."""
    system = tiny_system()
    monkeypatch.setattr("smalto.systems.load", lambda *args, **kwargs: system)
    monkeypatch.setattr(super_resolution, "SuperResolver", lambda: seeded(SuperResolver, TINY_SUPER))
    return UpscaleObjective("tiny")


def _pictures() -> torch.Tensor:
    torch.manual_seed(0)
    return F.interpolate(torch.rand(2, 3, 12, 12), size=128, mode="bicubic").clamp(0, 1)


def test_only_the_head_is_trained(objective: UpscaleObjective) -> None:
    objective.start(iter(()))
    result = objective(_pictures())
    result.loss.backward()
    assert all(p.grad is not None for p in objective.resolver.parameters())
    assert all(p.grad is None and not p.requires_grad for p in objective.frozen.parameters())
    assert set(result.measures) == {"psnr_db", "ssim"}


def test_the_space_is_not_saved_with_the_head(objective: UpscaleObjective) -> None:
    assert all(name.startswith("resolver.") for name in objective.state_dict())
    objective.load_state_dict(objective.state_dict())


def test_the_decoder_starts_the_super_decoder(objective: UpscaleObjective) -> None:
    objective.start(iter(()))
    for name, value in objective.frozen.decoder.state_dict().items():
        assert torch.equal(objective.resolver.super_decoder.state_dict()[name], value), name


def test_latents_are_what_the_file_would_hold(objective: UpscaleObjective) -> None:
    system, small = tiny_system(), objective.halved(_pictures())
    coded = objective.frozen.coded(small, torch.tensor([102, 204]))
    for k, q in enumerate((102, 204)):
        picture = (small[k] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        packet = system.encode(picture, quality=q * 100 / 255)
        latent = system.latent(packet).planes["y"][0]
        assert float(torch.isclose(coded[k], latent, atol=2e-2, rtol=2e-2).float().mean()) > 0.9


def test_preview_shows_three_columns(objective: UpscaleObjective) -> None:
    assert objective.preview(_pictures()).shape == (3, 256, 384)


def test_the_linear_path_interpolates() -> None:
    """With an orthonormal block transform, the start enlarges smooth blocks nearly as interpolation does."""
    config = TINY_SUPER
    assert isinstance(config, SuperResolverConfig)
    resolver = seeded(SuperResolver, config)
    decoder, encode_linear = resolver.super_decoder, torch.nn.Conv2d(3, config.decoder.latent_channels, 16, stride=16)
    basis, _ = torch.linalg.qr(
        torch.randn(768, config.decoder.latent_channels, generator=torch.Generator().manual_seed(0))
    )
    blocks = basis.T.reshape(-1, 3, 16, 16)
    with torch.no_grad():
        encode_linear.weight.copy_(blocks)
        assert decoder.linear is not None
        decoder.linear.weight.copy_(blocks)
    resolver.start_from(decoder, encode_linear)
    assert resolver.super_net.linear is not None
    y = torch.randn(1, config.decoder.latent_channels, 1, 1)
    doubled = F.pixel_shuffle(resolver.super_net.linear(y), 2)
    block = F.pad(F.conv_transpose2d(y, blocks, stride=16), (2, 2, 2, 2), mode="replicate")
    large = F.interpolate(block, scale_factor=2.0, mode="bicubic", align_corners=False)[:, :, 4:-4, 4:-4]
    torch.testing.assert_close(doubled, F.conv2d(large, blocks, stride=16), rtol=1e-4, atol=1e-4)
