"""ResNet-50 is the network of the public weights: names, shapes, number of parameters."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from smalto.errors import WeightsError
from smalto.layers.resnet50 import ResNet50, resnet50_input


def test_parameters_and_public_names() -> None:
    network = ResNet50()
    assert sum(parameter.numel() for parameter in network.parameters()) == 25_557_032
    state = network.state_dict()
    assert len(state) == 320
    assert state["layer1.0.downsample.0.weight"].shape == (256, 64, 1, 1)
    assert state["layer4.0.conv2.weight"].shape == (512, 512, 3, 3)
    assert state["layer3.5.bn3.running_var"].shape == (1024,)
    assert state["fc.bias"].shape == (1000,)


def test_shapes_of_features() -> None:
    network = ResNet50().eval()
    features = network.features(torch.randn(1, 3, 224, 224), ["conv1", "maxpool", "layer1.2", "layer4.2", "avgpool"])
    assert {name: tuple(value.shape[1:]) for name, value in features.items()} == {
        "conv1": (64, 112, 112),
        "maxpool": (64, 56, 56),
        "layer1.2": (256, 56, 56),
        "layer4.2": (2048, 7, 7),
        "avgpool": (2048,),
    }


def test_weights_by_name() -> None:
    torch.manual_seed(0)
    original = ResNet50().eval()
    arrays = {name: value.numpy() for name, value in original.state_dict().items()}
    loaded = ResNet50.from_arrays(arrays)
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(loaded(x), original(x))
    del arrays["fc.bias"]
    with pytest.raises(WeightsError, match=r"w\.pth: not weights of ResNet50: 1 arrays missing"):
        ResNet50.from_arrays(arrays, "w.pth")


def test_input() -> None:
    assert resnet50_input(np.zeros((300, 400, 3), np.uint8)).shape == (1, 3, 224, 224)
