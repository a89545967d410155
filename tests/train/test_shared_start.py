"""The start of the shared space: pictures are handed through exactly."""

from __future__ import annotations

import pytest
import torch

from smalto.encoders.shared_cnn import SharedEncoder
from smalto.heads.shared_decoder import SharedDecoder
from smalto.train.shared_start import start_passing


@pytest.mark.parametrize("channels", [1, 3])
def test_the_decoder_gives_back_what_the_encoder_saw(channels: int) -> None:
    torch.manual_seed(0)
    encoder, decoder = SharedEncoder(channels), SharedDecoder()
    start_passing(encoder, decoder)
    x = torch.rand(2, channels, 20, 28)
    with torch.no_grad():
        planes = encoder(x)
        decoded = decoder(planes)
    torch.testing.assert_close(decoded, x.expand(-1, 3, -1, -1), rtol=0, atol=1e-5)
    assert float(planes.z_t.std()) > 0.01
    assert float(planes.z_b[:, 4 * channels :].std()) > 0.01


def test_every_weight_learns_after_a_step() -> None:
    torch.manual_seed(0)
    encoder, decoder = SharedEncoder(), SharedDecoder()
    start_passing(encoder, decoder)
    parameters = [*encoder.parameters(), *decoder.parameters()]
    optimiser = torch.optim.Adam(parameters, 1e-3)
    x = torch.rand(1, 3, 16, 16)
    for _ in range(2):
        optimiser.zero_grad()
        (decoder(encoder(x)) - x.flip(3)).abs().mean().backward()
        optimiser.step()
    assert all(p.grad is not None and bool(p.grad.abs().max() > 0) for p in parameters)
