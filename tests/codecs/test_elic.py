"""The training form of ELIC: sizes, steps, rates, gradients, and the same choices as the coding form."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from smalto.codecs.elic import Elic
from smalto.codecs.elic_context import (
    ELIC,
    ELIC_SMALL,
    ElicConfig,
    ElicScalePath,
    coding_steps,
    magnitude_table,
)
from smalto.codecs.hyperprior import INDEX_STEPS, LOG_STEP, gaussian_bits
from smalto.codecs.scale_path import ScalePath
from tests.tiny_elic import TINY_ELIC, tiny_elic, tiny_elic_trained
from tests.tiny_models import latent, num_parameters, reach, seeded

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("config", "analysis", "mean", "scale"),
    [(ELIC, 2_396_736, 16_903_296, 3_512_160), (ELIC_SMALL, 249_088, 1_860_368, 729_040)],
)
def test_parameters(config: ElicConfig, analysis: int, mean: int, scale: int) -> None:
    with torch.device("meta"):
        codec = Elic(config)
    found = num_parameters(codec.analysis), num_parameters(codec.mean_path), num_parameters(codec.scale_path)
    assert found == (analysis, mean, scale)


def test_the_paper_has_five_uneven_groups_of_320_channels() -> None:
    assert ELIC.groups == (16, 16, 32, 64, 192)
    assert ELIC.latent_channels == 320


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 2), (4, 5), (3, 3)])
def test_steps_cover_every_symbol_once(height: int, width: int) -> None:
    seen = np.zeros((TINY_ELIC.latent_channels, height * width), int)
    steps = coding_steps(TINY_ELIC.groups, height, width, CPU)
    assert [step.number for step in steps] == list(range(6))
    for step in steps:
        seen[step.channels, step.cells.numpy()] += 1
        rows, columns = np.divmod(step.cells.numpy(), width)
        assert ((rows + columns) % 2 == step.number % 2).all()
        assert (np.diff(step.cells.numpy()) > 0).all()
    assert (seen == 1).all()


def test_magnitudes_are_logarithms_in_table_steps() -> None:
    table = magnitude_table().numpy()
    assert len(table) == 128
    np.testing.assert_allclose(table[1:], INDEX_STEPS * np.log(np.arange(1, 128)) / LOG_STEP, atol=0.5)
    assert table[0] == round(INDEX_STEPS * np.log(0.25) / LOG_STEP)


def test_evidence_is_free_of_the_gain() -> None:
    """Symbols twice as large under twice the gain say the same, to the half step that rounding takes."""
    path = ElicScalePath(TINY_ELIC)
    offset = torch.full((1, 3, 1), round(INDEX_STEPS * np.log(2) / LOG_STEP))
    symbols = torch.tensor([[[2.0, -30], [7, -8], [1, 40]]])
    once, twice = path.evidence(symbols, torch.zeros(1, 3, 1)), path.evidence(2 * symbols, offset.float())
    assert float((once - twice).abs().max()) <= 1
    assert path.evidence(torch.tensor([[[-(2**31)]]]), offset[:, :1].double()).tolist() == [[[67]]]


def _means_at(codec: Elic, y_hat: torch.Tensor) -> torch.Tensor:
    features = torch.zeros(1, TINY_ELIC.mean_widths[2], *y_hat.shape[2:])
    mean, _ = codec.mean_path(features, lambda step, _: y_hat.flatten(2)[:, step.channels, step.cells])
    return mean


@pytest.mark.parametrize("row", [3, 4])
def test_a_mean_sees_anchors_and_earlier_groups_only(row: int) -> None:
    codec = tiny_elic_trained()
    y_hat = latent(9, 9).requires_grad_()
    first = TINY_ELIC.groups[0]
    mean = _means_at(codec, y_hat)[0, first : first + TINY_ELIC.groups[1], row, 4]
    (gradient,) = torch.autograd.grad(mean.square().sum(), y_hat)
    seen = gradient[0].abs() > 0
    parity = (torch.arange(9)[:, None] + torch.arange(9)) % 2
    own, later = seen[first : first + 2], seen[first + 2 :]
    assert bool(seen[:first].any())
    assert not bool(later.any())
    assert bool(own.any()) == (row == 3)  # (3, 4) is no anchor
    assert not bool(own[:, parity == 1].any())
    if row == 3:
        near = torch.nonzero(own.any(0))
        assert near.min(0).values.tolist() == [1, 2]
        assert near.max(0).values.tolist() == [5, 6]


def test_an_index_sees_anchors_and_earlier_groups_only() -> None:
    path = tiny_elic().scale_path
    generator = torch.Generator().manual_seed(0)
    symbols = torch.randint(-9, 10, (1, 8, 63), generator=generator)
    features = torch.randint(-50, 50, (1, TINY_ELIC.scale_widths[2], 7, 9), generator=generator).double()

    def indexes(values: torch.Tensor) -> torch.Tensor:
        return path(features, torch.zeros(1, 8, 1).double(), lambda s, _: values[:, s.channels, s.cells])

    before = indexes(symbols)
    steps = coding_steps(TINY_ELIC.groups, 7, 9, CPU)
    moved = 0
    for step in steps:
        other = symbols.clone()
        other[:, step.channels, step.cells] = 100
        changed = (indexes(other) != before).flatten(2)[0]
        for target in steps[: step.number + 1]:
            assert not bool(changed[target.channels, target.cells].any())
        moved += int(changed.any())
    assert moved == len(steps) - 1


def test_hyper_parts_see_two_hyper_cells() -> None:
    codec = tiny_elic_trained()
    z = latent(9, 9, channels=TINY_ELIC.hyper_channels)
    for part in (codec.mean_path.hyper, codec.scale_path.hyper):
        first, last, *_ = reach(part, z, 16, 16)
        assert first >= 4 - 2
        assert last <= 4 + 2


@pytest.mark.parametrize("q", [0, 100, 255])
def test_training_chooses_what_coding_chooses(q: int) -> None:
    """The same symbols and indexes, bit by bit, when training has the numbers that ship."""
    trained, codec = tiny_elic_trained(), tiny_elic()
    y = latent(8, 12, q)
    code = codec.encode(y, q)
    z_hat = codec.decode_hyper(code, 8, 12)
    gain, inverse = (table[q][None, :, None, None] for table in (codec.gain, codec.inverse_gain))
    shipped = Elic(TINY_ELIC)
    shipped.load_state_dict(trained.state_dict())
    shipped.mean_path.load_state_dict(codec.mean_path.state_dict())
    with torch.no_grad():
        mean, y_hat = shipped.values(y, z_hat.float(), gain, inverse)
        symbols = torch.floor((y - mean) * gain + 0.5)
        index = shipped.indexes(symbols, z_hat.float(), trained.gain(torch.tensor([q])))
    torch.testing.assert_close(codec.decode(code, 8, 12), y_hat, atol=1e-5, rtol=0)
    flat, seen = symbols.flatten(2), torch.full((1, 8, 96), -1.0)

    def known(step, sixteenths):  # type: ignore[no-untyped-def]
        seen[:, step.channels, step.cells] = sixteenths.float()
        return flat[:, step.channels, step.cells]

    offset = codec.index_offset[q].double()[None, :, None]
    whole = codec.scale_path(codec.scale_path.features(z_hat), offset, known)
    assert torch.equal(whole, index.double())
    assert torch.equal(seen, index.flatten(2))
    assert len(torch.unique(index)) > 50


def test_estimate_is_the_rate_of_the_rounded_symbols() -> None:
    codec = tiny_elic_trained()
    y, q = latent(8, 12), torch.tensor([100])
    with torch.no_grad():
        first, second = codec.estimate(y, q), codec.estimate(y, q)
        z_hat, _, step = codec.hyper(y, q)
        gain, inverse = codec.gain(q), codec.inverse_gain(q)
        mean, y_hat = codec.values(y, z_hat, gain, inverse)
        symbols = torch.floor((y - mean) * gain + 0.5)
        sigma = codec.scales(codec.indexes(symbols, z_hat, gain), gain)
    torch.testing.assert_close(first.y_bits, gaussian_bits(symbols, sigma).sum(dim=(1, 2, 3)))
    torch.testing.assert_close(first.z_bits, codec.prior.bits(z_hat, step).detach())
    torch.testing.assert_close(first.y_bits, second.y_bits)  # noise moves gradients only
    torch.testing.assert_close(first.y_hat, mean + symbols * inverse)
    assert torch.equal(first.y_hat, y_hat)


def test_rate_rises_with_the_level() -> None:
    codec = tiny_elic_trained()
    y = latent(8, 8).expand(6, -1, -1, -1)
    with torch.no_grad():
        estimate = codec.estimate(y, torch.tensor([0, 51, 102, 153, 204, 255]))
    assert bool((estimate.y_bits.diff() > 0).all())
    errors = (estimate.y_hat - y).square().mean(dim=(1, 2, 3))
    assert bool((errors.diff() < 0).all())


def test_every_weight_learns_from_rate_and_distortion() -> None:
    codec = seeded(Elic, TINY_ELIC).train()
    y = latent(8, 8).requires_grad_()
    estimate = codec.estimate(y, torch.tensor([80]))
    loss = estimate.y_bits.sum() + estimate.z_bits.sum() + 100 * (estimate.y_hat - y).square().sum()
    loss.backward()
    assert y.grad is not None
    for name, parameter in codec.named_parameters():
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().sum()) > 0, name


def test_taps_between_cells_of_one_half_stay_zero() -> None:
    codec = seeded(Elic, TINY_ELIC).train()
    codec.estimate(latent(8, 8), torch.tensor([80])).y_hat.square().sum().backward()
    for conv in codec.mean_path.spatial:
        taps = conv.weight.detach().abs().sum(dim=(0, 1)) > 0
        assert taps.sum() == 12
        assert bool((conv.weight.grad.abs().sum(dim=(0, 1))[~taps] == 0).all())


def test_autocast_changes_no_rate() -> None:
    codec, y, q = tiny_elic_trained(), latent(8, 8), torch.tensor([100])
    with torch.no_grad():
        z_hat, _, _ = codec.hyper(y, q)
        codec.hyper = lambda y, q: (z_hat, z_hat, codec.z_gain(q))  # type: ignore[method-assign]
        try:
            plain = codec.estimate(y, q)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                mixed = codec.estimate(y, q)
        finally:
            del codec.hyper
    assert torch.equal(plain.y_bits, mixed.y_bits)
    assert torch.equal(plain.y_hat, mixed.y_hat)


def test_parts_are_named_once() -> None:
    path = ElicScalePath(TINY_ELIC)
    assert sorted(path.parts()) == sorted(
        ["hyper", "channel1", "channel2", *(f"{kind}{k}" for kind in ("spatial", "gather") for k in range(3))]
    )
    assert all(isinstance(part, ScalePath) for part in path.parts().values())
