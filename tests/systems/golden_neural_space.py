"""Packets of the shared space that are read for ever, in ``tests/golden/neural-space``, and how each was made.

::

    learned.smalto    the planes through one latent, two tiles, an opacity
    raw.smalto        the same of a RAW mosaic, padded by one column before its first sample
    archive.smalto    the planes themselves, two tiles, grey
    joined.smalto     a picture's one-plane latent and its planes in one file, with an opacity
    NAME.npz          every sixteenth channel of the planes, the picture and its opacity, as they were when written
    symbols.json      NAME -> SHA-256 of its symbols, int32 in the order in which they are read
    decoder.*         the decode side: decoder, codec and synthesis; most weights are zero, so that it is small
    archive.*         the archive codec

``python -m tests.systems.golden_neural_space`` writes those that are missing. None is ever written anew: a codec that
codes otherwise gets files of new names, and still reads these.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from safetensors.numpy import load, save
from torch import nn

from smalto.bits.packet import Packet
from smalto.codecs import hyper_coder, hyperprior_frozen
from smalto.codecs.archive_contexts import CellContexts
from smalto.codecs.archive_fit import fit_archive
from smalto.codecs.archive_planes import ArchivePlanes, archive_codec_of
from smalto.codecs.freeze import freeze
from smalto.codecs.hyperprior import HyperpriorConfig, MeanScaleHyperprior
from smalto.codecs.hyperprior_frozen import FrozenHyperprior
from smalto.codecs.plane_transform import PlaneAnalysis, PlaneSynthesis, PlaneTransformConfig
from smalto.data.raw_mosaic import Mosaic
from smalto.encoders.hific import Encoder, EncoderConfig
from smalto.encoders.shared_cnn import SharedEncoder
from smalto.heads.image import Decoder, DecoderConfig
from smalto.heads.shared_decoder import SharedDecoder
from smalto.systems.engine import Engine
from smalto.systems.joined_packets import join_packets
from smalto.systems.multitask_codec import LiteNetworks, codec_digest, decoder_digest, load_shipped, shipped_arrays
from smalto.systems.neural_space import SpaceNetworks, neural_space
from smalto.systems.plane_latent import LatentNetworks, base_networks
from smalto.systems.system import Parts, System
from smalto.train.shared_start import start_passing
from smalto.types import Image, Latent, LatentSpec, PlaneSpec
from smalto.weights.store import under

FOLDER = Path(__file__).resolve().parents[1] / "golden" / "neural-space"
SYMBOLS = FOLDER / "symbols.json"
CHANNELS = 8
KEPT_CHANNELS = slice(None, None, 16)

# Written out once more: other tiny networks in the tests must not touch what these files need.
ENCODER = EncoderConfig(
    widths=(12, 16), blocks=(1, 1), latent_channels=CHANNELS, patch=8, stem_kernel=1, down_kernel=2, out_kernel=1,
    norm=False, linear=True, down_pad=(0, 1, 0, 1),
)  # fmt: skip
DECODER = DecoderConfig(
    latent_channels=CHANNELS, width=16, trunk_blocks=1, widths=(12,), blocks=(1,), head_kernel=1, out_kernel=1,
    patch=8, norm=False, linear=True,
)  # fmt: skip
HYPERPRIOR = HyperpriorConfig(
    latent_channels=CHANNELS,
    hyper_channels=4,
    analysis_widths=(8, 8),
    mean_widths=(8, 6),
    scale_widths=(8, 6),
    gain_range=(4.0, 40.0),
)
TRANSFORM = PlaneTransformConfig(
    latent_channels=CHANNELS,
    detail_channels=24,
    structure_channels=16,
    widths=(12, 16),
    analysis_blocks=(1, 1),
    synthesis_blocks=(1, 1),
    carried_channels=32,
)
ONE_PLANE = LatentSpec("lite-0", (PlaneSpec("y", "grid", CHANNELS, 16),))


@dataclass(frozen=True)
class Found:
    """What a golden packet holds.

    Args:
        latent: planes.
        picture: of the planes.
        one_plane: picture of the other space in it, or None.
        symbols: digest of everything that was decoded, in order.
    """

    latent: Latent
    picture: Image
    one_plane: Image | None
    symbols: str

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """What NAME.npz holds."""
        held = {name: plane[0, KEPT_CHANNELS].numpy() for name, plane in self.latent.planes.items()}
        held["picture"] = self.picture.pixels
        if self.picture.alpha is not None:
            held["alpha"] = self.picture.alpha
        if self.one_plane is not None:
            held["one_plane"] = self.one_plane.pixels
        return held


def scene(height: int, width: int, seed: int) -> np.ndarray:
    """Waves, edges and noise, (height, width, 3) uint8."""
    rows, columns = np.mgrid[:height, :width] / 9.0
    waves = np.stack([np.sin(rows * (1 + k / 3) + seed) * np.cos(columns - k) for k in range(3)], axis=2)
    noise = np.random.default_rng(seed).normal(0, 0.1, waves.shape)
    return np.clip(128 + 80 * (waves + noise + 0.4 * (np.floor(rows + columns) % 2)[..., None]), 0, 255).astype(
        np.uint8
    )


def _opaque(height: int, width: int) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return ((rows * 7 + columns * columns) % 256).astype(np.uint8)


# -- the systems, from their files ------------------------------------------------------------------------------------


def _read(name: str) -> dict[str, np.ndarray]:
    return load(gzip.decompress((FOLDER / f"{name}.safetensors.gz").read_bytes()))


def _write(name: str, arrays: Mapping[str, np.ndarray]) -> None:
    (FOLDER / f"{name}.safetensors.gz").write_bytes(gzip.compress(save(dict(arrays)), mtime=0))


@functools.cache
def golden_archive() -> ArchivePlanes:
    """The stored archive codec."""
    return archive_codec_of(_read("archive"))


@functools.cache
def golden_system() -> System:
    """The shared space that the golden packets were written for; its encoders are of no use."""
    return _space(SharedEncoder(), SharedEncoder(channels_in=1))


@functools.cache
def golden_one_plane() -> System:
    """The other space of the joined packet; its encoder is of no use."""
    arrays = _read("decoder")
    return _one_plane(Encoder(ENCODER), under(arrays, "one_plane"), _codec(under(arrays, "codec")))


def _codec(arrays: Mapping[str, np.ndarray]) -> FrozenHyperprior:
    return FrozenHyperprior.from_arrays(HYPERPRIOR, arrays)


def _space(encoder: SharedEncoder, raw: SharedEncoder, analysis: PlaneAnalysis | None = None) -> System:
    arrays = _read("decoder")
    decoder, synthesis = SharedDecoder(), PlaneSynthesis(TRANSFORM)
    load_shipped(decoder, under(arrays, "decoder"))
    load_shipped(synthesis, under(arrays, "synthesis"))
    latent = LatentNetworks(analysis or PlaneAnalysis(TRANSFORM), _codec(under(arrays, "codec")), synthesis)
    archive = golden_archive()
    networks = SpaceNetworks(encoder, decoder, latent, raw=raw, archive=(archive, archive.digest))
    return neural_space(networks, dtype=torch.float32)


def _one_plane(encoder: Encoder, arrays: Mapping[str, np.ndarray], codec: FrozenHyperprior) -> System:
    decoder = Decoder(DECODER)
    load_shipped(decoder, arrays)
    encoders, heads = {"base": encoder, "other": encoder}, {"reconstruct": decoder}
    parts = Parts(ONE_PLANE, encoders, codec, heads, decoder_digest(decoder), codec_digest(codec))
    return System("one-plane", parts, Engine(torch.device("cpu"), torch.float32))


def golden_bytes(name: str) -> bytes:
    """A golden packet."""
    return (FOLDER / f"{name}.smalto").read_bytes()


def found(name: str) -> Found:
    """What a golden packet holds by what reads it now."""
    data = golden_bytes(name)
    with _recorded() as symbols:
        latent = golden_system().latent(data)
        one_plane = golden_one_plane().run("reconstruct", data) if name == "joined" else None
    return Found(latent, golden_system().run("reconstruct", data), one_plane, symbols.hexdigest())


def expected(name: str) -> dict[str, np.ndarray]:
    """What it held when it was written; see ``Found.arrays``."""
    with np.load(FOLDER / f"{name}.npz") as held:
        return {key: held[key] for key in held.files}


@contextmanager
def _recorded() -> Iterator[Any]:
    """A SHA-256 over every symbol that is decoded meanwhile."""
    state = hashlib.sha256()

    def told(decode: Callable[..., Any]) -> Callable[..., Any]:
        def telling(*arguments: Any) -> Any:
            symbols = decode(*arguments)
            state.update(np.ascontiguousarray(getattr(symbols, "symbols", symbols), "<i4").tobytes())
            return symbols

        return telling

    with ExitStack() as patches:
        for owner in (hyper_coder, hyperprior_frozen, CellContexts):
            patches.enter_context(mock.patch.object(owner, "decode", told(owner.decode)))
        yield state


# -- how they were made -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Making:
    """The encode sides, which are not kept."""

    space: System
    one_plane: System


@torch.no_grad()
def _sparse(network: nn.Module) -> None:
    """Leave the weights that hand the picture through, and a hundredth of the others, larger, in steps of 1/64."""
    for weights in network.parameters():
        passing = (4 * weights == torch.round(4 * weights)) & (weights != 0)
        kept = torch.where(torch.rand_like(weights) < 0.01, torch.round(512 * weights) / 64, 0)
        weights.copy_(torch.where(passing, weights, kept))


@torch.no_grad()
def _seeing(encoder: SharedEncoder, decoder: SharedDecoder) -> None:
    """Bring all channels to the size of those that hand the picture through, and let them reach it, a little."""
    encoder.to_t.weight.mul_(256.0)
    encoder.to_b.weight[12:].mul_(32.0)
    weights = decoder.out.weight
    weights.add_(torch.where(torch.rand_like(weights) < 0.1, torch.randint_like(weights, -2, 3) / 64, 0))


def _image_networks() -> LiteNetworks:
    """A one-plane codec of random weights, its latents several symbols wide."""
    encoder, trained, decoder = Encoder(ENCODER), MeanScaleHyperprior(HYPERPRIOR), Decoder(DECODER)
    encoder.linear.weight.data.mul_(12.0)  # type: ignore[union-attr]
    for weights in trained.analysis.parameters():
        weights.data.mul_(2.0)
    return LiteNetworks(encoder.eval(), freeze(trained.eval()), decoder.eval())


def _made_networks() -> tuple[SharedEncoder, SharedEncoder, PlaneAnalysis, Encoder]:
    """Fresh encoders; writes the files of the decode sides that are missing."""
    encoder, raw, decoder, image = SharedEncoder(), SharedEncoder(channels_in=1), SharedDecoder(), _image_networks()
    start_passing(raw, SharedDecoder())
    start_passing(encoder, decoder)
    for network in (encoder, decoder):
        _sparse(network)
    _seeing(encoder, decoder)
    latent = base_networks(image, encoder)
    nn.init.normal_(latent.analysis.detail.weight, std=0.02)
    if not (FOLDER / "decoder.safetensors.gz").exists():
        held: dict[str, Mapping[str, np.ndarray]] = {
            "decoder": shipped_arrays(decoder),
            "synthesis": shipped_arrays(latent.synthesis),
            "codec": {**latent.codec.decode_arrays(), **latent.codec.encode_arrays()},
            "one_plane": shipped_arrays(image.decoder),
        }
        _write("decoder", {f"{part}.{name}": array for part, own in held.items() for name, array in own.items()})
    if not (FOLDER / "archive.safetensors.gz").exists():
        pictures = [torch.from_numpy(scene(96, 112, seed)).permute(2, 0, 1)[None] / 255 for seed in (5, 6)]
        with torch.no_grad():
            planes = [encoder(picture)._asdict() for picture in pictures]
        samples = [{name: plane[0].numpy() for name, plane in one.items()} for one in planes]
        passing = np.diag(np.where(np.arange(256) < 48, 200.0, 0.05))
        _write("archive", fit_archive(samples, {"z_t": 8 * np.eye(64), "z_b": passing}, 2.0).to_arrays())
    return encoder, raw, latent.analysis, image.encoder


def _making() -> _Making:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        encoder, raw, analysis, one_plane = _made_networks()
    arrays = _read("decoder")
    other = _one_plane(one_plane, under(arrays, "one_plane"), _codec(under(arrays, "codec")))
    return _Making(_space(encoder, raw, analysis), other)


def _learned(making: _Making) -> Packet:
    return making.space.encode(Image(scene(27, 75, 1), _opaque(27, 75)), quality=60, tile=64)


def _raw(making: _Making) -> Packet:
    return making.space.encode(Mosaic(scene(26, 37, 2)[:, :, 1].astype(np.float32) / 255, "GRBG"), quality=80)


def _archive(making: _Making) -> Packet:
    return making.space.encode(scene(21, 69, 3)[:, :, 0].copy(), quality="archive", tile=64)


def _joined(making: _Making) -> Packet:
    picture = Image(scene(19, 31, 4), _opaque(19, 31))
    return join_packets([making.one_plane.encode(picture, encoder="other"), making.space.encode(picture, quality=30)])


MAKERS: dict[str, Callable[[_Making], Packet]] = {
    "learned": _learned,
    "raw": _raw,
    "archive": _archive,
    "joined": _joined,
}


def main() -> None:
    """Write what is missing."""
    FOLDER.mkdir(exist_ok=True)
    making = _making()
    digests = json.loads(SYMBOLS.read_text()) if SYMBOLS.exists() else {}
    for name, make in MAKERS.items():
        if (FOLDER / f"{name}.smalto").exists():
            continue
        make(making).save(FOLDER / f"{name}.smalto")
        told = found(name)
        digests[name] = told.symbols
        np.savez_compressed(FOLDER / f"{name}.npz", **told.arrays)
        SYMBOLS.write_text(json.dumps(digests, indent=2) + "\n")


if __name__ == "__main__":
    main()
