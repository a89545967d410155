"""DnCNN: counts, and folding that changes no answer."""

from __future__ import annotations

import torch
from torch import nn

from smalto.heads.pixel_denoise import PixelDenoiser
from tests.tiny_models import macs_per_pixel, num_parameters


def test_parameters_and_multiplications() -> None:
    network = PixelDenoiser()
    assert num_parameters(network) == 558_336
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in network.layers) == 15
    x = torch.empty(1, 3, 512, 512, device="meta")
    counted = macs_per_pixel(network.to("meta"), x, 512 * 512)
    assert counted == 556_416
    assert round(counted * 512 * 512 / 1e9, 2) == 145.86


def test_folding_keeps_the_answer() -> None:
    torch.manual_seed(0)
    network = PixelDenoiser(num_layers=5, width=8)
    for _ in range(3):
        network(torch.rand(2, 3, 16, 16))  # moves the running statistics
    with torch.no_grad():
        for layer in network.layers:
            if isinstance(layer, nn.BatchNorm2d):
                layer.weight.normal_()
                layer.bias.normal_()
    network.eval()
    folded = network.folded()
    x = torch.rand(1, 3, 20, 12)
    torch.testing.assert_close(folded(x), network(x), rtol=1e-4, atol=1e-5)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in folded.modules())
    assert any(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())


def test_the_network_predicts_what_is_taken_away() -> None:
    network = PixelDenoiser(num_layers=3, width=4).eval()
    with torch.no_grad():
        list(network.parameters())[-1].zero_()
    x = torch.rand(1, 3, 9, 7)
    assert torch.equal(network(x), x)
