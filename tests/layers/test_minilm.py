"""MiniLM against the reference implementation of BERT, and what its sentence vectors are."""

from __future__ import annotations

import pytest
import torch

from smalto.errors import WeightsError
from smalto.layers.minilm import _STORED, _STORED_EMBEDDINGS, MiniLM, MiniLMConfig
from tests.foreign_libraries import transformers_library

SMALL = MiniLMConfig(vocabulary=40, width=24, heads=4, layers=3, inner=48, max_tokens=16)


def public_state(network: MiniLM) -> dict[str, torch.Tensor]:
    """Weights of a small network under their public names."""
    names = dict(_STORED_EMBEDDINGS)
    for number in range(network.config.layers):
        names |= {f"layers.{number}.{own}": f"encoder.layer.{number}.{stored}" for own, stored in _STORED.items()}
    state: dict[str, torch.Tensor] = {}
    for name, value in network.state_dict().items():
        own, _, kind = name.rpartition(".")
        state[f"{names[own]}.{kind}"] = value
    return state


def test_weights_by_public_names_and_a_split() -> None:
    torch.manual_seed(0)
    original = MiniLM(SMALL).eval()
    arrays = {name: value.numpy() for name, value in public_state(original).items()}
    loaded = MiniLM.from_arrays(arrays, SMALL)
    numbers = torch.arange(7)[None]
    features = loaded.features(numbers, loaded.stage_names())
    assert tuple(features) == ("embeddings", "layer.1", "layer.2", "layer.3", "sentence")
    assert features["layer.2"].shape == (1, 7, 24)
    with torch.inference_mode():
        assert torch.equal(features["sentence"], original(numbers))
        for name, value in features.items():
            assert torch.equal(loaded.head_from(name)(value), features["sentence"])
    assert float(features["sentence"].norm()) == pytest.approx(1.0)
    del arrays["encoder.layer.1.output.dense.bias"]
    with pytest.raises(WeightsError, match="here: not weights of MiniLM: 1 arrays missing"):
        MiniLM.from_arrays(arrays, SMALL, "here")


def test_rows_of_a_batch_do_not_touch() -> None:
    torch.manual_seed(0)
    network = MiniLM(SMALL).eval()
    numbers = torch.randint(0, 40, (3, 9))
    with torch.inference_mode():
        together = network(numbers)
        assert torch.allclose(together[1:2], network(numbers[1:2]), atol=1e-6)


def test_beside_the_reference() -> None:
    transformers = transformers_library()
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=40,
        hidden_size=24,
        num_attention_heads=4,
        num_hidden_layers=3,
        intermediate_size=48,
        max_position_embeddings=16,
    )
    reference = transformers.BertModel(config).eval()
    arrays = {name: value.numpy() for name, value in reference.state_dict().items()}
    network = MiniLM.from_arrays(arrays, SMALL)
    numbers = torch.randint(0, 40, (2, 11))
    with torch.inference_mode():
        states = reference(numbers, output_hidden_states=True).hidden_states
    features = network.features(numbers, network.stage_names()[:-1])
    for expected, found in zip(states, features.values(), strict=True):
        assert torch.allclose(found, expected, atol=1e-5)
