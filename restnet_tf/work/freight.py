"""Files that travel to machines which do not share a disk with the build: what they lack by hash, in chunks, once.

They lie under the same paths there. A file that somebody else put under one of these is never overwritten.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from restnet_tf.atomic import Held
from restnet_tf.records import RestnetError

CHUNK = 2**23  # bytes that are sent at once
_MARK = ".sent-here"  # in a run that was sent
_PART = ".part-"
_STAYS = (".lock", ".tmp", ".probe-", _PART, _MARK)


@dataclass(frozen=True)
class Ware:
    """A file and its content."""

    path: Path
    size: int
    sha256: str


@dataclass(frozen=True)
class Chunk:
    """Some of a ware's bytes, from a place on."""

    ware: Ware
    at: int
    content: bytes


@dataclass(frozen=True)
class Lacking:
    """What a machine does not have of some wares; ``foreign`` is a path where it has another file, not sent there."""

    wares: tuple[Ware, ...]
    foreign: Path | None = None


class Freight:
    """What tasks read: the run's files as they are by now, and its inputs, files or folders."""

    def __init__(self, out: Path, inputs: Sequence[Path]) -> None:
        self.out = out
        self._inputs = tuple(inputs)
        self._hashes: dict[Path, tuple[tuple[int, int], str]] = {}
        self._there: dict[str, dict[Path, str]] = {}  # hashes that are surely there, by machine and path

    def due(self, machine: str) -> list[Ware]:
        """What may have to be sent to a machine."""
        there = self._there.get(machine, {})
        return [ware for ware in self._wares() if there.get(ware.path) != ware.sha256]

    def arrived(self, machine: str, wares: Iterable[Ware]) -> None:
        """These are there."""
        self._there.setdefault(machine, {}).update({ware.path: ware.sha256 for ware in wares})

    def _wares(self) -> Iterator[Ware]:
        for path in files((self.out, *self._inputs)):
            with suppress(FileNotFoundError):  # it may just have been dropped
                yield self._ware(path)

    def _ware(self, path: Path) -> Ware:
        facts = path.stat()
        stamp = facts.st_size, facts.st_mtime_ns
        known, digest = self._hashes.get(path, (None, ""))
        if known != stamp:
            digest = hashed(path)
            self._hashes[path] = stamp, digest
        return Ware(path, facts.st_size, digest)


def files(places: Iterable[Path]) -> Iterator[Path]:
    """All files in these places that travel."""
    for place in places:
        each = [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.is_file())
        yield from (path for path in each if not any(part in path.name for part in _STAYS))


def chunks(wares: Iterable[Ware]) -> Iterator[list[Chunk]]:
    """The content of wares in lots of about ``CHUNK`` bytes; small files go together."""
    lot: list[Chunk] = []
    room = CHUNK
    for ware in wares:
        with ware.path.open("rb") as file:
            for at in range(0, max(1, ware.size), CHUNK):
                content = file.read(CHUNK)
                if lot and len(content) > room:
                    yield lot
                    lot, room = [], CHUNK
                lot.append(Chunk(ware, at, content))
                room -= len(content)
    if lot:
        yield lot


def lacking(out: Path, wares: Sequence[Ware]) -> Lacking:
    """What is not here of these; a run that was not begun by being sent here is somebody's own. Runs at a worker."""
    ours = not out.exists() or (out / _MARK).exists()
    if ours:
        out.mkdir(parents=True, exist_ok=True)
        (out / _MARK).touch()
    absent = []
    for ware in wares:
        if not ware.path.exists():
            absent.append(ware)
        elif ware.path.stat().st_size != ware.size or hashed(ware.path) != ware.sha256:
            if not (ours and ware.path.is_relative_to(out)):
                return Lacking((), ware.path)
            absent.append(ware)
    return Lacking(tuple(absent))


def put(lot: Sequence[Chunk]) -> None:
    """Write chunks that came; a file has its name as soon as it is whole. Runs at a worker.

    Several commands may send the same file at once: all write the same bytes to the same places, and whoever ends first
    names it. Raises ``RestnetError`` for a file that was changed while it was sent.
    """
    for chunk in lot:
        ware = chunk.ware
        partial = ware.path.with_name(f"{ware.path.name}{_PART}{ware.sha256[:8]}")
        ware.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _write(partial, chunk)
        except FileNotFoundError:  # another has named it since this one began
            if not ware.path.exists():
                raise
            continue
        if chunk.at + len(chunk.content) == ware.size:
            _name(partial, ware)


def _write(partial: Path, chunk: Chunk) -> None:
    """Into its place; nothing is cut off, as others may have come further."""
    if not chunk.at:
        partial.touch()
    with partial.open("r+b") as content:
        content.seek(chunk.at)
        content.write(chunk.content)


def _name(partial: Path, ware: Ware) -> None:
    """Give a file that is whole its name; one that is not may be another's, who began behind one that was."""
    with suppress(FileNotFoundError):
        if hashed(partial) == ware.sha256:
            partial.replace(ware.path)
        elif not (ware.path.exists() and hashed(ware.path) == ware.sha256):
            partial.unlink()
            raise RestnetError(f"{ware.path} was changed while it was sent; run the same command again")


def chunk_of(path: Path, at: int) -> bytes:
    """Some of a file that a task wrote; empty behind its end. Runs at a worker."""
    with path.open("rb") as file:
        file.seek(at)
        return file.read(CHUNK)


def settle(file: Held, keep: bool) -> None:
    """Give a file that a task wrote its name, or delete it. Runs at a worker."""
    if keep:
        file.release()
    else:
        file.drop()


def clear(out: Path) -> None:
    """Delete a run that was sent here, and no other one. Runs at a worker."""
    if (out / _MARK).exists():
        shutil.rmtree(out, ignore_errors=True)


def hashed(path: Path) -> str:
    """Of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
