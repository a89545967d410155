"""Safetensors and torch files of features, read in slices.

A safetensors file is parsed here: eight bytes of length, a JSON table, the values. A .pt file is opened by
``torch.load(weights_only=True, mmap=True)``: no code in it runs, and values stay on disk until they are read.

Source: format description of safetensors 0.4 (https://github.com/huggingface/safetensors#format).
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from smalto.data.feature_array import (
    BFLOAT16,
    DTYPE_BYTES,
    MAX_AXES,
    FeatureArray,
    FeatureFileError,
    raw_bytes,
    storage_dtype,
    tensor_array,
)
from smalto.data.feature_npy import SINGLE_NAME, read_exactly, refused_dtype
from smalto.errors import UsageError

_MAX_HEADER_BYTES = 16 << 20
_MAX_DEPTH = 8
_DTYPE_NAMES = {"F16": "float16", "BF16": BFLOAT16, "F32": "float32", "F64": "float64"}


def open_safetensors(path: Path, names: Sequence[str] | None) -> list[FeatureArray]:
    """Arrays of a safetensors file, in the order of their values.

    Raises:
        FeatureFileError: damaged, or not floating-point values.
    """
    with path.open("rb") as stream:
        total = os.fstat(stream.fileno()).st_size
        start = stream.read(8)
        (length,) = struct.unpack("<Q", start) if len(start) == 8 else (0,)
        if not 2 <= length <= min(_MAX_HEADER_BYTES, total - 8):
            raise FeatureFileError(f"{path}: not a safetensors file; get a fresh copy")
        text = stream.read(length)
    try:
        table = json.loads(text)
        entries = {name: _entry(value) for name, value in table.items() if name != "__metadata__"}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise FeatureFileError(f"{path}: damaged table of a safetensors file; get a fresh copy") from error
    place = 0
    for _, _, begin, end in sorted(entries.values(), key=lambda entry: entry[2:]):
        if begin != place or end < begin:
            raise FeatureFileError(f"{path}: values overlap or leave a gap; get a fresh copy")
        place = end
    if place != total - 8 - length:
        raise FeatureFileError(f"{path}: {total} bytes, its table says {8 + length + place}; get a fresh copy")
    arrays: list[FeatureArray] = []
    for name, (dtype, shape, begin, end) in sorted(entries.items(), key=lambda item: item[1][2:]):
        if names is not None and name not in names:
            continue
        if dtype not in _DTYPE_NAMES:
            raise refused_dtype(f"{path}: {name}", dtype)
        if end - begin != math.prod(shape) * DTYPE_BYTES[_DTYPE_NAMES[dtype]]:
            raise FeatureFileError(f"{path}: {name} has another length than its shape says; get a fresh copy")
        arrays.append(_stored_array(path, name, (_DTYPE_NAMES[dtype], shape), 8 + length + begin))
    return arrays


def _entry(found: Any) -> tuple[str, tuple[int, ...], int, int]:
    """(dtype, shape, begin, end) of one array. Raises ValueError."""
    dtype, shape, (begin, end) = found["dtype"], found["shape"], found["data_offsets"]
    numbers = [*shape, begin, end]
    if not isinstance(dtype, str) or not isinstance(shape, list) or len(shape) > MAX_AXES:
        raise ValueError("entry")
    if not all(type(number) is int and 0 <= number < 1 << 62 for number in numbers):
        raise ValueError("entry")
    return dtype, tuple(shape), begin, end


def _stored_array(path: Path, name: str, kind: tuple[str, tuple[int, ...]], first: int) -> FeatureArray:
    dtype_name, shape = kind
    held = storage_dtype(dtype_name)
    row_values = math.prod(shape[1:])

    def read(start: int, stop: int) -> np.ndarray:
        with path.open("rb") as stream:
            stream.seek(first + start * row_values * held.itemsize)
            data = read_exactly(stream, (stop - start) * row_values * held.itemsize, str(path))
        values = np.frombuffer(data, held.newbyteorder("<")).reshape(stop - start, *shape[1:])
        return values.astype(held, copy=False)

    return FeatureArray(name, dtype_name, shape, read, str(path))


def write_safetensors(stream: BinaryIO, arrays: Sequence[FeatureArray]) -> None:
    """Write arrays row group by row group; the table comes first, from their shapes."""
    codes = {name: code for code, name in _DTYPE_NAMES.items()}
    table: dict[str, dict[str, object]] = {}
    place = 0
    for array in arrays:
        offsets = [place, place + array.num_bytes]
        table[array.name] = {"dtype": codes[array.dtype_name], "shape": list(array.shape), "data_offsets": offsets}
        place += array.num_bytes
    if "__metadata__" in table:
        raise UsageError("__metadata__: safetensors keeps this name for itself; call the array otherwise")
    text = json.dumps(table, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    stream.write(struct.pack("<Q", len(text)) + text)
    for array in arrays:
        for group in array.groups():
            stream.write(raw_bytes(group))


def open_torch(path: Path, names: Sequence[str] | None) -> list[FeatureArray]:
    """Tensors of a .pt file: one tensor (named ``features``), or dictionaries, lists and tuples of tensors.

    Inner names are joined by dots; places in lists are numbers.

    Raises:
        FeatureFileError: damaged, holds anything else, or is of the form that torch wrote before 1.6.
    """
    import torch

    with path.open("rb") as stream:
        if stream.read(4) != b"PK\x03\x04":
            raise FeatureFileError(f"{path}: not a .pt file of torch 1.6 or later; write it again with torch.save")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # unpickling damaged bytes raises nearly anything
        refused = "weights_only" in str(error) or "Weights only" in str(error)
        what = "holds more than tensors" if refused else "damaged .pt file"
        raise FeatureFileError(f"{path}: {what}; write it again as a dictionary of tensors") from error
    arrays: list[FeatureArray] = []
    total = path.stat().st_size
    for name, tensor in _tensors(content, "", path, 0):
        if names is not None and name not in names:
            continue
        arrays.append(_tensor_features(path, name, tensor, total))
    if len({array.name for array in arrays}) != len(arrays):
        raise FeatureFileError(f"{path}: two tensors have one name; write it again as a flat dictionary of tensors")
    return arrays


def _tensors(content: Any, name: str, path: Path, depth: int) -> list[tuple[str, Any]]:
    import torch

    if isinstance(content, torch.Tensor):
        return [(name or SINGLE_NAME, content)]
    if depth < _MAX_DEPTH and isinstance(content, (dict, list, tuple)):
        inner = content.items() if isinstance(content, dict) else enumerate(content)
        rows: list[tuple[str, Any]] = []
        for key, value in inner:
            if not isinstance(key, (str, int)):
                break
            rows += _tensors(value, f"{name}.{key}" if name else str(key), path, depth + 1)
        else:
            return rows
    what = type(content).__name__
    raise FeatureFileError(f"{path}: {name or 'it'} is {what}, not tensors; write it again as a dictionary of tensors")


def _tensor_features(path: Path, name: str, tensor: Any, total: int) -> FeatureArray:
    import torch

    dtype_name = str(tensor.dtype).removeprefix("torch.")
    if dtype_name not in DTYPE_BYTES or tensor.layout != torch.strided:
        raise refused_dtype(f"{path}: {name}", dtype_name if tensor.layout == torch.strided else "sparse")
    if tensor.numel() * tensor.element_size() > total:
        raise FeatureFileError(f"{path}: {name} repeats stored values; write it again after .contiguous()")
    flat = tensor.detach()

    def read(start: int, stop: int) -> np.ndarray:
        rows = flat[start:stop] if flat.ndim else flat.reshape(1)[start:stop]
        return np.array(tensor_array(rows.contiguous())[0])

    return FeatureArray(name, dtype_name, tuple(tensor.shape), read, str(path))


def write_torch(stream: BinaryIO, arrays: Sequence[FeatureArray]) -> None:
    """Write a dictionary of tensors; all of them are in memory at once."""
    import torch

    content = {}
    for array in arrays:
        values = np.array(array.whole())
        tensor = torch.from_numpy(values.view(np.int16) if array.dtype_name == BFLOAT16 else values)
        content[array.name] = tensor.view(torch.bfloat16) if array.dtype_name == BFLOAT16 else tensor
    torch.save(content, stream)
