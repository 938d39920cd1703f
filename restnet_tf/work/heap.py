"""What this process asks of its C library's allocator."""

from __future__ import annotations

import ctypes

# From malloc.h, which gives them to C alone.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_KEPT = 2**31 - 1


def keep_freed() -> bool:
    """Let glibc keep freed memory for the next tensor; call it before TensorFlow makes threads.

    By default every tensor above 32 MiB is mapped anew, and heaps are given back as soon as their end is
    free: activations of 224x224 images then cost more in page faults than in arithmetic (EfficientNetB4 runs
    1.9 times as fast without them: ``python -m benchmarks.heap``). Says whether it was
    done: other C libraries, and other systems, are left as they are.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    # One arena, since only the main one can hold blocks of this size.
    settings = ((_MMAP_THRESHOLD, 2**30), (_TRIM_THRESHOLD, _KEPT), (_ARENA_MAX, 1))
    return all(mallopt(option, value) == 1 for option, value in settings)
