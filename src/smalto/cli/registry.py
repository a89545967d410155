"""What is installed, asked without loading it: which system a file belongs to, and which tasks it answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from smalto.errors import UsageError
from smalto.weights import SystemRecord, installed_systems, system_record

if TYPE_CHECKING:
    from smalto.bits.packet import Header, SpaceEntry

DEFAULT_SYSTEM = "default"


def is_draft(space: str) -> bool:
    """Whether a space may vanish in a later version: its name ends in ``-0``."""
    return space.endswith("-0")


def matching_systems(spaces: Sequence[SpaceEntry]) -> tuple[SystemRecord, ...]:
    """Installed systems that read one of ``spaces``: name, decoder digest and codec digest all agree."""
    keys = {(space.name, space.decoder_digest.hex(), space.codec_digest.hex()) for space in spaces}
    return tuple(
        record for record in installed_systems() if (record.space, record.decoder_digest, record.codec_digest) in keys
    )


def answered_tasks(header: Header) -> tuple[str, ...]:
    """Tasks that installed systems answer from a file, each once."""
    return tuple(dict.fromkeys(task for record in matching_systems(header.spaces) for task in record.tasks))


def system_for(spaces: Sequence[SpaceEntry]) -> str:
    """Name of the first installed system that reads one of ``spaces``; the default one when none does.

    The default system then refuses the file with an error that names the digests.
    """
    records = matching_systems(spaces)
    return records[0].name if records else DEFAULT_SYSTEM


def check_task(system: str | None, task: str) -> None:
    """Refuse a task that nothing installed answers, before any work.

    Args:
        system: a system's name, or None for any that is installed.
        task: the task's name.

    Raises:
        UsageError: naming the tasks there are.
    """
    records = installed_systems() if system is None else (system_record(system),)
    known = tuple(dict.fromkeys(name for record in records for name in record.tasks))
    if task not in known:
        raise UsageError(f"{task}: no installed system answers this task; there are {', '.join(known)}")
