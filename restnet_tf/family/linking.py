"""Files of points as tasks: each is linked where it is run; what joins it comes back, for the files of several points.

Linking itself takes no time. What does is fitting stitches to the integers in front of them, and running a file beside
Keras.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restnet_tf import atomic
from restnet_tf.family import anchor_pieces
from restnet_tf.family.anchor_pieces import AnchorPieces, Members
from restnet_tf.family.family import Family, Settings
from restnet_tf.family.linker import Linker
from restnet_tf.family.options import Options
from restnet_tf.fitting.results import Fitted
from restnet_tf.progress import Silent
from restnet_tf.records import Plan
from restnet_tf.run.directory import Run
from restnet_tf.work import sources
from restnet_tf.work.sources import AnchorSource, DataSource
from restnet_tf.work.tasks import CONVERSIONS, Progress, Task
from tflite_export import link

if TYPE_CHECKING:
    from restnet_tf.family.linker import Maker
    from restnet_tf.family.measure import Job


@dataclass(frozen=True)
class MembersSource:
    """All that any process makes the members of a family of; their fits are in the run."""

    run: Path
    anchors: tuple[str, ...]  # roles
    sources: Mapping[str, AnchorSource]
    images: DataSource
    settings: Settings
    options: Options
    plans: Mapping[str, Plan]
    taught: Mapping[str, AnchorSource]

    @classmethod
    def of(cls, members: Members) -> MembersSource:
        """What names these."""
        one = members.family
        given = one.run.path, tuple(one.anchors), one.sources, one.images, one.settings, one.options
        return cls(*given, members.plans, members.taught)

    def open(self, report: Silent) -> Members:
        """The members, of networks that this process loads."""
        anchors = {role: sources.anchor(self.sources[role]) for role in self.anchors}
        data, run = sources.data(self.images), Run(self.run)
        family: Family[Any] = Family(anchors, data, self.settings, run, self.options, report, self.sources, self.images)
        return Members(family, self.plans, _Saved(run), self.taught)


@dataclass(frozen=True)
class FileOrder:
    """A file that is wanted: of a point of pickled ``MembersSource``, in a precision."""

    members: bytes
    point: str
    precision: str


@dataclass(frozen=True)
class LinkedFile:
    """What came of one beside the file: what there is to say, and its pickled route, None where it has none."""

    lines: tuple[str, ...]
    route: bytes | None


def together(members: Members, makers: Mapping[str, Maker]) -> Callable[[Sequence[Job]], None]:
    """Makes many files of a family's points at once."""

    def make(jobs: Sequence[Job]) -> None:
        family, whole = members.family, pickle.dumps(MembersSource.of(members))
        _compile(members, makers, jobs)
        title = f"making {len(jobs)} files"
        orders = [FileOrder(whole, job.point, job.precision) for job in jobs]
        work = [Task(title, linked, order, kind=CONVERSIONS) for order in orders]
        try:
            for order, result in zip(orders, family.execute(work, family.report), strict=True):
                _take(makers[order.precision], order.point, result, family)
        finally:
            forget()

    return make


def forget() -> None:
    """Let go of what was opened in this process."""
    _opened.cache_clear()
    _members.cache_clear()


def linked(order: FileOrder, progress: Progress) -> LinkedFile:
    """Make one file; a task."""
    bench = _opened(order.members, order.precision)
    bench.report.lines.clear()
    content = bench.maker.variant(order.point)
    atomic.write_bytes(bench.members.family.run.tflite_path(order.point, order.precision), content)
    route = bench.maker.route(order.point) if isinstance(bench.maker, Linker) else None
    return LinkedFile(tuple(bench.report.lines), None if route is None else _pickled(route, bench.pieces))


@dataclass(frozen=True)
class _Bench:
    """What makes files of a precision in this process; ``report`` keeps what they have to say."""

    members: Members
    pieces: AnchorPieces
    maker: Maker
    report: Silent


def members(content: bytes) -> Members:
    """The members of pickled ``MembersSource``."""
    return _members(content)[0]


@lru_cache(maxsize=1)
def _members(content: bytes) -> tuple[Members, Silent]:
    """Opened once for all files, with what keeps what they have to say."""
    source: MembersSource = pickle.loads(content)
    report = Silent()
    return source.open(report), report


@lru_cache(maxsize=4)
def _opened(content: bytes, precision: str) -> _Bench:
    """Opened once for all files: reading the objects takes longer than linking one."""
    one, report = _members(content)
    pieces = AnchorPieces(one, precision)
    if one.family.settings.converter != "link":
        return _Bench(one, pieces, anchor_pieces.Converter(one, precision), report)
    for role in one.family.anchors:
        pieces.object(role)  # what there is to say of them has been said
    return _Bench(one, pieces, Linker(pieces, one.plans, one.fitted, precision), report)


def _compile(members: Members, makers: Mapping[str, Maker], jobs: Sequence[Job]) -> None:
    """Compile what files share, before several processes would."""
    family = members.family
    if family.settings.converter != "link":
        return
    roles = dict.fromkeys((*family.anchors, *(job.point for job in jobs if job.point in members.taught)))
    pieces = {job.precision: _pieces(makers[job.precision]) for job in jobs}
    anchor_pieces.compile_objects(family, pieces.values(), roles)


def _take(maker: Maker, point: str, result: LinkedFile, family: Family) -> None:
    """Say what there is to say, and keep how the point is joined."""
    for line in result.lines:
        family.report.say(line)
    if result.route is not None and isinstance(maker, Linker):
        maker.adopt(point, _unpickled(result.route, _pieces(maker)))


def _pieces(maker: Maker) -> AnchorPieces:
    assert isinstance(maker, Linker)
    assert isinstance(maker.pieces, AnchorPieces)
    return maker.pieces


class _Saved(Mapping[str, Fitted]):
    """The fits of a run by name, each read when it is first needed."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._read: dict[str, Fitted] = {}

    def __getitem__(self, name: str) -> Fitted:
        if name not in self._read:
            fitted = self._run.load_fitted(name)
            if fitted is None:
                raise KeyError(name)
            self._read[name] = fitted
        return self._read[name]

    def __iter__(self) -> Any:
        return iter(self._run.fitted_names())

    def __len__(self) -> int:
        return len(self._run.fitted_names())


def _pickled(route: link.Route, pieces: AnchorPieces) -> bytes:
    """A route without its objects, which lie in the run."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, value: Any) -> Any:
            return pieces.place(value) if isinstance(value, link.Object) else None

    buffer = io.BytesIO()
    Pickler(buffer).dump(route)
    return buffer.getvalue()


def _unpickled(content: bytes, pieces: AnchorPieces) -> link.Route:
    class Unpickler(pickle.Unpickler):
        def persistent_load(self, place: Any) -> link.Object:
            return pieces.placed(place)

    route: link.Route = Unpickler(io.BytesIO(content)).load()
    return route
