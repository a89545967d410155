"""How much memory this process has held at most."""

from __future__ import annotations

import sys
from pathlib import Path


def peak_rss_bytes() -> int:
    """The largest resident set of this process so far; 0 where the system does not tell."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    except OSError:
        pass  # not Linux: ask the C library
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10
