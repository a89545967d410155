"""Miniature trees of labelled pictures in the layouts that are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image as Pil

SIZE = (24, 36)


def write_picture(path: Path, number: int) -> None:
    """Red tells the row, green the column, blue the picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    pixels = np.stack([4 * rows, 4 * columns, np.full_like(rows, number)], axis=-1)
    Pil.fromarray(pixels.astype(np.uint8)).save(path)


def write_labels(path: Path, ids: np.ndarray) -> None:
    """Ids as a grey PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Pil.fromarray(ids.astype(np.uint8)).save(path)


def camvid_tree(root: Path, num: int = 3) -> Path:
    """Labels: the left half is class k of picture k, the right half void, with one row of class 8 on top."""
    for split, first in (("train", 0), ("test", 5)):
        for number in range(first, first + num):
            write_picture(root / split / f"{number:04d}.png", number)
            ids = np.full(SIZE, 11)
            ids[:, : SIZE[1] // 2] = number
            ids[0] = 8
            write_labels(root / f"{split}annot" / f"{number:04d}.png", ids)
    return root


def cityscapes_tree(root: Path) -> Path:
    """One scene whose columns hold the ids 0..35."""
    scene = "bonn_000000_000019"
    write_picture(root / "leftImg8bit" / "val" / "bonn" / f"{scene}_leftImg8bit.png", 1)
    ids = np.broadcast_to(np.arange(SIZE[1]), SIZE)
    write_labels(root / "gtFine" / "val" / "bonn" / f"{scene}_gtFine_labelIds.png", ids)
    write_labels(root / "gtFine" / "val" / "bonn" / f"{scene}_gtFine_instanceIds.png", ids)
    return root
