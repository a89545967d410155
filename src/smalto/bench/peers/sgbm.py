"""OpenCV's semi-global block matching, completed so that every pixel has an answer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from smalto.errors import MissingExtra, UsageError
from smalto.types import Image

INSTALL = "pip install --no-deps opencv-python-headless"
_MODES = ("five directions", "eight directions", "three directions", "four directions")  # OpenCV's numbers 0 to 3
_FIXED_POINT = 16.0


@dataclass(frozen=True)
class SgbmSettings:
    """OpenCV's parameters.

    Args:
        num_disparities: searched from 0, a multiple of 16; both views are padded on the left by as many columns.
        block_px: side of the matched blocks.
        penalty_channels: P1 = 8 c block^2 and P2 = 32 c block^2 with this c; OpenCV's example takes 3 for colours.
        uniqueness_percent: margin by which the best match must win.
        speckle_px: connected answers of fewer pixels are dropped.
        speckle_range_px: disparities within this are connected.
        pre_filter_cap: of the gradients.
        left_right_px: largest difference between the two views' answers.
        mode: OpenCV's number: 0 five directions, 1 eight, 2 three, 3 four.
    """

    num_disparities: int = 192
    block_px: int = 5
    penalty_channels: int = 3
    uniqueness_percent: int = 10
    speckle_px: int = 100
    speckle_range_px: int = 2
    pre_filter_cap: int = 63
    left_right_px: int = 1
    mode: int = 0

    def __str__(self) -> str:
        unit = self.penalty_channels * self.block_px**2
        return (
            f"numDisparities {self.num_disparities}, blockSize {self.block_px}, P1 {8 * unit}, P2 {32 * unit}, "
            f"uniquenessRatio {self.uniqueness_percent}, speckle {self.speckle_px} / {self.speckle_range_px}, "
            f"preFilterCap {self.pre_filter_cap}, disp12MaxDiff {self.left_right_px}, {_MODES[self.mode]}"
        )


USUAL = SgbmSettings()
COARSE = SgbmSettings(block_px=7, mode=2)
FINE = SgbmSettings(num_disparities=96, block_px=3, penalty_channels=1, mode=3)


def sgbm_disparity(left: Image, right: Image, settings: SgbmSettings = USUAL) -> np.ndarray:
    """Disparity of the left view.

    The views are continued to the left by their first column, so that matches are searched in the first columns too;
    what the method finds no answer for is filled from the background, see ``background_filled``.

    Args:
        left: the left view.
        right: the right view, of the same size.
        settings: OpenCV's parameters.

    Returns:
        (H, W) float32 pixels.

    Raises:
        MissingExtra: OpenCV is not installed.
        UsageError: sizes differ.
    """
    try:
        import cv2
    except ImportError as error:
        raise MissingExtra(f"semi-global matching is not installed; {INSTALL}") from error
    if (left.height, left.width) != (right.height, right.width):
        raise UsageError(f"{left.source} and {right.source} differ in size; pass views of one size")
    unit, pad = settings.penalty_channels * settings.block_px**2, settings.num_disparities
    matcher = cv2.StereoSGBM_create(  # pyright: ignore[reportAttributeAccessIssue]
        minDisparity=0,
        numDisparities=pad,
        blockSize=settings.block_px,
        P1=8 * unit,
        P2=32 * unit,
        disp12MaxDiff=settings.left_right_px,
        preFilterCap=settings.pre_filter_cap,
        uniquenessRatio=settings.uniqueness_percent,
        speckleWindowSize=settings.speckle_px,
        speckleRange=settings.speckle_range_px,
        mode=settings.mode,
    )
    views = [
        np.pad(np.asarray(view.to_pil().convert("RGB"))[:, :, ::-1], ((0, 0), (pad, 0), (0, 0)), mode="edge")
        for view in (left, right)
    ]
    found = matcher.compute(*views)[:, pad:].astype(np.float32) / _FIXED_POINT
    return background_filled(found)


def background_filled(disparity: np.ndarray) -> np.ndarray:
    """Fill gaps in each row with the smaller of the answers at their ends: the one farther away.

    Source: the development kit of KITTI 2012 (Geiger et al.), background interpolation.

    Args:
        disparity: (H, W) float; negative where there is no answer.

    Returns:
        (H, W) float32; a row without any answer takes the one above, zeros where there is none.

    Example:
        >>> background_filled(np.array([[-1.0, 4.0, -1.0, -1.0, 2.0]]))[0].tolist()
        [4.0, 4.0, 2.0, 2.0, 2.0]
    """
    filled = disparity.astype(np.float32)
    columns = np.arange(filled.shape[1])
    for row in range(len(filled)):
        known = np.flatnonzero(filled[row] >= 0)
        if not len(known):
            filled[row] = filled[row - 1] if row else 0.0
            continue
        left = filled[row, known[np.maximum(np.searchsorted(known, columns, side="right") - 1, 0)]]
        right = filled[row, known[np.minimum(np.searchsorted(known, columns, side="left"), len(known) - 1)]]
        filled[row] = np.minimum(left, right)
    return filled
