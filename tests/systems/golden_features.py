"""Sets of features that are read for ever, in ``tests/golden/features``, and how each was made.

::

    NAME.smalto                      the set
    NAME.profile.safetensors         its profile, where that does not travel inside
    NAME.npz                         the values that it held when it was written
    NETWORK.weights.safetensors.gz   a network of random weights, for a learned tier
    symbols.json                     NAME -> SHA-256 of its symbols, int32 in the order in which they are read

``python -m tests.systems.golden_features`` writes those that are missing. None is ever written anew: a codec that codes
otherwise gets files of new names, and still reads these.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from safetensors.numpy import load, save

from smalto.bits.array_set_parts import ArraySetInfo
from smalto.bits.array_set_reader import ArraySetReader
from smalto.bits.array_set_writer import ArraySetWriter
from smalto.codecs import elic_frozen, hyper_coder, hyperprior_frozen
from smalto.codecs.elic_context import ElicConfig
from smalto.codecs.elic_planes import ElicPlaneCodec, ElicPlaneConfig, FrozenElicPlaneCodec, freeze_elic_planes
from smalto.codecs.feature_contexts import FeatureContexts
from smalto.codecs.hyperprior import HyperpriorConfig
from smalto.codecs.index_planes import (
    FrozenIndexPlaneCodec,
    FrozenPlaneCodec,
    IndexPlaneCodec,
    IndexPlaneConfig,
    freeze_index_planes,
)
from smalto.data.feature_array import FeatureArray
from smalto.systems.feature_codec import FeatureCodec
from smalto.systems.feature_networks import LearnedTier, fit_learned
from smalto.systems.feature_profile import SUFFIX, FeatureProfile
from smalto.systems.feature_sets import SetCoder
from smalto.systems.feature_tiers import FitGoal

FOLDER = Path(__file__).resolve().parents[1] / "golden" / "features"
SYMBOLS = FOLDER / "symbols.json"
SLICE = 1024
LEARNED_SLICE = 3072
BOUND = 0.02
LOUDER = 2.0

# Written out once more: other tiny networks in the tests must not touch what these files need.
HYPERPRIOR = IndexPlaneConfig(
    filters=4,
    codec=HyperpriorConfig(
        latent_channels=6,
        hyper_channels=2,
        analysis_widths=(4, 4),
        mean_widths=(4, 4),
        scale_widths=(4, 4),
        gain_range=(4.0, 40.0),
    ),
)
ELIC = ElicPlaneConfig(
    filters=4,
    num_blocks=1,
    codec=ElicConfig(
        groups=(1, 3),
        hyper_channels=2,
        analysis_widths=(4, 4),
        analysis_kernels=(3, 3, 3),
        mean_widths=(4, 4, 4),
        channel_widths=(4, 4),
        gather_widths=(4, 4),
        scale_widths=(4, 4, 4),
        scale_context_widths=(4, 4),
        scale_gather_widths=(4, 4),
        gain_range=(4.0, 40.0),
    ),
)

Made = tuple[bytes, FeatureProfile]


def integer_values(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Float32 in -2..2, from integers alone: the same for ever."""
    numbers = np.arange(seed * 7919, seed * 7919 + int(np.prod(shape)))
    return (((numbers * 37 + numbers // 7 * 11 + numbers**2 % 13) % 101 - 50) / 25).astype(np.float32).reshape(shape)


def bounded_arrays() -> dict[str, np.ndarray]:
    """What ``bounded-float32`` holds: values for a largest error, some of them no numbers or far off."""
    arrays = {f"row {number}": integer_values((6, 40), number) for number in range(3)}
    arrays["row 1"][2, 3:7] = np.nan, np.inf, -np.inf, 1e30
    return arrays


def _tokens(num: int, seed: int) -> list[np.ndarray]:
    """(48, 32) float16 around a mean, most of their power in four directions, as tokens of transformers have it."""
    rng = np.random.default_rng(31)
    directions, mean = rng.normal(size=(4, 32)), rng.normal(size=32)
    rng = np.random.default_rng(seed)
    return [
        (rng.normal(size=(48, 4)) @ directions + 0.2 * rng.normal(size=(48, 32)) + mean).astype(np.float16)
        for _ in range(num)
    ]


def _wide_tokens(seed: int) -> np.ndarray:
    """(64, 64) float16."""
    return np.concatenate(_tokens(2, 2 * seed) + _tokens(2, 2 * seed + 1))[:128].reshape(64, 64)


def _maps(num: int, seed: int) -> list[np.ndarray]:
    """(12, 9, 9) float16, two thirds of them zero."""
    rng = np.random.default_rng(seed)
    return [np.maximum(rng.normal(size=(12, 9, 9)) - 0.4, 0).astype(np.float16) for _ in range(num)]


def _rotated() -> Made:
    codec = FeatureCodec.fit(_tokens(8, 1), error=0.004)
    arrays = codec.profile.arrays
    assert len(arrays["0.transform.pivot"])
    assert "0.levels.bias" in arrays
    return codec.encode(_tokens(2, 2), embed=False), codec.profile


def _diffused() -> Made:
    codec = FeatureCodec.fit(_maps(8, 3), error=0.02, preserve="means")
    assert len(codec.profile.arrays["0.transform.quantiser"]) == 3
    return codec.encode(np.stack(_maps(3, 4)), embed=False), codec.profile


def _bounded() -> Made:
    codec = FeatureCodec.fit([integer_values((6, 40), number) for number in range(5, 9)], max_error=BOUND)
    return codec.encode(bounded_arrays(), embed=False), codec.profile


def _bfloat16() -> Made:
    tensors = [torch.from_numpy(array.astype(np.float32)).bfloat16() for array in _tokens(6, 5)]
    codec = FeatureCodec.fit(tensors[:4], error=0.01)
    return codec.encode(tensors[4], embed=False), codec.profile


def _kinds() -> Made:
    arrays = {
        "maps": np.stack(_maps(2, 6)),
        "wider": integer_values((20, 5, 5), 2),
        "tokens": integer_values((17, 12), 3).astype(np.float64),
        "vector": integer_values((33,), 4),
        "nothing": np.empty((0, 33), np.float32),
    }
    codec = FeatureCodec.fit([*_maps(4, 7), *(arrays[name] for name in ("wider", "tokens", "vector"))], error=0.01)
    assert codec.profile.facts["num_kinds"] == "4"
    return codec.encode(arrays, embed=True), codec.profile


def _layers() -> Made:
    """Two layers of one width, told apart by name; their arrays take turns, so that each is a group of its own."""
    samples = {"layer.2": _maps(6, 20), "layer.6": [array * np.float16(0.125) for array in _maps(6, 21)]}
    codec = FeatureCodec.fit(samples, per="layer", error=0.02, preserve="values")
    arrays = {f"{k}/{name}": own[k] for k in range(2) for name, own in samples.items()}
    return codec.encode(arrays, embed=True), codec.profile


def _appended() -> Made:
    """A set that grew twice, with slices so short that an array has several."""
    codec = FeatureCodec.fit(_maps(6, 8), error=0.02, preserve="values")
    path = FOLDER / "growing.smalto"
    info = codec.info(embed=True)
    info = replace(info, metadata={**info.metadata, "slice": SLICE})
    batches = [{"first": np.stack(_maps(3, 9))}, {"second": _maps(1, 10)[0]}, {"third": np.stack(_maps(2, 11))}]
    coder = SetCoder(codec.tier, SLICE)
    try:
        for number, batch in enumerate(batches):
            with ArraySetWriter(info, path) if number == 0 else ArraySetWriter.append(path) as writer:
                coder.write(writer, [FeatureArray.of(name, array) for name, array in batch.items()])
        return path.read_bytes(), codec.profile
    finally:
        path.unlink(missing_ok=True)


def _learned(tier: str) -> Made:
    network = network_of(tier)
    profile = fit_learned(tier, [_wide_tokens(seed) for seed in range(4)], "float16", FitGoal(), network)
    ready = LearnedTier(profile, network)
    info = ArraySetInfo(ready.number, profile.digest, ready.quality, {"slice": LEARNED_SLICE, "form": 2})
    arrays = [_wide_tokens(4), _wide_tokens(5)]
    arrays[1][20, 4:7] = np.nan, np.inf, -np.inf
    with ArraySetWriter(info) as writer:
        SetCoder(ready, LEARNED_SLICE).write(writer, [FeatureArray.of("", array) for array in arrays])
    return writer.data, profile


def network_of(tier: str) -> FrozenPlaneCodec:
    """The stored network of a learned tier."""
    arrays = load(gzip.decompress(_network_path(tier).read_bytes()))
    if tier == "elic":
        return FrozenElicPlaneCodec.from_arrays(ELIC, arrays)
    return FrozenIndexPlaneCodec.from_arrays(HYPERPRIOR, arrays)


def _network_path(tier: str) -> Path:
    return FOLDER / f"{tier}.weights.safetensors.gz"


def _new_network(tier: str) -> FrozenPlaneCodec:
    """A network of random weights; its latents are spread so that symbols differ from zero."""
    with torch.random.fork_rng():
        torch.manual_seed(4)
        trained = ElicPlaneCodec(ELIC).eval() if tier == "elic" else IndexPlaneCodec(HYPERPRIOR).eval()
        for weights in trained.analysis.parameters():
            if weights.ndim == 4:
                weights.data.mul_(LOUDER)
    return freeze_elic_planes(trained) if isinstance(trained, ElicPlaneCodec) else freeze_index_planes(trained)


MAKERS: dict[str, Callable[[], Made]] = {
    "rotated-float16": _rotated,
    "diffused-maps": _diffused,
    "bounded-float32": _bounded,
    "bfloat16": _bfloat16,
    "kinds-embedded": _kinds,
    "appended": _appended,
    "layers": _layers,
    "hyperprior": lambda: _learned("hyperprior"),
    "elic": lambda: _learned("elic"),
}
LEARNED = ("hyperprior", "elic")


def profile_of(name: str) -> FeatureProfile:
    """The profile of a golden set, inside it or beside it."""
    with ArraySetReader.open(FOLDER / f"{name}.smalto") as reader:
        if reader.profile is not None:
            return FeatureProfile.from_bytes(reader.profile)
    return FeatureProfile.load(FOLDER / f"{name}{SUFFIX}")


def decoded(name: str) -> tuple[list[tuple[str, np.ndarray]], str]:
    """The arrays of a golden set with their names, and the digest of the symbols they came from."""
    with ArraySetReader.open(FOLDER / f"{name}.smalto") as reader, _recorded() as symbols:
        if name in LEARNED:
            coder = SetCoder(LearnedTier(profile_of(name), network_of(name)), LEARNED_SLICE)
        else:
            coder = FeatureCodec.of_set(reader).coder(reader)
        arrays = [(entry.name, array) for entry, array in coder.arrays(reader)]
    return arrays, symbols.hexdigest()


def expected(name: str) -> list[np.ndarray]:
    """The values that a golden set held when it was written, in order."""
    with np.load(FOLDER / f"{name}.npz") as held:
        return [held[key] for key in held.files]


@contextmanager
def _recorded() -> Iterator[Any]:
    """A SHA-256 over every symbol that is decoded meanwhile."""
    state = hashlib.sha256()

    def told(decode: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
        def telling(*arguments: Any) -> np.ndarray:
            symbols = decode(*arguments)
            state.update(np.ascontiguousarray(symbols, "<i4").tobytes())
            return symbols

        return telling

    with ExitStack() as patches:
        for owner in (FeatureContexts, hyper_coder, hyperprior_frozen, elic_frozen):
            patches.enter_context(mock.patch.object(owner, "decode", told(owner.decode)))
        yield state


def main() -> None:
    """Write what is missing."""
    FOLDER.mkdir(exist_ok=True)
    for tier in LEARNED:
        if not _network_path(tier).exists():
            network = _new_network(tier)
            arrays = {**network.decode_arrays(), **network.encode_arrays()}
            _network_path(tier).write_bytes(gzip.compress(save(arrays), mtime=0))
    digests = json.loads(SYMBOLS.read_text()) if SYMBOLS.exists() else {}
    for name, make in MAKERS.items():
        if (FOLDER / f"{name}.smalto").exists():
            continue
        data, profile = make()
        (FOLDER / f"{name}.smalto").write_bytes(data)
        with ArraySetReader.open(data) as reader:
            if reader.profile is None:
                profile.save(FOLDER / f"{name}{SUFFIX}")
        arrays, digests[name] = decoded(name)
        np.savez_compressed(FOLDER / f"{name}.npz", *(array for _, array in arrays))
        SYMBOLS.write_text(json.dumps(digests, indent=2) + "\n")


if __name__ == "__main__":
    main()
