"""How this process asks the system for memory.

It decides about time alone: what is computed, and when it is freed, stays the same.
"""

from __future__ import annotations

import ctypes
import sys

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let the C library keep what is freed, for what is allocated next.

    By default every tensor of more than 32 MiB is mapped anew and given back when it is freed, so
    that each batch pays the page faults of all its maps: with SqueezeNet in batches of 64 a third
    of the forward pass (``python -m benchmarks scan``, the script of its own).

    Returns:
        Whether this system's library took it; only glibc does.
    """
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):
        return False
    taken = [library.mallopt(_M_MMAP_MAX, 0), library.mallopt(_M_TRIM_THRESHOLD, _NEVER)]
    return all(taken)
