"""What composed nets are linked of: a pool's objects; a stitch is fitted to what the integers before it put out.

LiteRT alone runs everything; a float32 file has been held against the activations that its stitches were fitted on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from restnet_tf.family.linker import Joint
from restnet_tf.fitting.results import Fitted
from restnet_tf.methods.stitchnet.composition import Composition
from restnet_tf.methods.stitchnet.fragments import FLOAT
from restnet_tf.methods.stitchnet.search import HEAD
from restnet_tf.records import Plan, Stitch
from restnet_tf.stitches import stitch
from tflite_export import fold, fragment, link
from tflite_export.flatbuffer import Subgraph, only, read
from tflite_export.fragment import Runner
from tflite_export.precision import precision_named


@dataclass(frozen=True)
class Folds:
    """How many stitches of a net are folded into the next layer; MACs saved by that are not counted in its figures."""

    count: int
    saved_macs: int


@dataclass(frozen=True)
class PoolPieces:
    """A pool's objects in one precision, and the nets that are made of them."""

    composition: Composition
    plans: Mapping[str, Plan]
    fitted: Mapping[str, Fitted]
    precision: str
    folds: dict[str, Folds] = field(default_factory=dict)  # by net, once its file is made
    _floats: dict[str, list[np.ndarray]] = field(default_factory=dict, repr=False)

    def object(self, role: str) -> link.Object:
        """A member, compiled."""
        return self.composition.object(role, self.precision)

    def file(self, point: str, route: link.Route) -> bytes:
        """One net's own file; in float32 with stitches folded where that is exact and costs no more."""
        folded = fold.variant(route, precision=self.precision)
        self.folds[point] = Folds(folded.count, folded.macs)
        return folded.content

    def graph(self, point: str, route: link.Route) -> Subgraph:
        """What a net's own file holds, its stitches folded."""
        return only(read(self.file(point, route)))

    def joined(self, joint: Joint, lead: link.Route) -> link.Route:
        """A route with one more piece."""
        fitted = self._refitted(joint, lead) if self._integers else joint.stitch
        back = self._head(joint) if joint.back.anchor == HEAD else self.object(joint.back.anchor)
        return replace(lead, stitch=stitch.pipeline(fitted), back=back, start=joint.back.start)

    @property
    def _integers(self) -> bool:
        return precision_named(self.precision).calibrated

    def _refitted(self, joint: Joint, lead: link.Route) -> Stitch:
        """A stitch fitted to what the integers in front of it put out on the few images."""
        exact = self._exact(joint)[joint.number]
        front = lead.front if isinstance(lead.front, link.Route) else link.Route(lead.front)
        images = self.composition.images(joint.plan.route[0].anchor)
        rough = Runner(link.front(front, str(lead.stop), precision=self.precision))(images)[0]
        rough = link.own_channels(lead, rough, exact.shape[1:])
        return _unbiased(stitch.refitted(joint.stitch, exact, rough), rough)

    def _head(self, joint: Joint) -> link.Object:
        """The softmax that ends a net; of integers, for the logits that the few images have and half as much more."""
        limits = (0.0, 0.0)
        if self._integers:
            logits = self._exact(joint)[-1]
            limits = 1.5 * float(logits.min()), 1.5 * float(logits.max())
        return fragment.softmax(self.composition.classes, self.precision, limits)

    def _exact(self, joint: Joint) -> list[np.ndarray]:
        """What float32 gives in front of every joint of a net on the few images, and then the logits."""
        name = joint.plan.name
        if name not in self._floats:
            self._floats[name] = _floats(self.composition, joint.plan, joint.fitted)
        return self._floats[name]


def _unbiased(fitted: Stitch, rough: np.ndarray) -> Stitch:
    """A stitch whose bias makes up for what rounding its kernel to int8 does on average.

    A head on features that hardly vary has large weights that cancel out: their rounding alone moved logits by two.
    Source: bias correction, Nagel et al. 2019 (arXiv 1906.04721).
    """
    steps = np.maximum(np.abs(fitted.kernel).max(axis=0) / 127, np.finfo(np.float32).tiny)
    lost = fitted.kernel - np.rint(fitted.kernel / steps) * steps
    mean = stitch.read(fitted, rough).reshape(-1, len(fitted.kernel)).mean(axis=0)
    return replace(fitted, bias=(fitted.bias + mean @ lost).astype(np.float32))


def _floats(composition: Composition, plan: Plan, fitted: Fitted) -> list[np.ndarray]:
    x = composition.images(plan.route[0].anchor)
    values = []
    for piece, one in zip(plan.route[:-1], fitted.stitches, strict=True):
        whole = composition.object(piece.anchor, FLOAT)
        x = Runner(fragment.stretch(whole, piece.start, [str(piece.stop)]))(x)[0]
        x = x.reshape(len(x), *one.source.shape)
        values.append(x)
        x = stitch.applied(one, x)
    return [*values, x.reshape(len(x), -1)]
