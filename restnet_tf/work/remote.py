"""What runs in a worker of a cluster, and what comes back of it; plain records alone, as they are pickled."""

from __future__ import annotations

import errno
import hashlib
import os
import pickle
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import _lru_cache_wrapper
from pathlib import Path
from typing import Any

from restnet_tf import atomic
from restnet_tf.atomic import Held
from restnet_tf.fitting import trainee
from restnet_tf.graph import infer
from restnet_tf.records import RestnetError, RestnetWarning
from restnet_tf.work import sources, start
from restnet_tf.work.tasks import Task
from tflite_export.errors import DomainError

# Evaluated by a worker that may lack all of our code: its versions by the names of packages.
VERSIONS = (
    "{name: found.version for name in names"
    " for found in list(__import__('importlib.metadata').metadata.distributions(name=name))[:1]}"
    " | {'python': '.'.join(map(str, __import__('sys').version_info[:2]))}"
)
# Evaluated by a worker that has it: calls what came as bytes. A scheduler reads what it passes on, and may lack our
# code.
CALLED = "__import__('restnet_tf.work.remote', fromlist=['called']).called(content)"
_FULL = {errno.ENOSPC, errno.EDQUOT}
_SIMD = ("avx", "fma", "amx", "asimd", "sve")
_HARNESS = "devices/harness/"  # what runs on devices, which lies elsewhere in a checkout
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
    """What a worker is: a hash of its sources, its processor's abilities, and what it sees of the build's files.

    ``sizes`` are bytes of the inputs, 0 of a folder, None of what is not there.
    """

    sources: str
    processor: frozenset[str]
    reads: bool
    writes: bool
    sizes: tuple[int | None, ...]


def packed(function: Callable[..., Any], *arguments: Any) -> dict[str, bytes]:
    """A call as what ``CALLED`` is evaluated with."""
    from distributed.protocol import pickle as protocol

    return {"content": protocol.dumps((function, arguments))}


def called(content: bytes) -> Any:
    """What a call that came as bytes returns."""
    from distributed.protocol import pickle as protocol

    function, arguments = protocol.loads(content)
    return function(*arguments)


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
            if trouble is not None:
                return trouble
            portable = _portable(error)
            if portable is error:
                raise
            raise portable from None
    said = tuple(str(one.message) for one in caught if issubclass(one.category, RestnetWarning))
    return Delivery(result, said, tuple(files))


def hello(probe: Path, mark: str, inputs: Sequence[Path]) -> Hello:
    """Say what this worker is; ``probe`` is a file that the process of the build wrote beside its run."""
    reads = writes = False
    with suppress(OSError):
        reads = probe.read_text(encoding="utf-8") == mark
    if reads:
        with suppress(OSError):
            probe.with_name(f"{probe.name}.{mark}").write_text(mark, encoding="utf-8")
            writes = True
    return Hello(source_hash(), _processor(), reads, writes, tuple(_size(path) for path in inputs))


def forget() -> None:
    """Let go of what tasks have loaded, in whatever of our modules it is kept."""
    sources.forget()
    trainee.forget()
    infer.forget()
    for name, module in list(sys.modules.items()):
        if name.startswith("restnet_tf."):
            for value in list(vars(module).values()):
                if isinstance(value, _lru_cache_wrapper):
                    value.cache_clear()


def source_hash() -> str:
    """Of the code that a process has loaded; the version alone does not tell two states of a checkout apart."""
    # Kept, since files may change behind it.
    if not _sources:
        _sources.append(_source_hash())
    return _sources[0]


_sources: list[str] = []


def _source_hash() -> str:
    digest = hashlib.sha256()
    for package in ("restnet_tf", "tflite_export"):
        folder = _folder(package)
        for name, path in sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*.py")):
            if not name.startswith(_HARNESS):
                digest.update(name.encode() + b"\0" + path.read_bytes())
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


def _portable(error: Exception) -> Exception:
    """An error that can be pickled: some of ours are made of more than their sentence."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RestnetError(str(error)) if isinstance(error, DomainError) else RuntimeError(repr(error))
    return error


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
