"""The reconstruction loss: its two terms, and what a mask leaves out."""

from __future__ import annotations

import pytest
import torch

from smalto.measure.psnr import psnr_tensor
from smalto.measure.reconstruction import ReconstructionWeights, masked_psnr_db, reconstruction_loss
from smalto.measure.ssim import ssim_loss


def _pair(side: int = 24) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(2, 3, side, side, generator=generator)
    return (target + 0.1 * torch.randn(target.shape, generator=generator)).clamp(0, 1), target


def test_it_is_the_weighted_sum() -> None:
    answer, target = _pair()
    loss = reconstruction_loss(answer, target, ReconstructionWeights(2.0, 0.3))
    torch.testing.assert_close(loss, 2.0 * (answer - target).abs().mean() + 0.3 * ssim_loss(answer, target))
    assert float(reconstruction_loss(target, target)) == pytest.approx(0.0, abs=1e-6)


def test_a_mask_of_ones_changes_nothing() -> None:
    answer, target = _pair()
    whole = reconstruction_loss(answer, target, mask=torch.ones(2, 1, 24, 24))
    torch.testing.assert_close(whole, reconstruction_loss(answer, target))


def test_what_is_masked_does_not_count() -> None:
    answer, target = _pair()
    mask = torch.zeros(2, 1, 24, 24)
    mask[:, :, :12] = 1
    only_l1 = ReconstructionWeights(1.0, 0.0)
    expected = (answer - target)[:, :, :12].abs().mean()
    torch.testing.assert_close(reconstruction_loss(answer, target, only_l1, mask), expected)
    other = answer.clone()
    other[:, :, 12:] = 7.0
    torch.testing.assert_close(
        reconstruction_loss(other, target, mask=mask), reconstruction_loss(answer, target, mask=mask)
    )
    torch.testing.assert_close(masked_psnr_db(other, target, mask), psnr_tensor(answer[:, :, :12], target[:, :, :12]))


def test_nothing_counts_is_zero_with_finite_gradients() -> None:
    answer, target = _pair()
    answer.requires_grad_()
    loss = reconstruction_loss(answer, target, mask=torch.zeros(2, 1, 24, 24))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0.0, abs=1e-4)
    assert answer.grad is not None
    assert bool(torch.isfinite(answer.grad).all())


def test_autocast_does_not_touch_the_value() -> None:
    answer, target = _pair()
    with torch.autocast("cpu", torch.bfloat16):
        inside = reconstruction_loss(answer, target)
    assert torch.equal(inside, reconstruction_loss(answer, target))
