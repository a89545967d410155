"""Shapes and kinds at public borders, written as types and checked while they run.

Axes: B C H W pixels, M channels of a latent, h w its cells (16 px each).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from beartype import beartype
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Float32, TypeCheckError, UInt8, jaxtyped
from torch import Tensor

from smalto.data.photographs import image_tensor, tensor_image
from smalto.measure.psnr import psnr_tensor
from smalto.measure.ssim import ms_ssim, ssim
from smalto.types import Image
from tests.tiny_models import CHANNELS, scene, tiny_encoder, tiny_system, tiny_trained

M = CHANNELS
checked = jaxtyped(typechecker=beartype)
sides = st.integers(1, 70)


@checked
def as_tensor(pixels: UInt8[np.ndarray, "H W 3"]) -> Float32[Tensor, "1 3 H W"]:
    """image_tensor on 8-bit pixels."""
    return image_tensor(Image(pixels))


@checked
def as_pixels(tensor: Float32[Tensor, "1 3 H W"]) -> UInt8[np.ndarray, "H W 3"]:
    """tensor_image, then its pixels."""
    return tensor_image(tensor).pixels


@checked
def encode(pixels: Float32[Tensor, "B 3 H W"]) -> Float32[Tensor, "B M H//16 W//16"]:
    """An encoder's forward."""
    return tiny_encoder()(pixels)


@checked
def decode(y: Float32[Tensor, "1 M h w"]) -> Float32[Tensor, "1 3 16*h 16*w"]:
    """The frozen decoder's forward."""
    return tiny_system().parts.heads["reconstruct"](y)


@checked
def upscale(y: Float32[Tensor, "1 M h w"]) -> Float32[Tensor, "1 3 32*h 32*w"]:
    """The super-resolver's forward."""
    return tiny_system().parts.heads["upscale"](y)


@checked
def estimate(y: Float32[Tensor, "B M h w"], q: Float32[Tensor, " B"]) -> Float32[Tensor, "B M h w"]:
    """A codec's estimate for training; h and w are multiples of 4."""
    return tiny_trained().estimate(y, q).y_hat


@checked
def score(
    measure: Callable[[Tensor, Tensor], Tensor], first: Float32[Tensor, "B C H W"], second: Float32[Tensor, "B C H W"]
) -> Float32[Tensor, " B"]:
    """A measure of a batch."""
    return measure(first, second)


@given(height=sides, width=sides)
def test_pictures_and_tensors(height: int, width: int) -> None:
    pixels = scene(height, width)
    assert np.array_equal(as_pixels(as_tensor(pixels)), pixels)


@settings(max_examples=15)
@given(batch=st.integers(1, 3), h=st.integers(1, 5), w=st.integers(1, 5))
def test_networks(batch: int, h: int, w: int) -> None:
    with torch.inference_mode():
        y = encode(torch.rand(batch, 3, 16 * h, 16 * w))
        assert y.shape[1] == M
        decode(y[:1])
        upscale(y[:1])
        estimate(y.repeat(1, 1, 4, 4), torch.full((batch,), 100.0))


@settings(max_examples=15)
@given(height=sides, width=sides)
def test_latent_and_answers_of_a_system(height: int, width: int) -> None:
    system = tiny_system()
    packet = system.encode(scene(height, width))
    latent = system.latent(packet)
    plane = latent.planes["y"]
    assert isinstance(plane, Float32[Tensor, f"1 {M} {-(-height // 16)} {-(-width // 16)}"])
    small, large = system.run(["reconstruct", "upscale"], latent)
    assert isinstance(small.pixels, UInt8[np.ndarray, f"{height} {width} 3"])
    assert isinstance(large.pixels, UInt8[np.ndarray, f"{2 * height} {2 * width} 3"])


@pytest.mark.parametrize("measure", [psnr_tensor, ssim, ms_ssim])
def test_measures(measure: Callable[[Tensor, Tensor], Tensor]) -> None:
    score(measure, torch.rand(3, 3, 40, 50), torch.rand(3, 3, 40, 50))


def test_these_types_are_checked() -> None:
    with pytest.raises(TypeCheckError):
        as_tensor(np.zeros((4, 5), np.uint8))
    with pytest.raises(TypeCheckError):
        decode(torch.zeros(1, 3, 2))

    @checked
    def wrong(y: Float32[Tensor, "1 M h w"]) -> Float32[Tensor, "1 3 8*h 8*w"]:
        return decode(y)

    with pytest.raises(TypeCheckError):
        wrong(torch.zeros(1, M, 2, 2))
