"""Chunks of a group of features: boxes that cover a field in order, and what coding them leaves behind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from smalto.codecs.pack import FieldShape

Box = tuple[slice, slice, slice]


def chunk_boxes(shape: Sequence[int], num_values: int) -> Iterator[Box]:
    """Boxes of samples, rows and columns that cover a field (S, H, W, C) in order, each of at most ``num_values``.

    Whole samples together where several fit, else whole rows of one, else columns of one row, at least one position.
    """
    samples, height, width, channels = shape
    if min(shape) == 0:
        return
    per_row = width * channels
    few = max(1, num_values // (height * per_row))
    rows = height if height * per_row <= num_values else max(1, num_values // per_row)
    columns = width if per_row <= num_values else max(1, num_values // channels)
    for sample in range(0, samples, few):
        for row in range(0, height, rows):
            for column in range(0, width, columns):
                yield slice(sample, sample + few), slice(row, row + rows), slice(column, column + columns)


class GroupNotes:
    """What the chunks of a group leave behind: levels, and where the values are that must be kept exactly."""

    def __init__(self, shape: FieldShape) -> None:
        self.shape = shape
        self.mask: np.ndarray | None = None  # over the field, made when the first such value shows up
        self.levels: list[np.ndarray] = []

    def mark(self, box: Box, inner: Box, where: np.ndarray) -> None:
        """Add the true places of a block to the mask."""
        if not where.any():
            return
        if self.mask is None:
            self.mask = np.zeros(self.shape, bool)
        view = self.mask[box][inner]
        view |= where.reshape(view.shape)
