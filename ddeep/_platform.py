"""How the C library hands memory back to the system: for a network's passes, better not at all."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's <malloc.h>
_MOST = 2**31 - 1
_OLD_MOST = 2**25  # what glibc before 2.35 takes for the second


def keep_freed_memory() -> bool:
    """Make glibc keep what is freed; False where the C library is another, which is left as it is.

    A forward pass frees and asks for the same feature maps batch after batch. By default glibc returns megabytes to
    the system at once and has them back a page at a time, zeroed: a third of a pass (docs/performance.md). The
    process's peak stays what it was. Process-wide, so for a process that is ddeep's own.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    kept = mallopt(_TRIM_THRESHOLD, _MOST)
    mapped = mallopt(_MMAP_THRESHOLD, _MOST) or mallopt(_MMAP_THRESHOLD, _OLD_MOST)
    return bool(kept and mapped)
