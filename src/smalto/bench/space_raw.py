"""Tasks from RAW encodings: every head on planes of a mosaic, beside the same head on planes of the whole picture.

Pictures are mosaicked to RGGB; what a mosaic does not hold, two colours of three at every pixel, no head can have. So
the score on planes of the picture is the most that the one on planes of the mosaic can reach.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from smalto.bench.raw_space import RawNetworks
from smalto.bench.results import Cell, Table
from smalto.data.photographs import image_tensor, picture_files, read_image
from smalto.data.segmentation import CLASSES, LabelledPicture, LabelledTree
from smalto.data.stereo import StereoPair, read_pair, stereo_files
from smalto.heads.denoise import Denoiser, LightDenoiser
from smalto.heads.segment import Segmenter, class_ids
from smalto.layers.bayer import mosaic_of
from smalto.layers.shared_planes import TOP_STRIDE, SharedPlanes
from smalto.measure.psnr import psnr_tensor
from smalto.measure.segmentation import confusion, segmentation_score
from smalto.measure.stereo import stereo_score
from smalto.systems.shared_space import SPEC
from smalto.systems.stereo_depth import StereoDepth
from smalto.types import Image, Latent

SIGMA = 25.0
_COLUMNS = ("task", "pictures", "from_picture", "from_mosaic", "change")
_Encoder = Callable[[Tensor], SharedPlanes]


@dataclass(frozen=True)
class RawTasks:
    """Heads with what they are judged on; a task without its head or its data is left out.

    Args:
        denoise: head.
        pictures: clean pictures, to which noise of sigma 25 is added before they are mosaicked.
        segment: head.
        labelled: CamVid.
        stereo: on planes.
        pairs: of views with known disparity.
        count: pictures of each, evenly spread; None takes all.
    """

    denoise: Denoiser | LightDenoiser | None = None
    pictures: Path | None = None
    segment: Segmenter | None = None
    labelled: Path | None = None
    stereo: StereoDepth | None = None
    pairs: Path | None = None
    count: int | None = None


@torch.inference_mode()
def raw_task_table(networks: RawNetworks, tasks: RawTasks) -> Table:
    """Scores of every task that there is, from pictures and from their mosaics."""
    encoders: tuple[_Encoder, _Encoder] = (networks.encoder, lambda x: networks.raw_encoder(mosaic_of(x, "RGGB")))
    rows: list[tuple[Cell, ...]] = []
    if tasks.denoise is not None and tasks.pictures is not None:
        files = _spread(picture_files(tasks.pictures), tasks.count)
        rows.append(_row("denoise", [_denoised(networks, tasks.denoise, files, encoder) for encoder in encoders]))
    if tasks.segment is not None and tasks.labelled is not None:
        tree = LabelledTree(tasks.labelled, "test")
        held = [tree.read(number) for number in _spread(range(len(tree)), tasks.count)]
        rows.append(_row("segment", [_segmented(tasks.segment, held, encoder) for encoder in encoders]))
    if tasks.stereo is not None and tasks.pairs is not None:
        pairs = [read_pair(place) for place in _spread(stereo_files(tasks.pairs), tasks.count)]
        rows.append(_row("depth", [_matched(tasks.stereo, pairs, encoder) for encoder in encoders]))
    note = (
        f"denoise: PSNR in dB against the clean picture, sigma {SIGMA:g} added before mosaicking; segment: mean IoU in "
        "percent; depth: d1_all, percent of wrong pixels, lower is better. RGGB mosaics of the pictures themselves."
    )
    return Table("tasks", _COLUMNS, tuple(rows), note)


def _row(task: str, scores: list[tuple[int, float]]) -> tuple[Cell, ...]:
    (num, of_picture), (_, of_mosaic) = scores
    return task, num, of_picture, of_mosaic, of_mosaic - of_picture


def _denoised(
    networks: RawNetworks, head: Denoiser | LightDenoiser, files: Sequence[Path], encoder: _Encoder
) -> tuple[int, float]:
    values = []
    for number, path in enumerate(files):
        clean = image_tensor(read_image(path))
        drawn = np.random.default_rng(number).standard_normal(tuple(clean.shape), dtype=np.float32)
        planes = encoder(_padded(clean + SIGMA / 255 * torch.from_numpy(drawn)))
        answer = networks.decoder(head(planes))[..., : clean.shape[2], : clean.shape[3]]
        values.append(float(psnr_tensor(answer.clamp(0, 1), clean)))
    return len(values), float(np.mean(values))


def _segmented(head: Segmenter, pictures: Sequence[LabelledPicture], encoder: _Encoder) -> tuple[int, float]:
    matrices = []
    for held in pictures:
        logits = head(encoder(_padded(image_tensor(held.picture))))
        ids = class_ids(logits, held.picture.height, held.picture.width)[0].numpy()
        matrices.append(confusion(ids, held.ids, len(CLASSES)))
    return len(matrices), 100.0 * segmentation_score(np.sum(matrices, axis=0)).mean_iou


def _matched(stereo: StereoDepth, pairs: Sequence[StereoPair], encoder: _Encoder) -> tuple[int, float]:
    values = []
    for pair in pairs:
        disparity = stereo.of_latents(*_latents(encoder, pair.left, pair.right))
        values.append(stereo_score(disparity, pair.disparity).d1_all)
    return len(values), float(np.mean(values))


def _latents(encoder: _Encoder, *views: Image) -> Iterator[Latent]:
    for view in views:
        planes = encoder(_padded(image_tensor(view)))
        yield Latent(SPEC, planes._asdict(), view.height, view.width)


def _padded(x: Tensor) -> Tensor:
    """Sides that are multiples of 4, by the last row and column; RGGB stays RGGB."""
    return F.pad(x, (0, -x.shape[3] % TOP_STRIDE, 0, -x.shape[2] % TOP_STRIDE), mode="replicate")


def _spread(items, count: int | None) -> list:  # type: ignore[no-untyped-def, type-arg]
    if count is None or count >= len(items):
        return list(items)
    return [items[k * len(items) // count] for k in range(count)]
