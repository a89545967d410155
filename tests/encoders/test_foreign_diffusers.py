"""Latents of random-weight models of the library, which is switched offline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from smalto.encoders.foreign_diffusers import (
    PromptEmbeddings,
    Sampling,
    autoencoder,
    autoencoder_latent,
    sd3_latent,
    sd3_pipeline,
)
from smalto.errors import UsageError, WeightsError
from tests.foreign_libraries import diffusers_library

pytestmark = [
    pytest.mark.filterwarnings("ignore:The `local_dir_use_symlinks` argument:UserWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning:diffusers"),
]


def small_autoencoder() -> Any:
    diffusers = diffusers_library()
    torch.manual_seed(0)
    return diffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8,) * 4,
        norm_num_groups=4,
        latent_channels=16,
        shift_factor=0.0609,
        scaling_factor=1.5305,
    ).eval()


def test_latent_of_an_autoencoder(tmp_path: Path) -> None:
    model = small_autoencoder()
    pixels = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    latent = autoencoder_latent(model, pixels)
    assert latent.shape == (1, 16, 4, 6)
    unit = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    assert torch.allclose(autoencoder_latent(model, unit), latent)
    with torch.inference_mode():
        mean = model.encode(2 * unit - 1).latent_dist.mean
    assert torch.allclose(latent, (mean - 0.0609) * 1.5305, atol=1e-6)
    with pytest.raises(UsageError, match="pass uint8"):
        autoencoder_latent(model, np.zeros((8, 8), np.uint8))
    model.save_pretrained(tmp_path / "vae")
    for loaded in (autoencoder(tmp_path), autoencoder(tmp_path / "vae", None)):
        assert torch.equal(autoencoder_latent(loaded, pixels), latent)
    (tmp_path / "vae" / "config.json").write_text("{")
    with pytest.raises(WeightsError, match="not a healthy model folder"):
        autoencoder(tmp_path / "vae", None)


def test_latent_of_stable_diffusion_3() -> None:
    diffusers = diffusers_library()
    torch.manual_seed(0)
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=16,
        out_channels=16,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=12,
        caption_projection_dim=16,
        pooled_projection_dim=10,
        pos_embed_max_size=16,
    )
    names = ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2", "text_encoder_3", "tokenizer_3")
    pipeline = diffusers.StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        vae=small_autoencoder(),
        **dict.fromkeys(names),
    )
    prompt = PromptEmbeddings(torch.randn(1, 5, 12), torch.randn(1, 10))
    latents = [sd3_latent(pipeline, prompt, Sampling(num_steps=2, side_px=64, seed=seed)) for seed in (0, 0, 1)]
    assert latents[0].shape == (1, 16, 8, 8)
    assert torch.equal(latents[0], latents[1])
    assert not torch.equal(latents[0], latents[2])


def test_models_by_name_are_named_when_out_of_reach() -> None:
    diffusers_library()
    for call in (autoencoder, sd3_pipeline):
        with pytest.raises(
            WeightsError, match=r"nobody/nothing: not in the local cache .*`hf download nobody/nothing`"
        ):
            call("nobody/nothing")
