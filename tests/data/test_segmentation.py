"""Readers of labelled scenes on miniature trees: layouts, classes, what is wrong is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from smalto.data.archive import pack
from smalto.data.segmentation import CLASSES, COLOURS, VOID, LabelledTree, label_map
from smalto.errors import ImageError, UsageError
from tests.data.labelled_trees import SIZE, camvid_tree, cityscapes_tree, write_labels


def test_camvid_splits_pair_by_name(tmp_path: Path) -> None:
    tree = LabelledTree(camvid_tree(tmp_path), "test")
    assert [files.name for files in tree.files] == ["0005", "0006", "0007"]
    held = tree.read(1)
    assert held.picture.pixels[3, 5].tolist() == [12, 20, 6]
    assert held.ids[0].tolist() == [8] * SIZE[1]
    assert set(held.ids[1:, :18].ravel().tolist()) == {6}
    assert set(held.ids[1:, 18:].ravel().tolist()) == {VOID}


def test_cityscapes_classes_become_camvids(tmp_path: Path) -> None:
    held = LabelledTree(cityscapes_tree(tmp_path), "val").read(0)
    named = {k: CLASSES[c] for k, c in enumerate(held.ids[0].tolist()) if c != VOID}
    assert named == {
        7: "Road",
        8: "Pavement",
        11: "Building",
        13: "Fence",
        17: "Pole",
        19: "SignSymbol",
        20: "SignSymbol",
        21: "Tree",
        23: "Sky",
        24: "Pedestrian",
        25: "Bicyclist",
        26: "Car",
        33: "Bicyclist",
    }


def test_a_packed_tree_reads_alike(tmp_path: Path) -> None:
    root = camvid_tree(tmp_path / "tree")
    pack(root, tmp_path / "tree.tar")
    whole, packed = LabelledTree(root, "train"), LabelledTree(tmp_path / "tree.tar", "train")
    assert len(packed) == 3
    for number in range(3):
        one, other = whole.read(number), packed.read(number)
        assert one.name == other.name
        assert np.array_equal(one.picture.pixels, other.picture.pixels)
        assert np.array_equal(one.ids, other.ids)


def test_label_maps_have_names_and_distinct_colours() -> None:
    labels = label_map(np.zeros((4, 4), np.uint8))
    assert labels.names == CLASSES
    assert len(set(COLOURS)) == len(CLASSES) == 11


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    root = camvid_tree(tmp_path / "tree")
    with pytest.raises(UsageError, match="no labelled pictures of split val"):
        LabelledTree(root, "val")
    with pytest.raises(UsageError, match="no such folder"):
        LabelledTree(tmp_path / "none", "train")
    with pytest.raises(UsageError, match=r"not a \.tar"):
        LabelledTree(root / "train" / "0000.png", "train")
    write_labels(root / "trainannot" / "0000.png", np.full(SIZE, 40))
    with pytest.raises(ImageError, match="holds class 40"):
        LabelledTree(root, "train").read(0)
    write_labels(root / "trainannot" / "0000.png", np.zeros((SIZE[0], 7)))
    with pytest.raises(ImageError, match="picture's size"):
        LabelledTree(root, "train").read(0)
    (root / "trainannot" / "0000.png").write_bytes(b"nothing")
    with pytest.raises(ImageError, match="cannot be read as a PNG"):
        LabelledTree(root, "train").read(0)
    (root / "trainannot" / "0000.png").unlink()
    with pytest.raises(UsageError, match="has no labels"):
        LabelledTree(root, "train")


def test_the_real_set_has_its_splits(data_folder: Path) -> None:
    for split, num in (("train", 367), ("val", 101), ("test", 233)):
        tree = LabelledTree(data_folder / "camvid", split)  # type: ignore[arg-type]
        assert len(tree) == num
    held = tree.read(0)
    assert held.ids.shape == (360, 480)
    assert set(np.unique(held.ids).tolist()) <= {*range(11), VOID}
