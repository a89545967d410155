"""MobileFaceNet's shapes and its input; its accuracy on stored faces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from smalto.layers.mobilefacenet import MobileFaceNet, cosine_similarity, mobilefacenet_input


def test_shapes_of_features() -> None:
    network = MobileFaceNet().eval()
    features = network.features(torch.randn(2, 3, 112, 112), network.stage_names())
    shapes = {name: tuple(value.shape) for name, value in features.items()}
    assert shapes["dw_conv"] == (2, 64, 56, 56)
    assert shapes["features.4"] == (2, 64, 28, 28)
    assert shapes["features.11"] == (2, 128, 14, 14)
    assert shapes["features.14"] == (2, 128, 7, 7)
    assert shapes["conv2"] == (2, 512, 7, 7)
    assert shapes["gdconv"] == (2, 512, 1, 1)
    assert shapes["bn"] == (2, 128)
    assert len(shapes) == 21


def test_input_is_normalised() -> None:
    pixels = np.full((112, 112, 3), 255, np.uint8)
    x = mobilefacenet_input(pixels)
    assert x.shape == (1, 3, 112, 112)
    assert torch.allclose(
        x[0, :, 5, 5], (1 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    )


def test_cosine_similarity() -> None:
    first = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    second = torch.tensor([[2.0, 0.0], [-3.0, -3.0]])
    assert torch.allclose(cosine_similarity(first, second), torch.tensor([1.0, -1.0]))


@pytest.mark.slow
def test_accuracy_on_stored_pairs(data_folder: Path) -> None:
    from smalto.data.faces import FaceSet, face_crop
    from smalto.measure.verification import roc_area, verification_accuracy
    from smalto.weights.store import read_arrays

    network = MobileFaceNet.from_arrays(read_arrays(data_folder / "weights" / "mobilefacenet_foamliu.safetensors"))
    faces = FaceSet.open(data_folder / "lfw")
    pairs = faces.pairs[:1200]
    names = sorted({name for pair in pairs for name in (pair.first, pair.second)})
    found: dict[str, torch.Tensor] = {}
    with torch.inference_mode():
        for name in names:
            found[name] = network(mobilefacenet_input(face_crop(faces.pixels(name))))
        first, second = (torch.cat([found[getattr(pair, side)] for pair in pairs]) for side in ("first", "second"))
        scores = cosine_similarity(first, second).numpy()
    same = np.array([pair.same for pair in pairs])
    assert roc_area(scores, same) == pytest.approx(0.982, abs=0.001)
    assert verification_accuracy(scores, same) == pytest.approx(0.967, abs=0.001)
