"""Windows bound memory and change nothing; devices and dtypes that cannot be are refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from smalto.encoders.hific import Encoder
from smalto.errors import UsageError
from smalto.heads.image import Decoder
from smalto.heads.super_resolve import SuperResolver
from smalto.systems.engine import Engine, StageTimes, fast_dtype, pad_to_multiple
from tests.tiny_models import (
    NARROW_HIFIC_DECODER,
    NARROW_HIFIC_ENCODER,
    TINY_DECODER,
    TINY_ENCODER,
    TINY_SUPER,
    latent,
    seeded,
)

ENGINE = Engine(torch.device("cpu"), torch.float32)


@pytest.mark.parametrize("config", [TINY_ENCODER, NARROW_HIFIC_ENCODER], ids=["lite", "hific"])
@pytest.mark.parametrize("size", [(16, 336), (208, 272), (416, 96)])
def test_encoder_in_windows_gives_what_it_gives_whole(config, size: tuple[int, int]) -> None:  # type: ignore[no-untyped-def]
    encoder = seeded(Encoder, config)
    x = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    if config is NARROW_HIFIC_ENCODER and min(size) < 32:
        pytest.skip("reflection needs two latent cells; the hific system pads to 64 pixels")
    whole = ENGINE.run(encoder, x, 4096, encoder.halo_px, (1, 16))
    parts = ENGINE.run(encoder, x, 64, encoder.halo_px, (1, 16))
    torch.testing.assert_close(parts, whole, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("head", "cells", "window"),
    [
        (seeded(Decoder, TINY_DECODER), (23, 31), 5),
        (seeded(Decoder, NARROW_HIFIC_DECODER), (29, 34), 6),
        (seeded(SuperResolver, TINY_SUPER), (33, 40), 7),
    ],
    ids=["lite", "hific", "upscale"],
)
def test_heads_in_windows_give_what_they_give_whole(head: nn.Module, cells: tuple[int, int], window: int) -> None:
    y = latent(*cells)
    ratio = (16 * int(head.scale), 1)
    whole = ENGINE.run(head, y, 4096, head.halo_cells, ratio)
    parts = ENGINE.run(head, y, window, head.halo_cells, ratio)
    torch.testing.assert_close(parts, whole, atol=2e-5, rtol=1e-5)


def test_too_small_a_halo_would_show() -> None:
    """The comparison above can fail: without context the windows differ."""
    encoder = seeded(Encoder, TINY_ENCODER)
    x = torch.rand(1, 3, 256, 256)
    whole = ENGINE.run(encoder, x, 4096, encoder.halo_px, (1, 16))
    parts = ENGINE.run(encoder, x, 64, 0, (1, 16))
    assert float((parts - whole).abs().max()) > 1e-3


@pytest.mark.parametrize(("height", "width"), [(1, 1), (15, 33), (16, 16), (1, 64)])
def test_padding_repeats_the_last_row_and_column(height: int, width: int) -> None:
    x = torch.rand(1, 3, height, width)
    padded = pad_to_multiple(x, 16)
    assert padded.shape[2] % 16 == padded.shape[3] % 16 == 0
    assert torch.equal(padded[:, :, :height, :width], x)
    assert torch.equal(padded[:, :, height:, :width], x[:, :, -1:].expand(-1, -1, padded.shape[2] - height, -1))


def test_unknown_devices_and_dtypes_are_refused() -> None:
    with pytest.raises(UsageError, match="cannot be used"):
        Engine.on("quantum")
    with pytest.raises(UsageError, match=r"float32 or torch\.bfloat16"):
        Engine.on("cpu", torch.float16)


def test_precision_follows_the_dtype() -> None:
    layer = nn.Conv2d(1, 1, 1)
    for dtype in (torch.float32, torch.bfloat16):
        with Engine(torch.device("cpu"), dtype).precision():
            assert layer(torch.ones(1, 1, 2, 2)).dtype == dtype


def test_stage_times_add_up() -> None:
    times = StageTimes()
    for _ in range(2):
        with times.measure("encoder"):
            pass
    with times.measure("codec"):
        pass
    assert list(times.seconds) == ["encoder", "codec"]
    assert all(seconds >= 0 for seconds in times.seconds.values())


def test_windows_keep_the_type_and_are_of_nearly_equal_size() -> None:
    seen = []

    def network(part: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(part.shape[2:]))
        return part[:, :1].add(1).to(torch.uint8)

    x = torch.randint(0, 100, (1, 2, 50, 33), dtype=torch.uint8)
    assert torch.equal(ENGINE.run(network, x, 16, 0, (1, 1)), x[:, :1] + 1)
    assert set(seen) == {(13, 11), (11, 11)}
    assert len(seen) == 12


def test_padding_takes_any_type() -> None:
    x = torch.arange(6, dtype=torch.uint8).view(1, 1, 2, 3)
    assert pad_to_multiple(x, 4)[0, 0].tolist() == [[0, 1, 2, 2], [3, 4, 5, 5], [3, 4, 5, 5], [3, 4, 5, 5]]


def test_bfloat16_is_chosen_only_where_it_is_native(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    assert fast_dtype(cpu) == torch.float32
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True, raising=False)
    assert fast_dtype(cpu) == (torch.bfloat16 if torch.backends.mkldnn.is_available() else torch.float32)
    assert fast_dtype(torch.device("meta")) == torch.float32
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert fast_dtype(cpu) == torch.float32
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert fast_dtype(cpu) == torch.float32
