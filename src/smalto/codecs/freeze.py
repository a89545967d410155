"""From a trained codec to the standard: integer tables, shipped precision, quality levels placed."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from smalto.bits.cdf import CdfTables, gaussian_tables, tables_from_pmfs
from smalto.codecs.factorized import REACH, FactorizedPrior, table_entry
from smalto.codecs.hyper_coder import HyperCoder
from smalto.codecs.hyperprior import INDEX_STEPS, LOG_STEP, NUM_LEVELS, MeanScaleHyperprior
from smalto.codecs.hyperprior_frozen import FrozenHyperprior

if TYPE_CHECKING:
    from smalto.codecs.elic import Elic

_Codec = TypeVar("_Codec", bound=HyperCoder)


def prior_tables(prior: FactorizedPrior, steps: tuple[int, ...]) -> CdfTables:
    """Integer tables of a factorised prior, for each step width all channels.

    Symbols further out than the probability 2^-18 on each side are left to the escape code.
    """
    entries = []
    for step in steps:
        entries += [table_entry(row) for row in prior.pmf(float(step), REACH).cpu().numpy()]
    return tables_from_pmfs(entries)


def coding_tables(trained: MeanScaleHyperprior | Elic) -> tuple[CdfTables, CdfTables]:
    """Tables of a trained model's hyper-symbols, for every z gain that it has, and of the 64 scales."""
    return prior_tables(trained.prior, _distinct_gains(trained)), gaussian_tables()


def _distinct_gains(trained: MeanScaleHyperprior | Elic) -> tuple[int, ...]:
    return tuple(sorted(set(trained.config.z_gains)))


@torch.no_grad()
def taken_from(codec: _Codec, trained: MeanScaleHyperprior | Elic, positions: Tensor | None) -> _Codec:
    """The coding form, on the trained model's device and with its weights, in evaluation.

    Args:
        codec: made with ``coding_tables``.
        trained: weights to freeze.
        positions: as for ``freeze``.

    Raises:
        WeightsError: the scale path does not fit its integers.
    """
    device, distinct = next(trained.parameters()).device, _distinct_gains(trained)
    q = (torch.arange(NUM_LEVELS) if positions is None else positions).float().to(device)
    codec = codec.to(device)
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


def freeze(trained: MeanScaleHyperprior, positions: Tensor | None = None) -> FrozenHyperprior:
    """The coding form of a trained hyperprior, every float rounded to half precision as it ships.

    Args:
        trained: weights to freeze.
        positions: (256,) place of each quality level on the trained scale 0..255, rising; the identity by default.

    Raises:
        WeightsError: the scale path does not fit its integers.
    """
    return taken_from(FrozenHyperprior(trained.config, *coding_tables(trained)), trained, positions)


def shipped_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors rounded to the half precision that ships, as float32."""
    return {name: value.half().float() for name, value in state.items()}
