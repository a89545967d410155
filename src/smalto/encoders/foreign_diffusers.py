"""Latents of models of the diffusers library: AutoencoderKL and Stable Diffusion 3.

The library is the optional extra ``teachers``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from smalto.encoders.foreign_hub import SAFE_WEIGHTS, library_class, pretrained
from smalto.errors import UsageError

SD3 = "stabilityai/stable-diffusion-3-medium-diffusers"


def autoencoder(name: str | Path = SD3, subfolder: str | None = "vae") -> nn.Module:
    """The AutoencoderKL of a model by name, frozen.

    Args:
        name: a folder or a name on the hub.
        subfolder: where in it the autoencoder is; None for a model that is nothing else.

    Raises:
        MissingExtra: diffusers is not installed.
        WeightsError: the model is not here and cannot be fetched.
    """
    options = SAFE_WEIGHTS if subfolder is None else {**SAFE_WEIGHTS, "subfolder": subfolder}
    return pretrained(library_class("diffusers", "AutoencoderKL"), name, options).eval().requires_grad_(False)


def autoencoder_latent(model: nn.Module, pixels: np.ndarray | Tensor) -> Tensor:
    """The latent of pictures, as a diffusion model sees it: the mean, shifted and scaled; nothing is drawn.

    Math: ``(mean - shift_factor) * scaling_factor``, with the model's own factors.

    Args:
        model: an AutoencoderKL.
        pixels: (H, W, 3) uint8, or (B, 3, H, W) floats in [0, 1]; sides are multiples of the model's stride, 8.

    Returns:
        (B, C, H / 8, W / 8) on the CPU; C = 16 for Stable Diffusion 3, 4 before it.

    Raises:
        UsageError: pixels of another form.
    """
    if isinstance(pixels, np.ndarray):
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise UsageError(f"pixels {pixels.dtype} {pixels.shape}: pass uint8 (H, W, 3) or a (B, 3, H, W) tensor")
        pixels = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None].float() / 255.0
    encoder: Any = model
    weights = next(model.parameters())
    with torch.inference_mode():
        mean = encoder.encode((2.0 * pixels - 1.0).to(weights.device, weights.dtype)).latent_dist.mean
    shift = encoder.config.shift_factor or 0.0
    return ((mean - shift) * encoder.config.scaling_factor).cpu().clone()


def sd3_pipeline(name: str | Path = SD3, dtype: torch.dtype = torch.float32) -> Any:
    """Stable Diffusion 3 by name.

    Args:
        name: a folder or a name on the hub.
        dtype: of its weights and latents.

    Raises:
        MissingExtra: diffusers is not installed.
        WeightsError: the model is not here and cannot be fetched.
    """
    options = {**SAFE_WEIGHTS, "torch_dtype": dtype}
    return pretrained(library_class("diffusers", "StableDiffusion3Pipeline"), name, options)


@dataclass(frozen=True)
class PromptEmbeddings:
    """A prompt as Stable Diffusion 3 holds it.

    Args:
        tokens: (1, N, width) of the text encoders.
        pooled: (1, width) of the pooled ones.
    """

    tokens: Tensor
    pooled: Tensor


@dataclass(frozen=True)
class Sampling:
    """How a latent is drawn.

    Args:
        num_steps: of the sampler.
        side_px: of the square picture; the latent is an eighth of it.
        seed: of the noise.
        guidance: 1 or less samples without classifier-free guidance.
    """

    num_steps: int = 28
    side_px: int = 1024
    seed: int = 0
    guidance: float = 7.0


def sd3_latent(pipeline: Any, prompt: str | PromptEmbeddings, sampling: Sampling | None = None) -> Tensor:
    """The latent that Stable Diffusion 3 draws for a prompt, before its decoder.

    Args:
        pipeline: from ``sd3_pipeline``.
        prompt: text, or a prompt that is embedded already (its negative is then zero).
        sampling: how it is drawn.

    Returns:
        (1, 16, side / 8, side / 8) on the CPU.
    """
    sampling = sampling or Sampling()
    options: dict[str, Any] = {"prompt": prompt}
    if isinstance(prompt, PromptEmbeddings):
        options = {
            "prompt_embeds": prompt.tokens,
            "pooled_prompt_embeds": prompt.pooled,
            "negative_prompt_embeds": torch.zeros_like(prompt.tokens),
            "negative_pooled_prompt_embeds": torch.zeros_like(prompt.pooled),
        }
    pipeline.set_progress_bar_config(disable=True)
    with torch.inference_mode():
        drawn = pipeline(
            **options,
            num_inference_steps=sampling.num_steps,
            height=sampling.side_px,
            width=sampling.side_px,
            guidance_scale=sampling.guidance,
            generator=torch.Generator("cpu").manual_seed(sampling.seed),
            output_type="latent",
        )
    return drawn.images.cpu().clone()
