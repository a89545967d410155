"""Disparity of two pictures, from the planes of the shared space or from pixels, by trained weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from smalto.data.photographs import image_planes, unit_range
from smalto.encoders.shared_cnn import SharedEncoder
from smalto.errors import UsageError, WeightsError
from smalto.heads.stereo import SIZES, PixelStereo, Size, StereoHead
from smalto.layers.shared_planes import TOP_STRIDE, SharedPlanes
from smalto.systems.engine import pad_to_multiple
from smalto.systems.shared_space import SPACE, SPEC
from smalto.types import Image, Latent

_COUNTERS = "num_batches_tracked"  # of batch norm: not needed to run


def stereo_arrays(network: StereoHead | PixelStereo) -> dict[str, np.ndarray]:
    """A network's tensors as they ship: half precision."""
    return {name: tensor.detach().cpu().half().numpy() for name, tensor in _tensors(network).items()}


def stereo_network(arrays: Mapping[str, np.ndarray], source: str) -> tuple[StereoHead | PixelStereo, Size]:
    """The network in the arrays of a weights file, on planes or on pixels, of the size that fits.

    Raises:
        WeightsError: no network has these arrays; ``source`` names the file.
    """
    kind = PixelStereo if any(name.startswith("stem.") for name in arrays) else StereoHead
    shapes = {name: tuple(array.shape) for name, array in arrays.items()}
    for size, config in SIZES.items():
        with torch.device("meta"):
            expected = {name: tuple(tensor.shape) for name, tensor in _tensors(kind(config)).items()}
        if shapes == expected:
            network = kind(config)
            held = {name: torch.from_numpy(np.array(array)).float() for name, array in arrays.items()}
            network.load_state_dict({**network.state_dict(), **held})
            return network, size
    raise WeightsError(f"{source}: not weights of a stereo network; name another file")


class StereoDepth:
    """Disparity of the left one of two pictures.

    Args:
        network: on planes or on pixels.
        encoder: of the space that the network was trained on; none for a network on pixels.
        device: where both run.
        dtype: float32, or bfloat16 for convolutions.

    Raises:
        UsageError: a network on planes without an encoder, or one on pixels with it.
    """

    def __init__(
        self,
        network: StereoHead | PixelStereo,
        encoder: SharedEncoder | None,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if isinstance(network, PixelStereo) != (encoder is None):
            raise UsageError("stereo: a head on planes needs the space's encoder, and one on pixels none")
        self.network, self.encoder, self.device, self.dtype = network, encoder, torch.device(device), dtype
        for part in (network, encoder):
            if part is not None:
                part.to(self.device).eval().requires_grad_(False)
                part.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def disparity(self, left: Image, right: Image) -> np.ndarray:
        """Match two rectified pictures of one size.

        Returns:
            (H, W) float32 pixels of the left picture.

        Raises:
            UsageError: sizes differ.
        """
        self._check(left, right)
        views = [unit_range(pad_to_multiple(image_planes(view), TOP_STRIDE)).to(self.device) for view in (left, right)]
        if self.encoder is None:
            return self._answer(views, left)
        with torch.no_grad():
            return self._answer([self.encoder(view) for view in views], left)

    def of_latents(self, left: Latent, right: Latent) -> np.ndarray:
        """Match two rectified pictures from their planes, however these were made; without pixels.

        Returns:
            (H, W) float32 pixels of the left picture.

        Raises:
            UsageError: the network reads pixels, a latent is of another space or of several pictures, or sizes differ.
        """
        if self.encoder is None:
            raise UsageError("stereo: this network reads pixels; name one that was trained on the space")
        self._check(left, right)
        for latent in (left, right):
            if latent.spec != SPEC or len(latent.planes["z_t"]) != 1:
                raise UsageError(f"stereo: expected one picture in space {SPACE}; got space {latent.spec.space}")
        planes = [
            SharedPlanes(*(held.planes[name].to(self.device) for name in ("z_b", "z_t"))) for held in (left, right)
        ]
        return self._answer(planes, left)

    @torch.no_grad()
    def _answer(self, views: Sequence[Tensor] | Sequence[SharedPlanes], size: Image | Latent) -> np.ndarray:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            fine = self.network(*views).fine
        return fine[0, 0, : size.height, : size.width].float().cpu().numpy()

    @staticmethod
    def _check(left: Image | Latent, right: Image | Latent) -> None:
        if (left.height, left.width) != (right.height, right.width):
            raise UsageError(
                f"stereo: views of {left.width}x{left.height} and {right.width}x{right.height} are no rectified pair; "
                "pass views of one size"
            )


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in network.state_dict().items() if not name.endswith(_COUNTERS)}
