"""``smalto systems``: what is installed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Annotated

import typer

from smalto.cli.options import Json
from smalto.weights import (
    Card,
    FeatureCodecRecord,
    SystemRecord,
    WeightFile,
    installed_feature_codecs,
    installed_systems,
    system_record,
)


def systems(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One system or feature codec, in full.")] = None,
    as_json: Json = False,
) -> None:
    """Show what is installed: spaces, tasks, feature codecs, scores."""
    records = _records(name)
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(record) for record in records]))
        return
    for number, record in enumerate(records):
        lines = _summary(record)
        if name is not None:
            lines += _details(record)
        typer.echo(("\n" if number else "") + "\n".join(lines))


def _records(name: str | None) -> tuple[SystemRecord | FeatureCodecRecord, ...]:
    """Everything installed, systems first, or the one of a name. Raises UsageError."""
    if name is None:
        return (*installed_systems(), *installed_feature_codecs())
    named = tuple(record for record in installed_feature_codecs() if record.name == name)
    return named or (system_record(name),)


def _summary(record: SystemRecord | FeatureCodecRecord) -> list[str]:
    default = isinstance(record, SystemRecord) and record.name == system_record().name
    marks = [mark for mark, holds in (("default", default), ("draft: may vanish", record.draft)) if holds]
    lines = [f"{record.name} ({', '.join(marks)})" if marks else record.name]
    if isinstance(record, SystemRecord):
        codecs = ", ".join((record.codec_digest or "none", *record.further_codec_digests))
        lines.append(f"  space     {record.space}  decoder {record.decoder_digest}  codec {codecs}")
    else:
        lines.append(f"  tier      {record.tier}  codec {record.codec_digest}")
    lines.append(f"  size      {_size(record.files)}")
    if isinstance(record, SystemRecord):
        lines.append(f"  tasks     {', '.join(record.tasks)}")
    return lines + _licences(record) + _scores(record)


def _licences(record: SystemRecord | FeatureCodecRecord) -> list[str]:
    """The licence of the weights; where parts have others, each with its parts."""
    by_licence: dict[str, list[str]] = {}
    for part in record.files:
        card = record.card_of(part) if isinstance(record, SystemRecord) else record
        by_licence.setdefault(card.licence, []).append(part)
    if len(by_licence) < 2:
        return [f"  licence   {record.licence}"]
    return [f"  licence   {', '.join(parts)}: {licence}" for licence, parts in by_licence.items()]


def _scores(card: Card) -> list[str]:
    return [f"  score     {name}: {value}" for name, value in card.scores.items()]


def _size(files: Mapping[str, WeightFile]) -> str:
    parameters = sum(file.num_parameters for file in files.values()) / 1e6
    return f"{parameters:.2f} M parameters, {sum(file.num_bytes for file in files.values()) / 1e6:.1f} MB"


def _details(record: SystemRecord | FeatureCodecRecord) -> list[str]:
    lines = [f"  encoders  {', '.join(record.encoders)}"] if isinstance(record, SystemRecord) else []
    lines += _card(record)
    for part, file in record.files.items():
        lines.append(f"  weights   {part}: {file.name}, {file.num_bytes:,} bytes, sha256 {file.sha256}")
    for part, card in record.part_cards.items() if isinstance(record, SystemRecord) else ():
        lines += ["", f"  {part}", f"  licence   {card.licence}", *_scores(card), *_card(card)]
    return lines


def _card(card: Card) -> list[str]:
    """What a card says, but licence and scores."""
    texts = (("data", card.data), ("recipe", card.recipe), ("hardware", card.hardware), ("limits", card.limits))
    return [f"  {title:<9} {text}" for title, text in texts if text]
