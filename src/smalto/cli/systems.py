"""``smalto systems``: what is installed."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated

import typer

from smalto.cli.options import Json
from smalto.weights import SystemRecord, installed_systems, system_record


def systems(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One system, in full.")] = None,
    as_json: Json = False,
) -> None:
    """Show what is installed: spaces, tasks, scores."""
    records = installed_systems() if name is None else (system_record(name),)
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(record) for record in records]))
        return
    for number, record in enumerate(records):
        lines = _summary(record, default=record.name == system_record().name)
        if name is not None:
            lines += _details(record)
        typer.echo(("\n" if number else "") + "\n".join(lines))


def _summary(record: SystemRecord, default: bool) -> list[str]:
    files = record.files.values()
    parameters = sum(file.num_parameters for file in files) / 1e6
    size = sum(file.num_bytes for file in files) / 1e6
    marks = [mark for mark, holds in (("default", default), ("draft: may vanish", record.draft)) if holds]
    lines = [
        f"{record.name} ({', '.join(marks)})" if marks else record.name,
        f"  space     {record.space}  decoder {record.decoder_digest}  codec {record.codec_digest}",
        f"  size      {parameters:.2f} M parameters, {size:.1f} MB",
        f"  tasks     {', '.join(record.tasks)}",
        f"  licence   {record.licence}",
    ]
    return lines + [f"  score     {name}: {value}" for name, value in record.scores.items()]


def _details(record: SystemRecord) -> list[str]:
    lines = [f"  encoders  {', '.join(record.encoders)}"]
    for title, text in (("data", record.data), ("recipe", record.recipe), ("hardware", record.hardware)):
        lines += [f"  {title:<9} {text}"] if text else []
    lines += [f"  limits    {record.limits}"] if record.limits else []
    for part, file in record.files.items():
        lines.append(f"  weights   {part}: {file.name}, {file.num_bytes:,} bytes, sha256 {file.sha256}")
    return lines
