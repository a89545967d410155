"""What is installed, asked without loading it: which system a file belongs to, and which tasks it answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from smalto.errors import UsageError
from smalto.weights import SystemRecord, installed_systems, system_record

if TYPE_CHECKING:
    from smalto.bits.packet import Header, SpaceEntry

DEFAULT_SYSTEM = "default"
RAW_PART = "raw"
"""The part of a system's weights that encodes RAW captures."""
VIEWS = {"depth": 2}
"""Tasks that need several files for one answer; every other task needs one."""


def num_views(task: str) -> int:
    """Files that one answer to a task needs; what ``System.num_views`` says, before a system is loaded."""
    return VIEWS.get(task, 1)


def is_draft(space: str) -> bool:
    """Whether a space may vanish in a later version: its name ends in ``-0``."""
    return space.endswith("-0")


def find_system(name: str) -> SystemRecord:
    """The installed system a user means by a name.

    Args:
        name: a system's, or ``default``; else a space's; else either without its version, as ``lite`` for the newest
            installed ``lite-N``.

    Raises:
        UsageError: nothing installed is called so.
    """
    records = installed_systems()
    if name == DEFAULT_SYSTEM or name in {record.name for record in records}:
        return system_record(name)
    for record in records:
        if record.space == name:
            return record
    versions = [
        (int(version), record)
        for record in records
        for stem, _, version in (called.rpartition("-") for called in (record.name, record.space))
        if stem == name and version.isascii() and version.isdigit()
    ]
    return max(versions, key=lambda entry: entry[0])[1] if versions else system_record(name)


def writing_systems(system: str | None, further: str | None) -> tuple[SystemRecord, ...]:
    """The systems that write one file's spaces, each once.

    Args:
        system: of ``--system``, or None when it is not given.
        further: of ``--with``, names divided by commas, or None.

    Raises:
        UsageError: a name is of no installed system, or two systems would write one space.
    """
    names = [] if further is None else [name.strip() for name in further.split(",")]
    if "" in names:
        raise UsageError(f"--with {further}: names divided by commas, as in --with lite,neural-space")
    if system is not None or not names:
        names.insert(0, DEFAULT_SYSTEM if system is None else system)
    records = tuple(dict.fromkeys(find_system(name) for name in names))
    spaces = [record.space for record in records]
    for record in records:
        if spaces.count(record.space) > 1:
            raise UsageError(f"--with {further}: space {record.space} would be written twice; name one system of it")
    return records


def raw_systems() -> tuple[str, ...]:
    """Names of the installed systems that encode RAW captures."""
    return tuple(record.name for record in installed_systems() if RAW_PART in record.files)


def matching_systems(spaces: Sequence[SpaceEntry]) -> tuple[SystemRecord, ...]:
    """Installed systems that read one of ``spaces``, in the order of spaces; name and both digests agree."""
    records = installed_systems()
    named = [(entry.name, entry.decoder_digest.hex(), entry.codec_digest.hex()) for entry in spaces]
    return tuple(dict.fromkeys(record for names in named for record in records if record.reads(*names)))


def answered_tasks(header: Header) -> tuple[str, ...]:
    """Tasks that installed systems answer from a file, each once."""
    return tuple(dict.fromkeys(task for record in matching_systems(header.spaces) for task in record.tasks))


def system_for(files: Sequence[Sequence[SpaceEntry]], task: str) -> str:
    """Name of the system that answers a task: the first, in the order of spaces, that reads all the files.

    The default system when none reads them; it then refuses the files with an error that names the digests.

    Args:
        files: the spaces of each file, of tasks of one view those of one.
        task: the task's name.

    Raises:
        UsageError: systems read the files, and none of them answers the task.
    """
    readers = [record for record in matching_systems(files[0]) if all(record in matching_systems(f) for f in files[1:])]
    for record in readers:
        if task in record.tasks:
            return record.name
    if not readers:
        return DEFAULT_SYSTEM
    held = ", ".join(dict.fromkeys(record.space for record in readers))
    able = [record.name for record in installed_systems() if task in record.tasks]
    known = ", ".join(dict.fromkeys(name for record in readers for name in record.tasks))
    raise UsageError(
        f"{task} is not answered from space {held}, which answers {known}; "
        + (f"encode the picture with --system {able[0]}" if able else "no installed system answers it")
    )


def check_task(system: str | None, task: str) -> None:
    """Refuse a task that nothing installed answers, before any work.

    Args:
        system: a system's name, or None for any that is installed.
        task: the task's name.

    Raises:
        UsageError: naming the tasks there are.
    """
    records = installed_systems() if system is None else (find_system(system),)
    known = tuple(dict.fromkeys(name for record in records for name in record.tasks))
    if task not in known:
        raise UsageError(f"{task}: no installed system answers this task; there are {', '.join(known)}")
