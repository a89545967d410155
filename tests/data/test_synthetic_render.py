"""Two views of surfaces whose geometry is known by hand."""

from __future__ import annotations

import numpy as np
import pytest

from smalto.data.synthetic_render import Surfaces, draw_disparity, draw_view

HEIGHT, WIDTH = 24, 64
RAMP = np.repeat(np.arange(0, 240, 2, dtype=np.uint8)[None, :, None], 40, axis=0).repeat(3, axis=2)  # (40, 120, 3)
RAMP.setflags(write=False)


def _rectangle(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])


def _surfaces(corners: list[np.ndarray], planes: list[tuple[float, float, float]]) -> Surfaces:
    num = len(corners)
    return Surfaces(
        np.concatenate(corners),
        np.cumsum([0, *map(len, corners)]),
        np.array(planes, np.float64),
        RAMP.reshape(-1),
        np.array([(0, *RAMP.shape[:2])] * num),
        np.array([((0.5, 1.0, 0.0), (0.5, 0.0, 1.0))] * num),
        np.array([((1.0, 20.0 * k),) * 3 for k in range(num)]),
    )


BACK = _rectangle(-2, -2, 120, 30)


def test_a_flat_background_is_the_texture_shifted_by_its_disparity() -> None:
    surfaces = _surfaces([BACK], [(7.0, 0.0, 0.0)])
    left, right = (draw_view(surfaces, HEIGHT, WIDTH, is_right, 1) for is_right in (False, True))
    np.testing.assert_allclose(left, RAMP[:HEIGHT, :WIDTH], atol=1e-3)
    np.testing.assert_allclose(right, RAMP[:HEIGHT, 7 : WIDTH + 7], atol=1e-3)
    disparity, is_hidden = draw_disparity(surfaces, HEIGHT, WIDTH)
    assert bool((disparity == 7).all())
    assert bool((is_hidden == (np.arange(WIDTH) < 6.5)).all())  # what lies left of the right view's frame


def test_a_near_rectangle_covers_what_lies_behind_it() -> None:
    surfaces = _surfaces([BACK, _rectangle(29.5, 7.5, 39.5, 15.5)], [(4.0, 0.0, 0.0), (10.0, 0.0, 0.0)])
    disparity, is_hidden = draw_disparity(surfaces, HEIGHT, WIDTH)
    expected = np.full((HEIGHT, WIDTH), 4.0)
    expected[8:16, 30:40] = 10.0
    assert np.array_equal(disparity, expected)
    hidden = np.zeros((HEIGHT, WIDTH), bool)
    hidden[:, :4] = True
    hidden[8:16, 24:30] = True  # in the right view the rectangle stands at 20..29, over the background's 24..33
    assert np.array_equal(is_hidden, hidden)
    right = draw_view(surfaces, HEIGHT, WIDTH, True, 1)
    np.testing.assert_allclose(right[10, 20:30, 0], RAMP[10, 30:40, 0] + 20.0, atol=1e-3)


def test_a_slanted_plane_is_seen_where_its_equation_says() -> None:
    surfaces = _surfaces([BACK], [(2.0, 0.1, 0.05)])
    disparity, _ = draw_disparity(surfaces, HEIGHT, WIDTH)
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    np.testing.assert_allclose(disparity, 2.0 + 0.1 * columns + 0.05 * rows, rtol=1e-6)
    right = draw_view(surfaces, HEIGHT, WIDTH, True, 1)[..., 0]
    source = (columns + 2.0 + 0.05 * rows) / 0.9  # the left column that is seen at this right column
    np.testing.assert_allclose(right, np.minimum(2.0 * source, 238.0), atol=1e-2)


def test_nearer_surfaces_win_in_any_order() -> None:
    corners, planes = [BACK, _rectangle(10, 2, 30, 20), _rectangle(20, 5, 50, 15)], [(1, 0, 0), (9, 0, 0), (5, 0, 0)]
    forward = draw_disparity(_surfaces(corners, planes), HEIGHT, WIDTH)
    backward = draw_disparity(_surfaces(corners[::-1], planes[::-1]), HEIGHT, WIDTH)
    for one, other in zip(forward, backward, strict=True):
        assert np.array_equal(one, other)
    assert forward[0][10, 25] == 9


def test_edges_are_smooth_when_pixels_are_sampled_more_than_once() -> None:
    surfaces = _surfaces([BACK, _rectangle(20.25, 5, 40, 15)], [(1.0, 0.0, 0.0), (1.0 + 1e-3, 0.0, 0.0)])
    plain, smooth = (draw_view(surfaces, HEIGHT, WIDTH, False, num)[10, 20, 0] for num in (1, 4))
    assert plain == pytest.approx(40.0, abs=0.01)
    assert smooth == pytest.approx(40.0 + 20.0 * 0.25, abs=0.6)  # the rectangle covers a quarter of pixel 20


def test_an_outline_that_turns_in_keeps_its_gap() -> None:
    horseshoe = np.array([(10, 4), (50, 4), (50, 20), (40, 20), (40, 10), (20, 10), (20, 20), (10, 20)], float)
    disparity, _ = draw_disparity(_surfaces([BACK, horseshoe], [(1, 0, 0), (3, 0, 0)]), HEIGHT, WIDTH)
    assert disparity[15, [9, 15, 30, 45, 55]].tolist() == [1, 3, 1, 3, 1]
    assert disparity[6, [9, 15, 30, 45, 55]].tolist() == [1, 3, 3, 3, 1]


def test_textures_are_mirrored_beyond_their_borders() -> None:
    surfaces = _surfaces([_rectangle(-2, -2, 400, 30)], [(1.0, 0.0, 0.0)])
    row = draw_view(surfaces, 2, 300, False, 1)[0, :, 0]
    np.testing.assert_allclose(row[120:240], RAMP[0, ::-1, 0], atol=1e-3)
    np.testing.assert_allclose(row[240:], RAMP[0, :60, 0], atol=1e-3)
