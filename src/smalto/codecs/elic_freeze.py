"""From a trained ELIC model to the standard: integer weights, tables, shipped precision, quality levels placed."""

from __future__ import annotations

import torch
from torch import Tensor

from smalto.bits.cdf import gaussian_tables
from smalto.codecs.elic import Elic
from smalto.codecs.elic_frozen import FrozenElic
from smalto.codecs.freeze import prior_tables, shipped_state
from smalto.codecs.hyperprior import INDEX_STEPS, LOG_STEP, NUM_LEVELS


@torch.no_grad()
def freeze_elic(trained: Elic, positions: Tensor | None = None) -> FrozenElic:
    """The coding form of a trained ELIC model, every float rounded to half precision as it ships.

    Args:
        trained: weights to freeze.
        positions: (256,) place of each quality level on the trained scale 0..255, rising; the identity by default.

    Raises:
        WeightsError: the scale path does not fit its integers.
    """
    device = next(trained.parameters()).device
    q = (torch.arange(NUM_LEVELS) if positions is None else positions).float().to(device)
    distinct = tuple(sorted(set(trained.config.z_gains)))
    codec = FrozenElic(trained.config, prior_tables(trained.prior, distinct), gaussian_tables()).to(device)
    codec.analysis.load_state_dict(shipped_state(trained.analysis.state_dict()))
    codec.mean_path.load_state_dict(shipped_state(trained.mean_path.state_dict()))
    codec.scale_path = trained.scale_path.frozen()
    gain = trained.gain(q)[:, :, 0, 0]
    codec.gain.copy_(gain.half().float())
    codec.inverse_gain.copy_(trained.inverse_gain(q)[:, :, 0, 0].half().float())
    codec.index_offset.copy_(torch.floor(INDEX_STEPS * gain.log() / LOG_STEP + 0.5).to(torch.int16))
    z_gain = trained.z_gain(q)[:, 0, 0, 0].to(torch.int16)
    codec.z_gain.copy_(z_gain)
    codec.z_level.copy_(torch.tensor([distinct.index(int(v)) for v in z_gain], dtype=torch.int16))
    return codec.eval()
