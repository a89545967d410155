"""Super-resolution from the latent: sizes, the start from a decoder, what one pixel can see."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from smalto.encoders.hific import Encoder
from smalto.heads.image import Decoder
from smalto.heads.super_resolve import LITE, SuperNet, SuperResolver
from tests.tiny_models import TINY_DECODER, TINY_ENCODER, TINY_SUPER, seeded


def test_super_net_has_sixteen_blocks_of_sixty_four_filters_and_doubles_the_latent() -> None:
    net = SuperNet(LITE)
    y = torch.randn(1, LITE.decoder.latent_channels, 5, 7)
    assert len(net.blocks) == 16
    assert all(block.conv1.weight.shape == (64, 64, 3, 3) for block in net.blocks)
    assert net(y).shape == (1, LITE.decoder.latent_channels, 10, 14)


def test_a_cell_changes_no_pixel_further_than_the_halo() -> None:
    resolver = seeded(SuperResolver, TINY_SUPER)
    halo = resolver.halo_cells
    cells = 2 * halo + 3
    y = torch.randn(1, TINY_DECODER.latent_channels, cells, cells, generator=torch.Generator().manual_seed(0))
    changed = y.clone()
    centre = cells // 2
    changed[:, :, centre, centre] += 5
    with torch.no_grad():
        touched = (resolver(changed) != resolver(y)).any(1)[0]
    rows = torch.nonzero(touched.any(1)).flatten()
    assert int(rows[0]) >= (centre - halo) * 32
    assert int(rows[-1]) < (centre + 1 + halo) * 32


def test_super_decoder_starts_with_the_decoders_weights() -> None:
    decoder, resolver = seeded(Decoder, TINY_DECODER, 1), seeded(SuperResolver, TINY_SUPER, 2)
    resolver.start_from(decoder, None)
    for name, value in decoder.state_dict().items():
        assert torch.equal(resolver.super_decoder.state_dict()[name], value)


def test_linear_path_starts_as_interpolation_of_the_decoded_blocks() -> None:
    """With a block transform and its transpose, the doubled latent of a smooth block draws the enlarged block."""
    encoder, decoder = Encoder(TINY_ENCODER), Decoder(TINY_DECODER)
    resolver = SuperResolver(TINY_SUPER)
    assert encoder.linear is not None
    assert decoder.linear is not None
    assert resolver.super_net.linear is not None
    basis = torch.zeros(TINY_DECODER.latent_channels, 3, 16, 16)
    for k in range(3):  # three flat colours, orthonormal
        basis[k, k] = 1 / 16
    with torch.no_grad():
        encoder.linear.weight.copy_(basis)
        decoder.linear.weight.copy_(basis)
    resolver.start_from(decoder, encoder.linear)
    y = torch.zeros(1, TINY_DECODER.latent_channels, 2, 2)
    y[0, :3] = torch.tensor([[4.0, -2.0], [1.0, 3.0]])
    with torch.no_grad():
        doubled = F.pixel_shuffle(resolver.super_net.linear(y), 2)
        picture, large = decoder.linear(y), decoder.linear(doubled)
    expected = F.interpolate(picture, scale_factor=2, mode="nearest")
    torch.testing.assert_close(large, expected)
