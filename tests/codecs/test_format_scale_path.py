"""docs/format.md, "Scale path", followed word by word in Python integers: it decodes what the codec encodes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch

from smalto.bits.cdf import CdfTables
from smalto.bits.rans import decode
from smalto.codecs.hyperprior_frozen import FrozenHyperprior
from smalto.codecs.tiles import Tile
from tests.tiny_models import CHANNELS, latent, tiny_codec, tiny_hific_codec, tiny_hific_config_with_sigma

Grid = dict[tuple[int, int, int], int]


def _clamp(x: int, low: int, high: int) -> int:
    return min(max(x, low), high)


def _tables(arrays: Mapping[str, np.ndarray], name: str) -> CdfTables:
    return CdfTables(*(arrays[f"{name}.{part}"] for part in ("low", "size", "frequency")))


def _layer(x: Grid, size: tuple[int, int, int], arrays: Mapping[str, np.ndarray], k: int) -> tuple[Grid, int]:
    """Step 3 before its clamp: shifted sums of every output, and their number."""
    channels, rows, columns = size
    weight, bias = arrays[f"scale_path.weight{k}"], arrays[f"scale_path.bias{k}"]
    shift = int(arrays["scale_path.shift"][k]) if "scale_path.shift" in arrays else 8
    found: Grid = {}
    for o in range(len(bias)):
        for r in range(rows):
            for c in range(columns):
                total = int(bias[o])
                for i in range(3):
                    for j in range(3):
                        for a in range(channels):
                            value = x.get((a, r + i - 1, c + j - 1), 0)
                            total += int(weight[(3 * i + j) * channels + a, o]) * value
                found[o, r, c] = (total + (1 << shift >> 1)) >> shift
    return found, len(bias)


def _read(arrays: Mapping[str, np.ndarray], q: int, hyper: bytes, rows: int, columns: int) -> np.ndarray:
    """Steps 1 to 5: table numbers (h, w, M) of a plane of 4 rows x 4 columns cells."""
    hyper_channels = arrays["scale_path.weight0"].shape[0] // 9
    numbers = [int(arrays["z_level"][q]) * hyper_channels + c for c in range(hyper_channels)] * (rows * columns)
    symbols = decode(hyper, np.array(numbers), _tables(arrays, "z_tables")).reshape(rows, columns, hyper_channels)
    x: Grid = {
        (c, r, s): _clamp(int(symbols[r, s, c]) * int(arrays["z_gain"][q]), -128, 127)
        for r in range(rows)
        for s in range(columns)
        for c in range(hyper_channels)
    }
    size = (hyper_channels, rows, columns)
    for k in (0, 1):
        sums, outputs = _layer(x, size, arrays, k)
        x = {(o // 4, 2 * r + o % 4 // 2, 2 * c + o % 2): _clamp(value, 0, 255) for (o, r, c), value in sums.items()}
        size = (outputs // 4, 2 * size[1], 2 * size[2])
    x, channels = _layer(x, size, arrays, 2)
    tables = np.empty((4 * rows, 4 * columns, channels), int)
    for (m, r, c), value in x.items():
        index = _clamp(value, -(2**20), 2**20)
        if "scale_path.thresholds" in arrays:
            index = sum(int(threshold) <= index for threshold in arrays["scale_path.thresholds"])
        tables[r, c, m] = _clamp((index + int(arrays["index_offset"][q, m])) >> 4, 0, 63)
    return tables


@pytest.mark.parametrize(
    "codec",
    [tiny_codec(), tiny_hific_codec(), tiny_hific_codec(tiny_hific_config_with_sigma())],
    ids=["lite", "hific", "sigma"],
)
@pytest.mark.parametrize("q", [3, 200])
def test_a_reader_written_from_the_document(codec: FrozenHyperprior, q: int) -> None:
    arrays = codec.decode_arrays()
    y = latent(4, 8, seed=q)
    code = codec.encode(y, q)
    tables = _read(arrays, q, code.hyper, 1, 2)
    symbols = decode(code.main[0], tables.ravel(), _tables(arrays, "y_tables")).reshape(4, 8, CHANNELS)
    z = codec.decode_hyper(code, 4, 8)
    _, mean = codec.parameters_of(z, q, Tile(0, 4, 0, 8))
    values = mean + torch.from_numpy(symbols).permute(2, 0, 1) * codec.inverse_gain[q][:, None, None]
    torch.testing.assert_close(codec.decode(code, 4, 8), values, atol=1e-5, rtol=0)
    assert len(np.unique(tables)) > 3
