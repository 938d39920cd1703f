"""A ``.tflite`` file as a member of a pool: it is cut and run as it is, and its integers stay what they are.

Of such a file there is no network in Keras, and none is needed: fragments are run by LiteRT, and stitches are closed
forms of what they give. Of float32 nets an integer file has the same integers; floats lie between it and a stitch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np

from restnet_tf.anchors import preprocess
from restnet_tf.graph import cuts
from restnet_tf.methods.stitchnet.fragments import FEATURES, FLOAT, Member
from restnet_tf.records import Cut, RestnetError
from restnet_tf.work.sources import ModelSource
from tflite_export import classifier, trunk
from tflite_export.errors import TfliteError
from tflite_export.fragment import Runner, stretch
from tflite_export.inputs import InputKind
from tflite_export.link import Object
from tflite_export.precision import precision_named
from tflite_export.trunk import Trunk, TrunkCut

_KINDS = {3: "grid", 2: "tokens"}
_CHECKED_IMAGES = 2
# Of the largest value at a cut: sums are in another order, and another kernel may round an integer by a step or two.
_ERROR, _ROUNDING = 2e-4, {"int8": 2.5 / 127, "int16x8": 2.5 / 32767}


class FileMember:
    """A checked file, and its objects by precision; raises ``TfliteError`` for one that is no classifier."""

    def __init__(self, source: ModelSource, kind: InputKind) -> None:
        """``source.preprocess`` is empty where nobody said what the file expects; ``kind`` is that of the data."""
        path = Path(source.spec).expanduser()
        try:
            content = path.read_bytes()
        except OSError as error:
            raise RestnetError(f"cannot read {path}: {error.strerror}") from None
        self._one, self._kind = classifier.of_file(content, path.name), kind
        self._stem, self._sha256 = path.stem, hashlib.sha256(content).hexdigest()
        self._objects: dict[str, Object] = {}
        self.preprocess = source.preprocess or (self._one.expects if kind.photos else None) or "none"
        self.new: list[str] = []  # nothing is compiled

    @property
    def key(self) -> str:
        """Stands for all that decides the member."""
        return f"{self._stem}-{self._sha256[:12]}-{self.preprocess}"

    @property
    def modes(self) -> tuple[str, ...]:
        """What a user can say that it expects of photos."""
        return preprocess.usable(self._one.image[-1]) if self._kind.photos else ()

    @property
    def trained(self) -> bool:
        """Whether it may know anything: files do."""
        return True

    def compiled(self, precision: str) -> bool:
        """Whether it has to be compiled no more: no file has."""
        return True

    @cached_property
    def member(self) -> Member:
        """What a search needs to know."""
        whole = self._trunk(FLOAT)
        over_time = len(self._one.image) == 2
        *places, end = [_cut(i, cut, whole.features, over_time) for i, cut in enumerate((*whole.cuts, whole.features))]
        return Member(self._stem, self._sha256, self._one.image, tuple(places), replace(end, name=FEATURES))

    @property
    def precision(self) -> str:
        """What it computes in."""
        return "int8" if self._one.precision == "uint8" else self._one.precision

    @property
    def integers(self) -> str:
        """The precision of its integers, which it has in float32 nets too; empty where it computes in floats."""
        return self.precision if self.precision in _ROUNDING else ""

    def takes(self, precision: str) -> bool:
        """Whether it can be a part of nets of a precision."""
        return precision in (FLOAT, self.precision)

    def check(self, precision: str) -> None:
        """Refuse (``RestnetError``) a precision that the file cannot have a part in."""
        if not self.takes(precision):
            raise RestnetError(
                f"{self._one.name} is {self._one.precision}, and a file is taken as it is: of {precision} nets it can"
                f" be no part; give --precision {FLOAT}, its {precision} file, or its model in Keras"
            )

    def object(self, precision: str, images: Callable[[], np.ndarray]) -> Object:
        """The file with its cuts; the first ``images`` (raw, ``(n, h, w, c)``) check that its parts are the whole."""
        if precision not in self._objects:
            self.check(precision)
            whole = Object(self._trunk(precision).content)
            whole.cuts = {**whole.cuts, FEATURES: whole.scores}
            self._check(whole, images()[:_CHECKED_IMAGES])
            self._objects[precision] = whole
        return self._objects[precision]

    def release(self) -> None:
        """Nothing: no network is held."""

    def _trunk(self, precision: str) -> Trunk:
        ends = precision_named(precision).ends[0]
        return trunk.of(self._one, ends=ends, preprocess=self.preprocess, steps=self._steps(ends))

    def _steps(self, ends: str) -> tuple[float, int] | None:
        """Scale and zero point of values that are no photos: the file's own, else such as hold the data's range."""
        own = self._one.input
        if self._kind.photos or ends == FLOAT:
            return None
        return (own.scales[0], own.zero_points[0]) if own.type == ends.upper() else self._kind.steps(ends)

    def _check(self, whole: Object, images: np.ndarray) -> None:
        """Refuse a file of which LiteRT makes, part by part, not what it makes of it at once."""
        names = [cut.name for cut in (*self.member.cuts, self.member.features)]
        native = dict(zip(names, self._run(whole, None, names, images), strict=True))
        for start, stop in pairwise(names):
            (values,) = self._run(whole, start, [stop], native[start])
            difference = float(np.abs(values - native[stop]).max()) / max(float(np.abs(native[stop]).max()), 1e-6)
            if not difference <= _ROUNDING.get(self.precision, _ERROR):
                raise RestnetError(
                    f"{self._one.name}: from {start} on it gives {difference:.2g} of the largest value at {stop} else"
                    " than as a whole; leave it out of the pool and report it"
                )

    def _run(self, whole: Object, start: str | None, stops: list[str], x: np.ndarray) -> list[np.ndarray]:
        part = stretch(whole, start, stops)
        try:
            return Runner(part)(x)
        except TfliteError as error:
            raise RestnetError(
                f"{self._one.name}: LiteRT does not run the part from {start or 'its input'} to {stops[-1]}: {error};"
                " leave it out of the pool"
            ) from error


def _cut(index: int, cut: TrunkCut, end: TrunkCut, over_time: bool) -> Cut:
    """A place of a file as a search knows it; tokens are steps in time, or of a square."""
    kind = _KINDS[len(cut.shape)]
    grid = None if kind == "grid" else (cut.shape[0], 1) if over_time else cuts.square(cut.shape[0])
    rest = end.macs - cut.macs, end.parameters - cut.parameters
    return Cut(cut.name, index, kind, cut.shape, cut.clamp, cut.macs, rest[0], cut.parameters, rest[1], grid)
