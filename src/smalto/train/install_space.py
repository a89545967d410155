"""The shared neural space as it is installed: its encoder and decoder first, then parts that were trained on them.

A part belongs to a decoder, and says in its run's record to which. Coding changes the decoder's weights a little, hence
the system's record keeps both digests: the one that ships, and the one before coding that parts may have been trained
on. A part goes when the decoder goes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from smalto.errors import UsageError, WeightsError
from smalto.systems.plane_latent import base_networks, image_networks, latent_networks
from smalto.systems.shared_space import SPACE, SYSTEM_NAME, shared_decoder_digest, shared_networks
from smalto.systems.stereo_depth import stereo_network
from smalto.train.install_parts import (
    Digests,
    Installed,
    RunPart,
    check_decoders,
    checked_digests,
    checked_file,
    write_coded,
)
from smalto.train.release_heads import DENOISE, SEGMENT, denoise_network, segment_network
from smalto.train.release_latent import PART as LATENT
from smalto.train.release_raw_space import PART as RAW
from smalto.train.release_raw_space import raw_networks
from smalto.train.release_shared_space import PART as SPACE_PART
from smalto.train.release_stereo import PART as STEREO
from smalto.weights.coded import STEPS_PER_DEVIATION, code, restore
from smalto.weights.index import CARD_KEYS
from smalto.weights.store import read_arrays

ARCHIVE = "archive"
PARTS = (SPACE_PART, RAW, LATENT, ARCHIVE, DENOISE, SEGMENT, STEREO)
_TASKS = {DENOISE: "denoise", SEGMENT: "segment", STEREO: "depth"}
_ENCODERS = {SPACE_PART: "base", RAW: "raw"}
_FINE = 768.0  # a space of 54 dB loses 2.3 dB to 96 steps to a deviation, .03 dB to these
_STEPS = {SPACE_PART: _FINE, ARCHIVE: None}  # the archive codec keeps the digest that its run recorded
_NETWORKS: Mapping[str, Callable[[Mapping[str, np.ndarray], str], object]] = {
    RAW: raw_networks,
    DENOISE: denoise_network,
    SEGMENT: segment_network,
    STEREO: stereo_network,
}


def install_space(
    parts: Mapping[str, RunPart], installed: dict[str, Any] | None, card: Mapping[str, object], target: Path
) -> Installed:
    """Code parts of the shared neural space into a folder.

    Args:
        parts: what runs hold, by part.
        installed: the system's entry in ``index.json``, if there is one.
        card: of these parts; cards of others stay.
        target: the folder.

    Raises:
        UsageError: there is no space, or a part was trained on another decoder.
        WeightsError: weights are not those that their run recorded.
    """
    if SPACE_PART not in parts and installed is None:
        raise UsageError(f"{', '.join(parts)}: no space is installed; name the folder of its neural-space run as well")
    arrays = {name: _arrays(part) for name, part in parts.items()}
    record = dict(installed or {})
    if SPACE_PART in parts:
        record = _of_space(parts[SPACE_PART], arrays[SPACE_PART], installed, card)
    others = {name: part for name, part in parts.items() if name != SPACE_PART}
    check_decoders(others.values(), {record["decoder_digest"], *record["trained_decoder_digests"]})
    files = dict(record["files"])
    for name in (name for name in PARTS if name in parts):  # the space first: others may be made over it
        part = parts[name]
        path = target / (f"{SPACE}.safetensors" if name == SPACE_PART else f"{SPACE}-{name}.safetensors")
        files[name] = write_coded(part, arrays[name], path, _STEPS.get(name, STEPS_PER_DEVIATION))
        if name == LATENT:
            record["codec_digest"] = _latent_digest(read_arrays(path), target / files[SPACE_PART]["name"])
        elif name == ARCHIVE:
            record["further_codec_digests"] = [part.record["codec_digest"]]
    record["files"] = {name: files[name] for name in PARTS if name in files}
    record["part_cards"] = {**record["part_cards"], **{name: dict(card) for name in others}}
    record["tasks"] = ["reconstruct", *(task for name, task in _TASKS.items() if name in files)]
    record["encoders"] = [encoder for name, encoder in _ENCODERS.items() if name in files]
    before = installed["files"] if installed else {}
    return Installed(SYSTEM_NAME, record, tuple(name for name in before if name not in files))


def _of_space(
    space: RunPart, arrays: Mapping[str, np.ndarray], installed: dict[str, Any] | None, card: Mapping[str, object]
) -> dict[str, Any]:
    """The entry of a space, with the parts that are installed where its decoder is still the same."""
    decoder = _space_digests(restore(*code(arrays, _STEPS[SPACE_PART])))["decoder_digest"]
    fresh = {
        "space": SPACE,
        "decoder_digest": decoder,
        "codec_digest": "",
        "further_codec_digests": [],
        "trained_decoder_digests": [],
        "tasks": [],
        "encoders": [],
        "files": {},
        **{key: card[key] for key in CARD_KEYS},
        "part_cards": {},
    }
    if installed is not None and installed["decoder_digest"] == decoder:
        kept = ("codec_digest", "further_codec_digests", "trained_decoder_digests", "files", "part_cards")
        fresh |= {key: installed[key] for key in kept}
    trained = {*fresh["trained_decoder_digests"], space.decoder_digest} - {decoder}
    return {**fresh, "trained_decoder_digests": sorted(trained)}


def _arrays(part: RunPart) -> dict[str, np.ndarray]:
    """The arrays of a part, when they are what they should be.

    Raises:
        WeightsError: they are not.
    """
    if part.part in _DIGESTS:
        return checked_digests(part, _DIGESTS[part.part])
    arrays = checked_file(part)
    if part.part in _NETWORKS:
        _NETWORKS[part.part](arrays, str(part.path))
    elif "codec_digest" not in part.record:
        raise WeightsError(f"{part.path}: its record names no codec_digest; publish it again")
    return arrays


def _space_digests(arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
    return {"decoder_digest": shared_decoder_digest(shared_networks(arrays, SPACE_PART)[1]).hex()}


def _latent_digest(arrays: Mapping[str, np.ndarray], space: Path) -> str:
    """Of the codec of planes as it is installed, over the image codec and the space that are."""
    encoder, _ = shared_networks(read_arrays(space), str(space))
    return latent_networks(arrays, base_networks(image_networks(), encoder), LATENT).digest.hex()


_DIGESTS: Mapping[str, Digests] = {SPACE_PART: _space_digests}
