"""ELIC's coding form: what is decoded is what the sender quantised, at every size, tile and level.

What it shares with the hyperprior's is tested in ``test_hyperprior_frozen``.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from smalto.bits.packet import CodecNumber
from smalto.codecs.elic import Elic
from smalto.codecs.elic_freeze import freeze_elic
from smalto.codecs.elic_frozen import FrozenElic, join_streams, split_streams
from smalto.codecs.hyper_coder import PlaneCode
from smalto.codecs.tiles import tile_grid
from smalto.errors import DamagedPacket, DecodeMismatch, WeightsError
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


def test_digest_follows_the_decode_side_alone() -> None:
    codec = FrozenElic.from_arrays(TINY_ELIC, {**tiny_elic().decode_arrays(), **tiny_elic().encode_arrays()})
    codec.gain.mul_(2)
    assert codec.digest() == tiny_elic().digest() == codec_digest(tiny_elic())  # type: ignore[arg-type]
    assert codec.number == CodecNumber.ELIC
    codec.scale_path.magnitude[5] += 1
    assert codec.digest() != tiny_elic().digest()


def test_weights_beyond_sixteen_bits_are_refused() -> None:
    wild = Elic(TINY_ELIC)
    with torch.no_grad():
        wild.scale_path.spatial[1].weights[0].mul_(1e4)  # pyright: ignore[reportIndexIssue]
    with pytest.raises(WeightsError, match="16 bits"):
        freeze_elic(wild)


@given(st.lists(st.binary(max_size=300), min_size=2, max_size=10))
def test_streams_come_apart_again(streams: list[bytes]) -> None:
    assert split_streams(join_streams(streams), len(streams), "chunk 0") == streams


@pytest.mark.parametrize("chunk", [b"", b"\x01", b"\x05\x00abcd", b"\x80\x00\x00", b"\xff" * 12])
def test_lengths_that_do_not_fit_are_damage(chunk: bytes) -> None:
    with pytest.raises(DamagedPacket, match="chunk 7"):
        split_streams(chunk, 3, "chunk 7")


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
