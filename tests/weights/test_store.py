"""Weight files: plain and coded, checked against their record, damage named with its file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from smalto.errors import WeightsError
from smalto.weights import store
from smalto.weights.coded import code, restore
from smalto.weights.index import WeightFile
from smalto.weights.store import digest, read_arrays, read_installed, under, write_arrays


def arrays() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {
        "a.weight": (0.1 * generator.standard_normal((256, 96))).astype(np.float16),
        "a.bias": generator.standard_normal(64).astype(np.float16),
        "path.weight0": generator.integers(-40, 40, (48, 64)).astype(np.int16),
    }


def test_plain_and_coded_files_there_and_back(tmp_path: Path) -> None:
    plain, coded = tmp_path / "plain.safetensors", tmp_path / "coded.safetensors"
    write_arrays(plain, arrays(), {"note": "x"})
    sha256 = write_arrays(coded, arrays(), {"note": "x"}, coded=True)
    assert hashlib.sha256(coded.read_bytes()).hexdigest() == sha256
    assert coded.stat().st_size < 0.62 * plain.stat().st_size
    original, expected = arrays(), restore(*code(arrays()))
    for name, array in read_arrays(plain).items():
        assert np.array_equal(array, original[name])
    restored = read_arrays(coded)
    assert digest(restored, "") == digest(expected, "") != digest(original, "")
    write_arrays(tmp_path / "again.safetensors", restored, {"note": "x"}, coded=True)
    assert digest(read_arrays(tmp_path / "again.safetensors"), "") == digest(restored, "")
    header = coded.read_bytes()[8:]
    assert json.loads(header[: int.from_bytes(coded.read_bytes()[:8], "little")])["__metadata__"]["form"] == "coded-1"


def test_files_of_the_same_arrays_are_the_same_bytes(tmp_path: Path) -> None:
    paths = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    write_arrays(paths[0], arrays(), coded=True)
    write_arrays(paths[1], dict(reversed(arrays().items())), coded=True)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_installed_files_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "weights_folder", lambda: tmp_path)
    path = tmp_path / "x.safetensors"
    entry = WeightFile("x.safetensors", write_arrays(path, arrays(), coded=True), path.stat().st_size, 1)
    assert digest(read_installed(entry), "") == digest(read_arrays(path), "")
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    with pytest.raises(WeightsError, match="on record is"):
        read_installed(entry)
    path.unlink()
    with pytest.raises(WeightsError, match=r"x\.safetensors: weights are missing"):
        read_installed(entry)


def test_damage_names_the_file(tmp_path: Path) -> None:
    from safetensors.numpy import load, save

    path = tmp_path / "x.safetensors"
    write_arrays(path, arrays(), coded=True)
    healthy = path.read_bytes()
    stored, metadata = load(healthy), code(arrays())[1]
    stored["coded.stream"] = stored["coded.stream"][:-2]
    cases = (
        (save(stored, metadata), "damaged"),
        (save(stored, {"form": "coded-2"}), "upgrade"),
        (healthy[:-9], "not a healthy safetensors file"),
        (b"", "not a healthy safetensors file"),
    )
    for data, message in cases:
        path.write_bytes(data)
        with pytest.raises(WeightsError, match=message) as caught:
            read_arrays(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)


def test_digest_sees_names_types_shapes_values_and_configuration() -> None:
    base = {"a": np.arange(6, dtype=np.int16)}
    seen = {
        digest(base, ""),
        digest(base, "x"),
        digest({"b": base["a"]}, ""),
        digest({"a": base["a"].reshape(2, 3)}, ""),
        digest({"a": base["a"].astype(np.uint16)}, ""),
        digest({"a": base["a"] + np.int16(1)}, ""),
    }
    assert len(seen) == 6
    assert under({"a.b": base["a"], "ab.c": base["a"]}, "a").keys() == {"b"}
