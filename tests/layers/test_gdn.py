"""Divisive normalisation against its formula."""

from __future__ import annotations

import pytest
import torch

from smalto.layers.gdn import GDN, gdn_analysis, gdn_synthesis


@pytest.mark.parametrize("inverse", [False, True])
def test_gdn_is_the_formula(inverse: bool) -> None:
    torch.manual_seed(0)
    layer = GDN(4, inverse)
    with torch.no_grad():
        layer.beta.copy_(torch.rand(4) + 0.5)
        layer.gamma.copy_(torch.rand(4, 4))
        x = torch.randn(2, 4, 3, 3)
        pooled = layer.beta[:, None, None] ** 2 + torch.einsum("ij,bjhw->bihw", layer.gamma**2, x**2)
        root = pooled.sqrt()
        torch.testing.assert_close(layer(x), x * root if inverse else x / root, atol=1e-5, rtol=1e-5)


def test_weights_below_the_bound_count_as_the_bound() -> None:
    layer = GDN(2)
    with torch.no_grad():
        layer.gamma.fill_(-1.0)
        layer.beta.fill_(-1.0)
        x = torch.randn(1, 2, 2, 2)
        torch.testing.assert_close(layer(x), x * 1000.0, rtol=1e-4, atol=0)


def test_inverse_undoes_where_channels_do_not_mix() -> None:
    forward, backward = GDN(3), GDN(3, inverse=True)
    with torch.no_grad():
        forward.gamma.zero_()
        backward.gamma.zero_()
        x = torch.randn(1, 3, 4, 4)
        torch.testing.assert_close(backward(forward(x)), x)


def test_transforms_have_stride_sixteen() -> None:
    x = torch.rand(1, 3, 32, 48)
    y = gdn_analysis(6, 5)(x)
    assert y.shape == (1, 5, 2, 3)
    assert gdn_synthesis(6, 5)(y).shape == x.shape
