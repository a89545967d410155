"""ELIC's coding form: what is decoded is what the sender quantised, at every size, tile and level."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from smalto.bits.packet import CodecNumber
from smalto.codecs.elic import Elic
from smalto.codecs.elic_freeze import freeze_elic
from smalto.codecs.elic_frozen import FrozenElic, join_streams, split_streams
from smalto.codecs.hyperprior_frozen import PlaneCode, tile_grid
from smalto.errors import DamagedPacket, DecodeMismatch, LimitExceeded, PacketError, UsageError, WeightsError
from smalto.systems.multitask_codec import codec_digest
from tests.tiny_elic import NUM_STEPS, TINY_ELIC, tiny_elic, tiny_elic_trained
from tests.tiny_models import CHANNELS, latent


def _sender_side(codec: FrozenElic, y: torch.Tensor, q: int, tile: int = 64) -> torch.Tensor:
    """y_hat as the sender knows it, from the networks without any coding, tile by tile."""
    z = torch.floor(codec.hyper_latent(y) / int(codec.z_gain[q]) + 0.5) * int(codec.z_gain[q])
    features = codec.mean_path.features(z)[:, :, : y.shape[2], : y.shape[3]]
    gain, inverse = codec.gain[q][None, :, None], codec.inverse_gain[q][None, :, None]
    y_hat = torch.empty_like(y)
    for t in tile_grid(y.shape[2], y.shape[3], tile):
        rows, columns = slice(t.top, t.bottom), slice(t.left, t.right)
        part = y[:, :, rows, columns].flatten(2)

        def values_of(step, mean, part=part):  # type: ignore[no-untyped-def]
            symbols = torch.floor((part[:, step.channels, step.cells] - mean) * gain[:, step.channels] + 0.5)
            return mean + symbols * inverse[:, step.channels]

        with torch.no_grad():
            _, y_hat[:, :, rows, columns] = codec.mean_path(features[:, :, rows, columns], values_of)
    return y_hat


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 255), st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_decoded_latent_is_the_senders(height: int, width: int, q: int, seed: int) -> None:
    codec, y = tiny_elic(), latent(height, width, seed)
    code = codec.encode(y, q)
    torch.testing.assert_close(codec.decode(code, height, width), _sender_side(codec, y, q), atol=1e-5, rtol=0)


@pytest.mark.parametrize("tile", [3, 4, 8, 12, 64])
def test_tiles_are_decoded_by_themselves(tile: int) -> None:
    codec, y = tiny_elic(), latent(19, 26)
    code = codec.encode(y, 120, tile)
    assert len(code.main) == -(-19 // tile) * -(-26 // tile)
    back = codec.decode(code, 19, 26, tile)
    torch.testing.assert_close(back, _sender_side(codec, y, 120, tile), atol=1e-5, rtol=0)
    tiles = list(tile_grid(19, 26, tile))
    if len(tiles) > 1:
        other = codec.encode(latent(19, 26, 1), 120, tile, codec.hyper_latent(y))  # another y under the same z
        mixed = PlaneCode(120, code.hyper, (*code.main[:-1], other.main[-1]))
        again = codec.decode(mixed, 19, 26, tile)
        for t in tiles[:-1]:
            rows, columns = slice(t.top, t.bottom), slice(t.left, t.right)
            assert torch.equal(again[:, :, rows, columns], back[:, :, rows, columns])
        assert not torch.equal(again, back)


@pytest.mark.parametrize("q", [0, 100, 255])
def test_real_bytes_cost_what_training_estimated(q: int) -> None:
    trained = tiny_elic_trained()
    codec, y = freeze_elic(trained), latent(32, 32, 5)
    with torch.no_grad():
        estimate = trained.estimate(y, torch.tensor([q]))
    code = codec.encode(y, q)
    assert 8 * len(code.main[0]) == pytest.approx(float(estimate.y_bits), rel=0.01, abs=NUM_STEPS * 40)
    assert 8 * len(code.hyper) == pytest.approx(float(estimate.z_bits), rel=0.02, abs=64)


def test_large_planes_cost_what_training_estimated() -> None:
    """Ends of streams apart, real bytes are within 1 % of the estimate."""
    trained, codec, y = tiny_elic_trained(), tiny_elic(), latent(64, 64, 5)
    with torch.no_grad():
        estimate = trained.estimate(y, torch.tensor([150]))
    assert 8 * len(codec.encode(y, 150).main[0]) == pytest.approx(float(estimate.y_bits), rel=0.01)


def test_values_without_measure_are_coded_and_bounded() -> None:
    codec = tiny_elic()
    y = latent(4, 4)
    y[0, 0, 0, 0], y[0, 1, 1, 1], y[0, 2, 2, 2] = float("inf"), float("-inf"), float("nan")
    back = codec.decode(codec.encode(y, 128), 4, 4)
    assert bool(torch.isfinite(back).all())
    assert float(back.abs().max()) <= 4096


def test_arrays_carry_the_whole_codec() -> None:
    codec = tiny_elic()
    arrays = {**codec.decode_arrays(), **codec.encode_arrays()}
    copy = FrozenElic.from_arrays(TINY_ELIC, arrays)
    y = latent(9, 7)
    code = codec.encode(y, 77)
    assert copy.encode(y, 77) == code
    assert torch.equal(copy.decode(code, 9, 7), codec.decode(code, 9, 7))
    for name, array in codec.decode_arrays().items():
        assert np.array_equal(copy.decode_arrays()[name], array), name
    assert copy.digest() == codec.digest() == codec_digest(codec)  # type: ignore[arg-type]
    assert copy.number == CodecNumber.ELIC


def test_digest_follows_the_decode_side_alone() -> None:
    codec = FrozenElic.from_arrays(TINY_ELIC, {**tiny_elic().decode_arrays(), **tiny_elic().encode_arrays()})
    codec.gain.mul_(2)
    assert codec.digest() == tiny_elic().digest()
    codec.scale_path.magnitude[5] += 1
    assert codec.digest() != tiny_elic().digest()


def test_freezing_rounds_to_what_ships() -> None:
    codec = tiny_elic()
    for tensor in (*codec.mean_path.state_dict().values(), *codec.analysis.state_dict().values(), codec.gain):
        assert torch.equal(tensor, tensor.half().float())


def test_weights_beyond_sixteen_bits_are_refused() -> None:
    wild = Elic(TINY_ELIC)
    with torch.no_grad():
        wild.scale_path.spatial[1].weights[0].mul_(1e4)
    with pytest.raises(WeightsError, match="16 bits"):
        freeze_elic(wild)


def test_quality_positions_move_the_levels() -> None:
    codec = freeze_elic(tiny_elic_trained(), torch.linspace(0, 128, 256))
    middle = tiny_elic_trained().gain(torch.tensor([128]))[0, :, 0, 0]
    assert torch.equal(codec.gain[255], middle.detach().half().float())
    assert torch.equal(codec.gain[0], tiny_elic().gain[0])


@pytest.mark.parametrize("q", [-1, 256])
def test_levels_outside_a_byte_are_refused(q: int) -> None:
    with pytest.raises(UsageError, match=r"outside 0\.\.255"):
        tiny_elic().encode(latent(1, 1), q)


def test_tiles_of_too_many_symbols_are_refused() -> None:
    with pytest.raises(UsageError, match="choose a smaller one"):
        tiny_elic().encode(latent(1, 1), 0, tile_cells=1024)


def test_a_wrong_number_of_chunks_is_damage() -> None:
    code = tiny_elic().encode(latent(4, 4), 9)
    with pytest.raises(DamagedPacket, match="2 chunks"):
        tiny_elic().decode(PlaneCode(9, code.hyper, code.main * 2), 4, 4)


def test_planes_of_too_many_hyper_symbols_are_refused_before_decoding() -> None:
    columns = 4 * ((1 << 22) // TINY_ELIC.hyper_channels + 1)
    with pytest.raises(LimitExceeded, match="hyper-symbols"):
        tiny_elic().decode_hyper(PlaneCode(0, b"", ()), 1, columns)


def test_another_level_than_the_senders_is_noticed() -> None:
    codec = tiny_elic()
    code = codec.encode(latent(16, 16), 250)
    with pytest.raises(PacketError):
        codec.decode(PlaneCode(10, code.hyper, code.main), 16, 16)


@given(st.lists(st.binary(max_size=300), min_size=2, max_size=10))
def test_streams_come_apart_again(streams: list[bytes]) -> None:
    assert split_streams(join_streams(streams), len(streams), "chunk 0") == streams


@pytest.mark.parametrize("chunk", [b"", b"\x01", b"\x05\x00abcd", b"\x80\x00\x00", b"\xff" * 12])
def test_lengths_that_do_not_fit_are_damage(chunk: bytes) -> None:
    with pytest.raises(DamagedPacket, match="chunk 7"):
        split_streams(chunk, 3, "chunk 7")


@given(st.integers(0, 10_000), st.integers(1, 255))
@settings(max_examples=40, deadline=None)
def test_changed_bytes_never_crash(place: int, change: int) -> None:
    codec = tiny_elic()
    code = codec.encode(latent(8, 8), 60)
    data = bytearray(code.main[0])
    data[place % len(data)] ^= change
    try:
        back = codec.decode(PlaneCode(60, code.hyper, (bytes(data),)), 8, 8)
    except (DamagedPacket, DecodeMismatch):
        return
    assert back.shape == (1, CHANNELS, 8, 8)
    assert bool(torch.isfinite(back).all())


@given(st.binary(max_size=200))
@settings(max_examples=40, deadline=None)
def test_any_bytes_never_crash(data: bytes) -> None:
    codec = tiny_elic()
    code = codec.encode(latent(5, 4), 60)
    for hyper, main in ((code.hyper, data), (data, code.main[0])):
        try:
            back = codec.decode(PlaneCode(60, hyper, (main,)), 5, 4)
        except (DamagedPacket, DecodeMismatch):
            continue
        assert back.shape == (1, CHANNELS, 5, 4)
        assert bool(torch.isfinite(back).all())


def test_small_tiles_are_computed_together(monkeypatch: pytest.MonkeyPatch) -> None:
    codec, y = tiny_elic(), latent(16, 18)
    code = codec.encode(y, 100, 4)
    shapes = []
    whole = type(codec.scale_path).forward
    monkeypatch.setattr(
        type(codec.scale_path),
        "forward",
        lambda self, features, *rest: shapes.append(tuple(features.shape)) or whole(self, features, *rest),
    )
    codec.decode(code, 16, 18, 4)
    assert shapes == [(16, 7, 4, 4), (4, 7, 4, 2)]
