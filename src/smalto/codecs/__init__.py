"""Codecs: planes to coded bytes and back. ``CODECS`` maps a name to a builder that imports inside.

``TRANSFORMS`` does so for the learned pairs of networks, analysis and synthesis, that stand around a codec.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    from smalto.codecs.archive_planes import ArchivePlanes


def _hyperprior() -> nn.Module:
    from smalto.codecs.hyperprior import LITE, MeanScaleHyperprior

    return MeanScaleHyperprior(LITE)


def _hific() -> nn.Module:
    from smalto.codecs.hific_hyperprior import HIFIC, HificHyperprior

    return HificHyperprior(HIFIC)


def _factorized() -> nn.Module:
    from smalto.codecs.factorized_codec import FactorizedCodec

    return FactorizedCodec()


def _elic() -> nn.Module:
    from smalto.codecs.elic import Elic
    from smalto.codecs.elic_context import ELIC

    return Elic(ELIC)


def _archive() -> ArchivePlanes:
    """Fitted to nothing: every value alone, in steps of 1/16; spreads follow the last cell's same value."""
    import numpy as np

    from smalto.bits.cdf import tables_from_pmfs
    from smalto.codecs.archive_contexts import CellContexts
    from smalto.codecs.archive_kernels import NUM_NEAR, NUM_PHASES, SPREAD_UNIT
    from smalto.codecs.archive_planes import ArchivePlanes, PlaneModel, PlaneRotation
    from smalto.layers.shared_planes import CHANNELS, FOLDED_CHANNELS

    step = 1 / 16
    symbols, thresholds = np.arange(-127, 128), np.array([1, 4, 16, 64]) * SPREAD_UNIT
    shapes = [np.exp(-np.abs(symbols) / spread) for spread in (1, 2, 8, 32, 96)]
    tables = tables_from_pmfs([(-127, shape / shape.sum(), 2.0**-10) for shape in shapes for _ in range(NUM_PHASES)])

    def model(num: int, num_other: int) -> PlaneModel:
        one, near = np.eye(num, dtype=np.float32), np.zeros((NUM_NEAR, num, num), np.uint16)
        near[0] = np.eye(num, dtype=np.uint16) * SPREAD_UNIT
        contexts = CellContexts(
            expect=np.zeros((NUM_NEAR, 1, 1), np.int16),
            expect_other=np.zeros((num_other, 1), np.int16),
            base=np.full(num, SPREAD_UNIT // 2, np.uint16),
            near=near,
            near_other=np.zeros((num_other, num), np.uint16),
            own=np.zeros((num, num), np.uint16),
            threshold=thresholds.astype(np.uint16),
            tables=tables,
        )
        mean, points = np.zeros(num, np.float32), np.zeros((num, 3), np.float32)
        return PlaneModel(PlaneRotation(mean, step * one, points, one / step, np.full(num, 0.5, np.float32)), contexts)

    return ArchivePlanes(model(CHANNELS, 0), model(FOLDED_CHANNELS - CHANNELS, CHANNELS))


def _planes() -> tuple[nn.Module, nn.Module]:
    from smalto.codecs.plane_transform import PlaneAnalysis, PlaneSynthesis, PlaneTransformConfig

    return PlaneAnalysis(PlaneTransformConfig()), PlaneSynthesis(PlaneTransformConfig())


CODECS: dict[str, Callable[[], nn.Module | ArchivePlanes]] = {
    "archive": _archive,
    "elic": _elic,
    "factorized": _factorized,
    "hyperprior": _hyperprior,
    "hific": _hific,
}
TRANSFORMS: dict[str, Callable[[], tuple[nn.Module, nn.Module]]] = {"planes": _planes}
