"""Types of values: sizes, what NumPy holds them in, other names."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

from smalto.bits.dtypes import DTYPE_BYTES, DTYPES, check_dtype, pattern_dtype, storage_dtype
from smalto.errors import UsageError


def test_every_type_has_its_size_and_its_storage() -> None:
    assert list(DTYPES) == list(DTYPE_BYTES) == ["float16", "bfloat16", "float32", "float64"]
    assert [storage_dtype(name).name for name in DTYPES] == ["float16", "uint16", "float32", "float64"]
    assert [pattern_dtype(name) for name in DTYPES] == [np.uint16, np.uint16, np.uint32, np.uint64]
    for name, size in DTYPE_BYTES.items():
        assert storage_dtype(name).itemsize == pattern_dtype(name).itemsize == size


@pytest.mark.parametrize("ask", [check_dtype, storage_dtype, pattern_dtype])
@pytest.mark.parametrize("name", ["int8", "float8", ""])
def test_other_names_are_refused(ask: Callable[[str], object], name: str) -> None:
    with pytest.raises(UsageError, match=f"dtype '{name}': features are float16, bfloat16"):
        ask(name)


def test_names_are_known_without_numpy() -> None:
    code = "import sys, smalto.bits.dtypes; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
