"""A folder of numbered pictures gives classes in order, or says what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from smalto.data.imagenet import class_pictures
from smalto.errors import UsageError


def folder(root: Path, names: list[str], classes: object) -> Path:
    for name in names:
        (root / name).write_bytes(b"")
    (root / "classes.json").write_text(json.dumps(classes))
    return root


def test_pictures_in_order_of_class(tmp_path: Path) -> None:
    folder(
        tmp_path,
        ["0002_c.jpg", "0000_a.jpg", "0001_b.png", "note.txt"],
        {"0000": "n1_a", "0001": "n2_b", "0002": "n3_c"},
    )
    found = class_pictures(tmp_path)
    assert [picture.label for picture in found] == [0, 1, 2]
    assert [picture.name for picture in found] == ["n1_a", "n2_b", "n3_c"]
    assert [picture.is_test_only for picture in found] == [True, False, True]
    assert found[1].path == tmp_path / "0001_b.png"


def test_what_is_no_such_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"classes\.json: cannot be read"):
        class_pictures(tmp_path)
    folder(tmp_path, [], {"0000": "a"})
    with pytest.raises(UsageError, match="no pictures here"):
        class_pictures(tmp_path)
    folder(tmp_path, ["0001_b.jpg"], {"0000": "a"})
    with pytest.raises(UsageError, match=r"0001_b\.jpg: no class of classes\.json"):
        class_pictures(tmp_path)
    for broken in (["a"], {"x": "a"}):
        folder(tmp_path, [], broken)
        with pytest.raises(UsageError, match="not a table"):
            class_pictures(tmp_path)
    (tmp_path / "classes.json").write_bytes(b"\xff{")
    with pytest.raises(UsageError, match="not a table"):
        class_pictures(tmp_path)


def test_the_stored_pictures(data_folder: Path) -> None:
    found = class_pictures(data_folder / "imagenet_1000")
    assert [picture.label for picture in found] == list(range(1000))
    assert all(picture.path.stem.endswith(picture.name.split("_")[0]) for picture in found)
