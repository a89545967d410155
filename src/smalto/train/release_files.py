"""The two files that a run leaves for a part: its weights, and a JSON record of what they are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from torch import nn

from smalto.files import replace_file
from smalto.weights.store import write_arrays


def write_part(
    folder: Path,
    part: str,
    arrays: Mapping[str, np.ndarray],
    parameters: Iterable[nn.Parameter],
    facts: Mapping[str, object],
) -> None:
    """Write ``PART.safetensors``, and ``PART.json`` with its SHA-256, its sizes and the facts.

    Args:
        folder: made when it is not there.
        part: the name of both files.
        arrays: weights as they ship.
        parameters: what was trained, counted for the record.
        facts: what else the record says: digests, rates, settings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{part}.safetensors"
    record = {
        **facts,
        "sha256": write_arrays(path, arrays),
        "num_bytes": path.stat().st_size,
        "num_parameters": sum(parameter.numel() for parameter in parameters),
    }
    replace_file(path.with_suffix(".json"), (json.dumps(record, indent=1) + "\n").encode())
