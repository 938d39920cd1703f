"""Whole files or none: written to a temporary name, then renamed."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from contextlib import suppress
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


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file or none: to a temporary name, then rename; on the disk when this returns.

    Raises ``RestnetError`` where it cannot be written.
    """
    partial = path.with_name(f"{path.name}.tmp{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # or a crash behind the rename leaves the name with nothing in it
        partial.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise RestnetError(f"cannot write {path}: {error.strerror}") from None
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


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
