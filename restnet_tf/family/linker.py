"""From objects and fitted stitches to ``.tflite`` files: every variant is linked of what was compiled once.

Where the objects come from, and how a stitch is made to fit the integers in front of it, is up to the pieces: those of
anchors in Keras (``anchor_pieces``), or of a pool that was compiled for all its users.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from restnet_tf.points.points import Cascade
from restnet_tf.stitches.stitch import pipeline
from tflite_export import cascades, link
from tflite_export.cascades import Stage
from tflite_export.flatbuffer import Subgraph

if TYPE_CHECKING:
    from restnet_tf.fitting.results import Fitted
    from restnet_tf.records import Piece, Plan, Stitch


@dataclass(frozen=True)
class Joint:
    """Where two pieces of a point meet: the first joint of a route is number 0."""

    plan: Plan
    fitted: Fitted
    number: int
    stitch: Stitch

    @property
    def front(self) -> Piece:
        """The piece before it."""
        return self.plan.route[self.number]

    @property
    def back(self) -> Piece:
        """The piece behind it."""
        return self.plan.route[self.number + 1]

    @property
    def last(self) -> bool:
        """Whether the piece behind it is the route's last."""
        return self.number == len(self.plan.route) - 2

    @property
    def exits(self) -> bool:
        """Whether it leads to the classes: nothing of an anchor but its softmax is behind it."""
        return self.stitch.target.vector


class Pieces(Protocol):
    """What a route is linked of, in one precision."""

    def object(self, role: str) -> link.Object:
        """An anchor, compiled."""

    def joined(self, joint: Joint, lead: link.Route) -> link.Route:
        """A route with one more piece; ``lead`` ends in the stitch and has no back yet."""

    def file(self, point: str, route: link.Route) -> bytes:
        """One point's own file, checked."""

    def graph(self, point: str, route: link.Route) -> Subgraph:
        """What a point's own file holds."""


class Maker(Protocol):
    """What makes files of points in one precision."""

    def variant(self, point: str) -> bytes:
        """One point's own file."""

    def stage(self, point: str) -> Stage:
        """A point as a stage of a cascade: what its own file holds."""

    def rest(self, first: str, last: str) -> Stage:
        """An anchor as a stage that goes on from the front of the point before it."""

    def elastic(
        self, points: Sequence[str], metadata: Mapping[str, Any], chains: Mapping[str, Cascade]
    ) -> bytes | None:
        """One file with a signature for each point and cascade; None where this maker makes none."""


def stages(chain: Cascade, whole: Callable[[str], Stage], rest: Callable[[str, str], Stage]) -> list[Stage]:
    """The stages of a cascade: ``whole`` ones, and those that take the ``rest`` of what the one before began."""
    before = (None, *chain.stages)
    return [
        rest(str(first), name) if name in chain.resumes else whole(name)
        for first, name in zip(before, chain.stages, strict=False)
    ]


class Linker:
    """Linked files in one precision."""

    def __init__(self, pieces: Pieces, plans: Mapping[str, Plan], fitted: Mapping[str, Fitted], precision: str) -> None:
        self._pieces, self._plans, self._fitted, self._precision = pieces, plans, fitted, precision
        self._routes: dict[str, link.Route] = {}

    @property
    def pieces(self) -> Pieces:
        """What routes are linked of."""
        return self._pieces

    def variant(self, point: str) -> bytes:
        """One point's own file."""
        return self._pieces.file(point, self.route(point))

    def adopt(self, point: str, route: link.Route) -> None:
        """Take a route as another process joined it."""
        self._routes[point] = route

    def elastic(
        self, points: Sequence[str], metadata: Mapping[str, Any], chains: Mapping[str, Cascade]
    ) -> bytes | None:
        """One file with a signature for each point and cascade."""
        routes = {point: self.route(point) for point in points}
        more = [cascades.signature(self._shared(one), one.confidence, name) for name, one in chains.items()]
        return link.elastic(routes, precision=self._precision, metadata=metadata, more=more)

    def stage(self, point: str) -> Stage:
        """A point as a stage of a cascade."""
        route = self.route(point)
        return Stage(self._pieces.graph(point, route), made_of=route.models)

    def rest(self, first: str, last: str) -> Stage:
        """An anchor from the cut on where the point before it left it."""
        anchor = self._pieces.object(last)
        cut = anchor.cut(str(self._plans[first].route[0].stop))
        operators = link.leading_to([anchor.scores], anchor.graph, cut)
        return Stage(Subgraph(operators, [cut], [anchor.scores]), cut, (anchor.model,))

    def _shared(self, chain: Cascade) -> list[Stage]:
        """The stages of a cascade, made of the weights that all points of an elastic file share."""

        def stage(point: str) -> Stage:
            route = self.route(point)
            return Stage(link.subgraph(route, self._precision, share=True), made_of=route.models)

        return stages(chain, stage, self.rest)

    def route(self, point: str) -> link.Route:
        """A point as objects and what joins them; compiles what is not compiled yet."""
        if point not in self._routes:
            plan = self._plans.get(point)
            self._routes[point] = link.Route(self._pieces.object(point)) if plan is None else self._stitched(plan)
        return self._routes[point]

    def _stitched(self, plan: Plan) -> link.Route:
        """The pieces joined one after the other."""
        fitted = self._fitted[plan.name]
        route = link.Route(self._pieces.object(plan.route[0].anchor))
        for number, stitch in enumerate(fitted.stitches):
            joint = Joint(plan, fitted, number, stitch)
            front = route if route.back is not None else route.front
            route = self._pieces.joined(joint, link.Route(front, str(joint.front.stop), pipeline(stitch)))
        return route
