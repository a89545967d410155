"""Layouts: what the axes of an array of features mean, as a field of channels and as one plane, and back.

::

    layout   array                            field (S, H, W, C)    plane
    vector   (..., D)                         (..., 1, 1, D)        folded: near square
    tokens   (N, D) (B, N, D) (B, G, N, D)    (B, N, 1, G D)        (B N) x (G D)
    heads    (G, N, D)                        (1, N, 1, G D)        N x (G D)
    maps     (h, w) (..., C, h, w)            (..., h, w, C)        tiles of h x w: near square
    as-is    (..., W)                         (1, ..., 1, W)        (...) x W

B samples, N tokens in a sequence, G layers, crops or heads of one token, D width, C channels of h x w cells. The fast
tier codes fields, the learned codecs planes. A group of ``num`` arrays of one shape is one array with ``num`` in front;
its field has num times the samples, its plane num times the rows, tiles or values. A plane is padded by repeating the
last tile or value, by at most 5 % of the values; the shape, the layout and ``num`` restore it exactly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from smalto.errors import UsageError

LAYOUTS = ("vector", "tokens", "heads", "maps", "as-is")
MAX_RANK = 8
MAX_VALUES = 1 << 40
PADDING = 0.05
MAX_ASPECT = 4.0

Shape = tuple[int, ...]
FieldShape = tuple[int, int, int, int]

_RANKS = {"vector": (1, MAX_RANK), "tokens": (2, 4), "heads": (3, 3), "maps": (2, MAX_RANK), "as-is": (0, MAX_RANK)}


def guess_layout(shape: Sequence[int]) -> str:
    """The layout that a shape suggests.

    One axis is a vector, two are tokens. From three on, the last two are the sides of a map when neither passes 256 and
    neither is more than twice the other; else they are tokens. More axes than tokens can have are taken as they are.

    Example:
        >>> [guess_layout(shape) for shape in [(384,), (257, 1536), (512, 13, 13), (4, 257, 1536), (1, 12, 77, 64)]]
        ['vector', 'tokens', 'maps', 'tokens', 'maps']
    """
    shape = checked_shape(shape)
    rank = len(shape)
    if rank <= 2:
        return ("as-is", "vector", "tokens")[rank]
    height, width = shape[-2:]
    if max(height, width) <= min(256, 2 * min(height, width)):
        return "maps"
    return "tokens" if rank <= 4 else "as-is"


def checked_shape(shape: Sequence[int], layout: str = "as-is") -> Shape:
    """The shape as a tuple of ints.

    Raises:
        UsageError: a layout of no such name, an axis that is negative, more axes than the layout or NumPy knows, more
            than 2^40 values.
    """
    if layout not in LAYOUTS:
        raise UsageError(f"features: no layout is called {layout!r}; choose one of {', '.join(LAYOUTS)}")
    numbers = tuple(int(axis) for axis in shape)
    least, most = _RANKS[layout]
    if not least <= len(numbers) <= most:
        raise UsageError(
            f"features: layout {layout!r} takes {least} to {most} axes, not {numbers}; name another layout"
        )
    if any(axis < 0 for axis in numbers) or math.prod(max(axis, 1) for axis in numbers) > MAX_VALUES:
        raise UsageError(f"features: no array has the shape {numbers}")
    return numbers


def field_shape(shape: Sequence[int], layout: str, num: int = 1) -> FieldShape:
    """(S, H, W, C) of ``num`` arrays of a shape. Raises UsageError as ``checked_shape``."""
    shape = checked_shape(shape, layout)
    if layout == "vector":
        return num * math.prod(shape[:-1]), 1, 1, shape[-1]
    if layout == "tokens":
        batch, groups = (1, 1, *shape)[-4:-2] if len(shape) == 4 else ((1, *shape)[-3], 1)
        return num * batch, shape[-2], 1, groups * shape[-1]
    if layout == "heads":
        return num, shape[1], 1, shape[0] * shape[2]
    if layout == "maps":
        height, width = shape[-2:]
        return num * math.prod(shape[:-3]), height, width, math.prod(shape[-3:-2])
    return num, math.prod(shape[:-1]), 1, math.prod(shape[-1:])


def to_field(stack: np.ndarray, layout: str) -> np.ndarray:
    """The field (S, H, W, C) of a stack (num, ...) of arrays, a view where the layout allows it."""
    target = field_shape(stack.shape[1:], layout, stack.shape[0])
    if layout == "maps":
        samples, height, width, channels = target
        return stack.reshape(samples, channels, height, width).transpose(0, 2, 3, 1)
    if _grouped(stack.shape[1:], layout):
        return _swapped(stack, target).reshape(target)
    return stack.reshape(target)


def from_field(field: np.ndarray, shape: Sequence[int], layout: str, num: int) -> np.ndarray:
    """The stack (num, ...) of arrays of a field; inverse of ``to_field``, C-ordered."""
    shape = checked_shape(shape, layout)
    target = field_shape(shape, layout, num)
    if field.shape != target:
        raise UsageError(f"features: a field of {field.shape} where {num} arrays of {shape} need {target}")
    if layout == "maps":
        field = field.transpose(0, 3, 1, 2)
    elif _grouped(shape, layout):
        groups, tokens, width = shape[-3:]
        field = field.reshape(target[0], tokens, groups, width).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(field).reshape(num, *shape)


def _grouped(shape: Shape, layout: str) -> bool:
    return layout == "heads" or (layout == "tokens" and len(shape) == 4)


def _swapped(stack: np.ndarray, target: FieldShape) -> np.ndarray:
    """(S, N, G, D) of a stack (..., G, N, D)."""
    groups, tokens, width = stack.shape[-3:]
    return stack.reshape(target[0], groups, tokens, width).transpose(0, 2, 1, 3)


def plane_shape(shape: Sequence[int], layout: str, num: int = 1) -> tuple[int, int]:
    """Rows and columns of the plane of ``num`` arrays of a shape; 0, 0 for no values."""
    shape = checked_shape(shape, layout)
    total = num * math.prod(shape)
    if total == 0:
        return 0, 0
    if layout == "maps":
        height, width = shape[-2:]
        rows, columns = _folded(total // (height * width), height / width)
        return rows * height, columns * width
    if layout == "vector" or not shape:
        return _folded(total, 1.0)
    _, _, _, width = field_shape(shape, layout, num)
    return total // width, width


def pack_plane(stack: np.ndarray, layout: str) -> np.ndarray:
    """The plane of a stack (num, ...) of arrays of one shape, C-ordered, of the stack's dtype."""
    shape, num = stack.shape[1:], stack.shape[0]
    rows, columns = plane_shape(shape, layout, num)
    if rows == 0:
        return np.empty((0, 0), stack.dtype)
    if layout == "maps":
        height, width = shape[-2:]
        down, across = rows // height, columns // width
        tiles = _lengthened(stack.reshape(-1, height, width), down * across)
        return tiles.reshape(down, across, height, width).swapaxes(1, 2).reshape(rows, columns)
    if layout == "vector" or not shape:
        return _lengthened(stack.reshape(-1), rows * columns).reshape(rows, columns)
    return np.ascontiguousarray(to_field(stack, layout)).reshape(rows, columns)


def unpack_plane(plane: np.ndarray, shape: Sequence[int], layout: str, num: int = 1) -> np.ndarray:
    """The stack (num, ...) of a plane; inverse of ``pack_plane``.

    Raises:
        UsageError: the plane's sides are not those of ``plane_shape``.
    """
    shape = checked_shape(shape, layout)
    rows, columns = plane_shape(shape, layout, num)
    if plane.shape != (rows, columns):
        raise UsageError(f"features: a plane of {plane.shape} where {num} arrays of {shape} need {(rows, columns)}")
    total = num * math.prod(shape)
    if total == 0:
        return np.empty((num, *shape), plane.dtype)
    if layout == "maps":
        height, width = shape[-2:]
        tiles = plane.reshape(rows // height, height, columns // width, width).swapaxes(1, 2)
        return tiles.reshape(-1, height, width)[: total // (height * width)].reshape(num, *shape)
    if layout == "vector" or not shape:
        return plane.reshape(-1)[:total].reshape(num, *shape)
    return from_field(plane.reshape(field_shape(shape, layout, num)), shape, layout, num)


def _lengthened(values: np.ndarray, count: int) -> np.ndarray:
    """``values`` with its last entry repeated up to ``count`` entries."""
    if len(values) == count:
        return values
    return np.concatenate([values, np.repeat(values[-1:], count - len(values), axis=0)])


def _folded(count: int, aspect: float) -> tuple[int, int]:
    """Rows and columns of cells for ``count`` cells whose height is ``aspect`` times their width.

    The exact fold closest to a square, unless it is more than four times as long as wide: then the fold closest to a
    square that wastes at most 5 % of the cells, and one row where none does.
    """
    best: tuple[tuple[bool, float, float], int, int] | None = None
    for short in range(1, math.isqrt(count) + 1):
        long = -(-count // short)
        waste = (short * long - count) / count
        if waste > PADDING:
            continue
        for rows, columns in ((short, long), (long, short)):
            slant = abs(math.log(rows * aspect / columns))
            key = (waste > 0 or slant > math.log(MAX_ASPECT), slant, waste)
            if best is None or key < best[0]:
                best = key, rows, columns
    if best is None:
        return 1, count
    return best[1], best[2]
