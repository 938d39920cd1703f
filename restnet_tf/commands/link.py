"""Files that a finished run gains: another precision, a point that was not shipped, images as bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from restnet_tf import methods
from restnet_tf.commands import build
from restnet_tf.family import opening
from restnet_tf.points import points
from restnet_tf.points.points import OperatingPoint
from restnet_tf.progress import Reporter
from restnet_tf.records import RestnetError
from restnet_tf.run.directory import Run
from restnet_tf.work import sources, tasks


@dataclass(frozen=True)
class Linked:
    """Files that are new or made anew, and all points of the run."""

    files: tuple[Path, ...]
    points: tuple[OperatingPoint, ...]


def link(
    path: Path,
    report: Reporter,
    *,
    precisions: Sequence[str] = (),
    names: Sequence[str] = (),
    uint8_input: bool = False,
) -> Linked:
    """Add files to a finished run; its fits stay, and what is there already is not made again.

    ``precisions`` are made of every point that is on their fronts, ``names`` are points that are to have them whatever
    they score, ``uint8_input`` makes the int8 files anew so that they take images as bytes. Raises
    ``RestnetError`` where the run is none, not finished, or has no such point.
    """
    name, earlier = build.finished_options(path)
    options = build.widened(earlier, precision=",".join([earlier.precision, *precisions]), also=names)
    if uint8_input:
        options = _from_bytes(options)
    method = methods.named(name)
    before = _files(path)
    work = method.open(options, report, tasks.serially)
    try:
        with work.run.opened(method.identity(work)):
            method.extend(work)
            work.run.remember(opening.kept(name, options))  # once they hold: what is refused is not asked for again
            work.run.drop_caches()
    finally:
        sources.forget()
    fresh = tuple(path / file for file, sha256 in _files(path).items() if before.get(file) != sha256)
    return Linked(fresh, points.read(work.run.points_path)[1])


def _from_bytes(options: Any) -> Any:
    if not hasattr(options, "uint8_input"):
        raise RestnetError("files of composed nets take float32 or int8 inputs")
    return replace(options, uint8_input=True)


def _files(path: Path) -> dict[str, str]:
    """Hashes of the files that the run's points have, by path in the run."""
    listed = points.read(Run(path).points_path)[1]
    return {file.path: file.sha256 for p in listed for file in p.files.values()}
