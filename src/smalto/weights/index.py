"""The record of installed weights. Imports neither NumPy nor torch, so that ``info`` and ``systems`` answer at once."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from smalto.errors import UsageError, WeightsError

DEFAULT = "default"


@dataclass(frozen=True)
class WeightFile:
    """One safetensors file.

    Args:
        name: file name beside ``index.json``.
        sha256: of the whole file, hexadecimal.
        num_bytes: its size.
        num_parameters: trained values in it.
    """

    name: str
    sha256: str
    num_bytes: int
    num_parameters: int


@dataclass(frozen=True)
class SystemRecord:
    """What is known of an installed system without loading it.

    Args:
        name: name for ``smalto.load``.
        space: name of its space; one ending in ``-0`` is a draft that may vanish.
        decoder_digest: first 8 bytes of the frozen decoder's digest, hexadecimal.
        codec_digest: first 8 bytes of the digest of the codec's decode side, hexadecimal.
        tasks: what ``run`` answers from a file of this space.
        encoders: names that ``encode --encoder`` knows; the first is the default.
        files: weights by part.
        licence: of the weights.
        data: what they were trained on, with its licence.
        recipe: the command that trains them.
        hardware: what that ran on, and for how long.
        scores: measured figures, by name.
        limits: what they are bad at.
    """

    name: str
    space: str
    decoder_digest: str
    codec_digest: str
    tasks: tuple[str, ...]
    encoders: tuple[str, ...]
    files: Mapping[str, WeightFile] = field(hash=False)
    licence: str = ""
    data: str = ""
    recipe: str = ""
    hardware: str = ""
    scores: Mapping[str, str] = field(default_factory=dict, hash=False)
    limits: str = ""

    @property
    def draft(self) -> bool:
        """Whether the space may vanish in a later release."""
        return self.space.endswith("-0")


def weights_folder() -> Path:
    """The folder that holds ``index.json`` and the weight files."""
    return Path(str(resources.files("smalto.weights")))


@functools.cache
def _index() -> tuple[str, dict[str, SystemRecord]]:
    path = weights_folder() / "index.json"
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: cannot read the record of weights ({error}); reinstall smalto") from error
    records = {}
    for name, row in content["systems"].items():
        files = {part: WeightFile(**entry) for part, entry in row.pop("files").items()}
        row["tasks"], row["encoders"] = tuple(row["tasks"]), tuple(row["encoders"])
        records[name] = SystemRecord(name=name, files=files, **row)
    return content["default"], records


def installed_systems() -> tuple[SystemRecord, ...]:
    """Every installed system, the default one first."""
    default, records = _index()
    return tuple(sorted(records.values(), key=lambda record: (record.name != default, record.name)))


def system_record(name: str = DEFAULT) -> SystemRecord:
    """The record of one system.

    Raises:
        UsageError: no system of that name is installed.
    """
    default, records = _index()
    wanted = default if name == DEFAULT else name
    if wanted not in records:
        raise UsageError(f"no system is called {name!r}; installed: {', '.join(sorted(records))}")
    return records[wanted]
