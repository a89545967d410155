"""Where ``smalto bench neural-space`` takes networks from: the installed system's parts, or folders of runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from smalto.bench.stereo import NEURAL, PIXELS, StereoMethod
from smalto.encoders.shared_cnn import SharedEncoder
from smalto.errors import UsageError
from smalto.heads.denoise import Denoiser, LightDenoiser
from smalto.heads.pixel_denoise import PixelDenoiser
from smalto.heads.segment import PixelSegmenter, Segmenter
from smalto.heads.shared_decoder import SharedDecoder
from smalto.heads.stereo import PixelStereo, StereoHead
from smalto.systems.installed_space import installed_networks
from smalto.systems.neural_space import SpaceNetworks, neural_space
from smalto.systems.plane_latent import base_networks, image_networks, latent_networks
from smalto.systems.shared_space import SYSTEM_NAME, shared_decoder_digest
from smalto.systems.space_heads import denoise_network, raw_networks, segment_network
from smalto.systems.stereo_depth import StereoDepth, stereo_network
from smalto.systems.system import System
from smalto.train.release_heads import read_denoise, read_segment
from smalto.train.release_latent import PART as LATENT
from smalto.train.release_raw_space import PART as RAW
from smalto.train.release_raw_space import raw_encoder_of, space_networks
from smalto.train.release_shared_space import PART as SPACE
from smalto.train.release_stereo import PART as STEREO
from smalto.train.release_stereo import open_stereo
from smalto.train.space_head import PIXELS as PIXELS_SPACE
from smalto.train.space_head import FrozenSpace
from smalto.weights import SystemRecord, installed_systems, system_record
from smalto.weights.store import read_arrays, read_installed

DENOISE, SEGMENT = "denoise", "segment"
DENOISE_PIXELS, SEGMENT_PIXELS, STEREO_PIXELS = (f"{part}-pixels" for part in (DENOISE, SEGMENT, STEREO))
RUN_PARTS = (SPACE, RAW, LATENT, DENOISE, SEGMENT, STEREO, DENOISE_PIXELS, SEGMENT_PIXELS, STEREO_PIXELS)
_Part = TypeVar("_Part", bound=nn.Module)


class Absent(Exception):
    """A part or a data set is not there, and why; what needs it is skipped."""


@dataclass(frozen=True)
class SpaceSources:
    """Networks by what is at hand; every call opens them anew.

    Args:
        system: installed system; it need not be there when runs are.
        runs: part of ``RUN_PARTS`` -> folders of runs, which replace the installed part; several are several seeds.
        device: of what runs through an engine.
        dtype: float32, bfloat16, or None for what systems choose.

    Raises:
        UsageError: there is no such part, or several runs of a part that there is one of.
    """

    system: str = SYSTEM_NAME
    runs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    device: str = "cpu"
    dtype: torch.dtype | None = None

    def __post_init__(self) -> None:
        for part, folders in self.runs.items():
            if part not in RUN_PARTS:
                raise UsageError(f"--run {part}: no such part; choose {', '.join(RUN_PARTS)}")
            if len(folders) > 1 and part in (SPACE, RAW, LATENT):
                raise UsageError(f"--run {part}: there is one of it; name one folder")

    def space(self) -> FrozenSpace:
        """Encoder and decoder. Raises Absent."""
        return FrozenSpace(*self._space())

    def raw_encoder(self) -> SharedEncoder:
        """Encoder of mosaics. Raises Absent."""
        if RAW in self.runs:
            return raw_encoder_of(self.runs[RAW][0], self._space()[1]).eval()
        return self._installed(RAW, raw_networks).eval()

    def denoisers(self) -> dict[str, Denoiser | LightDenoiser]:
        """Heads by name. Raises Absent."""
        if DENOISE not in self.runs:
            heads = [("installed", self._installed(DENOISE, denoise_network))]
        else:
            self._check_decoders(DENOISE)
            heads = [(Path(run).name, read_denoise(run)) for run in self.runs[DENOISE]]
        return {f"{type(head).__name__} {name}": _on_planes(head, name) for name, head in heads}

    def pixel_denoiser(self) -> PixelDenoiser | None:
        """DnCNN, where a run of it is named."""
        folders = self.runs.get(DENOISE_PIXELS, ())
        return _checked(read_denoise(folders[0]), PixelDenoiser, folders[0]) if folders else None

    def segmenters(self) -> list[Segmenter]:
        """Heads, one a seed. Raises Absent."""
        if SEGMENT not in self.runs:
            return [_checked(self._installed(SEGMENT, segment_network), Segmenter, self.system)]
        self._check_decoders(SEGMENT)
        return [_checked(read_segment(run), Segmenter, run) for run in self.runs[SEGMENT]]

    def pixel_segmenters(self) -> list[PixelSegmenter]:
        """The same network on pixels, one a seed, where runs of it are named."""
        return [_checked(read_segment(run), PixelSegmenter, run) for run in self.runs.get(SEGMENT_PIXELS, ())]

    def stereo(self) -> list[StereoDepth]:
        """Stereo on planes, one a seed. Raises Absent."""
        dtype = self.dtype or torch.float32
        if STEREO in self.runs:
            space = self._space_source()
            return [open_stereo(Path(run), space, self.device, dtype) for run in self.runs[STEREO]]
        network = self._installed(STEREO, lambda arrays, source: stereo_network(arrays, source)[0])
        return [StereoDepth(network, self._space()[0], self.device, dtype)]

    def stereo_methods(self) -> list[StereoMethod]:
        """Stereo on planes, one a seed, and on pixels where runs of it are named. Raises Absent."""
        answers, dtype = self.stereo(), self.dtype or torch.float32
        twins = [open_stereo(Path(run), None, self.device, dtype) for run in self.runs.get(STEREO_PIXELS, ())]
        return [StereoMethod(name, one.disparity) for name, of in ((NEURAL, answers), (PIXELS, twins)) for one in of]

    def pixel_stereo(self) -> PixelStereo | None:
        """The stereo network on pixels, where a run of it is named."""
        folders = self.runs.get(STEREO_PIXELS, ())
        return _checked(open_stereo(Path(folders[0]), None).network, PixelStereo, folders[0]) if folders else None

    def codec_system(self) -> System:
        """The system with its codecs of planes, runs in place of installed parts. Raises Absent."""
        record = self._record()
        if SPACE not in self.runs and record is not None and LATENT in record.files:
            networks = installed_networks(record)
        elif LATENT in self.runs:
            encoder, decoder = self._space()
            networks = SpaceNetworks(encoder, decoder, base_networks(image_networks(), encoder))
        else:
            raise Absent(f"no codec of planes: none is installed for {self.system}; --run latent=FOLDER names a run")
        return neural_space(self._replaced(networks), self.device, self.dtype)

    def _replaced(self, networks: SpaceNetworks) -> SpaceNetworks:
        """The first run of every part that is named, in place of what is there."""
        if LATENT in self.runs:
            path = _file_of(self.runs[LATENT][0], LATENT)
            base = base_networks(image_networks(), networks.encoder)
            networks = replace(networks, latent=latent_networks(read_arrays(path), base, str(path)))
        if RAW in self.runs:
            networks = replace(networks, raw=self.raw_encoder())
        if DENOISE in self.runs:
            networks = replace(networks, denoise=next(iter(self.denoisers().values())))
        if SEGMENT in self.runs:
            networks = replace(networks, segment=self.segmenters()[0])
        if STEREO in self.runs:
            network = open_stereo(Path(self.runs[STEREO][0]), self._space_source()).network
            networks = replace(networks, stereo=_checked(network, StereoHead, self.runs[STEREO][0]))
        return networks

    def _check_decoders(self, part: str) -> None:
        """Raise UsageError where a run's head was trained on another space; stereo and RAW runs check themselves."""
        record = self._record()
        known = {shared_decoder_digest(self._space()[1]).hex()}
        if SPACE not in self.runs and record is not None:
            known |= set(record.trained_decoder_digests)
        for run in self.runs[part]:
            for path in (Path(run) / f"{part}.json", Path(run) / "weights" / f"{part}.json"):
                trained = json.loads(path.read_text()).get("space") if path.is_file() else None
                if trained not in (None, PIXELS_SPACE, *known):
                    raise UsageError(f"{path}: was trained on decoder {trained}, not {', '.join(sorted(known))}")

    def _space(self) -> tuple[SharedEncoder, SharedDecoder]:
        return space_networks(self._space_source())

    def _space_source(self) -> str:
        """What ``space_networks`` takes."""
        if SPACE in self.runs:
            return self.runs[SPACE][0]
        if self._record() is None:
            raise Absent(f"no system {self.system} is installed; --run space=FOLDER names a run")
        return self.system

    def _record(self) -> SystemRecord | None:
        known = {record.name for record in installed_systems()}
        return system_record(self.system) if self.system in known else None

    def _installed(self, part: str, build: Callable[..., _Part]) -> _Part:
        """An installed part, which belongs to the installed space."""
        record = self._record()
        if SPACE in self.runs:
            raise Absent(f"no run of part {part} is named for the space of --run space; --run {part}=FOLDER does")
        if record is None or part not in record.files:
            raise Absent(f"part {part} is not installed for system {self.system}; --run {part}=FOLDER names a run")
        return build(read_installed(record.files[part]), self.system)


def parse_runs(texts: list[str]) -> dict[str, tuple[str, ...]]:
    """``PART=FOLDER`` of the command line, by part.

    Raises:
        UsageError: no ``=``, or there is no such folder.
    """
    runs: dict[str, tuple[str, ...]] = {}
    for text in texts:
        part, sign, folder = text.partition("=")
        if not sign or not folder:
            raise UsageError(f"--run {text}: write it as PART=FOLDER, a part of {', '.join(RUN_PARTS)}")
        if not Path(folder).exists():
            raise UsageError(f"--run {text}: no such folder")
        runs[part] = (*runs.get(part, ()), folder)
    return runs


def _on_planes(head: nn.Module, source: str) -> Denoiser | LightDenoiser:
    return head if isinstance(head, LightDenoiser) else _checked(head, Denoiser, source)


def _checked(network: nn.Module, kind: type[_Part], source: str) -> _Part:
    if not isinstance(network, kind):
        raise UsageError(f"{source}: holds a {type(network).__name__}; name a run of the other kind for this part")
    return network


def _file_of(run: str, part: str) -> Path:
    name = f"{part}.safetensors"
    for place in (Path(run), Path(run) / name, Path(run) / "weights" / name):
        if place.is_file():
            return place
    raise UsageError(f"{run}: no {name} here; name the folder of a finished run")
