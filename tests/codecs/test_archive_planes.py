"""The archive codec: planes to chunks and back, tiles, what damage does, and the rule of its contexts."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from smalto.bits import rans
from smalto.bits.packet import CodecNumber
from smalto.codecs.archive_contexts import CellContexts, no_cells
from smalto.codecs.archive_fit import fit_archive
from smalto.codecs.archive_planes import (
    BOTTOM,
    TOP,
    ArchivePlanes,
    archive_codec_of,
    cell_rows,
)
from smalto.codecs.tiles import Tile
from smalto.errors import PacketError, UsageError, WeightsError

Planes = dict[str, Tensor]


def planes(rows: int, columns: int, seed: int = 0) -> Planes:
    """Smooth planes of few directions with noise on top, z_b partly told by z_t."""
    generator = torch.Generator().manual_seed(seed)
    ramps = torch.randn(1, 12, rows, columns, generator=generator).cumsum(2).cumsum(3) * 0.2
    top = torch.einsum("bchw,dc->bdhw", ramps[:, :4], torch.randn(64, 4, generator=torch.Generator().manual_seed(9)))
    mix = torch.randn(64, 12, generator=torch.Generator().manual_seed(8))
    bottom = torch.nn.functional.interpolate(torch.einsum("bchw,dc->bdhw", ramps, mix), scale_factor=2)
    noise = [torch.randn(one.shape, generator=generator) * 0.3 for one in (top, bottom)]
    return {TOP: top + noise[0], BOTTOM: bottom + noise[1]}


@functools.cache
def codec() -> ArchivePlanes:
    """Fitted on three such pictures."""
    samples = [{name: plane[0].numpy() for name, plane in planes(24, 28, seed).items()} for seed in (1, 2, 3)]
    return fit_archive(samples, {TOP: np.eye(64), BOTTOM: np.eye(256)}, 2.0)


def grids(held: Planes) -> dict[str, tuple[int, int]]:
    return {name: (plane.shape[2], plane.shape[3]) for name, plane in held.items()}


def quantised(held: Planes) -> Planes:
    """What coding must give, by the rotations alone."""
    out = {}
    for name, plane in held.items():
        rows, columns = held[TOP].shape[2:]
        fold = plane.shape[2] // rows
        rotation = codec().models[name].rotation
        cells = cell_rows(plane[0].numpy(), Tile(0, rows, 0, columns), fold)
        values = torch.from_numpy(rotation.values(rotation.symbols(cells)))
        folded = values.reshape(rows, columns, -1).permute(2, 0, 1)[None]
        out[name] = torch.nn.functional.pixel_shuffle(folded, fold) if fold > 1 else folded
    return out


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 19), st.integers(1, 19), st.integers(1, 1 << 30), st.sampled_from((4, 12, 32, 1024)))
def test_planes_come_back_as_quantised(rows: int, columns: int, seed: int, tile_px: int) -> None:
    held = planes(rows, columns, seed)
    chunks = codec().encode(held, tile_px)
    side = tile_px // 4
    assert {len(parts) for parts in chunks.values()} == {-(-rows // side) * -(-columns // side)}
    back, wanted = codec().decode(chunks, grids(held), tile_px), quantised(held)
    for name in codec().plane_names:
        assert back[name].shape == held[name].shape
        assert back[name].dtype == torch.float32
        torch.testing.assert_close(back[name], wanted[name], atol=1e-5, rtol=1e-5)


def test_quantised_planes_are_near_and_small() -> None:
    held = planes(24, 28, 77)
    chunks = codec().encode(held, 1024)
    back = codec().decode(chunks, grids(held), 1024)
    for name in held:
        error, power = (back[name] - held[name]).square().mean(), held[name].var()
        assert error < 0.2
        assert error < 0.2 * power
    values = sum(plane.numel() for plane in held.values())
    assert 8 * sum(len(chunk) for parts in chunks.values() for chunk in parts) < values


def test_what_it_says_of_itself() -> None:
    assert codec().number == CodecNumber.ARCHIVE == 6
    assert codec().plane_names == ("z_t", "z_b")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 3e38, -3e38, 1e9])
def test_extreme_values_are_defined(value: float) -> None:
    held = planes(6, 5)
    held[BOTTOM][0, 3, 2, 4] = value
    held[TOP][0, 60, 5, 0] = value
    back = codec().decode(codec().encode(held, 1024), grids(held), 1024)
    for name, plane in back.items():
        assert torch.isfinite(plane).all()
        assert plane.abs().max() <= 4096
        untouched = torch.ones(plane.shape[2:], dtype=torch.bool)
        at = (5, 0) if name == TOP else (slice(2, 4), slice(4, 6))
        untouched[at] = False
        torch.testing.assert_close(plane[..., untouched], quantised(planes(6, 5))[name][..., untouched])


def test_chunks_do_not_know_each_other() -> None:
    held = planes(16, 16)
    chunks = codec().encode(held, 32)
    part = {TOP: held[TOP][:, :, 8:, :8], BOTTOM: held[BOTTOM][:, :, 16:, :16]}
    alone = codec().encode(part, 32)
    assert all(alone[name] == (chunks[name][2],) for name in chunks)


def test_a_tile_of_too_many_symbols_is_cut() -> None:
    most = max(model.contexts.num_symbols for model in codec().models.values())
    tiles = list(codec().chunk_tiles((1 << 14, 1 << 12), 1 << 16))
    assert all((tile.bottom - tile.top) * (tile.right - tile.left) * most <= 1 << 22 for tile in tiles)
    assert sum((tile.bottom - tile.top) * (tile.right - tile.left) for tile in tiles) == 1 << 26
    assert len(list(codec().chunk_tiles((3, 4), 1 << 16))) == 1


def test_damage_is_named_and_never_worse() -> None:
    held = planes(17, 12, 5)
    chunks = codec().encode(held, 32)
    rng = np.random.default_rng(0)
    errors = []
    for turn in range(300):
        name = (TOP, BOTTOM)[turn % 2]
        number = int(rng.integers(len(chunks[name])))
        data = bytearray(chunks[name][number])
        match turn % 3:
            case 0:
                data[rng.integers(len(data))] ^= 1 << rng.integers(8)
            case 1:
                data = data[: rng.integers(len(data))]
            case _:
                data = bytearray(rng.bytes(int(rng.integers(1, 6000))))
        parts = {**chunks, name: (*chunks[name][:number], bytes(data), *chunks[name][number + 1 :])}
        try:
            back = codec().decode(parts, grids(held), 32)
        except PacketError as error:
            errors.append(str(error))
        else:
            assert all(torch.isfinite(plane).all() for plane in back.values())
    assert len(errors) > 290
    assert all("\n" not in line for line in errors)


def test_missing_chunks_and_ill_fitting_planes_are_refused() -> None:
    held = planes(9, 9)
    chunks = codec().encode(held, 16)
    with pytest.raises(PacketError, match="chunks of z_b"):
        codec().decode({**chunks, BOTTOM: chunks[BOTTOM][:-1]}, grids(held), 16)
    with pytest.raises(UsageError, match="not those of one picture"):
        codec().decode(chunks, {TOP: (9, 9), BOTTOM: (18, 17)}, 16)
    with pytest.raises(UsageError, match="multiples of 4"):
        codec().encode(held, 18)
    for wrong in (
        {TOP: held[TOP]},
        {TOP: held[TOP], BOTTOM: held[BOTTOM][:, :, :-1]},
        {TOP: held[TOP][0], BOTTOM: held[BOTTOM]},
    ):
        with pytest.raises(UsageError, match="not those of one picture"):
            codec().encode(wrong, 16)


def test_arrays_bring_the_codec_back() -> None:
    arrays = codec().to_arrays()
    again = archive_codec_of(arrays)
    held = planes(7, 5)
    assert again.digest == codec().digest
    assert len(again.digest) == 8
    assert again.encode(held, 64) == codec().encode(held, 64)


def test_the_digest_is_of_the_decode_side() -> None:
    arrays = codec().to_arrays()
    encoder = {**arrays, "z_t.forward": arrays["z_t.forward"] * np.float32(1.01)}
    decoder = {**arrays, "z_b.inverse": arrays["z_b.inverse"] * np.float32(1.01)}
    assert archive_codec_of(encoder).digest == codec().digest != archive_codec_of(decoder).digest


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("z_t.base", lambda a: a[:-1]),
        ("z_b.near", lambda a: a.astype(np.int64)),
        ("z_b.own", lambda a: a + 1),
        ("z_b.threshold", lambda a: a[::-1]),
        ("z_b.expect", lambda a: np.full_like(a, 32767)),
        ("z_t.inverse", lambda a: a * np.float32("nan")),
        ("z_t.mean", lambda a: a[:-1]),
        ("z_t.tables.size", lambda a: a + 1),
    ],
)
def test_unhealthy_weights_are_refused(name: str, change) -> None:  # type: ignore[no-untyped-def]
    arrays = codec().to_arrays()
    with pytest.raises(WeightsError, match="not weights of an archive codec"):
        archive_codec_of({**arrays, name: change(arrays[name])})
    with pytest.raises(WeightsError):
        archive_codec_of({key: array for key, array in arrays.items() if key != name})


def plain_trace(contexts: CellContexts, symbols: np.ndarray, width: int) -> tuple[list[int], list[int]]:
    """The rule of docs/format.md cell by cell, in Python's integers."""
    coded, tables, magnitudes = [], [], {}
    rows = [[int(value) for value in row] for row in symbols]
    expected_count = contexts.expect.shape[2]
    for cell, row in enumerate(rows):
        r, c = divmod(cell, width)
        west = cell - 1 if c else cell - width
        north = cell - width if r else west
        near = [west, north, north - 1 if r and c else north, north + 1 if r and c < width - 1 else north]
        near = near if cell else []
        own: list[int] = []
        for k, q in enumerate(row):
            spread, middle, phase, turned = int(contexts.base[k]), 0, 3, False
            for n, at in enumerate(near):
                spread += sum(int(contexts.near[n, j, k]) * m for j, m in enumerate(magnitudes[at]))
            spread += sum(int(contexts.own[j, k]) * m for j, m in enumerate(own))
            if k < expected_count:
                p = 0
                for n, at in enumerate(near):
                    inputs = (max(-2047, min(2047, value)) for value in rows[at][:expected_count])
                    p += sum(int(contexts.expect[n, j, k]) * value for j, value in enumerate(inputs))
                middle = (p + 512) // 1024
                rest = p - 1024 * middle
                phase, turned = (abs(rest) >= 128) + (abs(rest) >= 320), rest < 0
            tables.append(4 * int(np.searchsorted(contexts.threshold, min(spread, 65535), side="right")) + phase)
            coded.append(middle - q if turned else q - middle)
            own.append(min(abs(q - middle), 127))
        magnitudes[cell] = own
    return coded, tables


def test_contexts_keep_to_the_rule() -> None:
    model = codec().models[TOP]
    plane = planes(5, 4, 3)[TOP] * 20
    symbols = model.rotation.symbols(cell_rows(plane[0].numpy(), Tile(0, 5, 0, 4), 1))
    assert model.contexts.expect.shape[2] > 0
    assert np.abs(symbols).max() > 127
    coded, tables = plain_trace(model.contexts, symbols, 4)
    data, _ = model.contexts.encode(symbols, no_cells(20), 4)
    assert data == rans.encode(coded, tables, model.contexts.tables)


def test_huge_symbols_survive() -> None:
    contexts = codec().models[TOP].contexts
    symbols = np.zeros((6, contexts.num_symbols), np.int32)
    symbols[::2] = 1 << 30
    symbols[1, 0] = -(1 << 30)
    data, _ = contexts.encode(symbols, no_cells(6), 3)
    np.testing.assert_array_equal(contexts.decode(data, 6, no_cells(6), 3).symbols, symbols)


def test_models_must_fit_each_other() -> None:
    held = codec().models
    with pytest.raises(UsageError, match="does not fit its planes"):
        ArchivePlanes(held[BOTTOM], held[TOP])
    with pytest.raises(UsageError, match="different numbers"):
        replace(held[TOP], rotation=held[BOTTOM].rotation)


def _quiet(rows: int, columns: int, seed: int) -> Planes:
    generator = torch.Generator().manual_seed(seed)
    shapes = {TOP: (1, 64, rows, columns), BOTTOM: (1, 64, 2 * rows, 2 * columns)}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def test_planes_that_hardly_leave_zero_need_no_expectations() -> None:
    samples = [{name: plane[0].numpy() for name, plane in _quiet(16, 24, seed).items()} for seed in (1, 2)]
    coarse = fit_archive(samples, {TOP: np.eye(64), BOTTOM: np.eye(256)}, 4.5)
    assert coarse.models[TOP].contexts.expect.shape[1] == 0
    held = _quiet(9, 7, 5)
    back = coarse.decode(coarse.encode(held, 1024), grids(held), 1024)
    assert all(bool(torch.isfinite(plane).all()) for plane in back.values())
