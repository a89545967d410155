"""Put trained weights into the package: ``python -m smalto.train.install RUN_FOLDER... --card CARD.json``.

Weights are coded here and nowhere else (``smalto.weights.coded``), and the digests on record are taken over what the
coded files give back. What else is installed stays as it is.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from smalto.errors import SmaltoError, UsageError, WeightsError
from smalto.files import replace_file
from smalto.systems.feature_networks import PARTS as TIER_PARTS
from smalto.systems.feature_networks import codec_of_arrays
from smalto.systems.multitask_codec import LITE_NAME, lite_networks
from smalto.weights.coded import code, restore
from smalto.weights.index import weights_folder
from smalto.weights.store import read_arrays, write_arrays

_CARD_KEYS = ("licence", "data", "recipe", "hardware", "scores", "limits")
_TASKS = {"codec": "reconstruct", "upscale": "upscale"}
_TIERS = {part: tier for tier, part in TIER_PARTS.items()}
_INDEX = "index.json"

Digests = Callable[[Mapping[str, np.ndarray]], dict[str, str]]


@dataclass(frozen=True)
class RunPart:
    """Weights that a run left.

    Args:
        part: ``codec``, ``upscale``, ``planes`` or ``elic``.
        path: of the safetensors file, in half precision.
        record: the JSON beside it.
    """

    part: str
    path: Path
    record: Mapping[str, object]


def install(runs: list[Path], card: Path, target: Path, name: str | None = None) -> tuple[str, dict[str, object]]:
    """Code the weights of runs into a folder and write their record.

    Args:
        runs: folders that ``smalto train`` made: one with an image codec, any with heads trained on that codec, before
            or after it was installed; or heads alone, trained on the installed decoder; or one with a learned feature
            codec.
        card: JSON with licence, data, recipe, hardware, scores and limits, all in words for people.
        target: the folder of ``index.json``.
        name: of a feature codec; by default its part and ``-0``. The image system is always ``lite-0``.

    Returns:
        Name and record.

    Raises:
        UsageError: runs do not fit together, a head was trained on another decoder, or the card lacks an entry.
        WeightsError: weights are not those that their run recorded.
    """
    facts = json.loads(card.read_text())
    missing = [key for key in _CARD_KEYS if key not in facts]
    if missing:
        raise UsageError(f"{card}: the card lacks {', '.join(missing)}")
    facts = {key: facts[key] for key in _CARD_KEYS}
    parts = _found(runs)
    path = target / _INDEX
    index = json.loads(path.read_text()) if path.is_file() else {"default": LITE_NAME, "systems": {}}
    feature_parts = [part for part in parts.values() if part.part in _TIERS]
    if feature_parts:
        if len(parts) > 1:
            raise UsageError(f"runs hold {', '.join(parts)}; install a feature codec by itself")
        name = f"{feature_parts[0].part}-0" if name is None else name
        section, record = "feature_codecs", _feature_codec(feature_parts[0], name, target)
    else:
        if name not in (None, LITE_NAME):
            raise UsageError(f"--name {name}: image systems are installed as {LITE_NAME}; leave it out")
        name, section = LITE_NAME, "systems"
        installed = index["systems"].get(LITE_NAME)
        record = _image_system(parts, target) if "codec" in parts else _with_heads(installed, parts, target)
    record |= facts
    index.setdefault(section, {})[name] = record
    replace_file(path, (json.dumps(index, indent=2) + "\n").encode())
    return name, record


def _found(runs: list[Path]) -> dict[str, RunPart]:
    """What runs hold, by part; the last one of a part counts."""
    parts = {}
    for run in runs:
        for part in (*_TASKS, *_TIERS):
            path = run / "weights" / f"{part}.json"
            if path.is_file():
                parts[part] = RunPart(part, path.with_suffix(".safetensors"), json.loads(path.read_text()))
    return parts


def _image_system(parts: Mapping[str, RunPart], target: Path) -> dict[str, object]:
    """Code an image codec and its heads; gives the record without the card."""
    arrays = _checked(parts["codec"], _image_digests)
    digests = _image_digests(restore(*code(arrays)))
    decoders = {parts["codec"].record["decoder_digest"], digests["decoder_digest"]}  # in the run, and as it ships
    heads = {name: part for name, part in parts.items() if name != "codec"}
    _check_heads(heads, decoders)
    files = {"codec": _file(parts["codec"], arrays, target / f"{LITE_NAME}.safetensors"), **_head_files(heads, target)}
    return {
        "space": LITE_NAME,
        **digests,
        "tasks": [_TASKS[part] for part in files],
        "encoders": ["base"],
        "files": files,
    }


def _with_heads(installed: dict[str, Any] | None, heads: Mapping[str, RunPart], target: Path) -> dict[str, object]:
    """Code heads for the installed decoder; gives the installed record with them, its codec as it was.

    Raises:
        UsageError: there is no run at all, nothing is installed, or a head was trained on another decoder.
    """
    if installed is None or not heads:
        raise UsageError("no run holds weights/codec.json; name the folder of an image-codec run")
    _check_heads(heads, {installed["decoder_digest"]})
    files = {**installed["files"], **_head_files(heads, target)}
    return {**installed, "tasks": [_TASKS[part] for part in files], "files": files}


def _check_heads(heads: Mapping[str, RunPart], decoders: set[object]) -> None:
    for part in heads.values():
        if part.record["decoder_digest"] not in decoders:
            raise UsageError(f"{part.path}: {part.part} was trained on another decoder; train it on this one")


def _head_files(heads: Mapping[str, RunPart], target: Path) -> dict[str, object]:
    return {
        name: _file(part, read_arrays(part.path), target / f"{LITE_NAME}-{name}.safetensors")
        for name, part in heads.items()
    }


def _feature_codec(part: RunPart, name: str, target: Path) -> dict[str, object]:
    """Code a learned feature codec; gives the record without the card."""
    arrays = _checked(part, _feature_digests)
    digests = _feature_digests(restore(*code(arrays)))
    files = {part.part: _file(part, arrays, target / f"{name}.safetensors")}
    return {"tier": _TIERS[part.part], **digests, "files": files}


def _image_digests(arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
    decoder, codec = lite_networks(arrays).digests
    return {"decoder_digest": decoder.hex(), "codec_digest": codec.hex()}


def _feature_digests(arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
    return {"codec_digest": codec_of_arrays(dict(arrays)).digest.hex()}


def _checked(part: RunPart, digests: Digests) -> dict[str, np.ndarray]:
    """The arrays of a run, when they have the digests that it recorded.

    Raises:
        WeightsError: the run's weights are of another configuration, or not those it recorded.
    """
    arrays = read_arrays(part.path)
    try:
        found = digests(arrays)
    except (RuntimeError, KeyError) as error:
        raise WeightsError(
            f"{part.path}: of another configuration ({str(error).splitlines()[0]}); install a run of the shipped one"
        ) from error
    for key, value in found.items():
        if part.record[key] != value:
            raise WeightsError(
                f"{part.path}: its {key} is {value}, its record says {part.record[key]}; publish it again"
            )
    return arrays


def _file(part: RunPart, arrays: Mapping[str, np.ndarray], path: Path) -> dict[str, object]:
    """Write one coded file; gives its entry in the record."""
    sha256 = write_arrays(path, arrays, coded=True)
    num_bytes = path.stat().st_size
    return {
        "name": path.name,
        "sha256": sha256,
        "num_bytes": num_bytes,
        "num_parameters": part.record["num_parameters"],
    }


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m smalto.train.install", description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN_FOLDER")
    parser.add_argument(
        "--card", required=True, type=Path, help="JSON: licence, data, recipe, hardware, scores, limits"
    )
    parser.add_argument("--name", default=None, help="of a feature codec; by default planes-0 or elic-0")
    parser.add_argument("--target", type=Path, default=None, help="folder of index.json; the installed package's")
    options = parser.parse_args(arguments)
    try:
        name, record = install(options.runs, options.card, options.target or weights_folder(), options.name)
    except (SmaltoError, OSError, ValueError) as error:
        sys.stderr.write(f"smalto: {error}\n")
        return error.exit_code if isinstance(error, SmaltoError) else 1
    what = f"tasks {', '.join(map(str, record['tasks']))}" if "tasks" in record else f"tier {record['tier']}"  # type: ignore[arg-type]
    sys.stdout.write(f"{name}: {what}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
