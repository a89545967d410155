"""Where a command finds its pictures: ``--data DIR``, the folder that SMALTO_DATA names, or an installed package."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from smalto.errors import MissingExtra, UsageError

DATA_VARIABLE = "SMALTO_DATA"
SAMPLES = ("astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg")


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


def sample_photographs() -> list[Path]:
    """Photographs inside the installed scikit-image; nothing is downloaded.

    Raises:
        MissingExtra: scikit-image is not installed, or ships none of them.
    """
    found = find_spec("skimage")
    folders = found.submodule_search_locations if found else None
    paths = [Path(folder) / "data" / name for folder in folders or () for name in SAMPLES]
    paths = [path for path in paths if path.exists()]
    if not paths:
        raise MissingExtra("sample photographs are not installed; pip install 'smalto[demo]', or name a picture")
    return paths
