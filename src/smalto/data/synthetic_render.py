"""Rendering of slanted textured surfaces into two views, by scanlines with a disparity buffer.

A surface is a polygon in the left view's coordinates (x to the right, y down, pixel centres at whole numbers) on a
plane whose disparity is ``d = a + b x + c y``; its point (x, y) lies at (x - d, y) in the right view. Both views are
drawn from the surfaces themselves. Of several surfaces at a place the one with the largest disparity is seen: the
nearest one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from smalto.bits.compiled import compiled

MAX_VERTICES = 64
_TIE_PX = 1e-6  # disparities closer than this belong to the same place


@dataclass(frozen=True, eq=False)
class Surfaces:
    """Everything that is drawn, as arrays; S surfaces.

    Args:
        vertices: (V, 2) float64 polygon corners, x and y, all surfaces one after another.
        starts: (S + 1,) int64 first corner of each; at most 64 corners a surface.
        planes: (S, 3) float64 a, b and c; b < 1.
        pixels: flat uint8, all textures.
        textures: (S, 3) int64 offset in ``pixels``, height and width of each surface's picture (H, W, 3).
        maps: (S, 2, 3) float64: texture column and row are ``maps @ (1, x, y)``; pictures are mirrored beyond borders.
        tones: (S, 3, 2) float64 gain and offset of each colour, on 0..255.
    """

    vertices: np.ndarray
    starts: np.ndarray
    planes: np.ndarray
    pixels: np.ndarray
    textures: np.ndarray
    maps: np.ndarray
    tones: np.ndarray


def draw_view(surfaces: Surfaces, height: int, width: int, is_right: bool, num_samples: int) -> np.ndarray:
    """One view, each pixel the mean of ``num_samples`` squared places in it.

    Returns:
        (H, W, 3) float32 in 0..255.
    """
    held = surfaces
    return _draw(
        held.vertices,
        held.starts,
        held.planes,
        held.pixels,
        held.textures,
        held.maps,
        held.tones,
        height,
        width,
        is_right,
        num_samples,
    )


def draw_disparity(surfaces: Surfaces, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Disparity of the left view's pixel centres, and which of them the right view does not show.

    Returns:
        (H, W) float32 pixels; (H, W) bool: covered by a nearer surface in the right view, or outside its frame.
    """
    return _measure(surfaces.vertices, surfaces.starts, surfaces.planes, height, width)


@compiled
def _crossings(vertices, first, last, y, found):  # type: ignore[no-untyped-def]
    """Where a polygon's edges cross a row, in rising order; how many."""
    count = 0
    before = last - 1
    for k in range(first, last):
        y0, y1 = vertices[before, 1], vertices[k, 1]
        if (y0 <= y) != (y1 <= y):
            x = vertices[before, 0] + (y - y0) / (y1 - y0) * (vertices[k, 0] - vertices[before, 0])
            place = count
            while place > 0 and found[place - 1] > x:
                found[place] = found[place - 1]
                place -= 1
            found[place] = x
            count += 1
        before = k
    return count


@compiled
def _see_row(vertices, starts, planes, y, is_right, num_samples, nearest, owner):  # type: ignore[no-untyped-def]
    """Largest disparity at each place of a row of either view, and the surface that has it; -1 for none."""
    nearest[:] = -1e30
    owner[:] = -1
    found = np.empty(MAX_VERTICES, np.float64)
    for s in range(len(planes)):
        a, b = planes[s, 0] + planes[s, 2] * y, planes[s, 1]
        count = _crossings(vertices, starts[s], starts[s + 1], y, found)
        for pair in range(0, count - 1, 2):
            low, high = found[pair], found[pair + 1]
            if is_right:
                low, high = (1.0 - b) * low - a, (1.0 - b) * high - a
            first = max(int(np.ceil((low + 0.5) * num_samples - 0.5)), 0)
            last = min(int(np.ceil((high + 0.5) * num_samples - 0.5)), len(nearest))
            for column in range(first, last):
                x = (column + 0.5) / num_samples - 0.5
                d = (a + b * x) / (1.0 - b) if is_right else a + b * x
                if d > nearest[column]:
                    nearest[column] = d
                    owner[column] = s


@compiled
def _draw(  # type: ignore[no-untyped-def]
    vertices, starts, planes, pixels, textures, maps, tones, height, width, is_right, num_samples
):
    picture = np.zeros((height, width, 3), np.float32)
    nearest = np.empty(width * num_samples, np.float64)
    owner = np.empty(width * num_samples, np.int64)
    share = np.float32(1.0 / (num_samples * num_samples))
    one = np.float32(1.0)
    for row in range(height * num_samples):
        y = (row + 0.5) / num_samples - 0.5
        _see_row(vertices, starts, planes, y, is_right, num_samples, nearest, owner)
        for column in range(width * num_samples):
            s = owner[column]
            if s < 0:
                continue
            x = (column + 0.5) / num_samples - 0.5
            if is_right:
                x += nearest[column]
            offset, rows, columns = textures[s, 0], textures[s, 1], textures[s, 2]
            u = (maps[s, 0, 0] + maps[s, 0, 1] * x + maps[s, 0, 2] * y) % (2.0 * columns)
            v = (maps[s, 1, 0] + maps[s, 1, 1] * x + maps[s, 1, 2] * y) % (2.0 * rows)
            u = min(max(min(u, 2.0 * columns - u) - 0.5, 0.0), columns - 1.0)
            v = min(max(min(v, 2.0 * rows - v) - 0.5, 0.0), rows - 1.0)
            left, top = int(u), int(v)
            right_step = 3 if left + 1 < columns else 0
            down_step = 3 * columns if top + 1 < rows else 0
            fx, fy = np.float32(u - left), np.float32(v - top)
            for colour in range(3):
                at = offset + 3 * (top * columns + left) + colour
                upper = np.float32(pixels[at]) * (one - fx) + np.float32(pixels[at + right_step]) * fx
                at += down_step
                lower = np.float32(pixels[at]) * (one - fx) + np.float32(pixels[at + right_step]) * fx
                value = upper * (one - fy) + lower * fy
                value = np.float32(tones[s, colour, 0]) * value + np.float32(tones[s, colour, 1])
                value = min(max(value, np.float32(0.0)), np.float32(255.0))
                picture[row // num_samples, column // num_samples, colour] += share * value
    return picture


@compiled
def _measure(vertices, starts, planes, height, width):  # type: ignore[no-untyped-def]
    disparity = np.zeros((height, width), np.float32)
    is_hidden = np.zeros((height, width), np.bool_)
    nearest = np.empty(width, np.float64)
    owner = np.empty(width, np.int64)
    found = np.empty(MAX_VERTICES, np.float64)
    spans = np.empty((len(vertices) + 1, 2), np.float64)  # of this row, in the right view
    owners = np.empty(len(vertices) + 1, np.int64)
    for row in range(height):
        y = float(row)
        _see_row(vertices, starts, planes, y, False, 1, nearest, owner)
        num_spans = 0
        for s in range(len(planes)):
            a, b = planes[s, 0] + planes[s, 2] * y, planes[s, 1]
            count = _crossings(vertices, starts[s], starts[s + 1], y, found)
            for pair in range(0, count - 1, 2):
                spans[num_spans, 0] = (1.0 - b) * found[pair] - a
                spans[num_spans, 1] = (1.0 - b) * found[pair + 1] - a
                owners[num_spans] = s
                num_spans += 1
        for column in range(width):
            d = nearest[column]
            if owner[column] < 0:
                continue
            disparity[row, column] = d
            x = column - d  # in the right view
            hidden = x < -0.5 or x >= width - 0.5
            for span in range(num_spans):
                if spans[span, 0] <= x < spans[span, 1]:
                    s = owners[span]
                    other = (planes[s, 0] + planes[s, 2] * y + planes[s, 1] * x) / (1.0 - planes[s, 1])
                    hidden = hidden or other > d + _TIE_PX
            is_hidden[row, column] = hidden
    return disparity, is_hidden
