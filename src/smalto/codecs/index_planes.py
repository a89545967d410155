"""One-channel codecs of feature planes: an image codec whose pictures are grey planes of transform indexes.

::

    plane (B, 1, H, W) ─► g_a: (5x5 down, GDN) x 4 ─► y ─► hyperprior ─► y_hat ─► g_s: (5x5 up, IGDN) x 4 ─► plane'

A plane holds indexes 0..255 of the peaky-to-balanced transform (``lloyd_max``), so that the features
of every model look alike to it.

Legend: y latent, q quality level 0..255, M channels of y, N filters.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalto.codecs.elic import Elic
from smalto.codecs.elic_frozen import FrozenElic
from smalto.codecs.freeze import freeze, shipped_state
from smalto.codecs.hyper_coder import PlaneCode, load_half, shipped
from smalto.codecs.hyperprior import HyperpriorConfig, MeanScaleHyperprior
from smalto.codecs.hyperprior_frozen import FrozenHyperprior
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


class PlaneCodecConfig(Protocol):
    """Layers of a one-channel codec: a frozen dataclass, whose values are part of the digest."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


@dataclass(frozen=True)
class PlaneEstimate:
    """What the training form gives.

    Args:
        plane: (B, 1, H, W) in units of indexes / 255, not rounded.
        bits: (B,) of symbols and hyper-symbols.
    """

    plane: Tensor
    bits: Tensor


class PlaneCodec(nn.Module):
    """The training form of a one-channel codec.

    Args:
        config: layers.
        analysis: g_a, (B, 1, H, W) to (B, M, H / 16, W / 16).
        codec: of the latent.
        synthesis: g_s.
    """

    def __init__(
        self, config: PlaneCodecConfig, analysis: nn.Module, codec: MeanScaleHyperprior | Elic, synthesis: nn.Module
    ) -> None:
        super().__init__()
        self.config = config
        self.analysis = analysis
        self.codec = codec
        self.synthesis = synthesis

    def estimate(self, planes: Tensor, q: Tensor) -> PlaneEstimate:
        """Differentiable rate and reconstruction.

        Args:
            planes: (B, 1, H, W) indexes / 255, sides multiples of 64.
            q: (B,) quality level 0..255.
        """
        y = self.analysis(planes - 0.5).float()  # (B, M, H / 16, W / 16)
        coded = self.codec.estimate(y, q)
        return PlaneEstimate(self.synthesis(coded.y_hat).float() + 0.5, coded.y_bits + coded.z_bits)


class IndexPlaneCodec(PlaneCodec):
    """The training form with a hyperprior.

    Source: DT-UFC, section 5.2 (Hyperprior with one channel, (N, M) = (128, 192)); Balle et al. 2018. Different here:
    means beside scales, an integer scale path, and gain units, so that one set of weights stands for all lambdas.

    Args:
        config: layers.
    """

    config: IndexPlaneConfig
    codec: MeanScaleHyperprior

    def __init__(self, config: IndexPlaneConfig = HYPERPRIOR) -> None:
        filters, channels = config.filters, config.codec.latent_channels
        super().__init__(
            config,
            gdn_analysis(filters, channels, 1),
            MeanScaleHyperprior(config.codec),
            gdn_synthesis(filters, channels, 1),
        )


class FrozenPlaneCodec(nn.Module):
    """The coding form of a one-channel codec: uint8 planes to bytes and back.

    Args:
        config: layers.
        analysis: g_a.
        codec: the latent's coding form.
        synthesis: g_s.
    """

    def __init__(
        self, config: PlaneCodecConfig, analysis: nn.Module, codec: FrozenHyperprior | FrozenElic, synthesis: nn.Module
    ) -> None:
        super().__init__()
        self.config = config
        self.codec = codec
        self.analysis = analysis
        self.synthesis = synthesis

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
        return self.codec.encode(self.latent(plane.astype(np.float32)), q, tile_cells)

    def encode_levels(self, plane: np.ndarray, q: int, tile_cells: int = 64) -> PlaneCode:
        """Code one plane of numbers between indexes, as scaled values of more than 8 bits are.

        Args:
            plane: (H, W) float32 in 0..255; sides as in ``encode``, and so are the other arguments.

        Raises:
            UsageError: the plane is not so, or a setting is out of range.
        """
        return self.codec.encode(self.latent(plane), q, tile_cells)

    @torch.no_grad()
    def latent(self, plane: np.ndarray) -> Tensor:
        """y (1, M, ceil(H / 16), ceil(W / 16)) of a plane (H, W) float32 in 0..255, before quantisation.

        Raises:
            UsageError: the plane is not so.
        """
        if plane.ndim != 2 or plane.dtype != np.float32 or plane.size == 0:
            raise UsageError(f"planes of levels are (H, W) float32, not {plane.shape} {plane.dtype}; pack the array")
        if not (plane.min() >= 0.0 and plane.max() <= TOP_INDEX):  # also where it holds NaN
            raise UsageError("planes of levels lie in 0..255; scale the array first")
        x = torch.from_numpy(np.ascontiguousarray(plane)).to(self._device())[None, None] / TOP_INDEX - 0.5
        down, right = -x.shape[2] % STRIDE, -x.shape[3] % STRIDE
        if down or right:
            x = F.pad(x, (0, right, 0, down), mode="replicate")
        return self.analysis(x).float()

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
        return arrays | shipped(self.synthesis, "synthesis")

    @functools.cached_property
    def digest(self) -> bytes:
        """The 8 bytes that name the decode side in files and profiles; taken once, as frozen weights stay."""
        return digest(self.decode_arrays(), json.dumps(asdict(self.config), sort_keys=True))[:DIGEST_BYTES]

    def _forget_digest(self) -> None:
        self.__dict__.pop("digest", None)

    def encode_arrays(self) -> Mapping[str, np.ndarray]:
        """Every array of the encode side."""
        arrays = {f"codec.{name}": array for name, array in self.codec.encode_arrays().items()}
        return arrays | shipped(self.analysis, "analysis")

    def with_arrays(self, arrays: Mapping[str, np.ndarray]) -> Self:
        """This codec with g_a and g_s from the arrays ``analysis.*`` and ``synthesis.*``, in evaluation."""
        self._forget_digest()
        for name, part in (("analysis", self.analysis), ("synthesis", self.synthesis)):
            load_half(part, under(arrays, name))
        return self.eval()

    def with_trained(self, trained: PlaneCodec) -> Self:
        """This codec with a trained one's g_a and g_s, rounded to half precision as they ship, on its device."""
        self._forget_digest()
        self.analysis.load_state_dict(shipped_state(trained.analysis.state_dict()))
        self.synthesis.load_state_dict(shipped_state(trained.synthesis.state_dict()))
        return self.to(next(trained.parameters()).device).eval()


class FrozenIndexPlaneCodec(FrozenPlaneCodec):
    """The coding form with a hyperprior.

    Args:
        config: layers.
        codec: the latent's coding form.
    """

    def __init__(self, config: IndexPlaneConfig, codec: FrozenHyperprior) -> None:
        filters, channels = config.filters, config.codec.latent_channels
        super().__init__(config, gdn_analysis(filters, channels, 1), codec, gdn_synthesis(filters, channels, 1))

    @classmethod
    def from_arrays(cls, config: IndexPlaneConfig, arrays: Mapping[str, np.ndarray]) -> FrozenIndexPlaneCodec:
        """The codec whose ``decode_arrays`` and ``encode_arrays`` these are."""
        return cls(config, FrozenHyperprior.from_arrays(config.codec, under(arrays, "codec"))).with_arrays(arrays)


def freeze_index_planes(trained: IndexPlaneCodec, positions: Tensor | None = None) -> FrozenIndexPlaneCodec:
    """The coding form of a trained codec, every float rounded to half precision as it ships.

    Args:
        trained: weights to freeze.
        positions: (256,) place of each quality level on the trained scale, rising; the identity by default.
    """
    return FrozenIndexPlaneCodec(trained.config, freeze(trained.codec, positions)).with_trained(trained)
