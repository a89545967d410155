"""The one-channel ELIC codec of feature planes.

::

    plane (B, 1, H, W) ─► ELIC's g_a ─► y ─► ELIC's entropy model ─► y_hat ─► ELIC's g_s ─► plane'

Beside ``index_planes``, which holds what the learned codecs of planes share. Legend as there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from torch import Tensor

from smalto.codecs.elic import Elic
from smalto.codecs.elic_context import ELIC, ElicConfig
from smalto.codecs.elic_freeze import freeze_elic
from smalto.codecs.elic_frozen import FrozenElic
from smalto.codecs.elic_transform import ElicAnalysis, ElicSynthesis, ElicTransformConfig
from smalto.codecs.index_planes import FrozenPlaneCodec, PlaneCodec
from smalto.errors import WeightsError
from smalto.weights.store import under


@dataclass(frozen=True)
class ElicPlaneConfig:
    """Layers of the one-channel ELIC codec.

    Args:
        filters: N, channels between the layers of g_a and g_s.
        num_blocks: bottlenecks between two strided layers.
        codec: of the latent; its ``latent_channels`` are M.
    """

    filters: int = 192
    num_blocks: int = 3
    codec: ElicConfig = field(default_factory=lambda: replace(ELIC, gain_range=(1.0, 10.0)))

    @property
    def transform(self) -> ElicTransformConfig:
        """Sizes of g_a and g_s."""
        return ElicTransformConfig(1, self.filters, self.codec.latent_channels, self.num_blocks)

    def to_array(self) -> np.ndarray:
        """The configuration as JSON in uint8, as it stands beside the weights."""
        return np.frombuffer(json.dumps(asdict(self), sort_keys=True).encode(), np.uint8)

    @classmethod
    def from_array(cls, array: np.ndarray) -> ElicPlaneConfig:
        """The configuration that ``to_array`` wrote.

        Raises:
            WeightsError: it is no such configuration.
        """
        try:
            facts = json.loads(array.astype(np.uint8).tobytes())
            layers: dict[str, Any] = {
                key: tuple(v) if isinstance(v, list) else v for key, v in facts.pop("codec").items()
            }
            return cls(**facts, codec=ElicConfig(**layers))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise WeightsError(f"weights: their configuration cannot be read ({error}); fetch them again") from error


ELIC_PLANES = ElicPlaneConfig()


class ElicPlaneCodec(PlaneCodec):
    """The training form.

    Source: DT-UFC, section 5.2 (ELIC with one channel, N = 192, M = 320); He et al. 2022. Different here: an integer
    scale path that reads symbols, and gain units, so that one set of weights stands for all lambdas.

    Args:
        config: layers.
    """

    config: ElicPlaneConfig
    codec: Elic

    def __init__(self, config: ElicPlaneConfig = ELIC_PLANES) -> None:
        transform = config.transform
        super().__init__(config, ElicAnalysis(transform), Elic(config.codec), ElicSynthesis(transform))


class FrozenElicPlaneCodec(FrozenPlaneCodec):
    """The coding form: uint8 planes to bytes and back.

    Args:
        config: layers.
        codec: the latent's coding form.
    """

    config: ElicPlaneConfig

    def __init__(self, config: ElicPlaneConfig, codec: FrozenElic) -> None:
        super().__init__(config, ElicAnalysis(config.transform), codec, ElicSynthesis(config.transform))

    @classmethod
    def from_arrays(cls, config: ElicPlaneConfig, arrays: Mapping[str, np.ndarray]) -> FrozenElicPlaneCodec:
        """The codec whose ``decode_arrays`` and ``encode_arrays`` these are."""
        return cls(config, FrozenElic.from_arrays(config.codec, under(arrays, "codec"))).with_arrays(arrays)


def freeze_elic_planes(trained: ElicPlaneCodec, positions: Tensor | None = None) -> FrozenElicPlaneCodec:
    """The coding form of a trained codec, every float rounded to half precision as it ships.

    Args:
        trained: weights to freeze.
        positions: (256,) place of each quality level on the trained scale, rising; the identity by default.
    """
    return FrozenElicPlaneCodec(trained.config, freeze_elic(trained.codec, positions)).with_trained(trained)
