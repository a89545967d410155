"""Entropy coders under one face: ours, CompressAI's, and constriction's in two forms.

Every coder gets the same symbols, the same table index for each symbol and the same 64 integer tables. What a coder
needs in another form (CompressAI: Python lists; constriction: its model objects) is made before the clock starts, to
the peer's favour; what follows from the data itself, such as grouping symbols by table, is on the clock.
"""

from __future__ import annotations

import importlib.metadata
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import smalto
from smalto.bench.peers.compressai_library import import_compressai
from smalto.bits.cdf import CdfTables
from smalto.bits.rans import decode, encode
from smalto.errors import MissingExtra


@dataclass(frozen=True)
class Workload:
    """What the coders code.

    Args:
        symbols: (N,) int32.
        indexes: (N,) uint16, the table of each symbol.
        tables: the integer tables.
        scales: (K,) float64, the standard deviation behind each table.
    """

    symbols: NDArray[np.int32]
    indexes: NDArray[np.uint16]
    tables: CdfTables
    scales: NDArray[np.float64]


class EntropyCoder(ABC):
    """A coder holding a workload in the form that it wants."""

    version: str
    symbols: NDArray[np.int32]  # what decode must give back

    @abstractmethod
    def encode(self) -> bytes:
        """The workload's stream."""

    @abstractmethod
    def decode(self, stream: bytes) -> NDArray[np.int32] | list[int]:
        """The workload's symbols."""


class OwnCoder(EntropyCoder):
    """smalto.bits.rans on one core."""

    def __init__(self, work: Workload) -> None:
        self.version = smalto.__version__
        self.symbols = work.symbols
        self._work = work

    def encode(self) -> bytes:
        return encode(self._work.symbols, self._work.indexes, self._work.tables)

    def decode(self, stream: bytes) -> NDArray[np.int32]:
        return decode(stream, self._work.indexes, self._work.tables)


class CompressaiCoder(EntropyCoder):
    """compressai.ans with the same tables; their escape entry is its bypass entry."""

    def __init__(self, work: Workload) -> None:
        self._ans = import_compressai("compressai.ans")
        self.version = importlib.metadata.version("compressai")
        self.symbols = work.symbols
        self._symbols, self._indexes = work.symbols.tolist(), work.indexes.tolist()
        frequencies = [_frequencies(work.tables, k) for k in range(work.tables.num_tables)]
        self._tables = [[0, *np.cumsum(f, dtype=np.int64).tolist()] for f in frequencies]
        self._sizes = [len(table) for table in self._tables]
        self._lows = work.tables.low.tolist()

    def encode(self) -> bytes:
        coder = self._ans.RansEncoder()
        return coder.encode_with_indexes(self._symbols, self._indexes, self._tables, self._sizes, self._lows)

    def decode(self, stream: bytes) -> list[int]:
        coder = self._ans.RansDecoder()
        return coder.decode_with_indexes(stream, self._indexes, self._tables, self._sizes, self._lows)


class ConstrictionCoder(EntropyCoder):
    """constriction's AnsCoder with a quantised Gaussian for every symbol, its documented way for such data."""

    def __init__(self, work: Workload) -> None:
        constriction = _constriction()
        self.version = importlib.metadata.version("constriction")
        self._stack = constriction.stream.stack
        self.symbols = work.symbols
        self._means, self._scales = np.zeros(len(work.symbols)), work.scales[work.indexes]
        reach = int(np.abs(work.symbols).max(initial=0)) + 1
        self._family = constriction.stream.model.QuantizedGaussian(-reach, reach)

    def encode(self) -> bytes:
        coder = self._stack.AnsCoder()
        coder.encode_reverse(self.symbols, self._family, self._means, self._scales)
        return coder.get_compressed().tobytes()

    def decode(self, stream: bytes) -> NDArray[np.int32]:
        coder = self._stack.AnsCoder(np.frombuffer(stream, np.uint32))
        return coder.decode(self._family, self._means, self._scales)


class ConstrictionGroupedCoder(EntropyCoder):
    """constriction's AnsCoder run once a table over the symbols of that table, which are gathered on the clock.

    It has no escape, so the workload's few symbols outside the tables are clipped beforehand.
    """

    def __init__(self, work: Workload) -> None:
        constriction = _constriction()
        self.version = importlib.metadata.version("constriction")
        self._stack = constriction.stream.stack
        self._indexes, self._low = work.indexes, work.tables.low
        low, size = work.tables.low[work.indexes], work.tables.size[work.indexes]
        self.symbols = np.clip(work.symbols, low, low + size - 1).astype(np.int32)
        self._models = []
        for k in range(work.tables.num_tables):
            masses = _frequencies(work.tables, k)[:-1].astype(np.float64)
            self._models.append(constriction.stream.model.Categorical(masses / masses.sum(), perfect=False))

    def _groups(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        order = np.argsort(self._indexes, kind="stable")
        return order, np.searchsorted(self._indexes[order], np.arange(len(self._models) + 1))

    def encode(self) -> bytes:
        order, bounds = self._groups()
        gathered = self.symbols[order]
        coder = self._stack.AnsCoder()
        for k in range(len(self._models) - 1, -1, -1):
            part = gathered[bounds[k] : bounds[k + 1]]
            if len(part):
                coder.encode_reverse(part - self._low[k], self._models[k])
        return coder.get_compressed().tobytes()

    def decode(self, stream: bytes) -> NDArray[np.int32]:
        order, bounds = self._groups()
        coder = self._stack.AnsCoder(np.frombuffer(stream, np.uint32))
        gathered = np.empty(len(order), np.int32)
        for k, model in enumerate(self._models):
            count = int(bounds[k + 1] - bounds[k])
            if count:
                gathered[bounds[k] : bounds[k + 1]] = coder.decode(model, count) + self._low[k]
        symbols = np.empty_like(gathered)
        symbols[order] = gathered
        return symbols


PEER_CODERS: dict[str, Callable[[Workload], EntropyCoder]] = {
    "compressai": CompressaiCoder,
    "constriction": ConstrictionCoder,
    "constriction-grouped": ConstrictionGroupedCoder,
}


def _frequencies(tables: CdfTables, k: int) -> NDArray[np.uint16]:
    """Frequencies of table k, the escape last."""
    row = int(tables.base[k]) - k
    return tables.frequency[row : row + int(tables.size[k]) + 1]


def _constriction() -> Any:  # a compiled module without types
    try:
        import constriction
    except ImportError as error:
        raise MissingExtra("constriction is not installed; pip install 'smalto[bench]'") from error
    return constriction
