"""What this machine gives to programs: cores, and the memory that processes take."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

# What says to the libraries how many threads they may have.
THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
# Of /proc/PID/status: what is behind no file, and what was swapped out.
_OWN = ("RssAnon", "VmSwap")
_GROUPS = Path("/sys/fs/cgroup")


def cores() -> int:
    """Those that this process may use: of all, those it is bound to, and as many as its container has time of."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = quota(_GROUPS)
    return bound if share is None else max(1, min(bound, math.floor(share)))


def threads() -> int:
    """Those that this process computes with: of a worker its share, of a build that does all itself two."""
    return int(os.environ.get(THREADS[0], "2"))


def quota(groups: Path) -> float | None:
    """How many cores' time a container has, as Linux keeps it; None where nothing bounds it."""
    try:
        allowed, period = (groups / "cpu.max").read_text(encoding="utf-8").split()[:2]
    except (OSError, ValueError):
        try:
            allowed, period = (
                (groups / "cpu" / f"cpu.cfs_{name}_us").read_text(encoding="utf-8") for name in ("quota", "period")
            )
        except OSError:
            return None
    try:
        share = float(allowed) / float(period)
    except (ValueError, ZeroDivisionError):  # "max"
        return None
    return share if share > 0 else None


def peak() -> int:
    """The most bytes that this process has held; 0 where the system does not say.

    On Linux what it holds by now, as ``held`` counts: a process that computes keeps what it frees (``heap``), and the
    system's own peak counts files too.
    """
    now = held(os.getpid())
    if now:
        return now
    try:
        import resource
    except ImportError:
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def held(process: int) -> int:
    """The bytes of memory that are a process's own, swapped ones too; 0 where the system does not say.

    Pages of mapped files are not counted: the system takes them back where it lacks memory.
    """
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return sum(1024 * int(fields[name].split()[0]) for name in _OWN if name in fields)
