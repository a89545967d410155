"""Put trained weights into the package: ``python -m smalto.train.install RUN_FOLDER... --card CARD.json``.

Weights are coded here and nowhere else (``smalto.weights.coded``), and the digests on record are taken over what the
coded files give back. What else is installed stays as it is.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from smalto.errors import SmaltoError, UsageError
from smalto.files import replace_file
from smalto.systems.feature_networks import PARTS as TIER_PARTS
from smalto.systems.feature_networks import codec_of_arrays
from smalto.systems.multitask_codec import LITE_NAME, lite_networks
from smalto.systems.shared_space import SYSTEM_NAME as SPACE_NAME
from smalto.train.install_parts import Installed, RunPart, check_decoders, checked_digests, found_parts, write_coded
from smalto.train.install_space import LATENT, install_space
from smalto.train.install_space import PARTS as SPACE_PARTS
from smalto.weights.coded import code, restore
from smalto.weights.index import CARD_KEYS, weights_folder
from smalto.weights.store import read_arrays

_TASKS = {"codec": "reconstruct", "upscale": "upscale"}
_TIERS = {part: tier for tier, part in TIER_PARTS.items()}
_INDEX = "index.json"
_FEATURES = "feature_codecs"
_KINDS = {_FEATURES: _TIERS, SPACE_NAME: SPACE_PARTS, LITE_NAME: _TASKS}  # the parts of each system


def install(runs: list[Path], card: Path, target: Path, name: str | None = None) -> Installed:
    """Code the weights of runs into a folder and write their record.

    Args:
        runs: folders that ``smalto train`` made, of one system: an image codec, any with heads trained on that codec,
            before or after it was installed, or such heads alone; or parts of the shared neural space, likewise; or one
            with a learned feature codec.
        card: JSON with licence, data, recipe, hardware, scores and limits, all in words for people. Of the parts of the
            shared neural space that are in these runs; all other systems have one card.
        target: the folder of ``index.json``.
        name: of a feature codec; by default its part and ``-0``. Systems of images have names of their own.

    Returns:
        What is on record now.

    Raises:
        UsageError: runs do not fit together, a head was trained on another decoder, or the card lacks an entry.
        WeightsError: weights are not those that their run recorded.
    """
    facts = _card(card)
    parts = found_parts(runs, (*_TASKS, *_TIERS, *SPACE_PARTS))
    kinds = [kind for kind, names in _KINDS.items() if any(part in names for part in parts)]
    if not kinds:
        raise UsageError(f"{', '.join(map(str, runs))}: no weights to install; name folders of finished runs")
    if len(kinds) > 1 or (kinds == [_FEATURES] and len(parts) > 1):
        raise UsageError(f"runs hold {', '.join(parts)}; install one system at a time, and a feature codec by itself")
    kind = kinds[0]
    if kind != _FEATURES and name not in (None, kind):
        raise UsageError(f"--name {name}: image systems are installed as {kind}; leave it out")
    path = target / _INDEX
    index = json.loads(path.read_text()) if path.is_file() else {"default": LITE_NAME, "systems": {}}
    section = index.setdefault(_FEATURES if kind == _FEATURES else "systems", {})
    if kind == _FEATURES:
        (part,) = parts.values()
        done = _feature_codec(part, f"{part.part}-0" if name is None else name, facts, target)
    else:
        install_system = install_space if kind == SPACE_NAME else _image_system
        done = install_system(parts, section.get(kind), facts, target)
    before = section.get(done.name, {})
    if kind == LITE_NAME and before and before["codec_digest"] != done.record["codec_digest"]:
        orphaned = _without_planes_codec(index, target)
        done = replace(done, orphaned=(f"{SPACE_NAME} {LATENT}",) if orphaned else ())
    section[done.name] = done.record
    replace_file(path, (json.dumps(index, indent=2) + "\n").encode())
    for part in done.dropped:
        (target / before["files"][part]["name"]).unlink(missing_ok=True)
    return done


def _without_planes_codec(index: dict[str, Any], target: Path) -> bool:
    """Take the shared space's codec away, which was made over the image codec that is being replaced.

    Returns:
        Whether there was one.
    """
    space = index.get("systems", {}).get(SPACE_NAME)
    if space is None or LATENT not in space["files"]:
        return False
    (target / space["files"].pop(LATENT)["name"]).unlink(missing_ok=True)
    space["part_cards"].pop(LATENT, None)
    space["codec_digest"] = ""
    return True


def _card(path: Path) -> dict[str, Any]:
    """What a card says, and nothing else. Raises UsageError when an entry is missing."""
    facts = json.loads(path.read_text())
    missing = [key for key in CARD_KEYS if key not in facts]
    if missing:
        raise UsageError(f"{path}: the card lacks {', '.join(missing)}")
    return {key: facts[key] for key in CARD_KEYS}


def _image_system(
    parts: Mapping[str, RunPart], installed: dict[str, Any] | None, facts: dict[str, Any], target: Path
) -> Installed:
    """Code an image codec and its heads, or heads for the installed one."""
    record = _with_codec(parts, target) if "codec" in parts else _with_heads(installed, parts, target)
    return Installed(LITE_NAME, record | facts)


def _with_codec(parts: Mapping[str, RunPart], target: Path) -> dict[str, object]:
    """Code an image codec and its heads; gives the record without the card."""
    arrays = checked_digests(parts["codec"], _image_digests)
    digests = _image_digests(restore(*code(arrays)))
    trained = parts["codec"].decoder_digest  # in the run; digests are those that ship
    heads = {name: part for name, part in parts.items() if name != "codec"}
    check_decoders(heads.values(), {trained, digests["decoder_digest"]})
    codec = write_coded(parts["codec"], arrays, target / f"{LITE_NAME}.safetensors")
    files = {"codec": codec, **_head_files(heads, target)}
    return {
        "space": LITE_NAME,
        **digests,
        "trained_decoder_digests": [trained],
        "tasks": [_TASKS[part] for part in files],
        "encoders": ["base"],
        "files": files,
    }


def _with_heads(installed: dict[str, Any] | None, heads: Mapping[str, RunPart], target: Path) -> dict[str, object]:
    """Code heads for the installed decoder; gives the installed record with them, its codec as it was.

    Raises:
        UsageError: nothing is installed, or a head was trained on another decoder.
    """
    if installed is None:
        raise UsageError("no run holds weights/codec.json; name the folder of an image-codec run")
    check_decoders(heads.values(), {installed["decoder_digest"], *installed.get("trained_decoder_digests", ())})
    files = {**installed["files"], **_head_files(heads, target)}
    return {**installed, "tasks": [_TASKS[part] for part in files], "files": files}


def _head_files(heads: Mapping[str, RunPart], target: Path) -> dict[str, object]:
    return {
        name: write_coded(part, read_arrays(part.path), target / f"{LITE_NAME}-{name}.safetensors")
        for name, part in heads.items()
    }


def _feature_codec(part: RunPart, name: str, facts: dict[str, Any], target: Path) -> Installed:
    """Code a learned feature codec."""
    arrays = checked_digests(part, _feature_digests)
    digests = _feature_digests(restore(*code(arrays)))
    files = {part.part: write_coded(part, arrays, target / f"{name}.safetensors")}
    return Installed(name, {"tier": _TIERS[part.part], **digests, "files": files, **facts})


def _image_digests(arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
    decoder, codec = lite_networks(arrays).digests
    return {"decoder_digest": decoder.hex(), "codec_digest": codec.hex()}


def _feature_digests(arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
    return {"codec_digest": codec_of_arrays(dict(arrays)).digest.hex()}


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
        done = install(options.runs, options.card, options.target or weights_folder(), options.name)
    except (SmaltoError, OSError, ValueError) as error:
        sys.stderr.write(f"smalto: {error}\n")
        return error.exit_code if isinstance(error, SmaltoError) else 1
    record = done.record
    what = f"tasks {', '.join(map(str, record['tasks']))}" if "tasks" in record else f"tier {record['tier']}"  # type: ignore[arg-type]
    sys.stdout.write(f"{done.name}: {what}\n")
    for part in done.orphaned:
        sys.stdout.write(f"{part}: dropped, made over the image codec that was replaced; train it again\n")
    if done.dropped:
        sys.stdout.write(f"{done.name}: dropped {', '.join(done.dropped)}, trained on the decoder that was replaced\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
