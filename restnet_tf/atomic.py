"""Whole files or none: written to a temporary name, then renamed; and arrays on disk whose room is claimed at once."""

from __future__ import annotations

import io
import os
import secrets
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from restnet_tf.records import RestnetError


def check_writable(path: Path) -> None:
    """Refuse (``RestnetError``) an output that cannot be written, without leaving a trace of the try."""
    there = next(p for p in (path, *path.absolute().parents) if os.path.exists(p))
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        what = "write-protected" if there.is_dir() else "no folder"
        raise RestnetError(f"cannot write to {path}: {there} is {what}; give another --out")


def room(folder: Path) -> tuple[int, Path]:
    """Free bytes for a folder that may not be there yet, and the nearest one that is."""
    there = next(p for p in (folder, *folder.absolute().parents) if p.is_dir())
    return shutil.disk_usage(there).free, there


def free_memory() -> int | None:
    """Bytes that a program can have without anything else being driven out; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)


def check_room(folder: Path, size: int) -> None:
    """Refuse (``RestnetError``) a cache of so many bytes where the disk lacks the room."""
    free, there = room(folder)
    if size > free:
        raise RestnetError(
            f"no room for the cache: {spoken(size)} needed, {spoken(free)} free at {there};"
            " free some, or give --out on another disk"
        )


def array(path: Path, dtype: type, shape: tuple[int, ...]) -> np.memmap:
    """A new ``.npy`` to be filled in place, all of its blocks claimed.

    Without that a disk that fills up ends the process by SIGBUS. Raises ``RestnetError`` where the room is not there.
    """
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    check_room(path.parent, size)
    try:
        memmap = np.lib.format.open_memmap(path, "w+", dtype, shape)
        _claim(path)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise RestnetError(
            f"no room for the cache: {spoken(size)} needed at {path.parent} ({error.strerror});"
            " free some, or give --out on another disk"
        ) from None
    return memmap


def _claim(path: Path) -> None:
    """Have the disk keep all blocks of a file, which else it gives out as they are written."""
    if hasattr(os, "posix_fallocate"):  # not on every system
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def spoken(size: float) -> str:
    """Bytes as people say them."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file or none: to a temporary name, then rename; on the disk when this returns.

    Inside ``held`` it keeps the temporary name where the other is taken. Raises ``RestnetError`` where it cannot be
    written.
    """
    one = Held.beside(path)
    waiting: list[Held] | None = getattr(_waiting, "files", None)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with one.partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # or a crash behind the rename leaves the name with nothing in it
        if waiting is None:
            one.release()
        else:
            waiting.append(one.placed())
    except OSError as error:
        error.filename = error.filename or str(path)  # that of a write does not say
        raise RestnetError(f"cannot write {path}: {error.strerror}") from None
    finally:
        if waiting is None or one not in waiting:
            one.drop()


@dataclass(frozen=True)
class Held:
    """A whole file under a temporary name, and the name that it is for, which may be its own already."""

    partial: Path
    path: Path

    @classmethod
    def beside(cls, path: Path) -> Held:
        """A file that is to be written, under a name that nobody else writes."""
        # Processes of other machines may write the same file, with the same number as this one.
        return cls(path.with_name(f"{path.name}.tmp{os.getpid()}-{secrets.token_hex(4)}"), path)

    def placed(self) -> Held:
        """The same with its name, where no other file has that: what wrote it may read it."""
        try:
            os.link(self.partial, self.path)
        except FileExistsError:
            return self
        except OSError:  # a disk without links
            if self.path.exists():
                return self
            self.partial.replace(self.path)
        return Held(self.path, self.path)

    def release(self) -> None:
        """Give it its name."""
        self.partial.replace(self.path)
        _sync_folder(self.path.parent)

    def drop(self) -> None:
        """Delete it, if it can be, unless it has its name."""
        if self.partial != self.path:
            with suppress(OSError):
                self.partial.unlink(missing_ok=True)


_waiting = threading.local()


@contextmanager
def held() -> Iterator[list[Held]]:
    """What this thread writes over other files meanwhile waits under temporary names, for somebody else to release.

    A worker that was given up may still write; it must not undo what another has done since. Behind an error all that
    waits is dropped.
    """
    _waiting.files = []
    try:
        yield _waiting.files
    except BaseException:
        for one in _waiting.files:
            one.drop()
        raise
    finally:
        _waiting.files = None


def _sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, where its filesystem can do that."""
    with suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def write_npz(path: Path, arrays: Mapping[str, Any]) -> None:
    """Arrays as one ``.npz``; equal arrays give equal bytes."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_bytes(path, buffer.getvalue())
