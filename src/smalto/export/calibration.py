"""What networks see on photographs: pieces of pictures, turned into the inputs of each network that is exported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from smalto.data.photographs import image_tensor, read_image
from smalto.errors import UsageError
from smalto.export.device_networks import MOSAIC, PICTURE, DeviceNetwork
from smalto.layers.bayer import mosaic_of

SIDE_PX = 256
NUM_PIECES = 12
NOISE_DEVIATION = 25 / 255  # what a denoising network is calibrated on
_UNIT_PX = 32
_HELD_OUT = 3  # every third piece judges what the others calibrated

Inputs = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Calibration:
    """Inputs of one network.

    Args:
        seen: what ranges are taken from.
        held_out: other pieces, which tell the cost.
    """

    seen: tuple[Inputs, ...]
    held_out: tuple[Inputs, ...]


def picture_pieces(files: Sequence[Path], num: int = NUM_PIECES, side_px: int = SIDE_PX) -> tuple[Tensor, ...]:
    """Pieces of photographs at places that depend on nothing but the pictures' sizes.

    Args:
        files: of pictures; spread evenly when there are more than ``num``, taken in turn when there are fewer.
        num: of the pieces.
        side_px: of a piece; less where the picture is smaller, always a multiple of 32.

    Returns:
        (1, 3, h, w) float32 in 0..1 each.

    Raises:
        UsageError: no file, or a picture smaller than 32 x 32.
        ImageError: a picture cannot be read.
    """
    if not files:
        raise UsageError("int8 needs photographs to calibrate on; name a folder of them with --calibration DIR")
    spread = files if len(files) <= num else [files[k * len(files) // num] for k in range(num)]
    generator = np.random.default_rng(0)
    pieces: list[Tensor] = []
    pictures = [(path, image_tensor(read_image(path))) for path in spread]
    for number in range(num):
        path, picture = pictures[number % len(pictures)]
        sides = [min(side_px, size) // _UNIT_PX * _UNIT_PX for size in picture.shape[2:]]
        if min(sides) == 0:
            raise UsageError(f"{path}: smaller than {_UNIT_PX} x {_UNIT_PX}; leave it out of the calibration")
        top, left = (
            int(generator.integers(size - side + 1)) for size, side in zip(picture.shape[2:], sides, strict=True)
        )
        pieces.append(picture[:, :, top : top + sides[0], left : left + sides[1]].contiguous())
    return tuple(pieces)


def calibrations(
    networks: Sequence[DeviceNetwork], encoder: DeviceNetwork | None, pieces: Sequence[Tensor]
) -> Mapping[str, Calibration]:
    """Inputs of every network that pieces of single pictures can give inputs to, by name.

    Args:
        networks: to calibrate.
        encoder: of the system, which makes the inputs of the others; None leaves those out.
        pieces: (1, 3, h, w) each.
    """
    found: dict[str, Calibration] = {}
    for network in networks:
        inputs = [_inputs(network, encoder, piece, number) for number, piece in enumerate(pieces)]
        known = [held for held in inputs if held is not None]
        if len(known) == len(pieces):
            seen = tuple(held for k, held in enumerate(known) if k % _HELD_OUT)
            found[network.name] = Calibration(seen, tuple(known[::_HELD_OUT]))
    return found


def _inputs(network: DeviceNetwork, encoder: DeviceNetwork | None, piece: Tensor, number: int) -> Inputs | None:
    """One piece as a network's inputs; None when it needs more than one picture, or an encoder that is not there."""
    first = network.inputs[0].meaning
    if first == PICTURE:
        return (piece.numpy(),)
    if first == MOSAIC:
        return (mosaic_of(piece).numpy(),)
    if encoder is None:
        return None
    if network.name == "denoise":
        noise = np.random.default_rng((1, number)).standard_normal(tuple(piece.shape), dtype=np.float32)
        piece = piece + NOISE_DEVIATION * torch.from_numpy(noise)
    answers = dict(zip((port.name for port in encoder.outputs), encoder(piece), strict=True))
    if not all(port.name in answers for port in network.inputs):
        return None
    return tuple(answers[port.name].numpy() for port in network.inputs)
