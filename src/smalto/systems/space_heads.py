"""Networks of the shared space's further parts from the arrays of their files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import numpy as np
from torch import nn

from smalto.encoders.shared_cnn import SharedEncoder
from smalto.errors import WeightsError
from smalto.heads.denoise import Denoiser, LightDenoiser
from smalto.heads.pixel_denoise import PixelDenoiser
from smalto.heads.segment import SIZES, PixelSegmenter, Segmenter, Size
from smalto.systems.multitask_codec import load_shipped
from smalto.weights.store import under

RAW_PREFIX = "raw_encoder"

DenoiseHead = Denoiser | LightDenoiser | PixelDenoiser
SegmentHead = Segmenter | PixelSegmenter
_Network = TypeVar("_Network", bound=nn.Module)


def raw_networks(arrays: Mapping[str, np.ndarray], source: str) -> SharedEncoder:
    """The RAW encoder in the arrays of a file that ``publish_raw_encoder`` wrote.

    Raises:
        WeightsError: the arrays are of another network; ``source`` names the file.
    """
    encoder = SharedEncoder(channels_in=1)
    try:
        load_shipped(encoder, under(arrays, RAW_PREFIX))
    except RuntimeError as error:
        line = str(error).splitlines()[0]
        raise WeightsError(f"{source}: not weights of a RAW encoder ({line}); name another file") from error
    return encoder


def denoise_network(arrays: Mapping[str, np.ndarray], source: str) -> DenoiseHead:
    """The head in the arrays of a file that ``publish_denoise`` wrote, ready to run; its names tell which one it is.

    Raises:
        WeightsError: the arrays are of another network; ``source`` names the file.
    """
    kinds = (("blocks", Denoiser), ("enter", LightDenoiser), ("layers", PixelDenoiser))
    parts = {name.split(".")[0] for name in arrays}
    found = next((build for part, build in kinds if part in parts), None)
    if found is None:
        raise WeightsError(f"{source}: not weights of a denoising head; name another file")
    return _filled(found(), arrays, source)


def segment_network(arrays: Mapping[str, np.ndarray], source: str) -> SegmentHead:
    """The head in the arrays of a file that ``publish_segment`` wrote, ready to run; shapes tell size and classes.

    Raises:
        WeightsError: the arrays are of another network; ``source`` names the file.
    """
    try:
        width = arrays["network.stem.0.weight"].shape[0]
        num_classes = arrays["network.out.out.weight"].shape[0]
        head_width = arrays["network.out.out.weight"].shape[1]
        size: Size = next(s for s, c in SIZES.items() if (c.width, c.head_width) == (width, head_width))
    except (KeyError, StopIteration) as error:
        raise WeightsError(f"{source}: not weights of a segmentation head; name another file") from error
    first = arrays.get("enter.0.weight")
    build = PixelSegmenter if first is not None and first.shape[1] == 3 else Segmenter
    return _filled(build(size, num_classes), arrays, source)


def _filled(network: _Network, arrays: Mapping[str, np.ndarray], source: str) -> _Network:
    try:
        load_shipped(network, arrays)
    except RuntimeError as error:
        line = str(error).splitlines()[0]
        raise WeightsError(f"{source}: not weights of {type(network).__name__} ({line}); name another file") from error
    return network.eval().requires_grad_(False)
