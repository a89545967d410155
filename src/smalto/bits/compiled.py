"""The one decorator that compiles integer kernels to machine code, and where the compiled code is kept."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar, cast

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a kernel with numba on its first call: nogil, never parallel, kept on disk when some place allows it.

    The compiled code is kept where numba keeps it by itself (``NUMBA_CACHE_DIR``, beside the source, or the home's
    cache folder), else in a private folder of the temporary directory, else nowhere: a read-only install without a
    home folder compiles once a process. A kernel must call only kernels of its own file, because the stored code is
    refreshed when that one file changes, and must not hand arrays to them: counting references costs more than a step.

    Args:
        function: a function of arrays and numbers in the subset of Python that numba compiles.

    Returns:
        The compiled function. Division by zero does not raise, so the kernel must rule it out.
    """
    from numba.core import config

    chosen = config.CACHE_DIR  # pyright: ignore[reportAttributeAccessIssue]
    if chosen or has_home():
        try:
            return _jit(function, cache=True)
        except (RuntimeError, OSError):
            pass
    folder = private_cache_folder()
    if folder is not None:
        config.CACHE_DIR = str(folder)  # pyright: ignore[reportAttributeAccessIssue]
        try:
            return _jit(function, cache=True)
        except (RuntimeError, OSError):
            pass
        finally:
            config.CACHE_DIR = chosen  # pyright: ignore[reportAttributeAccessIssue]
    return _jit(function, cache=False)


def has_home() -> bool:
    """Whether the user has a home folder; without one, numba would make a folder called ``~`` in the current one."""
    home = os.path.expanduser("~")
    return os.path.isabs(home) and os.path.isdir(home)


def private_cache_folder() -> Path | None:
    """A folder in the temporary directory that only this user can read and write, or None.

    Stored machine code is loaded with pickle, so a folder that another user owns or may write is refused.
    """
    try:
        owner = os.getuid() if os.name == "posix" else 0
        folder = Path(tempfile.gettempdir()) / f"smalto-{owner}"
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError:
        return None
    if not stat.S_ISDIR(status.st_mode):
        return None
    if os.name == "posix" and (status.st_uid != owner or stat.S_IMODE(status.st_mode) & 0o077):
        return None
    return folder


def _jit(function: Callable[P, R], cache: bool) -> Callable[P, R]:
    from numba import njit

    return cast("Callable[P, R]", njit(nogil=True, cache=cache, error_model="numpy")(function))
