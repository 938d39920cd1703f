"""What a family's routes are linked of: anchors compiled once, backs of their own where a route changed one.

What one variant alone has in its back (the ``back`` rung, a norm that no convolution folds) is compiled
for it; everything else is shared with the anchors.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from restnet_tf.family import mixing, objects
from restnet_tf.family.fidelity import Fidelity
from restnet_tf.family.linker import Joint, Linker, Maker
from restnet_tf.family.objects import BackCompilation, Compilation, Form, MixedCompilation
from restnet_tf.graph import cuts, infer, norms
from restnet_tf.graph.norms import UnfoldableError
from restnet_tf.points.points import Cascade
from restnet_tf.records import RestnetError
from restnet_tf.stitches import stitch, variant
from restnet_tf.work import sources, tasks
from restnet_tf.work.tasks import Task
from tflite_export import convert, link, verify
from tflite_export.cascades import Stage
from tflite_export.errors import UnsharedError
from tflite_export.flatbuffer import Subgraph, only, read
from tflite_export.precision import MIXED, precision_named
from tflite_export.rewrites import rewritten

if TYPE_CHECKING:
    import keras

    from restnet_tf.family.family import Family
    from restnet_tf.fitting.results import Fitted
    from restnet_tf.graph.norms import Refolded
    from restnet_tf.records import Anchor, Plan
    from restnet_tf.work.sources import AnchorSource

CONVERTERS = ("link", "tf")
# A cut that loses more of what a stitch delivers is worth a word.
_CLIPPED = 0.01
# Below it a route is calibrated on its own, if that gains something; what the anchors' ranges suit has 25 to 35.
_LEAST_SQNR_DB, _WORTH_DB = 20.0, 1.0


@dataclass(frozen=True)
class Members:
    """The points of a family with what they are made of; ``taught`` are anchors with other weights, by point."""

    family: Family
    plans: Mapping[str, Plan]
    fitted: Mapping[str, Fitted]
    taught: Mapping[str, AnchorSource] = field(default_factory=dict)

    @property
    def names(self) -> frozenset[str]:
        """Of all points that files can be made of."""
        return frozenset((*self.family.anchors, *self.taught, *self.plans))

    def whole(self, point: str) -> Anchor | None:
        """The network of a point that is no route: an anchor, or one with other weights; None of any other."""
        if point in self.taught:
            return sources.anchor(self.taught[point])
        return self.family.anchors.get(point)

    def source(self, point: str) -> AnchorSource:
        """How any process loads such a point."""
        return self.taught.get(point) or self.family.sources[point]

    def model(self, point: str, *, logits: bool = False) -> keras.Model:
        """A point in Keras, from raw images to probabilities or logits."""
        anchor = self.whole(point)
        if anchor is None:
            stitches = self.fitted[point].stitches
            return variant.assemble(self.plans[point], self.family.anchors, *stitches, logits=logits)
        return cuts.between(anchor.model, anchor.model.inputs[0], anchor.logits) if logits else anchor.model

    def input_shape(self, point: str) -> tuple[int, ...]:
        """``(h, w, c)`` of the images that a point takes: its front's."""
        anchor = self.whole(point)
        return (anchor or self.family.anchors[self.plans[point].route[0].anchor]).input_shape

    def input_type(self, precision: str) -> str | None:
        """What files take images as where it was asked for, None for what is usual for the precision."""
        bytes_in = self.family.settings.uint8_input and "uint8" in precision_named(precision).ends
        return "uint8" if bytes_in else None

    def calibration(self, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
        """Batches of raw images ``(b, h, w, c)`` that the anchors are calibrated on."""
        return objects.calibration(self.family.data, shape)


@dataclass(frozen=True)
class ObjectPlace:
    """Where an object lies: what it is called, its file, and the role of the anchor whose integer weights it takes."""

    name: str
    path: Path
    weights_of: str | None


def makers(members: Members) -> dict[str, Maker]:
    """What makes files of the family's points, by precision."""
    settings = members.family.settings
    make = linker if settings.converter == "link" else Converter
    return {precision: make(members, precision) for precision in settings.precisions}


def linker(members: Members, precision: str) -> Linker:
    """What links the family's points in one precision."""
    return Linker(AnchorPieces(members, precision), members.plans, members.fitted, precision)


def compile_anchors(family: Family, precisions: Sequence[str]) -> None:
    """Compile the anchors before anything is fitted to them, where files are linked.

    They are needed in any case, and what no file can be made of is refused (``TfliteError``) within seconds.
    """
    if family.settings.converter != "link":
        return
    members = Members(family, {}, {})
    pieces = [AnchorPieces(members, precision) for precision in precisions]
    compile_objects(family, pieces, family.anchors)
    for each in pieces:
        for role in family.anchors:
            each.object(role)


def compile_objects(family: Family, pieces: Collection[AnchorPieces], roles: Collection[str]) -> None:
    """Compile what the run lacks of the anchors' objects, and say what there is to say of these."""
    for mixed in (False, True):  # of the int8 ones
        due = {
            (each, role): task for each in pieces if each.mixed == mixed for role in roles if (task := each.due(role))
        }
        tasks.finish(family.execute, list(due.values()), family.report)
        for each, role in due:
            each.tell(role)


class Converter:
    """Files that TensorFlow converts whole, one by one: what linking is held against."""

    def __init__(self, members: Members, precision: str) -> None:
        self._members, self._precision = members, precision

    def elastic(self, points: Sequence[str], metadata: Mapping[str, Any], chains: Mapping[str, Cascade]) -> None:
        """None: a file of several signatures is linked."""

    def stage(self, point: str) -> Stage:
        """A point as a stage of a cascade: its own file, converted anew."""
        model = read(self.variant(point))
        return Stage(only(model), made_of=(model,))

    def rest(self, first: str, last: str) -> Stage:
        """Refused: files that were converted whole share no front."""
        raise RestnetError(f"{last} was converted whole and cannot go on from {first}; build with --converter link")

    def variant(self, point: str) -> bytes:
        """One point's own file."""
        model = self._members.model(point)
        images = self._members.calibration(model.input_shape[1:])
        taken = self._members.input_type(self._precision)
        family = self._members.family
        lower, limits = family.settings.lower, family.data.kind.limits
        precision = "int8" if self._precision == MIXED else self._precision
        content = convert.convert(model, precision, images, input_type=taken, limits=limits, lower=lower)
        return mixing.alike(content, map(family.run.map_path, family.anchors) if precision != self._precision else ())


class AnchorPieces:
    """Objects of one family in one precision."""

    def __init__(self, members: Members, precision: str) -> None:
        self._members, self._family, self._precision = members, members.family, precision
        self._integers = precision_named(precision).calibrated
        self.mixed = precision == MIXED
        self._lower = members.family.settings.lower
        self._objects: dict[str, link.Object] = {}
        self._places: dict[str, ObjectPlace] = {}
        self._fidelity = Fidelity(members, precision)

    def file(self, point: str, route: link.Route) -> bytes:
        """One point's own file; a float32 one has been run beside Keras."""
        content = link.variant(route, precision=self._precision)
        if self._precision == "float32":
            self._fidelity.check(point, content)
        return content

    def graph(self, point: str, route: link.Route) -> Subgraph:
        """What a point's own file holds, made of the anchors' own tensors."""
        return link.subgraph(route, self._precision, share=False)

    def joined(self, joint: Joint, lead: link.Route) -> link.Route:
        """A route with one more piece; the last back may be calibrated anew."""
        route = self._shared(joint, lead)
        if joint.exits and route is not None:
            return self._refitted(joint, route)  # what could be compiled or calibrated anew is not there
        if route is None or (self._integers and self._family.settings.recalibrate):
            return self._refitted(joint, replace(lead, back=self._own_back(joint)))
        if not self._integers:
            return route
        route = self._refitted(joint, route)
        return (
            self._fidelity.nearest(joint.plan.name, self._best_calibrated(joint, route, lead)) if joint.last else route
        )

    def _shared(self, joint: Joint, lead: link.Route) -> link.Route | None:
        """The route with the anchor's own back; None where what was tuned cannot be told from its weights."""
        back = self.object(joint.back.anchor)
        try:
            route = replace(lead, back=back, start=joint.back.start, retuned=self._retuned(joint))
            link.subgraph(route, self._precision, share=True)  # refuses norms that the converter folded elsewhere
        except (UnfoldableError, UnsharedError):
            return None
        return route

    def _best_calibrated(self, joint: Joint, route: link.Route, lead: link.Route) -> link.Route:
        """The route itself, or with its back calibrated anew where the anchor's ranges cost too much.

        Norms tuned for a route may bring its back out of the ranges that the anchor was calibrated
        for. The second calibration shares the anchor's integer weights as well.
        """
        name = joint.plan.name
        before = self._fidelity.sqnr(name, route)
        if before >= _LEAST_SQNR_DB:
            lost = self._lost(joint, route)
            if lost > _CLIPPED:
                self._family.report.say(
                    f"{name} {self._precision}: {lost:.1%} of what the stitch delivers lies outside the range of"
                    " the back's cut; --recalibrate would calibrate its back anew"
                )
            return route
        anew = self._refitted(joint, replace(lead, back=self._own_back(joint)))
        after = self._fidelity.sqnr(name, anew)
        worth = after > before + _WORTH_DB
        self._family.report.say(
            f"{name} {self._precision}: logits {before:.1f} dB above the error in the anchor's ranges,"
            f" {after:.1f} dB in its own; {'calibrated anew' if worth else 'kept as it was'}"
        )
        return anew if worth else route

    def _retuned(self, joint: Joint) -> tuple[Refolded, ...]:
        if not joint.stitch.tuned:
            return ()
        before = objects.back(self._family.anchors[joint.back.anchor], joint.back.start)
        return norms.refolded(before, variant.with_weights(before, joint.stitch.tuned))

    def _refitted(self, joint: Joint, route: link.Route) -> link.Route:
        """A route of integers with its last stitch fitted to what the integers in front of it put out."""
        if not self._integers or joint.fitted.settled:
            return route
        images = self._members.calibration(self._members.input_shape(joint.plan.name))
        lead = route.front if isinstance(route.front, link.Route) else link.Route(route.front)
        rough = verify.run(link.front(lead, str(route.stop), precision=self._precision), images).scores
        rounded = link.own_channels(route, rough, joint.stitch.source.shape)
        refitted = stitch.refitted(joint.stitch, self._features(joint), rounded)
        return replace(route, stitch=stitch.pipeline(refitted))

    def _lost(self, joint: Joint, route: link.Route) -> float:
        """The share of what a stitch delivers that the integers at the back's cut cannot hold."""
        low, high = link.limits(route)
        delivered = link.held_channels(route, stitch.delivered(joint.stitch, self._features(joint)))
        return float(np.mean((delivered < low) | (delivered > high)))

    def _features(self, joint: Joint) -> np.ndarray:
        """What the float network gives in front of a joint on the calibration images ``(n, h, w, c)``."""
        shape = self._members.input_shape(joint.plan.name)
        return np.concatenate(list(objects.run(self._lead(joint), self._members.calibration(shape))))

    def _lead(self, joint: Joint) -> keras.Model:
        """From the image to the cut in front of a joint."""
        return variant.lead(joint.plan, self._family.anchors, *joint.fitted.stitches[: joint.number])

    def object(self, role: str) -> link.Object:
        """An anchor, compiled with its cuts as outputs; one with other weights has none: no route goes through it."""
        new = role not in self._objects and self.due(role) is not None
        compiled = self._kept(role, *self._compilation(role))
        if new:
            self.tell(role)
        return compiled

    def tell(self, role: str) -> None:
        """Say what came of compiling an anchor, where that decided anything or changed its answers."""
        if self._lower:
            self._tell_lowered(role)
        if self.mixed:
            self._family.report.say(self._family.settings.mixed.told(role, self._family.run.map_path(role)))

    def due(self, role: str) -> Task[Any, None] | None:
        """What makes the object of an anchor; None where the run has it."""
        parts, task = self._compilation(role)
        path = self._path(role, parts)
        return None if path.exists() else task(path)

    def _compilation(self, role: str) -> tuple[list[str], Callable[[Path], Task[Any, None]]]:
        """What the object of an anchor is made from, and what makes it."""
        if self.mixed:
            return self._mixed_compilation(role)
        starts = {piece.start for plan in self._members.plans.values() for piece in plan.route if piece.anchor == role}
        places = self._family.places.get(role, ())
        names = tuple(cut.name for cut in places if cut.kind != "vector" or cut.name in starts)
        taken = self._members.input_type(self._precision)
        form, source = Form(self._precision, self._lower, taken), self._members.source(role)

        def task(path: Path) -> Task[Any, None]:
            title = f"compiling {role} to {self._precision}"
            job = Compilation(path, form, self._family.images, source, names)
            return Task(title, objects.compiled, job, kind=tasks.CONVERSIONS)

        return [source.sha256, *names, taken or ""], task

    def _mixed_compilation(self, role: str) -> tuple[list[str], Callable[[Path], Task[Any, None]]]:
        """The same of a mixed object, which is made of the int8 one."""
        eight, own = AnchorPieces(self._members, "int8"), self._family.settings.mixed
        parts, make = eight._compilation(role)
        given, noted = own.given(role), self._family.run.map_path(role)

        def task(path: Path) -> Task[Any, None]:
            job = MixedCompilation(path, make(eight._path(role, parts)).given, noted, given, own.limit)
            return Task(mixing.title(role, given), objects.compiled_mixed, job, kind=tasks.CONVERSIONS)

        return [*parts, own.word], task

    def _tell_lowered(self, role: str) -> None:
        """Say how far an anchor made of other operators is from what it was in Keras."""
        model = self._members.model(role)
        images = next(iter(self._members.calibration(model.input_shape[1:])))
        scores = verify.run(link.variant(link.Route(self.object(role)), precision=self._precision), [images]).scores
        exact = np.asarray(infer.compiled(model)(images))
        same = float(np.mean(scores.argmax(1) == exact.argmax(1)))
        self._family.report.say(
            f"{role} {self._precision}, without {', '.join(self._lower)}: {same:.1%} of {len(images)} answers as in"
            f" Keras, scores within {float(np.abs(scores - exact).max()):.2g}"
        )

    def _own_back(self, joint: Joint) -> link.Object:
        """The back of one variant as an object of its own, calibrated on what its stitch delivers."""
        fitted, back = joint.stitch, joint.back

        def task(path: Path) -> Task[Any, None]:
            form, family = Form(self._precision, self._lower), self._family
            noted = family.run.map_path(back.anchor) if self.mixed else None
            held = link.holdings_from(self.object(back.anchor), back.start) if self._integers else {}
            given = path, form, family.images, family.sources, joint.plan, tuple(fits), noted, held
            title = f"compiling the back of {joint.plan.name} to {self._precision}"
            return Task(title, objects.compiled_back, BackCompilation(*given), kind=tasks.CONVERSIONS)

        fits = joint.fitted.stitches[: joint.number + 1]
        values = [v for one in fits for part in stitch.weights(one).values() for v in part]
        values += [fitted.tuned[path] for path in sorted(fitted.tuned)]
        digests = [hashlib.sha256(np.ascontiguousarray(v).tobytes()).hexdigest() for v in values]
        route = [f"{p.anchor} {p.start} {p.stop}" for p in joint.plan.route[: joint.number + 2]]
        anchors = [self._family.anchors[p.anchor].sha256 for p in joint.plan.route[: joint.number + 2]]
        shared = back.anchor if self._integers else None
        name = joint.plan.name if joint.last else f"{joint.plan.name}.{joint.number + 1}"
        return self._kept(name, [*anchors, *route, *digests], task, shared)

    def _kept(
        self,
        name: str,
        parts: Sequence[str],
        task: Callable[[Path], Task[Any, None]],
        weights_of: str | None = None,
    ) -> link.Object:
        """An object from memory, from the run, or compiled into it; ``weights_of`` is the role of an anchor."""
        if name not in self._objects:
            path = self._path(name, parts)
            if not path.exists():
                tasks.finish(self._family.execute, [task(path)], self._family.report)
            self.placed(ObjectPlace(name, path, weights_of))
        return self._objects[name]

    def place(self, one: link.Object) -> ObjectPlace:
        """Where an object of these lies in the run."""
        return self._places[next(name for name, value in self._objects.items() if value is one)]

    def placed(self, place: ObjectPlace) -> link.Object:
        """The object that lies there."""
        if place.name not in self._objects:
            shared = None if place.weights_of is None else self.object(place.weights_of)
            self._objects[place.name] = link.Object(place.path.read_bytes(), shared)
            self._places[place.name] = place
        return self._objects[place.name]

    def _path(self, name: str, parts: Sequence[str]) -> Path:
        """The file of an object, which is named by all that it is made from."""
        tools = [f"{package} {version(package)}" for package in ("tensorflow", "keras")]
        way = [*self._lower, self._precision, *rewritten.word(self._precision)]
        whole = "\n".join([*parts, *way, self._family.data.sha256, str(objects.CALIBRATION_IMAGES), *tools])
        return self._family.run.object_path(name, self._precision, hashlib.sha256(whole.encode()).hexdigest()[:16])
