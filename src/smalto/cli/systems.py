"""``smalto systems``: what is installed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Annotated

import typer

from smalto.cli.options import Json
from smalto.weights import (
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
        lines.append(f"  space     {record.space}  decoder {record.decoder_digest}  codec {record.codec_digest}")
    else:
        lines.append(f"  tier      {record.tier}  codec {record.codec_digest}")
    lines.append(f"  size      {_size(record.files)}")
    if isinstance(record, SystemRecord):
        lines.append(f"  tasks     {', '.join(record.tasks)}")
    lines.append(f"  licence   {record.licence}")
    return lines + [f"  score     {name}: {value}" for name, value in record.scores.items()]


def _size(files: Mapping[str, WeightFile]) -> str:
    parameters = sum(file.num_parameters for file in files.values()) / 1e6
    return f"{parameters:.2f} M parameters, {sum(file.num_bytes for file in files.values()) / 1e6:.1f} MB"


def _details(record: SystemRecord | FeatureCodecRecord) -> list[str]:
    lines = [f"  encoders  {', '.join(record.encoders)}"] if isinstance(record, SystemRecord) else []
    for title, text in (("data", record.data), ("recipe", record.recipe), ("hardware", record.hardware)):
        lines += [f"  {title:<9} {text}"] if text else []
    lines += [f"  limits    {record.limits}"] if record.limits else []
    for part, file in record.files.items():
        lines.append(f"  weights   {part}: {file.name}, {file.num_bytes:,} bytes, sha256 {file.sha256}")
    return lines
