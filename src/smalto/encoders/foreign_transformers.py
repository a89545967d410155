"""Features of models of the transformers library: DINOv2, DINOv3, Llama and other language models, K/V caches.

The library is the optional extra ``teachers``. A model is loaded once by name, then
passed to the functions that read it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from smalto.encoders.foreign_hub import SAFE_WEIGHTS, library_class, pretrained
from smalto.errors import UsageError
from smalto.layers.picture_input import centre_crop, imagenet_normalised

DINOV2 = "facebook/dinov2-giant"
DINOV3 = "facebook/dinov3-vitl16-pretrain-lvd1689m"
LLAMA = "meta-llama/Meta-Llama-3-8B"
CROP_PX = 224
_SHORT_SIDE_PX = 256


def vision_model(name: str | Path = DINOV2) -> nn.Module:
    """A vision transformer by name, DINOv2 or DINOv3 for instance, frozen, in the dtype that it is stored in.

    Raises:
        MissingExtra: transformers is not installed.
        WeightsError: the model is not here and cannot be fetched.
    """
    return _frozen("AutoModel", name)


def language_model(name: str | Path = LLAMA) -> nn.Module:
    """A causal language model by name, frozen, in the dtype that it is stored in.

    Raises:
        MissingExtra: transformers is not installed.
        WeightsError: the model is not here and cannot be fetched.
    """
    return _frozen("AutoModelForCausalLM", name)


def token_numbers(text: str, name: str | Path = LLAMA) -> Tensor:
    """A text as the model ``name`` takes it: (1, N) int64.

    Raises:
        MissingExtra: transformers is not installed.
        WeightsError: the tokenizer is not here and cannot be fetched.
    """
    tokenizer = pretrained(library_class("transformers", "AutoTokenizer"), name)
    return torch.tensor([tokenizer(text)["input_ids"]])


def vision_input(pixels: np.ndarray, side_px: int = CROP_PX) -> Tensor:
    """A picture as DINOv2 and DINOv3 take it: scaled, the centre cut out, normalised as ImageNet's.

    Args:
        pixels: (H, W, 3) uint8 sRGB.
        side_px: side of the square, a multiple of the model's patch; 224 gives DINOv2 16 x 16 patches.

    Returns:
        (1, 3, side_px, side_px) float32.
    """
    return imagenet_normalised(centre_crop(pixels, side_px * _SHORT_SIDE_PX // CROP_PX, side_px))


def vision_tokens(model: nn.Module, pixels: Tensor, layers: Sequence[int]) -> dict[str, Tensor]:
    """Tokens of a vision transformer after some of its layers.

    Args:
        model: from ``vision_model``.
        pixels: (B, 3, H, W) as ``vision_input`` gives them.
        layers: 0 for the embeddings, 1 .. number of layers; -1 is the last.

    Returns:
        ``layer.K`` -> (B, N, width): the class token, register tokens where the model has them, then patches by row.

    Raises:
        UsageError: the model has no such layer.
    """
    return hidden_states(model, {"pixel_values": pixels}, layers)


def text_states(model: nn.Module, numbers: Tensor, layers: Sequence[int] = (-1,)) -> dict[str, Tensor]:
    """Hidden states of a language model after some of its layers.

    Args:
        model: from ``language_model``.
        numbers: (B, N) token numbers.
        layers: 0 for the embeddings, 1 .. number of layers; -1 is the last.

    Returns:
        ``layer.K`` -> (B, N, width).

    Raises:
        UsageError: the model has no such layer.
    """
    return hidden_states(model, {"input_ids": numbers}, layers)


def hidden_states(model: nn.Module, inputs: Mapping[str, Any], layers: Sequence[int]) -> dict[str, Tensor]:
    """Hidden states as the library counts them, from one call of a model.

    Args:
        model: any model of transformers that gives hidden states.
        inputs: its named arguments; tensors go to the model's device, floating-point ones to its dtype.
        layers: 0 for what enters the first layer, 1 .. number of layers; -1 is the last.

    Returns:
        ``layer.K`` -> (B, N, width) on the CPU.

    Raises:
        UsageError: the model gives no hidden states, or has no such layer.
    """
    with torch.inference_mode():
        states = model(**_on_model(model, inputs), output_hidden_states=True).hidden_states
    if not states:
        raise UsageError(f"{type(model).__name__}: it gives no hidden states; name layers with features_of")
    found: dict[str, Tensor] = {}
    for layer in layers:
        if not -len(states) <= layer < len(states):
            raise UsageError(f"{type(model).__name__}: no layer {layer}; it has 0..{len(states) - 1}")
        number = layer % len(states)
        found[f"layer.{number}"] = states[number].detach().to("cpu", copy=True)
    return found


def key_value_cache(model: nn.Module, numbers: Tensor) -> dict[str, Tensor]:
    """Keys and values that a causal language model keeps of a text, its heads side by side.

    Args:
        model: from ``language_model``.
        numbers: (1, N) token numbers.

    Returns:
        ``layer.K.key`` and ``layer.K.value``, K = 0, 1, ... -> (N, heads * head width) on the CPU; N x 1024 for
        Llama 3 8B.

    Raises:
        UsageError: several texts at once, or a model without such a cache.
    """
    if numbers.ndim != 2 or numbers.shape[0] != 1:
        raise UsageError(f"token numbers {tuple(numbers.shape)}: pass one text, (1, N)")
    with torch.inference_mode():
        cache = model(**_on_model(model, {"input_ids": numbers}), use_cache=True).past_key_values
    found: dict[str, Tensor] = {}
    for number, (key, value) in enumerate(_cached_layers(cache, type(model).__name__)):
        for kind, tensor in (("key", key), ("value", value)):
            heads = tensor[0].transpose(0, 1)  # (N, heads, head width)
            found[f"layer.{number}.{kind}"] = heads.reshape(heads.shape[0], -1).detach().to("cpu", copy=True)
    return found


def _cached_layers(cache: Any, model_name: str) -> list[tuple[Tensor, Tensor]]:
    """(key, value) of each layer, (1, heads, N, head width), from any form of the library's cache."""
    if cache is None:
        raise UsageError(f"{model_name}: it keeps no keys and values; pass a causal language model")
    pairs: list[Any]
    if hasattr(cache, "layers"):
        pairs = [(getattr(layer, "keys", None), getattr(layer, "values", None)) for layer in cache.layers]
    elif hasattr(cache, "key_cache"):
        pairs = list(zip(cache.key_cache, cache.value_cache, strict=True))
    else:
        pairs = [tuple(pair)[:2] for pair in cache]
    for key, value in pairs:
        if not isinstance(key, Tensor) or not isinstance(value, Tensor) or key.ndim != 4 or value.ndim != 4:
            raise UsageError(f"{model_name}: its cache is not of keys and values by heads; use features_of")
    return pairs


def _frozen(kind: str, name: str | Path) -> nn.Module:
    options = {**SAFE_WEIGHTS, "dtype": "auto"}
    return pretrained(library_class("transformers", kind), name, options).eval().requires_grad_(False)


def _on_model(model: nn.Module, inputs: Mapping[str, Any]) -> dict[str, Any]:
    weights = next(model.parameters())
    placed: dict[str, Any] = {}
    for name, value in inputs.items():
        if isinstance(value, Tensor):
            value = value.to(weights.device, weights.dtype if value.is_floating_point() else None)
        placed[name] = value
    return placed
