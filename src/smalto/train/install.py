"""Put released weights into the package: ``python -m smalto.train.install RUN_FOLDER... --card CARD.json``."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

from smalto.errors import SmaltoError, UsageError
from smalto.files import replace_file
from smalto.systems.multitask_codec import LITE_NAME
from smalto.weights.index import weights_folder

_CARD_KEYS = ("licence", "data", "recipe", "hardware", "scores", "limits")
_PARTS = {"codec": f"{LITE_NAME}.safetensors", "upscale": f"{LITE_NAME}-upscale.safetensors"}
_TASKS = {"codec": "reconstruct", "upscale": "upscale"}


def install(runs: list[Path], card: Path, target: Path) -> dict[str, object]:
    """Copy the weights of runs into a folder and write its record.

    Args:
        runs: folders that ``smalto train`` made; one with a codec, any with heads trained on that codec.
        card: JSON with licence, data, recipe, hardware, scores and limits, all in words for people.
        target: the folder of ``index.json``.

    Returns:
        The record of the system.

    Raises:
        UsageError: no run holds a codec, a head was trained on another decoder, or the card lacks an entry.
    """
    facts = json.loads(card.read_text())
    missing = [key for key in _CARD_KEYS if key not in facts]
    if missing:
        raise UsageError(f"{card}: the card lacks {', '.join(missing)}")
    found = {part: run / "weights" for part in _PARTS for run in runs if (run / "weights" / f"{part}.json").is_file()}
    if "codec" not in found:
        raise UsageError("no run holds weights/codec.json; name the folder of an image-codec run")
    records = {part: json.loads((folder / f"{part}.json").read_text()) for part, folder in found.items()}
    codec = records["codec"]
    for part, record in records.items():
        if record["decoder_digest"] != codec["decoder_digest"]:
            raise UsageError(f"{found[part]}: {part} was trained on another decoder; train it on this one")
    files = {}
    for part, record in records.items():
        shutil.copyfile(found[part] / f"{part}.safetensors", target / _PARTS[part])
        entries = {key: record[key] for key in ("sha256", "num_bytes", "num_parameters")}
        files[part] = {"name": _PARTS[part], **entries}
    system = {
        "space": LITE_NAME,
        "decoder_digest": codec["decoder_digest"],
        "codec_digest": codec["codec_digest"],
        "tasks": [_TASKS[part] for part in records],
        "encoders": ["base"],
        "files": files,
        **{key: facts[key] for key in _CARD_KEYS},
    }
    index = {"default": LITE_NAME, "systems": {LITE_NAME: system}}
    replace_file(target / "index.json", (json.dumps(index, indent=2) + "\n").encode())
    return system


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m smalto.train.install", description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN_FOLDER")
    parser.add_argument(
        "--card", required=True, type=Path, help="JSON: licence, data, recipe, hardware, scores, limits"
    )
    parser.add_argument("--target", type=Path, default=None, help="folder of index.json; the installed package's")
    options = parser.parse_args(arguments)
    try:
        system = install(options.runs, options.card, options.target or weights_folder())
    except (SmaltoError, OSError, ValueError) as error:
        sys.stderr.write(f"smalto: {error}\n")
        return error.exit_code if isinstance(error, SmaltoError) else 1
    sys.stdout.write(f"{system['space']}: tasks {', '.join(map(str, system['tasks']))}\n")  # type: ignore[arg-type]
    return 0


if __name__ == "__main__":
    sys.exit(main())
