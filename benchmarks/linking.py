"""Linking against converting: time, and what an elastic file is made of.

``python -m benchmarks.linking`` compiles two anchors once, links every variant of a family and its
elastic file, and converts a sample of the same variants whole with TFLiteConverter, in one run. Stitches
and weights are random: neither time nor size depends on their values.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from tflite_export import convert, flatbuffer, link
from tflite_export.flatbuffer import Model, Subgraph

if TYPE_CHECKING:
    from restnet_tf.records import Anchor, Cut, Stitch

_CALIBRATION_IMAGES = 4


@dataclass(frozen=True)
class Variant:
    """A variant to be: from a cut of one anchor, through a stitch, to a cut of the other."""

    source: str
    stop: str
    start: str
    stitch: Stitch


@dataclass(frozen=True)
class Size:
    """An elastic file by what its bytes are; ``tables`` is all that is no weight."""

    total: int
    weights: int
    operators: int
    tensors: int
    rest: int

    @property
    def tables(self) -> int:
        """Bytes beside the weights."""
        return self.total - self.weights


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--large", default="EfficientNetB0")
    parser.add_argument("--small", default="MobileNetV2")
    parser.add_argument("--variants", type=int, default=44)
    parser.add_argument("--sample", type=int, default=3, help="variants that TFLiteConverter converts too")
    parser.add_argument("--precision", default="float32,int8")
    options = parser.parse_args(arguments)
    for precision in options.precision.split(","):
        measure(options.large, options.small, options.variants, options.sample, precision)


def measure(large: str, small: str, variants: int, sample: int, precision: str) -> None:
    """Print times and sizes for one pair of anchors in one precision."""
    from restnet_tf.anchors import zoo
    from restnet_tf.graph import cuts
    from restnet_tf.stitches import stitch

    anchors = {"large": zoo.load(large, weights="none"), "small": zoo.load(small, weights="none")}
    cut_lists = {role: cuts.find(anchor.model) for role, anchor in anchors.items()}
    pairs = _pairs(cut_lists, variants)
    start = time.perf_counter()
    objects = {role: link.Object(_compiled(anchor, cut_lists[role], precision)) for role, anchor in anchors.items()}
    compiled = time.perf_counter() - start
    other = {"large": "small", "small": "large"}
    routes = {
        name: link.Route(objects[p.source], p.stop, stitch.pipeline(p.stitch), objects[other[p.source]], p.start)
        for name, p in pairs.items()
    }
    files, linked = _timed(lambda: {name: link.variant(r, precision=precision) for name, r in routes.items()})
    whole = {role: link.Route(o) for role, o in objects.items()}
    elastic, packed = _timed(lambda: link.elastic(routes | whole, precision=precision, metadata={"points": []}))
    step = max(1, len(pairs) // sample)
    chosen = list(pairs)[::step][:sample]
    converted = [_timed(partial(_converted, anchors, pairs[name], precision))[1] for name in chosen]
    each = median(converted)
    ratio = each * len(files) / (linked + packed)
    print(f"{large} + {small}, {precision}: {len(files)} variants")
    print(f"  compile both anchors once          {compiled:8.1f} s")
    print(f"  link {len(files)} files                      {linked:8.2f} s")
    print(f"  link the elastic file              {packed:8.2f} s")
    print(f"  TFLiteConverter, each of {len(chosen)} sampled {each:8.1f} s (median)")
    print(f"  converting all would take {ratio:.0f} times as long as linking them and the elastic file (extrapolated)")
    size = sizes(elastic)
    count = len(routes) + len(whole)
    print(f"  elastic file {size.total:,} B; its weights {size.weights:,} B; {len(files)} files {_total(files):,} B")
    print(
        f"  beside the weights {size.tables / count / 1e3:.1f} KB a point: operators"
        f" {size.operators / count / 1e3:.1f}, tensors {size.tensors / count / 1e3:.1f},"
        f" the rest {size.rest / count / 1e3:.1f}"
    )
    print(f"  {size.total / size.weights:.4f} of its weights", flush=True)


def sizes(content: bytes) -> Size:
    """What the bytes of a file are, by writing it again without one part after the other."""
    model = flatbuffer.read(content)
    buffers = {id(t.buffer): t.buffer for s in model.subgraphs for t in s.tensors}
    weights = sum(len(b.data) for b in buffers.values())
    bare = [Subgraph([], s.inputs, s.outputs, s.tensors, s.table) for s in model.subgraphs]
    without_operators = len(_again(model, bare))
    empty = [Subgraph([], s.inputs, s.outputs, [], s.table) for s in model.subgraphs]
    rest = len(_again(model, empty))
    total = len(content)
    return Size(total, weights, total - without_operators, without_operators - rest - weights, rest)


def _again(model: Model, subgraphs: list[Subgraph]) -> bytes:
    replaced = dict(zip(map(id, model.subgraphs), subgraphs, strict=True))
    signatures = []
    for signature in model.signatures:
        fresh = copy.copy(signature)
        fresh.subgraph = replaced[id(signature.subgraph)]
        signatures.append(fresh)
    return flatbuffer.write(Model(subgraphs, signatures, model.metadata, model.table))


def _pairs(cut_lists: Mapping[str, Sequence[Cut]], count: int) -> dict[str, Variant]:
    """Evenly spread over all pairs of cuts that a stitch can join, in both orders."""
    from restnet_tf.records import Stitch
    from restnet_tf.stitches import stitch

    joined = [
        (source, a, b)
        for source, target in (("large", "small"), ("small", "large"))
        for a in cut_lists[source]
        for b in cut_lists[target]
        if not stitch.compatible(a, b)
    ]
    rng = np.random.default_rng(0)
    pairs = {}
    for at in np.linspace(0, len(joined) - 1, min(count, len(joined))).astype(int):
        source, a, b = joined[at]
        kernel = rng.normal(0, a.shape[-1] ** -0.5, (a.shape[-1], b.shape[-1])).astype(np.float32)
        fitted = Stitch(kernel, np.zeros(b.shape[-1], np.float32), a.layout, b.layout, b.clamp)
        pairs[f"{source[0].upper()}{a.index}-{b.index}"] = Variant(source, a.name, b.name, fitted)
    return pairs


def _compiled(anchor: Anchor, cut_list: Sequence[Cut], precision: str) -> bytes:
    from restnet_tf.graph import cuts

    tensors = {cut.name: cuts.tensor(anchor.model, cut.name) for cut in cut_list if cut.kind != "vector"}
    return convert.compile_object(anchor.model, tensors, precision, _calibration(anchor.input_shape))


def _converted(anchors: Mapping[str, Anchor], pair: Variant, precision: str) -> bytes:
    from restnet_tf.records import Piece, Plan
    from restnet_tf.stitches import variant

    other = "small" if pair.source == "large" else "large"
    route = (Piece(pair.source, None, pair.stop), Piece(other, pair.start, None))
    plan = Plan("variant", route, 0, 0, 0.0, 0.0)
    model = variant.assemble(plan, anchors, pair.stitch)
    return convert.convert(model, precision, _calibration(anchors[pair.source].input_shape))


def _calibration(shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    yield rng.uniform(0, 255, (_CALIBRATION_IMAGES, *shape)).astype(np.float32)


def _timed(run: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    result = run()
    return result, time.perf_counter() - start


def _total(files: Mapping[str, bytes]) -> int:
    return sum(map(len, files.values()))


if __name__ == "__main__":
    main()
