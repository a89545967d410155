"""What a run leaves for a part: weights that read back, and a record that describes them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from torch import nn

from smalto.train.release_files import write_part
from smalto.weights.store import read_arrays


def test_weights_and_record_belong_together(tmp_path: Path) -> None:
    layer, folder = nn.Linear(3, 2), tmp_path / "run" / "weights"
    arrays = {"weight": np.arange(6, dtype=np.float16).reshape(2, 3)}
    write_part(folder, "head", arrays, layer.parameters(), {"digest": "ab"})
    path = folder / "head.safetensors"
    assert np.array_equal(read_arrays(path)["weight"], arrays["weight"])
    assert json.loads((folder / "head.json").read_text()) == {
        "digest": "ab",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "num_bytes": path.stat().st_size,
        "num_parameters": 8,
    }
