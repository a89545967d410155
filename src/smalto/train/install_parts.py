"""What runs leave to install: their weights part by part, checked against their records, and coded into a folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from smalto.errors import UsageError, WeightsError
from smalto.weights.coded import STEPS_PER_DEVIATION, code
from smalto.weights.store import read_arrays, write_arrays

Digests = Callable[[Mapping[str, np.ndarray]], dict[str, str]]


@dataclass(frozen=True)
class RunPart:
    """Weights that a run left.

    Args:
        part: what they are, as in the record's files.
        path: of the safetensors file, in half precision.
        record: the JSON beside it.
    """

    part: str
    path: Path
    record: Mapping[str, object]

    @property
    def decoder_digest(self) -> str:
        """The decoder that the part belongs to, hexadecimal; ``pixels`` of a network that reads none."""
        return str(self.record.get("decoder_digest", self.record.get("space", "none")))


@dataclass(frozen=True)
class Installed:
    """What became of weights.

    Args:
        name: of the system or feature codec.
        record: its entry in ``index.json``.
        dropped: parts that were installed before and do not belong to it any more.
        orphaned: parts of other systems that were made over what it replaced, and are gone with it.
    """

    name: str
    record: dict[str, object]
    dropped: tuple[str, ...] = ()
    orphaned: tuple[str, ...] = ()


def found_parts(runs: Iterable[Path], names: Iterable[str]) -> dict[str, RunPart]:
    """What runs hold of these parts, by part; the last one of a part counts."""
    names, parts = tuple(names), {}
    for run in runs:
        for part in names:
            path = run / "weights" / f"{part}.json"
            if path.is_file():
                parts[part] = RunPart(part, path.with_suffix(".safetensors"), json.loads(path.read_text()))
    return parts


def checked_digests(part: RunPart, digests: Digests) -> dict[str, np.ndarray]:
    """The arrays of a run, when they have the digests that it recorded.

    Raises:
        WeightsError: the run's weights are of another configuration, or not those it recorded.
    """
    arrays = read_arrays(part.path)
    try:
        found = digests(arrays)
    except (RuntimeError, KeyError) as error:
        raise WeightsError(
            f"{part.path}: of another configuration ({str(error).splitlines()[0]}); install a run of the shipped one"
        ) from error
    for key, value in found.items():
        recorded = part.record.get(key, "none")
        if recorded != value:
            raise WeightsError(f"{part.path}: its {key} is {value}, its record says {recorded}; publish it again")
    return arrays


def checked_file(part: RunPart) -> dict[str, np.ndarray]:
    """The arrays of a run, when their file is the one that it recorded. Raises WeightsError."""
    arrays = read_arrays(part.path)
    found = hashlib.sha256(part.path.read_bytes()).hexdigest()
    if part.record.get("sha256") != found:
        raise WeightsError(f"{part.path}: SHA-256 is {found[:16]}..., its record says another; publish it again")
    return arrays


def check_decoders(parts: Iterable[RunPart], decoders: set[str]) -> None:
    """Raise UsageError unless every part was trained on one of these decoders."""
    for part in parts:
        if part.decoder_digest not in decoders:
            raise UsageError(
                f"{part.path}: {part.part} was trained on another decoder ({part.decoder_digest}); train it on this one"
            )


def write_coded(
    part: RunPart, arrays: Mapping[str, np.ndarray], path: Path, steps_per_deviation: float | None = STEPS_PER_DEVIATION
) -> dict[str, object]:
    """Write one file; gives its entry in the record.

    Args:
        part: whose number of parameters the entry gives.
        arrays: to store.
        path: of the file.
        steps_per_deviation: how finely arrays are coded, as for ``smalto.weights.coded.code``; None stores them as they
            are.
    """
    stored, form = (arrays, None) if steps_per_deviation is None else code(arrays, steps_per_deviation)
    sha256 = write_arrays(path, stored, form)
    return {
        "name": path.name,
        "sha256": sha256,
        "num_bytes": path.stat().st_size,
        "num_parameters": part.record["num_parameters"],
    }
