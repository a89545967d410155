"""The record of installed weights. Imports neither NumPy nor torch, so that ``info`` and ``systems`` answer at once."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
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


@dataclass(frozen=True, kw_only=True)
class Card:
    """What people must know of weights before they use them.

    Args:
        licence: of the weights.
        data: what they were trained on, with its licence.
        recipe: the command that trains them.
        hardware: what that ran on, and for how long.
        scores: measured figures, by name.
        limits: what they are bad at.
    """

    licence: str = ""
    data: str = ""
    recipe: str = ""
    hardware: str = ""
    scores: Mapping[str, str] = field(default_factory=dict, hash=False)
    limits: str = ""


CARD_KEYS = tuple(entry.name for entry in fields(Card))


@dataclass(frozen=True)
class SystemRecord(Card):
    """What is known of an installed system without loading it; its own card is that of its space.

    Args:
        name: name for ``smalto.load``.
        space: name of its space; one ending in ``-0`` is a draft that may vanish.
        decoder_digest: first 8 bytes of the frozen decoder's digest, hexadecimal.
        codec_digest: first 8 bytes of the digest of the default codec's decode side, hexadecimal; empty while a system
            made of parts has none.
        tasks: what ``run`` answers from a file of this space.
        encoders: names that ``encode --encoder`` knows; the first is the default.
        files: weights by part.
        further_codec_digests: of other codecs of the space that the system reads, like ``codec_digest``.
        trained_decoder_digests: of this decoder before it was coded, as parts may have recorded it in training.
        part_cards: cards of parts that were trained by themselves.
    """

    name: str
    space: str
    decoder_digest: str
    codec_digest: str
    tasks: tuple[str, ...]
    encoders: tuple[str, ...]
    files: Mapping[str, WeightFile] = field(hash=False)
    further_codec_digests: tuple[str, ...] = ()
    trained_decoder_digests: tuple[str, ...] = ()
    part_cards: Mapping[str, Card] = field(default_factory=dict, hash=False)

    @property
    def draft(self) -> bool:
        """Whether the space may vanish in a later release."""
        return self.space.endswith("-0")

    def reads(self, space_name: str, decoder_digest: str, codec_digest: str) -> bool:
        """Whether the system reads files that name this space and these digests, in hexadecimal."""
        codecs = (self.codec_digest, *self.further_codec_digests)
        return (self.space, self.decoder_digest) == (space_name, decoder_digest) and codec_digest in codecs

    def card_of(self, part: str) -> Card:
        """The card of a part: its own, or that of the system."""
        return self.part_cards.get(part, self)


@dataclass(frozen=True)
class FeatureCodecRecord(Card):
    """What is known of an installed learned feature codec without loading it.

    Args:
        name: for ``--resume`` and ``smalto systems``; one ending in ``-0`` is a draft that may vanish.
        tier: ``hyperprior`` or ``elic``, the tier of ``FeatureCodec`` that it serves.
        codec_digest: first 8 bytes of the digest of its decode side, hexadecimal: what profiles hold.
        files: weights by part.
    """

    name: str
    tier: str
    codec_digest: str
    files: Mapping[str, WeightFile] = field(hash=False)

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
    systems = {name: _system(name, row) for name, row in content["systems"].items()}
    feature_codecs = {
        name: FeatureCodecRecord(**{**row, "name": name, "files": _files(row)})
        for name, row in content.get("feature_codecs", {}).items()
    }
    return _Index(content["default"], systems, feature_codecs)


def _system(name: str, row: dict[str, Any]) -> SystemRecord:
    lists = {key: tuple(value) for key, value in row.items() if isinstance(value, list)}
    cards = {part: Card(**card) for part, card in row.get("part_cards", {}).items()}
    return SystemRecord(**{**row, **lists, "name": name, "files": _files(row), "part_cards": cards})


def _files(row: dict[str, Any]) -> dict[str, WeightFile]:
    return {part: WeightFile(**entry) for part, entry in row["files"].items()}


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
