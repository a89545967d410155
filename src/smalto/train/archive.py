"""Fit the archive codec of a shared neural space, measure it, and leave the part to install.

::

    pictures ─► encoder ─► planes ─► decoder ─► random picture errors, pulled back ─► how much an error in a cell shows
                             └─────────────────────────────────────────────────────► rotations, contexts, tables

Math: an error e of a cell costs e^T G e with

    G = J^T J / (3 16 10^(-P / 10)) + I / (C v 10^(-H / 10)),

J the decoder's derivative, found as the mean of g g^T over gradients g of random white picture errors, v the plane's
variance a channel, C values a cell. The first term is 1 when the picture's PSNR falls to P dB, the second when the
plane's own signal-to-noise ratio falls to H dB: the decoder looks at a few directions only, and heads read the others.
A step near sqrt(12 / components) puts both near those marks.

Command: ``python -m smalto.train.archive SPACE_RUN --data PICTURES -o RUN``; a few minutes on one core.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smalto.codecs.archive_fit import fit_archive
from smalto.codecs.archive_planes import BOTTOM, TOP, ArchivePlanes
from smalto.data.photographs import image_tensor, picture_files, read_image
from smalto.encoders.shared_cnn import SharedEncoder
from smalto.errors import SmaltoError, UsageError
from smalto.heads.shared_decoder import SharedDecoder
from smalto.layers.shared_planes import CHANNELS, FOLD, TOP_STRIDE, SharedPlanes, folded, unfolded
from smalto.measure.psnr import psnr_tensor
from smalto.systems.shared_space import shared_decoder_digest
from smalto.train.release_files import write_part
from smalto.train.release_raw_space import space_networks

PART = "archive"
CROP_PX = 256
_SAMPLES_PX = 3 * TOP_STRIDE**2  # values of the picture under a cell


@dataclass(frozen=True)
class ArchiveConfig:
    """How fine the codec is.

    Args:
        step: of every component, in units of the metric.
        picture_db: P, PSNR of the decoder's picture at which its errors count 1.
        plane_db: H, signal-to-noise ratio of a plane at which its errors count 1.
        num_pictures: to fit on.
        num_held: others, to measure on.
    """

    step: float = 0.6
    picture_db: float = 42.0
    plane_db: float = 30.0
    num_pictures: int = 24
    num_held: int = 6


@dataclass(frozen=True)
class ArchiveScore:
    """What the codec does to pictures it was not fitted on, means over them.

    Args:
        bpp: of both planes' chunks.
        psnr_db: of the decoder's picture from decoded planes.
        whole_psnr_db: of the decoder's picture from the planes as they were.
        snr_db: of each plane around its channels' means.
    """

    bpp: float
    psnr_db: float
    whole_psnr_db: float
    snr_db: Mapping[str, float]


def picture_crops(folder: Path, num: int) -> list[Tensor]:
    """(1, 3, 256, 256) from the middles of so many pictures, spread evenly over a folder's.

    Raises:
        UsageError: the folder holds too few.
    """
    files = picture_files(folder)
    if len(files) < num:
        raise UsageError(f"{folder}: {len(files)} pictures are too few to fit on and measure; {num} are needed")
    crops = []
    for number in np.linspace(0, len(files) - 1, num).astype(int):
        x = image_tensor(read_image(files[number]))
        rows, columns = (min(CROP_PX, side // TOP_STRIDE * TOP_STRIDE) for side in x.shape[2:])
        top, left = (x.shape[2] - rows) // 2, (x.shape[3] - columns) // 2
        crops.append(x[:, :, top : top + rows, left : left + columns].contiguous())
    return crops


def sensitivities(decoder: SharedDecoder, planes: Sequence[SharedPlanes]) -> dict[str, NDArray[np.float64]]:
    """Mean of J^T J over the cells of some planes: of z_t (64, 64) and of z_b's folded cells (256, 256)."""
    generator = torch.Generator().manual_seed(0)
    sums = {TOP: np.zeros((CHANNELS,) * 2), BOTTOM: np.zeros((CHANNELS * FOLD**2,) * 2)}
    count = 0
    for one in planes:
        carrier = folded(one).detach().requires_grad_(True)
        picture = decoder(unfolded(carrier))
        error = torch.randn(picture.shape, generator=generator)
        (gradient,) = torch.autograd.grad(picture, carrier, error)
        g = gradient[0].flatten(1).double().numpy()
        for name, part in ((TOP, g[:CHANNELS]), (BOTTOM, g[CHANNELS:])):
            sums[name] += part @ part.T
        count += g.shape[1]
    return {name: total / count for name, total in sums.items()}


def error_metrics(
    seen: Mapping[str, NDArray[np.float64]], samples: Sequence[Mapping[str, np.ndarray]], config: ArchiveConfig
) -> dict[str, NDArray[np.float64]]:
    """G of each plane, see the top of this file."""
    metrics = {}
    for name, square in seen.items():
        rows = np.concatenate([sample[name].reshape(CHANNELS, -1) for sample in samples], axis=1)
        power = float(rows.var(1, dtype=np.float64).mean())
        if not power > 0:
            raise UsageError(f"plane {name} does not move on these pictures; this space cannot be archived")
        heads = np.eye(len(square)) / (len(square) * power * 10 ** (-config.plane_db / 10))
        metrics[name] = square / (_SAMPLES_PX * 10 ** (-config.picture_db / 10)) + heads
    return metrics


def fit_space_archive(
    encoder: SharedEncoder, decoder: SharedDecoder, crops: Sequence[Tensor], config: ArchiveConfig
) -> ArchivePlanes:
    """The archive codec of a space, fitted on pictures (1, 3, H, W), sides multiples of 4."""
    with torch.no_grad():
        planes = [encoder(crop) for crop in crops]
    samples = [{TOP: one.z_t[0].numpy(), BOTTOM: one.z_b[0].numpy()} for one in planes]
    metrics = error_metrics(sensitivities(decoder, planes), samples, config)
    return fit_archive(samples, metrics, config.step)


@torch.no_grad()
def archive_score(
    codec: ArchivePlanes, encoder: SharedEncoder, decoder: SharedDecoder, pictures: Sequence[Tensor]
) -> ArchiveScore:
    """Measure a codec on pictures (1, 3, H, W), sides multiples of 4."""
    bpp, psnr, whole, snr = [], [], [], {TOP: [], BOTTOM: []}
    for picture in pictures:
        planes = encoder(picture)
        held = {TOP: planes.z_t, BOTTOM: planes.z_b}
        chunks = codec.encode(held, 1024)
        back = codec.decode(chunks, {name: (one.shape[2], one.shape[3]) for name, one in held.items()}, 1024)
        bpp.append(8 * sum(map(len, (*chunks[TOP], *chunks[BOTTOM]))) / (picture.shape[2] * picture.shape[3]))
        psnr.append(float(psnr_tensor(decoder(SharedPlanes(back[BOTTOM], back[TOP])).clamp(0, 1), picture)[0]))
        whole.append(float(psnr_tensor(decoder(planes).clamp(0, 1), picture)[0]))
        for name, one in held.items():
            power, error = one.var(dim=(2, 3)).mean(), (one - back[name]).square().mean()
            snr[name].append(float(10 * torch.log10(power / error.clamp_min(1e-12))))
    return ArchiveScore(_mean(bpp), _mean(psnr), _mean(whole), {name: _mean(values) for name, values in snr.items()})


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 3)


def publish_archive(space: str, data: Path, folder: Path, config: ArchiveConfig) -> ArchiveScore:
    """Fit on a folder's pictures, measure on others of it, and write ``archive.safetensors`` and ``archive.json``.

    Args:
        space: run folder, weights file or installed system of the space.
        data: pictures.
        folder: of the part's files.
        config: how fine.

    Raises:
        UsageError, WeightsError, ImageError: there is no space, or there are too few pictures, or they cannot be read.
    """
    encoder, decoder = space_networks(space)
    for network in (encoder, decoder):
        network.eval().requires_grad_(False)
    crops = picture_crops(data, config.num_pictures + config.num_held)
    every = max(len(crops) // max(config.num_held, 1), 2)
    held = crops[1::every][: config.num_held]
    fitted = [crop for crop in crops if not any(crop is one for one in held)]
    codec = fit_space_archive(encoder, decoder, fitted, config)
    score = archive_score(codec, encoder, decoder, held)
    facts = {
        "decoder_digest": shared_decoder_digest(decoder).hex(),
        "codec_digest": codec.digest.hex(),
        "config": asdict(config),
        "num_symbols": {name: model.contexts.num_symbols for name, model in codec.models.items()},
        "score": asdict(score),
    }
    write_part(folder, PART, codec.to_arrays(), (), facts)
    return score


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m smalto.train.archive", description="Fit an archive codec.")
    parser.add_argument("space", metavar="SPACE_RUN", help="run folder or weights file of the space")
    parser.add_argument("--data", required=True, type=Path, help="folder of training pictures")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="RUN", help="run folder to write")
    parser.add_argument("--step", type=float, default=ArchiveConfig.step, help="smaller is finer")
    options = parser.parse_args(arguments)
    try:
        score = publish_archive(
            options.space, options.data, options.output / "weights", ArchiveConfig(step=options.step)
        )
    except (SmaltoError, OSError) as error:
        sys.stderr.write(f"smalto: {error}\n")
        return error.exit_code if isinstance(error, SmaltoError) else 1
    sys.stdout.write(
        f"archive: {score.bpp} bpp, picture {score.psnr_db} dB (planes as they were {score.whole_psnr_db}), "
        f"planes {dict(score.snr_db)} dB\n"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
