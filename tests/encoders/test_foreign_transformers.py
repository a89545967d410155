"""Hidden states and caches of random-weight models of the library, which is switched offline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from smalto.encoders.foreign import features_of
from smalto.encoders.foreign_transformers import (
    _cached_layers,
    hidden_states,
    key_value_cache,
    language_model,
    text_states,
    token_numbers,
    vision_input,
    vision_model,
    vision_tokens,
)
from smalto.errors import UsageError, WeightsError
from tests.foreign_libraries import transformers_library

VISION = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}


def llama() -> torch.nn.Module:
    transformers = transformers_library()
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    return transformers.LlamaForCausalLM(config).eval()


def test_tokens_of_dinov2() -> None:
    transformers = transformers_library()
    model = transformers.Dinov2Model(transformers.Dinov2Config(**VISION, image_size=28, patch_size=14)).eval()
    pixels = vision_input(np.zeros((50, 60, 3), np.uint8), 28).repeat(2, 1, 1, 1)
    found = vision_tokens(model, pixels, [0, 2, -1])
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        "layer.0": (2, 5, 32),
        "layer.2": (2, 5, 32),
        "layer.3": (2, 5, 32),
    }
    block = next(name for name, _ in model.named_modules() if name.endswith("layer.1"))
    assert torch.equal(features_of(model, [block], {"pixel_values": pixels})[block], found["layer.2"])


def test_tokens_of_dinov3() -> None:
    transformers = transformers_library()
    config = transformers.DINOv3ViTConfig(
        **VISION, intermediate_size=64, image_size=32, patch_size=16, num_register_tokens=4
    )
    model = transformers.DINOv3ViTModel(config).eval().half()
    found = vision_tokens(model, vision_input(np.zeros((32, 32, 3), np.uint8), 32), [1])
    assert found["layer.1"].shape == (1, 1 + 4 + 4, 32)
    assert found["layer.1"].dtype == torch.float16


def test_states_and_cache_of_llama() -> None:
    model, numbers = llama(), torch.tensor([[3, 1, 4, 1, 5, 9, 2]])
    assert {name: tuple(v.shape) for name, v in text_states(model, numbers).items()} == {"layer.3": (1, 7, 32)}
    found = key_value_cache(model, numbers)
    assert list(found) == [f"layer.{k}.{kind}" for k in range(3) for kind in ("key", "value")]
    assert all(value.shape == (7, 16) for value in found.values())
    values = features_of(model, ["model.layers.1.self_attn.v_proj"], numbers)
    assert torch.allclose(found["layer.1.value"], next(iter(values.values()))[0], atol=1e-6)


def test_caches_of_other_forms() -> None:
    key, value = torch.randn(1, 2, 3, 4), torch.randn(1, 2, 3, 4)

    class Lists:
        key_cache = (key,)
        value_cache = (value,)

    assert _cached_layers(Lists(), "m")[0][0] is key
    assert _cached_layers(((key, value),), "m")[0][1] is value
    for wrong in (None, ((None, None),), ((torch.zeros(3), value),)):
        with pytest.raises(UsageError, match=r"^m: "):
            _cached_layers(wrong, "m")


def test_what_cannot_be_had_is_named() -> None:
    model, numbers = llama(), torch.tensor([[1, 2]])
    with pytest.raises(UsageError, match=r"LlamaForCausalLM: no layer 4; it has 0\.\.3"):
        text_states(model, numbers, [4])
    with pytest.raises(UsageError, match="pass one text"):
        key_value_cache(model, numbers[0])

    class Bare(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))
            self.hidden_states = None

        def forward(self, **options: object) -> Bare:
            return self

    with pytest.raises(UsageError, match="Bare: it gives no hidden states"):
        hidden_states(Bare(), {}, [0])


def test_models_by_folder_and_by_name(tmp_path: Path) -> None:
    model = llama().to(torch.bfloat16)
    model.save_pretrained(tmp_path)  # type: ignore[operator]
    loaded = language_model(tmp_path)
    assert next(loaded.parameters()).dtype == torch.bfloat16
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    numbers = torch.tensor([[3, 1, 4]])
    found = text_states(loaded, numbers)["layer.3"]  # the library keeps rotation angles in float32 when it loads
    assert torch.allclose(found.float(), text_states(model, numbers)["layer.3"].float(), atol=0.1)
    for call in (vision_model, language_model, lambda name: token_numbers("a", name)):
        with pytest.raises(
            WeightsError, match=r"nobody/nothing: not in the local cache .*`hf download nobody/nothing`"
        ):
            call("nobody/nothing")
