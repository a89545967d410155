"""Tasks: what a System does with a head's network to answer from one view or several.

::

    carrier (1, C, h, w) of each view ─► network ─► levels, class ids or disparities ─► crop ─► Image | LabelMap | ...
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

from smalto.data.photographs import MAX_PIXELS, MAX_SIDE_PX, pixel_levels
from smalto.errors import LimitExceeded
from smalto.systems.engine import Engine
from smalto.types import DisparityMap, Image, LabelMap

Answer: TypeAlias = Image | LabelMap | DisparityMap


class PictureHead(Protocol):
    """A head that answers with a picture ``scale`` times as large as the coded one."""

    scale: int

    @property
    def halo_cells(self) -> int:
        """Cells of context on each side that one output pixel can see."""
        ...

    def __call__(self, carrier: Tensor) -> Tensor:
        """(1, C, h, w) -> (1, 3, stride scale h, stride scale w) around [0, 1]."""
        ...


@dataclass(frozen=True)
class View:
    """One coded picture as tasks see it.

    Args:
        carrier: (1, C, h, w) every plane of the space in one tensor.
        height: true height in pixels.
        width: true width in pixels.
        offset_px: rows and columns of padding before the picture.
        grey: answers in one colour channel.
        alpha: (H, W) uint8 opacity of the picture, or None.
    """

    carrier: Tensor
    height: int
    width: int
    offset_px: tuple[int, int] = (0, 0)
    grey: bool = False
    alpha: np.ndarray | None = None


class Task(Protocol):
    """What answers from views."""

    @property
    def num_views(self) -> int:
        """Pictures that one answer needs."""
        ...

    def check(self, height: int, width: int) -> None:
        """Raise LimitExceeded when the answer to pictures of this size would be larger than answers may be."""
        ...

    def answer(self, views: Sequence[View], engine: Engine) -> Answer:
        """The answer to ``num_views`` views of one size."""
        ...


def _check_size(task: str, height: int, width: int) -> None:
    if max(height, width) > MAX_SIDE_PX or height * width > MAX_PIXELS:
        raise LimitExceeded(
            f"{task}: a picture of {width} x {height} pixels is over the limit, {MAX_SIDE_PX} a side "
            f"and {MAX_PIXELS} in all; ask for the latent, or for a task of smaller answers"
        )


@dataclass(frozen=True)
class PictureTask:
    """A head's picture, 8 bits a channel, made in windows.

    Args:
        name: of the task; the picture's source.
        network: the head.
        stride_px: pixels per cell of the carrier.
        align_cells: windows begin at multiples of this many cells.
    """

    name: str
    network: PictureHead
    stride_px: int
    align_cells: int = 1

    num_views = 1

    def check(self, height: int, width: int) -> None:
        """See ``Task``."""
        _check_size(self.name, height * self.network.scale, width * self.network.scale)

    def answer(self, views: Sequence[View], engine: Engine) -> Image:
        """See ``Task``."""
        (view,), scale, up = views, self.network.scale, self.stride_px * self.network.scale
        levels = engine.run(
            lambda part: pixel_levels(self.network(part), view.grey),
            view.carrier,
            engine.window_px // up,
            self.network.halo_cells,
            (up, 1),
            self.align_cells,
        )
        top, left = (scale * offset for offset in view.offset_px)
        levels = levels[0, :, top : top + view.height * scale, left : left + view.width * scale]
        pixels = levels.permute(1, 2, 0).contiguous().cpu().numpy()  # (H, W, 3)
        alpha = view.alpha if view.alpha is None or scale == 1 else _enlarged(view.alpha, scale)
        return Image(pixels, alpha, view.grey, self.name)


@dataclass(frozen=True)
class LabelTask:
    """The likeliest class of every pixel. Such networks see the whole picture, so they run without windows.

    Args:
        name: of the task; the map's source.
        network: carrier (1, C, h, w), height and width in pixels -> class ids (1, height, width) uint8.
        names: of the classes.
        colours: of the classes, (red, green, blue).
        stride_px: pixels per cell of the carrier.
    """

    name: str
    network: Callable[[Tensor, int, int], Tensor]
    names: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...]
    stride_px: int

    num_views = 1

    def check(self, height: int, width: int) -> None:
        """See ``Task``."""
        _check_size(self.name, height, width)

    @torch.inference_mode()
    def answer(self, views: Sequence[View], engine: Engine) -> LabelMap:
        """See ``Task``."""
        (view,) = views
        carrier = view.carrier.to(engine.device)
        rows, columns = carrier.shape[2] * self.stride_px, carrier.shape[3] * self.stride_px
        with engine.precision():
            ids = self.network(carrier, rows, columns)[0]
        top, left = view.offset_px
        ids = ids[top : top + view.height, left : left + view.width]
        return LabelMap(ids.contiguous().cpu().numpy(), self.names, self.colours, self.name)


@dataclass(frozen=True)
class DisparityTask:
    """How far each pixel of the first view lies to the right of its counterpart in the second one.

    Args:
        name: of the task; the map's source.
        network: carriers (1, C, h, w) of both views -> disparity (1, 1, stride h, stride w) in pixels.
    """

    name: str
    network: Callable[[Tensor, Tensor], Tensor]

    num_views = 2

    def check(self, height: int, width: int) -> None:
        """See ``Task``."""
        _check_size(self.name, height, width)

    @torch.inference_mode()
    def answer(self, views: Sequence[View], engine: Engine) -> DisparityMap:
        """See ``Task``."""
        left, right = views
        with engine.precision():
            fine = self.network(left.carrier.to(engine.device), right.carrier.to(engine.device))[0, 0]
        top, first = left.offset_px
        fine = fine[top : top + left.height, first : first + left.width]
        return DisparityMap(fine.float().contiguous().cpu().numpy(), self.name)


def _enlarged(alpha: np.ndarray, scale: int) -> np.ndarray:
    """(H, W) uint8 -> (scale H, scale W), bicubic."""
    from PIL import Image as Pil

    height, width = alpha.shape
    return np.asarray(Pil.fromarray(alpha).resize((width * scale, height * scale), Pil.Resampling.BICUBIC))
