"""docs/format-elic.md followed word by word in Python integers: it decodes the symbols that the codec encodes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch

from smalto.bits.cdf import CdfTables
from smalto.bits.rans import decode
from smalto.codecs.elic_frozen import FrozenElic
from smalto.codecs.hyper_coder import PlaneCode
from tests.tiny_elic import TINY_ELIC, tiny_elic
from tests.tiny_models import latent

Arrays = Mapping[str, np.ndarray]
Planes = list[list[list[int]]]  # [channel][row][column]


def _clamp(x: int, low: int, high: int) -> int:
    return min(max(x, low), high)


def _tables(arrays: Arrays, name: str) -> CdfTables:
    return CdfTables(*(arrays[f"{name}.{part}"] for part in ("low", "size", "frequency")))


def _layer(arrays: Arrays, name: str, x: Planes, side: int) -> Planes:
    """v of one layer, "Integer networks"."""
    weight, bias = arrays[f"{name.replace('#', 'weight')}"].tolist(), arrays[f"{name.replace('#', 'bias')}"].tolist()
    rows, columns, reach = len(x[0]), len(x[0][0]), side // 2
    assert len(weight) == side * side * len(x)
    planes = []
    for o in range(len(bias)):
        plane = []
        for r in range(rows):
            line = []
            for c in range(columns):
                total = bias[o]
                for i in range(side):
                    for j in range(side):
                        row, column = r + i - reach, c + j - reach
                        if 0 <= row < rows and 0 <= column < columns:
                            for a in range(len(x)):
                                total += weight[(side * i + j) * len(x) + a][o] * x[a][row][column]
                line.append((total + 128) >> 8)
            plane.append(line)
        planes.append(plane)
    return planes


def _each(x: Planes, low: int, high: int) -> Planes:
    return [[[_clamp(v, low, high) for v in line] for line in plane] for plane in x]


def _double(x: Planes) -> Planes:
    rows, columns = len(x[0]), len(x[0][0])
    return [
        [[x[4 * a + 2 * (r % 2) + c % 2][r // 2][c // 2] for c in range(2 * columns)] for r in range(2 * rows)]
        for a in range(len(x) // 4)
    ]


def _network(arrays: Arrays, name: str, x: Planes, side: int, layers: int) -> Planes:
    x = _each(x, -128, 127)
    for k in range(layers):
        x = _layer(arrays, f"scale_path.{name}.#{k}", x, side)
        if k < layers - 1:
            x = _each(x, 0, 255)
            x = _double(x) if name == "hyper" else x
    return _each(x, -(2**20), 2**20) if name.startswith("gather") else _each(x, -128, 127)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 128:
            return value, at


def _streams(chunk: bytes, count: int) -> list[bytes]:
    at, lengths = 0, []
    for _ in range(count - 1):
        length, at = _varint(chunk, at)
        lengths.append(length)
    ends = [at + sum(lengths[: k + 1]) for k in range(count - 1)]
    return [chunk[a:b] for a, b in zip([at, *ends], [*ends, len(chunk)], strict=True)]


def _tile(arrays: Arrays, q: int, chunk: bytes, features: Planes, groups: tuple[int, ...]) -> np.ndarray:
    """ "Decoding a tile": symbols (M, h, w)."""
    rows, columns = len(features[0]), len(features[0][0])
    streams = _streams(chunk, 2 * len(groups))
    offsets, magnitude = arrays["index_offset"][q].tolist(), arrays["scale_path.magnitude"].tolist()
    symbols = np.zeros((sum(groups), rows, columns), int)
    evidence: Planes = [[[0] * columns for _ in range(rows)] for _ in range(sum(groups))]
    first = 0
    for k, size in enumerate(groups):
        parts = list(features)
        if k:
            parts += _network(arrays, f"channel{k}", evidence[:first], 3, 3)
        for half in (0, 1):
            seen = _network(arrays, f"spatial{k}", evidence[first : first + size], 3, 2)
            context = seen if half else [[[0] * columns for _ in range(rows)] for _ in seen]
            index = _network(arrays, f"gather{k}", [*parts, *context], 1, 3)
            cells = [(r, c) for r in range(rows) for c in range(columns) if (r + c) % 2 == half]
            places = [(m, r, c) for r, c in cells for m in range(first, first + size)]
            numbers = [_clamp((index[m - first][r][c] + offsets[m]) >> 4, 0, 63) for m, r, c in places]
            found = decode(streams[2 * k + half], np.array(numbers, int), _tables(arrays, "y_tables")).tolist()
            for (m, r, c), s in zip(places, found, strict=True):
                symbols[m, r, c] = s
                evidence[m][r][c] = _clamp((magnitude[min(abs(s), 127)] - offsets[m]) >> 3, -128, 127)
        first += size
    return symbols


def _hyper(arrays: Arrays, q: int, code: PlaneCode, rows: int, columns: int) -> Planes:
    channels = TINY_ELIC.hyper_channels
    numbers = [int(arrays["z_level"][q]) * channels + c for c in range(channels)] * (rows * columns)
    symbols = decode(code.hyper, np.array(numbers), _tables(arrays, "z_tables")).reshape(rows, columns, channels)
    z = (symbols.astype(int) * int(arrays["z_gain"][q])).transpose(2, 0, 1).tolist()
    return _network(arrays, "hyper", z, 3, 3)


def _symbols_of(codec: FrozenElic, code: PlaneCode, y_hat: torch.Tensor, tile: int) -> np.ndarray:
    """The symbols that the codec itself has read, in the order of ``_tile``, from what it passes to its mean path."""
    seen: list[torch.Tensor] = []
    read = codec.read_symbols
    codec.read_symbols = lambda *args: seen.append(read(*args)) or seen[-1]  # type: ignore[method-assign, return-value]
    try:
        codec.decode(code, y_hat.shape[2], y_hat.shape[3], tile)
    finally:
        del codec.read_symbols
    (symbols,) = seen
    return symbols.numpy()


@pytest.mark.parametrize("q", [3, 200])
@pytest.mark.parametrize(("height", "width", "tile"), [(5, 6, 8), (4, 8, 4), (1, 2, 4)])
def test_a_reader_written_from_the_document(q: int, height: int, width: int, tile: int) -> None:
    codec = tiny_elic()
    arrays = codec.decode_arrays()
    y = latent(height, width, seed=q)
    code = codec.encode(y, q, tile)
    features = _hyper(arrays, q, code, -(-height // 4), -(-width // 4))
    own = _symbols_of(codec, code, y, tile)
    assert len(own) == len(code.main)
    for number, chunk in enumerate(code.main):
        left = number * tile
        part = [[line[left : min(left + tile, width)] for line in plane[:height]] for plane in features]
        symbols = _tile(arrays, q, chunk, part, TINY_ELIC.groups)
        assert np.array_equal(symbols.reshape(len(symbols), -1), own[number])
    assert len(np.unique(own)) > (2 if width == 2 else 5)
