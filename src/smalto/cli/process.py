"""What a process that smalto owns sets once, before torch is imported: allocator, threads, signals.

Only the command line calls this; importing smalto never changes the host process.
"""

from __future__ import annotations

import ctypes
import os
import signal
from types import FrameType

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_THRESHOLD_BYTES = 1 << 30


def raise_allocation_thresholds() -> bool:
    """Let glibc keep and reuse large blocks instead of mapping and clearing fresh pages for every activation.

    Returns:
        True when the C library took both settings; False where it has no ``mallopt`` or refused.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    mmap_taken = mallopt(_M_MMAP_THRESHOLD, _THRESHOLD_BYTES)
    trim_taken = mallopt(_M_TRIM_THRESHOLD, _THRESHOLD_BYTES)
    return bool(mmap_taken) and bool(trim_taken)


def available_cores() -> int:
    """Cores this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not every system can say
        return os.cpu_count() or 1


def _terminate(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def prepare_process() -> None:
    """Allocator thresholds, compute threads, and a SIGTERM that unwinds, so that no half-written file stays.

    One compute thread a core, which sleeps when it waits: a waiting thread that spins takes the core from the one it
    waits for as soon as anything else runs on the machine. What the environment says already stays.
    """
    raise_allocation_thresholds()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("OMP_NUM_THREADS", str(available_cores()))
    signal.signal(signal.SIGTERM, _terminate)
