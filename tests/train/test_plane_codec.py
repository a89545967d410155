"""The objective of the shared space's codec: where it starts, what it trains, what it leaves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from smalto.encoders.shared_cnn import SharedEncoder
from smalto.errors import UsageError
from smalto.heads.denoise import LightDenoiser
from smalto.heads.image import Decoder
from smalto.heads.pixel_denoise import PixelDenoiser
from smalto.heads.segment import Segmenter
from smalto.heads.shared_decoder import SharedDecoder
from smalto.systems import plane_latent
from smalto.systems.multitask_codec import LiteNetworks
from smalto.systems.plane_base import base_transform, block_order
from smalto.systems.plane_latent import base_networks, latent_networks
from smalto.train import plane_codec_start, release_latent
from smalto.train.plane_codec import PlaneCodecConfig, PlaneCodecObjective
from smalto.train.release_latent import heads_of, publish_latent
from smalto.train.shared_start import start_passing
from smalto.weights.store import read_arrays
from tests.shared_space import smooth_pictures
from tests.tiny_models import TINY_CODEC, TINY_DECODER, seeded, tiny_codec, tiny_encoder, tiny_trained

IMAGE = LiteNetworks(tiny_encoder(), tiny_codec(), seeded(Decoder, TINY_DECODER, 4))  # type: ignore[arg-type]


def _space() -> tuple[SharedEncoder, SharedDecoder]:
    torch.manual_seed(0)
    encoder, decoder = SharedEncoder(), SharedDecoder()
    start_passing(encoder, decoder)
    return encoder, decoder


@pytest.fixture(autouse=True)
def _tiny_image_codec(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plane_latent, "lite_networks", lambda _: IMAGE)
    monkeypatch.setattr(plane_latent, "image_arrays", dict)
    for module in (plane_codec_start, release_latent):
        monkeypatch.setattr(module, "image_arrays", dict)
    monkeypatch.setattr(
        plane_codec_start,
        "load_hyperprior",
        lambda codec, _: codec.load_state_dict(tiny_trained().state_dict()),
    )


def _objective(trained: str = "synthesis", heads: dict[str, torch.nn.Module] | None = None) -> PlaneCodecObjective:
    transform = base_transform(IMAGE.encoder, IMAGE.decoder, _space()[0])[0].config
    config = PlaneCodecConfig(transform=transform, codec=TINY_CODEC, trained=trained)  # type: ignore[arg-type]
    objective = PlaneCodecObjective(_space, config, None if heads is None else lambda: heads)
    objective.start(_batches())
    return objective


def _batches() -> Iterator[Tensor]:
    while True:
        yield smooth_pictures(2, 64)


def test_it_starts_as_the_image_codec_read_from_the_planes() -> None:
    objective, pictures = _objective(), smooth_pictures(2, 64)
    with torch.no_grad():
        planes = objective.space.planes(pictures)
        y = objective.analysis(planes)
        of_pixels = IMAGE.encoder(pictures)
        assert float((y - of_pixels).square().mean() / of_pixels.square().mean()) < 1e-3  # a passing space is linear
        decoded = objective.synthesis(of_pixels)
        through_pixels = objective.space.planes(IMAGE.decoder(of_pixels))
    for name in ("z_b", "z_t"):
        assert torch.allclose(getattr(decoded, name), getattr(through_pixels, name), atol=1e-4)


def test_blocks_of_two_stand_where_folded_pixels_do() -> None:
    picture = torch.rand(1, 3, 16, 16)
    folded = torch.nn.functional.pixel_unshuffle(picture, 16)[0, :, 0, 0]
    blocks = torch.nn.functional.pixel_unshuffle(picture, 2)
    twice = torch.nn.functional.pixel_unshuffle(blocks, 8)[0, :, 0, 0]
    assert torch.equal(folded[block_order(16)], twice)


@pytest.mark.parametrize("trained", ["synthesis", "all"])
def test_gradients_reach_what_is_trained_and_nothing_else(trained: str) -> None:
    objective = _objective(trained)
    result = objective(smooth_pictures(2, 64))
    result.loss.backward()
    assert set(result.measures) == {"bpp", "psnr_db", "plane_error"}
    moved = {name for name, p in objective.named_parameters() if p.grad is not None and float(p.grad.abs().sum()) > 0}
    assert any(name.startswith("synthesis.fine_blocks") for name in moved)
    assert any(name.startswith("synthesis.to_b") for name in moved)
    assert any(name.startswith(("analysis.", "codec.")) for name in moved) == (trained == "all")
    assert any(name.startswith("synthesis.enc_t") for name in moved) == (trained == "all")
    assert all(p.grad is None for p in objective.space.parameters())


def test_heads_count() -> None:
    heads = {"denoise": LightDenoiser(), "segment": Segmenter("s", 11)}
    result = _objective(heads=heads)(smooth_pictures(2, 64))
    assert float(result.measures["denoise_error"]) > 0
    assert float(result.measures["segment_error"]) >= 0
    with pytest.raises(UsageError, match="PixelDenoiser reads no planes"):
        _objective(heads={"denoise": PixelDenoiser()})


def test_the_file_holds_what_training_changed(tmp_path: Path) -> None:
    objective = _objective()
    with torch.no_grad():
        objective.synthesis.head.bias.add_(0.25)
    publish_latent(objective, _batches(), tmp_path)
    arrays = read_arrays(tmp_path / "latent.safetensors")
    assert "synthesis.head.bias" in arrays
    assert "analysis.detail.weight" in arrays  # the reading of z_b, fitted when training starts
    assert not any(name.startswith(("analysis.stem", "synthesis.enc_t", "codec.mean_path")) for name in arrays)
    networks = latent_networks(arrays, base_networks(IMAGE, objective.space.encoder), "file")
    y = torch.randn(1, 8, 2, 3)
    for ours, theirs in zip(networks.synthesis(y), objective.synthesis(y), strict=True):
        assert torch.allclose(ours, theirs, atol=0.02)  # half precision


def test_folders_without_heads_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no denoise or segment head"):
        heads_of([str(tmp_path)])
