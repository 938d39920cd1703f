"""What runs in a worker of a cluster, and what comes back of it; plain records alone, as they are pickled."""

from __future__ import annotations

import errno
import hashlib
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from restnet_tf import atomic
from restnet_tf.atomic import Held
from restnet_tf.records import RestnetWarning
from restnet_tf.work import sources, start
from restnet_tf.work.tasks import Task

# Evaluated by a worker that may lack all of our code: its versions by the names of packages.
VERSIONS = (
    "{name: found.version for name in names"
    " for found in list(__import__('importlib.metadata').metadata.distributions(name=name))[:1]}"
    " | {'python': '.'.join(map(str, __import__('sys').version_info[:2]))}"
)
# Evaluated by a worker that has it: does a task that came as bytes.
UNPACKED = "__import__('restnet_tf.work.remote', fromlist=['unpacked']).unpacked(content)"
_FULL = {errno.ENOSPC, errno.EDQUOT}
_SIMD = ("avx", "fma", "amx", "asimd", "sve")
_EXHAUSTED = "ResourceExhaustedError"  # TensorFlow's, which is not imported for it


@dataclass(frozen=True)
class Delivery:
    """What came of a task: its result, warnings for the user, and the files that wait for their names."""

    result: Any
    said: tuple[str, ...]
    files: tuple[Held, ...]


@dataclass(frozen=True)
class FullDisk:
    """A task ended for want of room on the worker's disk, with so many bytes free in a folder."""

    folder: str
    free: int


@dataclass(frozen=True)
class NoMemory:
    """A task was refused memory in the worker."""


@dataclass(frozen=True)
class Occupied:
    """Somebody else has begun TensorFlow in the worker, with threads of their own."""


Outcome = Delivery | FullDisk | NoMemory | Occupied


@dataclass(frozen=True)
class Hello:
    """What a worker is: a hash of its sources, its processor's abilities, and whether it read and wrote the probe."""

    sources: str
    processor: frozenset[str]
    reads: bool
    writes: bool


def unpacked(content: bytes) -> Outcome:
    """What ``done`` returns for a task and its preparation as bytes."""
    from distributed.protocol import pickle

    return done(*pickle.loads(content))


def done(task: Task[Any, Any], prepare: Callable[[], None]) -> Outcome:
    """Do a task as a process of this machine would: with one thread of TensorFlow's.

    Raises what the task raises, but for troubles that another worker may not have.
    """
    if not _begun(prepare):
        return Occupied()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RestnetWarning)
        try:
            with atomic.held() as files:
                result = task.run(lambda done, total: None)
        except Exception as error:
            trouble = _trouble(error)
            if trouble is None:
                raise
            return trouble
    said = tuple(str(one.message) for one in caught if issubclass(one.category, RestnetWarning))
    return Delivery(result, said, tuple(files))


def hello(probe: Path | None, mark: str) -> Hello:
    """Say what this worker is; ``probe`` is a file that the process of the build wrote, None where none is shared."""
    reads = writes = True
    if probe is not None:
        reads = writes = False
        with suppress(OSError):
            reads = probe.read_text(encoding="utf-8") == mark
        with suppress(OSError):
            probe.with_name(f"{probe.name}.{mark}").write_text(mark, encoding="utf-8")
            writes = True
    return Hello(source_hash(), _processor(), reads, reads and writes)


def sizes(paths: Sequence[Path]) -> list[int | None]:
    """Bytes of files, 0 for a folder, None for what this worker does not see."""
    return [_size(path) for path in paths]


def forget() -> None:
    """Let go of what tasks have loaded."""
    sources.forget()


@cache
def source_hash() -> str:
    """Of the code that a process has loaded; the version alone does not tell two states of a checkout apart."""
    digest = hashlib.sha256()
    for package in ("restnet_tf", "tflite_export"):
        folder = _folder(package)
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


_ready: set[str] = set()


def _begun(prepare: Callable[[], None]) -> bool:
    """Whether this process computes with one thread, from now on at the latest."""
    name = f"{prepare.__module__}.{prepare.__qualname__}"
    if name not in _ready:
        if not _ready and "tensorflow" in sys.modules:
            return False
        start.one_thread(prepare)
        _ready.add(name)
    return True


def _trouble(error: BaseException) -> FullDisk | NoMemory | None:
    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.errno in _FULL:
            folder = Path(os.fsdecode(cause.filename)).parent if cause.filename else Path.cwd()
            free, there = atomic.room(folder)
            return FullDisk(str(there), free)
        if isinstance(cause, MemoryError) or type(cause).__name__ == _EXHAUSTED:
            return NoMemory()
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it was raised behind, told or not."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _size(path: Path) -> int | None:
    try:
        return 0 if path.is_dir() else path.stat().st_size
    except OSError:
        return None


def _folder(package: str) -> Path:
    file = __import__(package).__file__
    assert file is not None  # it is no namespace
    return Path(file).parent


def _processor() -> frozenset[str]:
    """What of its instructions decides how sums are rounded; nothing where the system does not say."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, words = line.partition(":")
            if name.strip() in ("flags", "Features"):
                return frozenset(
                    word for word in words.split() if word.startswith(("avx", "fma", "amx", "asimd", "sve"))
                )
    return frozenset()
