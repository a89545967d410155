"""A miniature system of the shared space: untrained networks that hand pictures through, small heads and codec."""

from __future__ import annotations

import torch

from smalto.heads.denoise import LightDenoiser
from smalto.heads.image import Decoder
from smalto.heads.segment import Segmenter
from smalto.heads.stereo import StereoConfig, StereoHead
from smalto.systems.multitask_codec import LiteNetworks
from smalto.systems.neural_space import SpaceNetworks, neural_space
from smalto.systems.plane_latent import base_networks
from smalto.systems.system import System
from smalto.train.shared_start import start_passing
from tests.shared_space import seeded_networks
from tests.tiny_models import TINY_DECODER, seeded, tiny_codec, tiny_encoder

TINY_STEREO = StereoConfig((1, 1, 1), 2, (8, 8, 8), (8, 8, 8, 8), (1, 1, 1, 1), 8, 8)


def tiny_image_networks() -> LiteNetworks:
    """An image codec of a few channels, over which the codec of planes is made."""
    return LiteNetworks(tiny_encoder(), tiny_codec(), seeded(Decoder, TINY_DECODER, 4))  # type: ignore[arg-type]


def space_networks() -> SpaceNetworks:
    """Every network but the RAW encoder; call it while ``heads.segment.SIZES`` is small."""
    encoder, decoder = seeded_networks()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        start_passing(encoder, decoder)
        heads = LightDenoiser(), Segmenter("s", 11).eval(), StereoHead(TINY_STEREO).eval()
    latent = base_networks(tiny_image_networks(), encoder)
    return SpaceNetworks(encoder, decoder, latent, denoise=heads[0], segment=heads[1], stereo=heads[2])


def space_system() -> System:
    """The system of ``space_networks``, in float32."""
    return neural_space(space_networks(), dtype=torch.float32)
