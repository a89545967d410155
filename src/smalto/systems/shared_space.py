"""The shared neural space, wired: one encoder, two planes, the frozen decoder; every task reads the planes.

::

    picture ─► pad to 4 ─► encoder ─► z_b (1, 64, H/2, W/2) ─┐
                                  └─► z_t (1, 64, H/4, W/4) ─┴─► Latent ─► decoder ─► crop ─► picture
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from smalto.data.photographs import as_image, image_planes, pixel_levels, unit_range
from smalto.encoders.shared_cnn import SharedEncoder
from smalto.errors import UsageError, WeightsError
from smalto.heads.shared_decoder import SharedDecoder
from smalto.layers.shared_planes import BOTTOM_STRIDE, CHANNELS, FOLD, TOP_STRIDE, SharedPlanes, folded, unfolded
from smalto.systems.engine import Engine, pad_to_multiple
from smalto.systems.multitask_codec import load_shipped, shipped_arrays
from smalto.types import Image, Latent, LatentSpec, PlaneSpec
from smalto.weights.store import DIGEST_BYTES, digest, read_arrays, under

SYSTEM_NAME = "neural-space"
SPACE = "neural-0"
SPEC = LatentSpec(
    SPACE,
    (
        PlaneSpec("z_b", "grid", CHANNELS, BOTTOM_STRIDE, FOLD),
        PlaneSpec("z_t", "grid", CHANNELS, TOP_STRIDE),
    ),
)
_CONFIGURATION = f"shared-decoder {CHANNELS} {BOTTOM_STRIDE} {TOP_STRIDE}"


def shared_decoder_digest(decoder: SharedDecoder) -> bytes:
    """The 8 bytes that name a frozen decoder of the space in files."""
    return digest(shipped_arrays(decoder), _CONFIGURATION)[:DIGEST_BYTES]


def shared_arrays(encoder: SharedEncoder, decoder: SharedDecoder) -> dict[str, np.ndarray]:
    """The arrays of a weights file of the space: ``encoder.*`` and ``decoder.*`` in half precision."""
    arrays = {f"encoder.{name}": array for name, array in shipped_arrays(encoder).items()}
    return arrays | {f"decoder.{name}": array for name, array in shipped_arrays(decoder).items()}


def shared_networks(arrays: Mapping[str, np.ndarray], source: str) -> tuple[SharedEncoder, SharedDecoder]:
    """The networks in the arrays of a weights file of the space.

    Raises:
        WeightsError: the arrays are of other networks; ``source`` names the file.
    """
    encoder, decoder = SharedEncoder(), SharedDecoder()
    try:
        load_shipped(encoder, under(arrays, "encoder"))
        load_shipped(decoder, under(arrays, "decoder"))
    except RuntimeError as error:
        line = str(error).splitlines()[0]
        raise WeightsError(f"{source}: not weights of the shared neural space ({line}); name another file") from error
    return encoder, decoder


class SharedSpace:
    """Pictures to planes and back, on any device, in windows where they are large.

    Args:
        encoder: of pictures.
        decoder: frozen.
        engine: where and how they run.
    """

    def __init__(self, encoder: SharedEncoder, decoder: SharedDecoder, engine: Engine) -> None:
        self.encoder, self.decoder, self.engine = encoder, decoder, engine
        for network in (encoder, decoder):
            network.to(engine.device).eval().requires_grad_(False)
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def encode_planes(self, image: object) -> Latent:
        """A picture's planes, float32; its last row and column are repeated up to multiples of 4.

        Args:
            image: whatever ``System.encode`` takes.

        Raises:
            UsageError, ImageError: it is no picture, or is refused.
        """
        picture = as_image(image)  # type: ignore[arg-type]
        x = pad_to_multiple(image_planes(picture), TOP_STRIDE)
        carrier = self.engine.run(
            lambda part: folded(self.encoder(unit_range(part))),
            x,
            self.engine.window_px,
            self.encoder.halo_px,
            (1, TOP_STRIDE),
        )
        planes = unfolded(carrier)
        return Latent(SPEC, {"z_b": planes.z_b, "z_t": planes.z_t}, picture.height, picture.width)

    def decode_planes(self, latent: Latent) -> Image:
        """The picture of a latent, of its true size, 8 bits a channel.

        Raises:
            UsageError: the latent is of another space, or holds more than one picture.
        """
        if latent.spec != SPEC:
            raise UsageError(f"the latent is of space {latent.spec.space}, system {SYSTEM_NAME} reads {SPACE}")
        planes = SharedPlanes(latent.planes["z_b"], latent.planes["z_t"])
        if len(planes.z_t) != 1:
            raise UsageError(f"the latent holds {len(planes.z_t)} pictures; decode them one by one")
        levels = self.engine.run(
            lambda part: pixel_levels(self.decoder(unfolded(part))),
            folded(planes),
            self.engine.window_px // TOP_STRIDE,
            self.decoder.halo_cells,
            (TOP_STRIDE, 1),
        )
        picture = levels[0, :, : latent.height, : latent.width]
        return Image(picture.permute(1, 2, 0).contiguous().cpu().numpy(), source=SPACE)


def open_shared_space(path: str | Path, device: str = "cpu", dtype: torch.dtype | None = None) -> SharedSpace:
    """The space whose weights stand in a file.

    Args:
        path: safetensors with the arrays of ``shared_arrays``.
        device: torch device.
        dtype: as for ``Engine.on``.

    Raises:
        WeightsError: the file is missing, damaged, or of other networks.
        UsageError: no such device or dtype.
    """
    encoder, decoder = shared_networks(read_arrays(path), str(path))
    return SharedSpace(encoder, decoder, Engine.on(device, dtype))
