"""Pictures of known class: a folder of files ``NUMBER_NAME.jpg`` with ``classes.json`` beside them.

``classes.json`` maps the number (four digits) to the class's name. Even numbers are for tests only.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from smalto.data.photographs import EXTENSIONS
from smalto.errors import UsageError

CLASSES_FILE = "classes.json"
_NUMBERED = re.compile(r"^([0-9]{4,6})_")


@dataclass(frozen=True)
class ClassPicture:
    """A picture and what it shows.

    Args:
        path: the picture file.
        label: index of its class, from 0.
        name: name of its class.
    """

    path: Path
    label: int
    name: str

    @property
    def is_test_only(self) -> bool:
        """Never to be trained on: even numbers."""
        return self.label % 2 == 0


def class_pictures(folder: str | Path) -> tuple[ClassPicture, ...]:
    """Pictures of a folder by class number.

    Args:
        folder: holds the pictures and ``classes.json``.

    Raises:
        UsageError: not such a folder, or a picture without a class.
    """
    root = Path(folder)
    try:
        table = json.loads((root / CLASSES_FILE).read_text(encoding="utf-8"))
        names = {int(number): str(name) for number, name in table.items()}
    except OSError as error:
        raise UsageError(
            f"{root / CLASSES_FILE}: cannot be read ({error.strerror}); name the folder it is in"
        ) from error
    except (ValueError, AttributeError) as error:
        raise UsageError(f"{root / CLASSES_FILE}: not a table from class number to name; get a fresh copy") from error
    pictures: list[ClassPicture] = []
    for path in sorted(root.iterdir()):
        if path.suffix.lower() not in EXTENSIONS:
            continue
        match = _NUMBERED.match(path.name)
        if match is None or int(match[1]) not in names:
            raise UsageError(f"{path}: no class of {CLASSES_FILE} has its number; move it elsewhere")
        label = int(match[1])
        pictures.append(ClassPicture(path, label, names[label]))
    if not pictures:
        raise UsageError(f"{root}: no pictures here; expected files such as 0000_name.jpg")
    return tuple(sorted(pictures, key=lambda picture: (picture.label, picture.path.name)))
