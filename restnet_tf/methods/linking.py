"""From anchors and fitted stitches to ``.tflite`` files: every anchor is compiled once, every variant linked.

What one variant alone has in its back (the ``back`` rung, a norm that no convolution folds) is compiled
for it; everything else is shared with the anchors.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from restnet_tf import cuts, norms, runs, stitch, variant
from restnet_tf.records import RestnetError
from tflite_export import convert, link
from tflite_export.errors import TfliteError

if TYPE_CHECKING:
    import keras

    from restnet_tf.fit import Fitted
    from restnet_tf.methods.family import Family
    from restnet_tf.norms import Refolded
    from restnet_tf.records import Plan

CONVERTERS = ("link", "tf")
_CALIBRATION_IMAGES = 128
_EVERYTHING = (-np.inf, np.inf)


class Linker:
    """The files of one family in one precision."""

    def __init__(self, family: Family, precision: str, plans: Sequence[Plan], fitted: Mapping[str, Fitted]) -> None:
        self._family, self._precision = family, precision
        self._plans, self._fitted = {p.name: p for p in plans}, fitted
        self._objects: dict[str, link.Object] = {}

    def variant(self, point: str) -> bytes:
        """One point's own file."""
        return link.variant(self.route(point), precision=self._precision)

    def elastic(self, points: Sequence[str], metadata: Mapping[str, Any]) -> bytes:
        """One file with a signature for each point."""
        routes = {point: self.route(point) for point in points}
        return link.elastic(routes, precision=self._precision, metadata=metadata)

    def route(self, point: str) -> link.Route:
        """A point as objects and what joins them; compiles what is not compiled yet."""
        if point in self._family.anchors:
            return link.Route(self._object(point))
        plan, fitted = self._plans[point], self._fitted[point].stitch
        front, back = plan.route
        lead = link.Route(self._object(front.anchor), str(front.stop), fitted)
        try:
            retuned = self._retuned(plan, fitted.tuned)
            route = replace(lead, back=self._object(back.anchor), start=str(back.start), retuned=retuned)
            link.subgraph(route, self._precision, share=True)  # refuses norms that the converter folded elsewhere
        except (RestnetError, TfliteError):
            # Its back is not the anchor's any more: compiled for this variant alone.
            route = replace(lead, back=self._own_back(plan))
        return route

    def _retuned(self, plan: Plan, tuned: Mapping[str, np.ndarray]) -> tuple[Refolded, ...]:
        if not tuned:
            return ()
        back = plan.route[1]
        before = cuts.back(self._family.anchors[back.anchor], str(back.start))
        return norms.refolded(before, variant.with_weights(before, tuned))

    def _object(self, role: str) -> link.Object:
        anchor = self._family.anchors[role]
        names = [cut.name for cut in self._family.cut_lists[role] if cut.kind == "grid"]

        def made() -> bytes:
            tensors = {name: cuts.tensor(anchor.model, name) for name in names}
            return convert.compile_object(anchor.model, tensors, self._precision, self._images(role))

        return self._kept(role, [anchor.sha256, *names], made)

    def _own_back(self, plan: Plan) -> link.Object:
        """The back of one variant as an object of its own, calibrated on what its stitch delivers."""
        fitted, (front, back) = self._fitted[plan.name].stitch, plan.route

        def made() -> bytes:
            anchor = self._family.anchors[front.anchor]
            tuned = variant.with_weights(cuts.back(self._family.anchors[back.anchor], str(back.start)), fitted.tuned)
            lead = stitch.build(fitted)(cuts.front(anchor, str(front.stop))(anchor.model.inputs[0]))
            features = _run(anchor.model.inputs[0], lead, self._images(front.anchor))
            return convert.compile_object(tuned, {}, self._precision, features, limits=_EVERYTHING)

        values = [fitted.kernel, fitted.bias, *(fitted.tuned[path] for path in sorted(fitted.tuned))]
        digests = [hashlib.sha256(np.ascontiguousarray(v).tobytes()).hexdigest() for v in values]
        anchors = [self._family.anchors[role].sha256 for role in (front.anchor, back.anchor)]
        return self._kept(plan.name, [*anchors, *digests], made)

    def _kept(self, name: str, parts: Sequence[str], made: Any) -> link.Object:
        """An object from memory, from the run, or compiled into it: its file is named by all it is made from."""
        if name not in self._objects:
            tools = [f"{package} {version(package)}" for package in ("tensorflow", "keras")]
            whole = "\n".join([*parts, self._precision, self._family.data.sha256, str(_CALIBRATION_IMAGES), *tools])
            path = self._family.run.object_path(name, self._precision, hashlib.sha256(whole.encode()).hexdigest()[:16])
            if not path.exists():
                runs.write_bytes(path, made())
            self._objects[name] = link.Object(path.read_bytes())
        return self._objects[name]

    def _images(self, role: str) -> Iterator[np.ndarray]:
        shape = self._family.anchors[role].input_shape
        yield from (np.asarray(x) for x in self._family.data.fit.head(_CALIBRATION_IMAGES).batches(shape, 64))


class Converter:
    """The files of one family in one precision, each converted whole by TensorFlow: what linking is held against."""

    def __init__(self, family: Family, precision: str, plans: Sequence[Plan], fitted: Mapping[str, Fitted]) -> None:
        self._family, self._precision = family, precision
        self._plans, self._fitted = {p.name: p for p in plans}, fitted

    def variant(self, point: str) -> bytes:
        """One point's own file."""
        model = self.model(point)
        images = self._family.data.fit.head(_CALIBRATION_IMAGES).batches(model.input_shape[1:], 64)
        return convert.convert(model, self._precision, (np.asarray(x) for x in images))

    def model(self, point: str) -> keras.Model:
        """One point in Keras, from raw images to probabilities."""
        if point in self._family.anchors:
            return self._family.anchors[point].model
        return variant.assemble(self._plans[point], self._family.anchors, self._fitted[point].stitch)


def _run(image: Any, end: Any, batches: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    import keras

    model = keras.Model(image, end)
    return (np.asarray(model(batch, training=False)) for batch in batches)
