"""``smalto info``: what a file says about itself, read from its header alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import typer

from smalto.cli.feature_record import describe_set, set_lines
from smalto.cli.options import Json, Packets
from smalto.cli.outputs import check_inputs, display_name, naming
from smalto.cli.packets import open_any
from smalto.cli.registry import answered_tasks, is_draft

if TYPE_CHECKING:
    from smalto.bits.packet import Header, SectionEntry


def info(files: Packets, as_json: Json = False) -> None:
    """Show what a file holds and which tasks it answers.

    Spaces with their digests, true size, bits per pixel of the whole file, and sections with their byte ranges.
    """
    check_inputs(files)
    from smalto.bits.array_set_reader import ArraySetReader

    for number, name in enumerate(files):
        with naming(display_name(name)), open_any(name) as reader:
            if isinstance(reader, ArraySetReader):
                record = describe_set(reader, display_name(name))
                lines = set_lines(record)
            else:
                record = _record(reader.header, display_name(name))
                lines = _lines(record)
        if as_json:
            typer.echo(json.dumps(record))
        else:
            typer.echo(("\n" if number else "") + "\n".join(lines))


def _record(header: Header, name: str) -> dict[str, Any]:
    """The header as plain values for JSON; byte ranges are [first, last]."""
    pixels = header.height * header.width
    return {
        "file": name,
        "kind": header.kind,
        "height": header.height,
        "width": header.width,
        "bytes": header.file_bytes,
        "bits_per_pixel": 8 * header.file_bytes / pixels,
        "latent_bits_per_pixel": 8 * header.payload_bytes / pixels,
        "file_id": header.file_id.hex(),
        "spaces": [
            {
                "name": space.name,
                "decoder_digest": space.decoder_digest.hex(),
                "codec_digest": space.codec_digest.hex(),
                "draft": is_draft(space.name),
            }
            for space in header.spaces
        ],
        "tasks": list(answered_tasks(header)),
        "metadata": {key: value.hex() if isinstance(value, bytes) else value for key, value in header.metadata.items()},
        "header_bytes": [0, header.header_bytes - 1],
        "sections": [_section(header, entry) for entry in header.sections],
    }


def _section(header: Header, entry: SectionEntry) -> dict[str, Any]:
    from smalto.bits.packet import FILE_SPACE, PART_HYPER, CodecNumber

    names = {int(number): number.name.lower() for number in CodecNumber}
    return {
        "space": "file" if entry.space == FILE_SPACE else header.spaces[entry.space].name,
        "plane": entry.plane,
        "part": "hyper" if entry.part == PART_HYPER else "main",
        "codec": names.get(entry.codec, f"codec {entry.codec}"),
        "q": entry.q,
        "critical": entry.critical,
        "byte_range": [entry.offset, entry.end - 1],
        "chunks": entry.num_chunks,
    }


def _lines(record: dict[str, Any]) -> list[str]:
    lines = [
        record["file"],
        f"  {record['kind']}     {record['width']} x {record['height']} pixels",
        f"  size      {record['bytes']:,} bytes, {record['bits_per_pixel']:.4f} bits_per_pixel (whole file), "
        f"{record['latent_bits_per_pixel']:.4f} without header and checksums",
    ]
    for space in record["spaces"]:
        note = "  (draft: may vanish in a later version)" if space["draft"] else ""
        digests = f"decoder {space['decoder_digest']}  codec {space['codec_digest']}"
        lines.append(f"  space     {space['name']}  {digests}{note}")
    lines.append(f"  tasks     {', '.join(record['tasks']) or 'none: no space of it is installed here'}")
    lines += [f"  metadata  {key} = {value}" for key, value in record["metadata"].items()]
    first, last = record["header_bytes"]
    lines.append(f"  bytes {first}..{last}  header")
    for section in record["sections"]:
        first, last = section["byte_range"]
        chunks = "1 chunk" if section["chunks"] == 1 else f"{section['chunks']} chunks"
        critical = "" if section["critical"] else ", optional"
        lines.append(
            f"  bytes {first}..{last}  {section['space']} plane {section['plane']} {section['part']}, "
            f"{section['codec']}, q {section['q']}, {chunks}{critical}"
        )
    return lines
