"""From a trained ELIC model to the standard: integer weights, tables, shipped precision, quality levels placed."""

from __future__ import annotations

from torch import Tensor

from smalto.codecs.elic import Elic
from smalto.codecs.elic_frozen import FrozenElic
from smalto.codecs.freeze import coding_tables, taken_from


def freeze_elic(trained: Elic, positions: Tensor | None = None) -> FrozenElic:
    """The coding form of a trained ELIC model, every float rounded to half precision as it ships.

    Args:
        trained: weights to freeze.
        positions: (256,) place of each quality level on the trained scale 0..255, rising; the identity by default.

    Raises:
        WeightsError: the scale path does not fit its integers.
    """
    return taken_from(FrozenElic(trained.config, *coding_tables(trained)), trained, positions)
