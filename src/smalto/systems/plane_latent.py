"""The learned codec of the shared space's planes, as it ships: analysis, hyperprior, synthesis in one file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import NamedTuple

import numpy as np

from smalto.codecs.hyperprior import LITE
from smalto.codecs.hyperprior_frozen import FrozenHyperprior
from smalto.codecs.plane_transform import (
    STRIDE_PX,
    FoldedAnalysis,
    FoldedSynthesis,
    PlaneAnalysis,
    PlaneSynthesis,
    PlaneTransformConfig,
)
from smalto.errors import WeightsError
from smalto.layers.shared_planes import TOP_STRIDE
from smalto.systems.coding import PlaneTransform
from smalto.systems.multitask_codec import load_shipped, shipped_arrays
from smalto.weights.store import DIGEST_BYTES, digest, under


class LatentNetworks(NamedTuple):
    """What the file holds."""

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


def latent_arrays(networks: LatentNetworks) -> dict[str, np.ndarray]:
    """The arrays of the file: ``analysis.*``, ``codec.*`` and ``synthesis.*``."""
    arrays = {f"analysis.{name}": array for name, array in shipped_arrays(networks.analysis).items()}
    arrays |= {f"synthesis.{name}": array for name, array in shipped_arrays(networks.synthesis).items()}
    held = {**networks.codec.decode_arrays(), **networks.codec.encode_arrays()}
    return arrays | {f"codec.{name}": array for name, array in held.items()}


def latent_networks(arrays: Mapping[str, np.ndarray], source: str) -> LatentNetworks:
    """The networks in the arrays of the file.

    Raises:
        WeightsError: the arrays are of other networks; ``source`` names the file.
    """
    config = PlaneTransformConfig()
    analysis, synthesis = PlaneAnalysis(config), PlaneSynthesis(config)
    try:
        load_shipped(analysis, under(arrays, "analysis"))
        load_shipped(synthesis, under(arrays, "synthesis"))
        codec = FrozenHyperprior.from_arrays(LITE, under(arrays, "codec"))
    except (RuntimeError, KeyError) as error:
        line = str(error).splitlines()[0]
        raise WeightsError(f"{source}: not a codec of the shared space's planes ({line}); name another file") from error
    return LatentNetworks(analysis, codec, synthesis)
