"""The record of installed weights. Imports neither NumPy nor torch, so that ``info`` and ``systems`` answer at once."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

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


@dataclass(frozen=True)
class FeatureCodecRecord:
    """What is known of an installed learned feature codec without loading it.

    Args:
        name: for ``--resume`` and ``smalto systems``; one ending in ``-0`` is a draft that may vanish.
        tier: ``hyperprior`` or ``elic``, the tier of ``FeatureCodec`` that it serves.
        codec_digest: first 8 bytes of the digest of its decode side, hexadecimal: what profiles hold.
        files: weights by part.
        licence: of the weights.
        data: what they were trained on, with its licence.
        recipe: the command that trains them.
        hardware: what that ran on, and for how long.
        scores: measured figures, by name.
        limits: what they are bad at.
    """

    name: str
    tier: str
    codec_digest: str
    files: Mapping[str, WeightFile] = field(hash=False)
    licence: str = ""
    data: str = ""
    recipe: str = ""
    hardware: str = ""
    scores: Mapping[str, str] = field(default_factory=dict, hash=False)
    limits: str = ""

    @property
    def draft(self) -> bool:
        """Whether the codec may vanish in a later release."""
        return self.name.endswith("-0")


@dataclass(frozen=True)
class _Index:
    """What ``index.json`` holds."""

    default: str
    systems: Mapping[str, SystemRecord]
    feature_codecs: Mapping[str, FeatureCodecRecord]


def weights_folder() -> Path:
    """The folder that holds ``index.json`` and the weight files."""
    return Path(str(resources.files("smalto.weights")))


@functools.cache
def _index() -> _Index:
    path = weights_folder() / "index.json"
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: cannot read the record of weights ({error}); reinstall smalto") from error
    systems, feature_codecs = {}, {}
    for name, row in content["systems"].items():
        row["tasks"], row["encoders"] = tuple(row["tasks"]), tuple(row["encoders"])
        files = _files(row)
        systems[name] = SystemRecord(name=name, files=files, **row)
    for name, row in content.get("feature_codecs", {}).items():
        files = _files(row)
        feature_codecs[name] = FeatureCodecRecord(name=name, files=files, **row)
    return _Index(content["default"], systems, feature_codecs)


def _files(row: dict[str, Any]) -> dict[str, WeightFile]:
    """The files of a record, taken out of it."""
    return {part: WeightFile(**entry) for part, entry in row.pop("files").items()}


def installed_systems() -> tuple[SystemRecord, ...]:
    """Every installed system, the default one first."""
    index = _index()
    return tuple(sorted(index.systems.values(), key=lambda record: (record.name != index.default, record.name)))


def installed_feature_codecs() -> tuple[FeatureCodecRecord, ...]:
    """Every installed learned feature codec, by name."""
    return tuple(sorted(_index().feature_codecs.values(), key=lambda record: record.name))


def system_record(name: str = DEFAULT) -> SystemRecord:
    """The record of one system.

    Raises:
        UsageError: no system of that name is installed.
    """
    index = _index()
    wanted = index.default if name == DEFAULT else name
    if wanted not in index.systems:
        raise UsageError(f"no system is called {name!r}; installed: {', '.join(sorted(index.systems))}")
    return index.systems[wanted]


def feature_codec_record(name: str) -> FeatureCodecRecord:
    """The record of one learned feature codec.

    Raises:
        UsageError: no feature codec of that name is installed.
    """
    records = _index().feature_codecs
    if name not in records:
        raise UsageError(f"no feature codec is called {name!r}; installed: {', '.join(sorted(records)) or 'none'}")
    return records[name]
