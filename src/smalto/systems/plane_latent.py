"""The learned codec of the shared space's planes as it ships: what training changed of the networks it is made over.

::

    image codec's file ─┐
    space's file ───────┴► plane_base ─► analysis, hyperprior, synthesis ◄── changes ─── this part's file
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import NamedTuple

import numpy as np
import torch

from smalto.codecs.hyperprior_frozen import FrozenHyperprior
from smalto.codecs.plane_transform import STRIDE_PX, FoldedAnalysis, FoldedSynthesis, PlaneAnalysis, PlaneSynthesis
from smalto.encoders.shared_cnn import SharedEncoder
from smalto.errors import WeightsError
from smalto.layers.shared_planes import TOP_STRIDE
from smalto.systems.coding import PlaneTransform
from smalto.systems.multitask_codec import LITE_NAME, LiteNetworks, lite_networks, shipped_arrays
from smalto.systems.plane_base import base_transform
from smalto.weights import system_record
from smalto.weights.store import DIGEST_BYTES, digest, read_installed, under

_PARTS = ("analysis", "codec", "synthesis")


class LatentNetworks(NamedTuple):
    """What codes the planes."""

    analysis: PlaneAnalysis
    codec: FrozenHyperprior
    synthesis: PlaneSynthesis

    @property
    def digest(self) -> bytes:
        """The 8 bytes that name the decode side, hyperprior and synthesis, in files."""
        arrays = {f"codec.{name}": array for name, array in self.codec.decode_arrays().items()}
        arrays |= {f"synthesis.{name}": array for name, array in shipped_arrays(self.synthesis).items()}
        configuration = {"codec": asdict(self.codec.config), "transform": asdict(self.synthesis.config)}
        return digest(arrays, json.dumps(configuration, sort_keys=True))[:DIGEST_BYTES]

    @property
    def transform(self) -> PlaneTransform:
        """Analysis and synthesis as a System runs them."""
        return PlaneTransform(
            FoldedAnalysis(self.analysis),
            FoldedSynthesis(self.synthesis),
            STRIDE_PX // TOP_STRIDE,
            self.synthesis.config.latent_channels,
        )

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """Every array, as they ship: ``analysis.*``, ``codec.*`` and ``synthesis.*``."""
        arrays = {f"analysis.{name}": array for name, array in shipped_arrays(self.analysis).items()}
        arrays |= {f"synthesis.{name}": array for name, array in shipped_arrays(self.synthesis).items()}
        held = {**self.codec.decode_arrays(), **self.codec.encode_arrays()}
        return arrays | {f"codec.{name}": array for name, array in held.items()}


def image_networks() -> LiteNetworks:
    """The installed image codec, over which codecs of planes are made."""
    return lite_networks(image_arrays())


def image_arrays() -> dict[str, np.ndarray]:
    """The arrays of the installed image codec's file."""
    return read_installed(system_record(LITE_NAME).files["codec"])


def base_networks(image: LiteNetworks, space: SharedEncoder) -> LatentNetworks:
    """The codec before any training.

    Args:
        image: the image codec's networks.
        space: encoder of the shared space.
    """
    analysis, synthesis = base_transform(image.encoder, image.decoder, space)
    return LatentNetworks(analysis, image.codec, synthesis)


def changed_arrays(networks: LatentNetworks, base: LatentNetworks) -> dict[str, np.ndarray]:
    """The arrays of the file: those of ``networks`` that are not ``base``'s."""
    own, known = networks.arrays, base.arrays
    return {name: array for name, array in own.items() if name not in known or not np.array_equal(array, known[name])}


def latent_networks(arrays: Mapping[str, np.ndarray], base: LatentNetworks, source: str) -> LatentNetworks:
    """The codec that a file's changes make of a base, which is left as it was.

    Args:
        arrays: of the file; what is neither of analysis, codec nor synthesis is not looked at.
        base: the codec before training.
        source: the file, for messages.

    Raises:
        WeightsError: the changes are of other networks.
    """
    joined = base.arrays
    for name, array in arrays.items():
        if name.split(".")[0] in _PARTS:
            if name not in joined or joined[name].shape != array.shape:
                raise WeightsError(f"{source}: not a codec of the shared space's planes ({name}); name another file")
            joined[name] = array
    analysis, synthesis = PlaneAnalysis(base.analysis.config), PlaneSynthesis(base.synthesis.config)
    for network, part in ((analysis, "analysis"), (synthesis, "synthesis")):
        network.load_state_dict({n: torch.from_numpy(np.array(a)).float() for n, a in under(joined, part).items()})
    codec = FrozenHyperprior.from_arrays(base.codec.config, under(joined, "codec"))
    return LatentNetworks(analysis.eval(), codec, synthesis.eval())
