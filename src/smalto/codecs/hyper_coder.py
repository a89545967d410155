"""What coding forms with hyper-symbols share: z to bytes and back, quality tables, and the arrays of the standard.

::

    y ─► h_a ─► round(/ z gain) ─► z symbols ──► [rANS, z tables] ──► hyper bytes
                                      │ x z gain
                                      └─► what the coding form computes means and table numbers from

Legend as in ``hyperprior``.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalto.bits.cdf import CdfTables
from smalto.bits.rans import decode, encode
from smalto.codecs.hyperprior import INDEX_STEPS, NUM_LEVELS, NUM_SCALES
from smalto.codecs.scale_path import IntegerScalePath
from smalto.errors import DamagedPacket, LimitExceeded, UsageError
from smalto.weights.store import under

MAX_CHUNK_SYMBOLS = 1 << 22
VALUE_LIMIT = 4096.0
HYPER_STRIDE = 4
HALO_CELLS = 2  # hyper cells that one cell of what is computed from them can see beyond its own
_INDEX_SHIFT = INDEX_STEPS.bit_length() - 1
_BUFFERS = ("index_offset", "z_gain", "z_level")


@dataclass(frozen=True)
class PlaneCode:
    """A plane as coded bytes.

    Args:
        q: quality level 0..255.
        hyper: the chunk of hyper-symbols.
        main: chunks of main symbols, one a tile, row by row.
    """

    q: int
    hyper: bytes
    main: tuple[bytes, ...]


class PlaneConfig(Protocol):
    """What the coding form must know of a configuration; any frozen dataclass with these two."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def latent_channels(self) -> int:
        """M, channels of y."""
        ...

    @property
    def hyper_channels(self) -> int:
        """Channels of z."""
        ...


def check_quality(q: int) -> None:
    """Raise UsageError unless q is in 0..255."""
    if not 0 <= q < NUM_LEVELS:
        raise UsageError(f"quality level {q} is outside 0..{NUM_LEVELS - 1}")


def to_symbols(x: Tensor) -> Tensor:
    """Round half up to int32 within +-2^30; what is no number becomes 0."""
    return torch.floor(x + 0.5).nan_to_num(0.0, 2.0**30, -(2.0**30)).clamp(-(2.0**30), 2.0**30).to(torch.int32)


def table_numbers(sixteenths: Tensor, offset: Tensor) -> Tensor:
    """Numbers of the Gaussian tables, uint8: indexes in 1/16 table steps and the quality's offset, both int32."""
    return ((sixteenths + offset) >> _INDEX_SHIFT).clamp_(0, NUM_SCALES - 1).to(torch.uint8)


def bounded(values: Tensor) -> Tensor:
    """Decoded values within +-4096, in place; what is no number becomes 0."""
    return values.nan_to_num_(0.0, VALUE_LIMIT, -VALUE_LIMIT).clamp_(-VALUE_LIMIT, VALUE_LIMIT)


def flat_symbols(x: Tensor) -> np.ndarray:
    """(C, h, w) -> flat array in the order row, column, channel."""
    return np.ascontiguousarray(x.permute(1, 2, 0).cpu().numpy()).reshape(-1)


def stored_tables(arrays: Mapping[str, np.ndarray]) -> tuple[CdfTables, CdfTables]:
    """CDF tables of hyper-symbols and of the 64 scales, from ``decode_arrays``."""
    return CdfTables.from_arrays(under(arrays, "z_tables")), CdfTables.from_arrays(under(arrays, "y_tables"))


def shipped(network: nn.Module, name: str) -> dict[str, np.ndarray]:
    """A network's tensors as they ship, half precision, under a name."""
    return {f"{name}.{inner}": tensor.cpu().half().numpy() for inner, tensor in network.state_dict().items()}


def load_half(network: nn.Module, arrays: Mapping[str, np.ndarray]) -> None:
    """Fill a network from arrays as they ship; every tensor must be there."""
    network.load_state_dict({name: torch.from_numpy(array).float() for name, array in arrays.items()})


def integer_arrays(path: IntegerScalePath) -> dict[str, np.ndarray]:
    """Weights and biases of an integer scale path as they ship: ``weightK`` int16, ``biasK`` int32."""
    weights, biases = path.arrays()
    arrays = {f"weight{k}": weight.astype(np.int16) for k, weight in enumerate(weights)}
    return arrays | {f"bias{k}": bias.astype(np.int32) for k, bias in enumerate(biases)}


def load_integer_arrays(path: IntegerScalePath, arrays: Mapping[str, np.ndarray]) -> None:
    """Fill an integer scale path from ``integer_arrays``. Raises WeightsError when its sums could be inexact."""
    layers = range(len(path.layers))
    weights, biases = (
        [torch.from_numpy(arrays[f"{name}{k}"].astype(np.int64)) for k in layers] for name in ("weight", "bias")
    )
    path.load_integers(weights, biases)


class HyperCoder(nn.Module, abc.ABC):
    """A coding form with hyper-symbols.

    The decode side (scale path, mean path, tables, offsets, inverse gains, z gains) is the standard; the encode side
    (hyper-analysis, gains) may be replaced by any other.

    Args:
        config: sizes.
        z_tables: CDF tables of the hyper-symbols, number ``z_level * hyper_channels + channel``.
        y_tables: CDF tables of the 64 scales.
        analysis: y -> z.
        mean_path: z_hat -> means.
    """

    gain: Tensor
    inverse_gain: Tensor
    index_offset: Tensor
    z_gain: Tensor
    z_level: Tensor

    def __init__(
        self, config: PlaneConfig, z_tables: CdfTables, y_tables: CdfTables, analysis: nn.Module, mean_path: nn.Module
    ) -> None:
        super().__init__()
        channels = config.latent_channels
        self.config = config
        self.z_tables, self.y_tables = z_tables, y_tables
        self.analysis = analysis
        self.register_buffer("gain", torch.ones(NUM_LEVELS, channels))
        self.register_buffer("inverse_gain", torch.ones(NUM_LEVELS, channels))
        self.register_buffer("index_offset", torch.zeros(NUM_LEVELS, channels, dtype=torch.int16))
        self.register_buffer("z_gain", torch.ones(NUM_LEVELS, dtype=torch.int16))
        self.register_buffer("z_level", torch.zeros(NUM_LEVELS, dtype=torch.int16))
        self.mean_path = mean_path

    # -- hyper-symbols ----------------------------------------------------------------------------------------------

    def _z_indexes(self, q: int, num_cells: int) -> np.ndarray:
        """Table number of every hyper-symbol in the order row, column, channel."""
        channels = self.config.hyper_channels
        first = int(self.z_level[q]) * channels
        return np.tile(np.arange(first, first + channels, dtype=np.uint16), num_cells)

    @torch.no_grad()
    def hyper_latent(self, y: Tensor) -> Tensor:
        """z (1, Cz, ceil(h/4), ceil(w/4)) of y (1, M, h, w), before rounding: the same for every quality."""
        return self.analysis(_padded(y))

    def encode_hyper(self, z: Tensor, q: int) -> tuple[bytes, Tensor]:
        """The chunk of hyper-symbols, and hyper-symbols times z gain as ``decode_hyper`` gives them."""
        step = int(self.z_gain[q])
        symbols = to_symbols(z / step)
        hyper = encode(flat_symbols(symbols[0]), self._z_indexes(q, z.shape[2] * z.shape[3]), self.z_tables)
        return hyper, symbols.double() * step

    def decode_hyper(self, code: PlaneCode, height: int, width: int) -> Tensor:
        """Hyper-symbols times z gain, (1, Cz, ceil(height / 4), ceil(width / 4)) float64.

        Raises:
            LimitExceeded: there are more than a chunk may have.
        """
        rows, columns = -(-height // HYPER_STRIDE), -(-width // HYPER_STRIDE)
        channels = self.config.hyper_channels
        if rows * columns * channels > MAX_CHUNK_SYMBOLS:
            raise LimitExceeded(
                f"a plane of {width} x {height} cells has over {MAX_CHUNK_SYMBOLS} hyper-symbols; too large to read"
            )
        symbols = decode(code.hyper, self._z_indexes(code.q, rows * columns), self.z_tables)
        z = torch.from_numpy(symbols.reshape(rows, columns, channels)).permute(2, 0, 1)[None]
        return z.to(self.gain.device).double() * int(self.z_gain[code.q])

    # -- checks of a call -------------------------------------------------------------------------------------------

    def _check_call(self, q: int, tile_cells: int) -> None:
        """Raise UsageError unless level and tile can be encoded with."""
        check_quality(q)
        if not 1 <= tile_cells**2 * self.config.latent_channels <= MAX_CHUNK_SYMBOLS:
            raise UsageError(
                f"a tile of {tile_cells}^2 cells has over {MAX_CHUNK_SYMBOLS} symbols; choose a smaller one"
            )

    def _check_chunks(self, code: PlaneCode, height: int, width: int, tile_cells: int) -> None:
        """Raise UsageError or DamagedPacket unless the level exists and every tile has its chunk."""
        check_quality(code.q)
        num_tiles = -(-height // tile_cells) * -(-width // tile_cells)
        if num_tiles != len(code.main):
            raise DamagedPacket(
                f"{len(code.main)} chunks where {width} x {height} cells need {num_tiles}; the file is damaged"
            )

    # -- the standard -----------------------------------------------------------------------------------------------

    def decode_arrays(self) -> Mapping[str, np.ndarray]:
        """Every array of the decode side, by name: what the codec's digest is taken over."""
        arrays = shipped(self.mean_path, "mean_path")
        arrays |= {f"scale_path.{name}": array for name, array in self._scale_arrays().items()}
        arrays["inverse_gain"] = self.inverse_gain.cpu().half().numpy()
        for name in _BUFFERS:
            arrays[name] = getattr(self, name).cpu().numpy()
        for prefix, tables in (("z_tables", self.z_tables), ("y_tables", self.y_tables)):
            arrays |= {f"{prefix}.{name}": array for name, array in tables.to_arrays().items()}
        return arrays

    def encode_arrays(self) -> Mapping[str, np.ndarray]:
        """Every array of the encode side, by name."""
        return {**shipped(self.analysis, "analysis"), "gain": self.gain.cpu().half().numpy()}

    def filled(self, arrays: Mapping[str, np.ndarray]) -> Self:
        """This codec, with all but its tables taken from ``decode_arrays`` and ``encode_arrays``, in evaluation."""
        for name, network in (("mean_path", self.mean_path), ("analysis", self.analysis)):
            load_half(network, under(arrays, name))
        self._load_scale(under(arrays, "scale_path"))
        for name in ("gain", "inverse_gain", *_BUFFERS):
            buffer: Tensor = getattr(self, name)
            buffer.copy_(torch.from_numpy(np.asarray(arrays[name])))
        return self.eval()

    @abc.abstractmethod
    def _scale_arrays(self) -> dict[str, np.ndarray]:
        """The integers of the scale path, by name."""

    @abc.abstractmethod
    def _load_scale(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Fill the scale path from ``_scale_arrays``."""


def _padded(y: Tensor) -> Tensor:
    """Repeat the last row and column until both sides are multiples of 4."""
    down, right = -y.shape[2] % HYPER_STRIDE, -y.shape[3] % HYPER_STRIDE
    return F.pad(y, (0, right, 0, down), mode="replicate") if down or right else y
