"""The one-channel codec of feature planes: an image codec whose pictures are grey planes of transform indexes.

::

    plane (B, 1, H, W) ─► g_a: (5x5 down, GDN) x 4 ─► y ─► hyperprior ─► y_hat ─► g_s: (5x5 up, IGDN) x 4 ─► plane'

A plane holds indexes 0..255 of the peaky-to-balanced transform (``lloyd_max``), so that the features
of every model look alike to it.

Legend: y latent, q quality level 0..255, M channels of y, N filters.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalto.codecs.freeze import freeze, shipped_state
from smalto.codecs.hyperprior import HyperpriorConfig, MeanScaleHyperprior
from smalto.codecs.hyperprior_frozen import FrozenHyperprior, PlaneCode
from smalto.errors import UsageError
from smalto.layers.gdn import gdn_analysis, gdn_synthesis
from smalto.weights.store import DIGEST_BYTES, digest, under

STRIDE = 16
TOP_INDEX = 255.0


@dataclass(frozen=True)
class IndexPlaneConfig:
    """Layers of the one-channel codec.

    Args:
        filters: N, channels between the layers of g_a and g_s.
        codec: of the latent; its ``latent_channels`` are M.
    """

    filters: int = 128
    codec: HyperpriorConfig = field(
        default_factory=lambda: HyperpriorConfig(
            latent_channels=192,
            hyper_channels=96,
            analysis_widths=(128, 128),
            mean_widths=(64, 48),
            scale_widths=(64, 48),
            gain_range=(1.0, 10.0),
        )
    )


HYPERPRIOR = IndexPlaneConfig()


@dataclass(frozen=True)
class PlaneEstimate:
    """What the training form gives.

    Args:
        plane: (B, 1, H, W) in units of indexes / 255, not rounded.
        bits: (B,) of symbols and hyper-symbols.
    """

    plane: Tensor
    bits: Tensor


class IndexPlaneCodec(nn.Module):
    """The training form.

    Source: DT-UFC, section 5.2 (Hyperprior with one channel, (N, M) = (128, 192)); Balle et al. 2018. Different here:
    means beside scales, an integer scale path, and gain units, so that one set of weights stands for all lambdas.

    Args:
        config: layers.
    """

    def __init__(self, config: IndexPlaneConfig = HYPERPRIOR) -> None:
        super().__init__()
        self.config = config
        channels = config.codec.latent_channels
        self.analysis = gdn_analysis(config.filters, channels, 1)
        self.codec = MeanScaleHyperprior(config.codec)
        self.synthesis = gdn_synthesis(config.filters, channels, 1)

    def estimate(self, planes: Tensor, q: Tensor) -> PlaneEstimate:
        """Differentiable rate and reconstruction.

        Args:
            planes: (B, 1, H, W) indexes / 255, sides multiples of 64.
            q: (B,) quality level 0..255.
        """
        y = self.analysis(planes - 0.5).float()  # (B, M, H / 16, W / 16)
        coded = self.codec.estimate(y, q)
        return PlaneEstimate(self.synthesis(coded.y_hat).float() + 0.5, coded.y_bits + coded.z_bits)


class FrozenIndexPlaneCodec(nn.Module):
    """The coding form: uint8 planes to bytes and back.

    Args:
        config: layers.
        codec: the latent's coding form.
    """

    def __init__(self, config: IndexPlaneConfig, codec: FrozenHyperprior) -> None:
        super().__init__()
        channels = config.codec.latent_channels
        self.config = config
        self.codec = codec
        self.analysis = gdn_analysis(config.filters, channels, 1)
        self.synthesis = gdn_synthesis(config.filters, channels, 1)

    @torch.no_grad()
    def encode(self, plane: np.ndarray, q: int, tile_cells: int = 64) -> PlaneCode:
        """Code one plane.

        Args:
            plane: (H, W) uint8. Sides that are no multiples of 16 are continued by their last row and column.
            q: quality level 0..255.
            tile_cells: side of a chunk, in cells of 16 x 16.

        Raises:
            UsageError: the plane is no (H, W) uint8 array, or a setting is out of range.
        """
        if plane.ndim != 2 or plane.dtype != np.uint8 or plane.size == 0:
            raise UsageError(f"planes are (H, W) uint8, not {plane.shape} {plane.dtype}; pack the array first")
        x = torch.from_numpy(np.ascontiguousarray(plane)).to(self._device())[None, None].float() / TOP_INDEX - 0.5
        down, right = -x.shape[2] % STRIDE, -x.shape[3] % STRIDE
        if down or right:
            x = F.pad(x, (0, right, 0, down), mode="replicate")
        return self.codec.encode(self.analysis(x).float(), q, tile_cells)

    @torch.no_grad()
    def decode(self, code: PlaneCode, height: int, width: int, tile_cells: int = 64) -> np.ndarray:
        """The plane (H, W), float32 in 0..255: positions between the transform's levels, not rounded.

        Raises:
            DamagedPacket, DecodeMismatch, LimitExceeded: see ``FrozenHyperprior.decode``.
        """
        rows, columns = -(-height // STRIDE), -(-width // STRIDE)
        y_hat = self.codec.decode(code, rows, columns, tile_cells)
        plane = (self.synthesis(y_hat).float() + 0.5).nan_to_num_(0.0).clamp_(0.0, 1.0) * TOP_INDEX
        return plane[0, 0, :height, :width].cpu().numpy()

    def _device(self) -> torch.device:
        return self.codec.gain.device

    def decode_arrays(self) -> Mapping[str, np.ndarray]:
        """Every array of the decode side: what the digest is taken over."""
        arrays = {f"codec.{name}": array for name, array in self.codec.decode_arrays().items()}
        return arrays | {f"synthesis.{n}": t.cpu().half().numpy() for n, t in self.synthesis.state_dict().items()}

    @property
    def digest(self) -> bytes:
        """The 8 bytes that name the decode side in files and profiles."""
        return digest(self.decode_arrays(), json.dumps(asdict(self.config), sort_keys=True))[:DIGEST_BYTES]

    def encode_arrays(self) -> Mapping[str, np.ndarray]:
        """Every array of the encode side."""
        arrays = {f"codec.{name}": array for name, array in self.codec.encode_arrays().items()}
        return arrays | {f"analysis.{n}": t.cpu().half().numpy() for n, t in self.analysis.state_dict().items()}

    @classmethod
    def from_arrays(cls, config: IndexPlaneConfig, arrays: Mapping[str, np.ndarray]) -> FrozenIndexPlaneCodec:
        """The codec whose ``decode_arrays`` and ``encode_arrays`` these are."""
        codec = cls(config, FrozenHyperprior.from_arrays(config.codec, under(arrays, "codec")))
        for part in ("analysis", "synthesis"):
            state = {name: torch.from_numpy(array).float() for name, array in under(arrays, part).items()}
            getattr(codec, part).load_state_dict(state)
        return codec.eval()


@torch.no_grad()
def freeze_index_planes(trained: IndexPlaneCodec, positions: Tensor | None = None) -> FrozenIndexPlaneCodec:
    """The coding form of a trained codec, every float rounded to half precision as it ships.

    Args:
        trained: weights to freeze.
        positions: (256,) place of each quality level on the trained scale, rising; the identity by default.
    """
    frozen = FrozenIndexPlaneCodec(trained.config, freeze(trained.codec, positions))
    frozen.analysis.load_state_dict(shipped_state(trained.analysis.state_dict()))
    frozen.synthesis.load_state_dict(shipped_state(trained.synthesis.state_dict()))
    return frozen.to(next(trained.parameters()).device).eval()
