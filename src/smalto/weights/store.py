"""Reading and writing weight files, and the digests that fix a space."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from smalto.errors import WeightsError
from smalto.files import replace_file
from smalto.weights.index import WeightFile, weights_folder

DIGEST_BYTES = 8


def digest(arrays: Mapping[str, np.ndarray], configuration: str) -> bytes:
    """SHA-256 over arrays as shipped and a configuration.

    For each array in order of name: the name, dtype (NumPy's, little endian) and shape as text, each ended by a zero
    byte, then the values; then the configuration.

    Args:
        arrays: name -> array.
        configuration: canonical text of the layers' settings.

    Returns:
        32 bytes; files carry the first 8.
    """
    state = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        for text in (name, little.dtype.str.lstrip("<|"), "x".join(map(str, array.shape))):
            state.update(text.encode() + b"\0")
        state.update(little.tobytes())
    state.update(configuration.encode())
    return state.digest()


def under(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The arrays named ``prefix.NAME``, by NAME."""
    return {name[len(prefix) + 1 :]: array for name, array in arrays.items() if name.startswith(prefix + ".")}


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """Every array of a safetensors file, plain or coded (``smalto.weights.coded``).

    Raises:
        WeightsError: the file is missing or damaged.
    """
    return _arrays(Path(path), _bytes(Path(path), "reinstall smalto or name another file"))


def write_arrays(
    path: str | Path,
    arrays: Mapping[str, np.ndarray],
    metadata: Mapping[str, str] | None = None,
    coded: bool = False,
) -> str:
    """Write a safetensors file atomically.

    Args:
        path: of the file.
        arrays: name -> array.
        metadata: text to store with them.
        coded: store weights in about a byte each; ``read_arrays`` then gives slightly other values, and digests must be
            taken over those.

    Returns:
        The file's SHA-256, hexadecimal.

    Raises:
        UsageError, WeightsError: the arrays cannot be coded.
    """
    from safetensors.numpy import save

    facts = dict(metadata or {})
    if coded:
        from smalto.weights.coded import code

        arrays, form = code(arrays)
        facts |= form
    data = save({name: np.ascontiguousarray(array) for name, array in arrays.items()}, facts)
    replace_file(path, data)
    return hashlib.sha256(data).hexdigest()


def read_installed(entry: WeightFile) -> dict[str, np.ndarray]:
    """Every array of an installed weight file, after checking its SHA-256.

    Raises:
        WeightsError: the file is missing, or is not the one on record.
    """
    path = weights_folder() / entry.name
    data = _bytes(path, "reinstall smalto")
    found = hashlib.sha256(data).hexdigest()
    if found != entry.sha256:
        raise WeightsError(f"{path}: SHA-256 is {found[:16]}..., on record is {entry.sha256[:16]}...; reinstall smalto")
    return _arrays(path, data)


def _bytes(path: Path, remedy: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path}: weights are missing ({error.strerror}); {remedy}") from error


def _arrays(path: Path, data: bytes) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    except (SafetensorError, ValueError, KeyError) as error:
        raise WeightsError(f"{path}: not a healthy safetensors file ({error}); fetch it again") from error
    metadata = header.get("__metadata__") or {}
    if not metadata.get("form", "").startswith("coded-"):
        return arrays
    from smalto.weights.coded import restore  # compiled kernels: only where they are needed

    try:
        return restore(arrays, metadata)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
