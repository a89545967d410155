"""Where a command finds its pictures: ``--data DIR``, or a folder of the one that SMALTO_DATA names."""

from __future__ import annotations

import os
from pathlib import Path

from smalto.errors import UsageError

DATA_VARIABLE = "SMALTO_DATA"


def find_data(named: str | None, usual: str) -> Path:
    """The folder (or packed .tar) to read pictures from.

    Args:
        named: what ``--data`` says, or None.
        usual: the folder under SMALTO_DATA that the command takes otherwise, as ``kodak``.

    Raises:
        UsageError: neither is given, or the place does not exist.
    """
    if named is not None:
        place = Path(named)
    elif os.environ.get(DATA_VARIABLE):
        place = Path(os.environ[DATA_VARIABLE]) / usual
    else:
        raise UsageError(
            f"no pictures are named; use --data DIR, or set {DATA_VARIABLE} to a folder that holds {usual}"
        )
    if not place.exists():
        raise UsageError(f"{place}: no such folder; name one with --data DIR")
    return place
