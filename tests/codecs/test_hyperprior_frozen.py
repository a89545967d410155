"""Coding forms: what is decoded is what the sender quantised, at every size, tile and level.

What ELIC's shares with the hyperprior's is tested here for both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from smalto.bits.cdf import cross_entropy_bits
from smalto.codecs.elic_freeze import freeze_elic
from smalto.codecs.elic_frozen import FrozenElic
from smalto.codecs.freeze import freeze
from smalto.codecs.hyper_coder import PlaneCode
from smalto.codecs.hyperprior import LITE
from smalto.codecs.hyperprior_frozen import FrozenHyperprior
from smalto.codecs.tiles import Tile, tile_grid, window_grid
from smalto.errors import DamagedPacket, DecodeMismatch, LimitExceeded, PacketError, UsageError
from tests.tiny_elic import TINY_ELIC, tiny_elic, tiny_elic_trained
from tests.tiny_models import CHANNELS, TINY_CODEC, latent, reach, tiny_codec, tiny_trained


class Form(NamedTuple):
    """A coding form and how it is made."""

    codec: Callable[[], Any]
    trained: Callable[[], Any]
    freeze: Callable[..., Any]
    of_arrays: Callable[..., Any]
    config: Any


HYPERPRIOR = Form(tiny_codec, tiny_trained, freeze, FrozenHyperprior.from_arrays, TINY_CODEC)
ELIC = Form(tiny_elic, tiny_elic_trained, freeze_elic, FrozenElic.from_arrays, TINY_ELIC)
both = pytest.mark.parametrize("form", [HYPERPRIOR, ELIC], ids=["hyperprior", "elic"])


def _sender_side(codec: FrozenHyperprior, y: torch.Tensor, q: int) -> torch.Tensor:
    """y_hat as the sender knows it, from the networks without any coding."""
    z = torch.floor(codec.hyper_latent(y) / int(codec.z_gain[q]) + 0.5).double() * int(codec.z_gain[q])
    _, mean = codec.parameters_of(z, q, Tile(0, y.shape[2], 0, y.shape[3]))
    gain, inverse = codec.gain[q][None, :, None, None], codec.inverse_gain[q][None, :, None, None]
    return mean + torch.floor((y - mean) * gain + 0.5) * inverse


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 255), st.integers(0, 1000))
@settings(max_examples=20)
def test_decoded_latent_is_the_senders(height: int, width: int, q: int, seed: int) -> None:
    codec, y = tiny_codec(), latent(height, width, seed)
    code = codec.encode(y, q)
    assert torch.equal(codec.decode(code, height, width), _sender_side(codec, y, q))


@pytest.mark.parametrize("tile", [4, 8, 12, 64])
def test_tiles_change_neither_symbols_nor_latent(tile: int) -> None:
    codec, y = tiny_codec(), latent(19, 26)
    code, whole = codec.encode(y, 120, tile), codec.encode(y, 120, 64)
    assert len(code.main) == -(-19 // tile) * -(-26 // tile)
    assert code.hyper == whole.hyper
    torch.testing.assert_close(codec.decode(code, 19, 26, tile), codec.decode(whole, 19, 26, 64), atol=2e-6, rtol=0)


def test_a_tile_sees_no_further_than_its_window() -> None:
    """Parameters computed in a window equal those of the whole plane, indexes bit by bit."""
    codec = tiny_codec()
    z = torch.randint(-30, 31, (1, TINY_CODEC.hyper_channels, 9, 10)).double()
    whole_index, whole_mean = codec.parameters_of(z, 90, Tile(0, 36, 0, 40))
    for tile in tile_grid(36, 40, 8):
        index, mean = codec.parameters_of(z, 90, tile)
        rows, columns = slice(tile.top, tile.bottom), slice(tile.left, tile.right)
        assert torch.equal(index, whole_index[:, rows, columns])
        torch.testing.assert_close(mean, whole_mean[:, :, rows, columns], atol=1e-6, rtol=0)


def test_mean_path_sees_two_hyper_cells() -> None:
    first_row, last_row, first_column, last_column = reach(
        tiny_codec().mean_path, torch.randn(1, TINY_CODEC.hyper_channels, 9, 9), 16, 16
    )
    assert first_row >= 4 - 2
    assert last_row <= 4 + 2
    assert (first_row, last_row) == (first_column, last_column)


@pytest.mark.parametrize("q", [0, 100, 255])
def test_real_bytes_cost_what_training_estimated(q: int) -> None:
    trained = tiny_trained()
    codec, y = freeze(trained), latent(32, 32, 5)
    with torch.no_grad():
        estimate = trained.estimate(y, torch.tensor([q]))
    code = codec.encode(y, q)
    assert 8 * len(code.main[0]) == pytest.approx(float(estimate.y_bits), rel=0.01)
    assert 8 * len(code.hyper) == pytest.approx(float(estimate.z_bits), rel=0.02, abs=64)


def test_main_bytes_are_the_cross_entropy_of_the_tables() -> None:
    codec, y = tiny_codec(), latent(32, 32, 5)
    z = torch.floor(codec.hyper_latent(y) / int(codec.z_gain[90]) + 0.5).double() * int(codec.z_gain[90])
    index, mean = codec.parameters_of(z, 90, Tile(0, 32, 0, 32))
    symbols = torch.floor((y - mean) * codec.gain[90][None, :, None, None] + 0.5)[0]
    bits = cross_entropy_bits(symbols.to(torch.int32).numpy().ravel(), index.numpy().ravel(), codec.y_tables)
    assert 8 * len(codec.encode(y, 90).main[0]) == pytest.approx(bits, rel=0.003)


@both
def test_values_without_measure_are_coded_and_bounded(form: Form) -> None:
    codec = form.codec()
    y = latent(4, 4)
    y[0, 0, 0, 0], y[0, 1, 1, 1], y[0, 2, 2, 2] = float("inf"), float("-inf"), float("nan")
    back = codec.decode(codec.encode(y, 128), 4, 4)
    assert bool(torch.isfinite(back).all())
    assert float(back.abs().max()) <= 4096


@both
def test_arrays_carry_the_whole_codec(form: Form) -> None:
    codec = form.codec()
    copy = form.of_arrays(form.config, {**codec.decode_arrays(), **codec.encode_arrays()})
    y = latent(9, 7)
    code = codec.encode(y, 77)
    assert copy.encode(y, 77) == code
    assert torch.equal(copy.decode(code, 9, 7), codec.decode(code, 9, 7))
    for name, array in codec.decode_arrays().items():
        assert np.array_equal(copy.decode_arrays()[name], array), name


@both
def test_freezing_rounds_to_what_ships(form: Form) -> None:
    codec = form.codec()
    for tensor in (*codec.mean_path.state_dict().values(), *codec.analysis.state_dict().values(), codec.gain):
        assert torch.equal(tensor, tensor.half().float())


@both
def test_quality_positions_move_the_levels(form: Form) -> None:
    codec = form.freeze(form.trained(), torch.linspace(0, 128, 256))
    middle = form.trained().gain(torch.tensor([128]))[0, :, 0, 0]
    assert torch.equal(codec.gain[255], middle.detach().half().float())
    assert torch.equal(codec.gain[0], form.codec().gain[0])


@both
@pytest.mark.parametrize("q", [-1, 256])
def test_levels_outside_a_byte_are_refused(form: Form, q: int) -> None:
    with pytest.raises(UsageError, match=r"outside 0\.\.255"):
        form.codec().encode(latent(1, 1), q)


@both
def test_tiles_of_too_many_symbols_are_refused(form: Form) -> None:
    with pytest.raises(UsageError, match="choose a smaller one"):
        form.codec().encode(latent(1, 1), 0, tile_cells=1024)


@both
def test_a_wrong_number_of_chunks_is_damage(form: Form) -> None:
    code = form.codec().encode(latent(4, 4), 9)
    with pytest.raises(DamagedPacket, match="2 chunks"):
        form.codec().decode(PlaneCode(9, code.hyper, code.main * 2), 4, 4)


@both
def test_planes_of_too_many_hyper_symbols_are_refused_before_decoding(form: Form) -> None:
    columns = 4 * ((1 << 22) // form.config.hyper_channels + 1)
    with pytest.raises(LimitExceeded, match="hyper-symbols"):
        form.codec().decode_hyper(PlaneCode(0, b"", ()), 1, columns)


@both
def test_another_level_than_the_senders_is_noticed(form: Form) -> None:
    codec = form.codec()
    code = codec.encode(latent(16, 16), 250)
    with pytest.raises(PacketError):
        codec.decode(PlaneCode(10, code.hyper, code.main), 16, 16)


@both
@given(st.integers(0, 10_000), st.integers(1, 255))
@settings(max_examples=40, deadline=None)
def test_changed_bytes_never_crash(form: Form, place: int, change: int) -> None:
    codec = form.codec()
    code = codec.encode(latent(8, 8), 60)
    data = bytearray(code.main[0])
    data[place % len(data)] ^= change
    try:
        back = codec.decode(PlaneCode(60, code.hyper, (bytes(data),)), 8, 8)
    except (DamagedPacket, DecodeMismatch):
        return
    assert back.shape == (1, CHANNELS, 8, 8)
    assert bool(torch.isfinite(back).all())


def test_tile_grid_covers_every_cell_once() -> None:
    seen = np.zeros((13, 21), int)
    for tile in tile_grid(13, 21, 8):
        seen[tile.top : tile.bottom, tile.left : tile.right] += 1
    assert (seen == 1).all()
    assert LITE.latent_channels * 64**2 <= 1 << 22


@pytest.mark.parametrize(
    ("height", "width", "side"), [(1, 1, 4), (130, 70, 4), (65, 200, 24), (96, 150, 64), (100, 130, 100)]
)
def test_windows_hold_every_tile_once_under_its_chunk_number(height: int, width: int, side: int) -> None:
    tiles = {}
    for window in window_grid(height, width, side):
        assert max(window.area.bottom - window.area.top, window.area.right - window.area.left) <= max(side, 64)
        for number, tile in window.tiles:
            assert window.area.top <= tile.top < tile.bottom <= window.area.bottom
            assert window.area.left <= tile.left < tile.right <= window.area.right
            assert number not in tiles
            tiles[number] = tile
    assert [tiles[number] for number in range(len(tiles))] == list(tile_grid(height, width, side))


def test_small_tiles_do_not_multiply_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    codec, y = tiny_codec(), latent(64, 64)
    code = codec.encode(y, 100, 4)
    areas = []
    parameters_of = FrozenHyperprior.parameters_of
    monkeypatch.setattr(
        FrozenHyperprior,
        "parameters_of",
        lambda self, z, q, area: areas.append(area) or parameters_of(self, z, q, area),
    )
    codec.decode(code, 64, 64, 4)
    assert areas == [Tile(0, 64, 0, 64)]
