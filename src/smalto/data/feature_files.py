"""Files of features: .npy, .npz, .safetensors and .pt, larger than memory if need be.

::

    file ─► open_features ─► FeatureArray, FeatureArray, ...       each read in slices along its first axis
    FeatureArray, FeatureArray, ... ─► write_features ─► file      written whole or not at all

Values are float16, bfloat16, float32 or float64; NumPy holds bfloat16 as uint16 bit patterns, and .npy and .npz
files as ml_dtypes does (``<V2``). Everything else is refused by name: integers, objects, structures.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from smalto.data.feature_array import (
    BFLOAT16,
    DTYPE_BYTES,
    GROUP_BYTES,
    FeatureArray,
    FeatureFileError,
    storage_dtype,
)
from smalto.errors import UsageError
from smalto.files import replacing

EXTENSIONS = (".npy", ".npz", ".safetensors", ".pt")

__all__ = [
    "BFLOAT16",
    "DTYPE_BYTES",
    "EXTENSIONS",
    "GROUP_BYTES",
    "FeatureArray",
    "FeatureFileError",
    "open_features",
    "storage_dtype",
    "write_features",
]


def open_features(path: str | Path, names: Sequence[str] | None = None) -> tuple[FeatureArray, ...]:
    """Arrays of a file; only headers are read.

    Args:
        path: .npy, .npz, .safetensors or .pt.
        names: the arrays to take; all of them otherwise. An array that is refused may so be left out.

    Returns:
        Arrays in the order of the file.

    Raises:
        UsageError: another extension, or a name that the file does not have.
        FeatureFileError: the file is missing, damaged, or holds something else than floating-point values.
    """
    from smalto.data.feature_npy import open_npy, open_npz
    from smalto.data.feature_tensors import open_safetensors, open_torch

    file = Path(path)
    kind = _extension(file)
    try:
        file.open("rb").close()
        if kind == ".npy":
            arrays = [array for array in open_npy(file) if names is None or array.name in names]
        else:
            opener = {".npz": open_npz, ".safetensors": open_safetensors, ".pt": open_torch}[kind]
            arrays = opener(file, names)
    except OSError as error:
        raise FeatureFileError(f"{file}: cannot be read ({error.strerror or error}); check the path") from error
    missing = sorted(set(names or ()) - {array.name for array in arrays})
    if missing:
        raise UsageError(f"{file}: no array called {missing[0]}; list what it holds with `smalto features info`")
    return tuple(arrays)


def write_features(path: str | Path, arrays: Sequence[FeatureArray]) -> None:
    """Write arrays atomically, row group by row group; the extension chooses the format.

    Memory stays at one group of rows, except for .pt, which torch writes from memory.

    Args:
        path: .npy (one array), .npz, .safetensors or .pt.
        arrays: what to write; their names differ.

    Raises:
        UsageError: another extension, several arrays for .npy, or two of one name.
        SmaltoError: the folder cannot be written.
    """
    from smalto.data.feature_npy import write_npy, write_npz
    from smalto.data.feature_tensors import write_safetensors, write_torch

    file = Path(path)
    kind = _extension(file)
    if kind == ".npy" and len(arrays) != 1:
        raise UsageError(f"{file}: .npy holds one array, these are {len(arrays)}; write .npz or .safetensors")
    if len({array.name for array in arrays}) != len(arrays):
        raise UsageError(f"{file}: two arrays have one name; rename one")
    if not all(array.name and "\0" not in array.name for array in arrays):
        raise UsageError(f"{file}: an array has no name, or one with a zero byte; rename it")
    with replacing(file) as stream:
        if kind == ".npy":
            write_npy(stream, arrays[0])
        elif kind == ".npz":
            write_npz(stream, arrays)
        elif kind == ".safetensors":
            write_safetensors(stream, arrays)
        else:
            write_torch(stream, arrays)


def _extension(file: Path) -> str:
    kind = file.suffix.lower()
    if kind not in EXTENSIONS:
        raise UsageError(f"{file}: features are read and written as {', '.join(EXTENSIONS)}; convert or rename it")
    return kind
