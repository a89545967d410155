"""SqueezeNet's shapes, its stored weights and its accuracy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from smalto.errors import WeightsError
from smalto.layers.squeezenet import MEAN_BGR, SqueezeNet, squeezenet_input

SHAPES = {
    "conv1": (96, 111, 111),
    "pool1": (96, 55, 55),
    "fire4": (256, 55, 55),
    "pool4": (256, 27, 27),
    "fire8": (512, 27, 27),
    "fire9": (512, 13, 13),
    "conv10": (1000, 13, 13),
    "logits": (1000,),
}


def test_shapes_of_features() -> None:
    network = SqueezeNet().eval()
    features = network.features(torch.randn(2, 3, 227, 227), SHAPES)
    assert {name: tuple(value.shape[1:]) for name, value in features.items()} == SHAPES
    assert sum(parameter.numel() for parameter in network.parameters()) == 1_248_424


def test_input_is_the_centre_in_bgr() -> None:
    pixels = np.zeros((256, 300, 3), np.uint8)
    pixels[:, :, 0] = 200
    pixels[14 + 113, 36 + 113] = (10, 20, 30)
    x = squeezenet_input(pixels)
    assert x.shape == (1, 3, 227, 227)
    mean = torch.tensor(MEAN_BGR)
    assert torch.equal(x[0, :, 0, 0], torch.tensor([0.0, 0.0, 200.0]) - mean)
    assert torch.equal(x[0, :, 113, 113], torch.tensor([30.0, 20.0, 10.0]) - mean)
    for shape in ((3, 4000, 3), (240, 240, 3), (1, 1, 3)):
        assert squeezenet_input(np.zeros(shape, np.uint8)).shape == (1, 3, 227, 227)


def test_other_weights_are_refused() -> None:
    with pytest.raises(WeightsError, match="file: unknown array conv9__w"):
        SqueezeNet.from_arrays({"conv9__w": np.zeros(3)}, "file")
    with pytest.raises(WeightsError, match="51 arrays missing"):
        SqueezeNet.from_arrays({"conv1__b": np.zeros(96, np.float32)}, "file")


@pytest.mark.slow
def test_accuracy_on_stored_pictures(data_folder: Path) -> None:
    from smalto.data.imagenet import class_pictures
    from smalto.data.photographs import read_image

    with np.load(data_folder / "weights" / "squeezenet_v1.0.npz") as stored:
        network = SqueezeNet.from_arrays(dict(stored))
    pictures = class_pictures(data_folder / "imagenet_1000")[:400]
    right = 0
    with torch.inference_mode():
        for picture in pictures:
            logits = network(squeezenet_input(read_image(picture.path).pixels))
            right += int(logits.argmax()) == picture.label
    assert 0.655 <= right / 400 <= 0.67
