"""An elastic file's points as one network with a ``choice`` input, for TensorFlow Lite Micro.

That runtime takes files of one entry point, and dies on several. A router has one: beside the image it
takes an int32, the place of the wanted point in the metadata's list. Every point is the branch of an IF
of its own, one IF behind the other; each makes the scores or hands on those that came before::

    scores = IF(choice <= 0, point 0 of the image, zeros)
    scores = IF(choice == 1, point 1 of the image, scores so far)
    scores = IF(choice >= 2, point 2 of the image, scores so far)

Exactly one point runs whatever the choice: the first for one below 0, the last for one beyond the last.

What TensorFlow Lite Micro makes of it (read in its sources, measured with its wheel): all subgraphs lie in one
plan of one arena, and the branches of an IF never live at the same time. An IF copies its inputs into the
branch and keeps its own until the branch is done. So a chain of IFs takes the head of the largest point and
about one image more, however many points there are; nested IFs take one image more a level. Points of a
ResNet-20 and a ResNet-56 in int8, with images of 3,072 bytes, take 67,648 bytes each alone; two, four or
nine of them 70,784 as a chain, and 70,768, 73,888 and 80,128 where IFs are nested. A point that is passed
over costs one copy of the image. The tail, where the records of tensors and operators lie, is the sum of
all points': 242,736 bytes for those nine on a 64-bit host, 37,840 for the largest alone; ``flash`` has no such
sum. A subgraph that two IFs called would have its place in the arena during the last call alone, so every
branch has a subgraph of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tflite_export import emit, ends, link, tail
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Model, Operator, Signature, Subgraph, Tensor, read, write
from tflite_export.precision import INPUT_KEY, OUTPUT_KEY, SIGNATURE

CHOICE_KEY = "choice"

# TensorFlow Lite Micro knows the operator, takes the file, and fails once the point is chosen.
_NO_KERNEL = (("RESIZE_BILINEAR", "INT16"),)
_OUT_OF_RANGE = "the nearest point runs"


def of_elastic(content: bytes, points: Sequence[str] = ()) -> bytes:
    """An elastic file as a router of the named points in that order, or of all by rising MACs.

    Every weight is there once. Outputs are those of the elastic file's signatures, integers bit for
    bit, but where the points' ends are quantised differently: then the router's own cover the range of
    all, and points are requantised. The metadata are the elastic file's, with the points in order of
    choice, and under ``router`` the input's name and the arena in bytes, planned from the file. Raises
    TfliteError for under two points, unknown ones, ends of several shapes or types, and a precision
    that TensorFlow Lite Micro cannot run.
    """
    model = read(content)
    noted = link.points(content) if link.METADATA in model.metadata else {}
    graphs = chosen(model, points, noted)
    _check_ends(graphs)
    subgraphs = _subgraphs(graphs)
    main = subgraphs[0]
    inputs = dict(zip((INPUT_KEY, CHOICE_KEY), main.inputs, strict=True))
    routed = Model(subgraphs, [Signature(SIGNATURE, main, inputs, {OUTPUT_KEY: main.outputs[0]})])
    arena = tail.arena(write(routed, names=False)).size
    link.finish(routed, [model], described(noted, list(graphs), router=_note(arena)))
    return write(routed, names=False)


def chosen(model: Model, points: Sequence[str], noted: Mapping[str, Any]) -> dict[str, Subgraph]:
    """The subgraphs of the named points, or of all by rising MACs where the file says them.

    Raises TfliteError for under two points, unknown ones, and what TensorFlow Lite Micro cannot run.
    """
    subgraphs = {
        s.key: s.subgraph for s in model.signatures if {*s.inputs} == {INPUT_KEY} and {*s.outputs} == {OUTPUT_KEY}
    }
    unknown = [name for name in points if name not in subgraphs]
    if unknown or len(set(points)) < len(points):
        raise TfliteError(f"cannot choose of {', '.join(points)}; give each once of: {', '.join(subgraphs)}")
    entries = _entries(noted)
    names = points or sorted(subgraphs, key=lambda name: float(entries.get(name, {}).get("macs") or 0))
    if len(names) < 2:
        raise TfliteError(f"{len(names)} points to choose from; it takes two or more of an elastic file")
    graphs = {name: subgraphs[name] for name in names}
    _check_kernels(graphs)
    return graphs


def described(noted: Mapping[str, Any], names: Sequence[str], **more: Any) -> dict[str, Any]:
    """The elastic file's metadata for the points that were chosen, in their order, with more beside."""
    entries = _entries(noted)
    return {**noted, "points": [entries.get(name, {"name": name}) for name in names], **more}


def _note(arena: int) -> dict[str, Any]:
    return {"input": CHOICE_KEY, "out_of_range": _OUT_OF_RANGE, "arena": arena, "arena_source": "planned from the file"}


def _entries(noted: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What the file says of its points, by name."""
    try:
        return {entry["name"]: entry for entry in noted.get("points") or ()}
    except (KeyError, TypeError) as error:
        raise TfliteError(f"a point in the file is not understood: {error}") from None


def _check_ends(graphs: Mapping[str, Subgraph]) -> None:
    """Refuse points that one network cannot hold."""
    for end, tensors in (("images", _inputs(graphs)), ("scores", _outputs(graphs))):
        kinds: dict[str, list[str]] = {}
        for name, tensor in tensors.items():
            kinds.setdefault(f"{tensor.type} {tensor.shape}", []).append(name)
        if len(kinds) > 1:
            words = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in kinds.items())
            raise TfliteError(f"the points have {end} of several kinds ({words}); choose points of one kind")


def _check_kernels(graphs: Mapping[str, Subgraph]) -> None:
    """Refuse what TensorFlow Lite Micro would answer wrongly or fail at."""
    for name, graph in graphs.items():
        for operator in graph.operators:
            if _reduced(operator):
                raise TfliteError(
                    f"{name} has reduced weights and float activations ({operator.name}), which TensorFlow Lite Micro "
                    "cannot run; use int8, int16x8 or float32"
                )
            if (operator.name, operator.outputs[0].type) in _NO_KERNEL:
                raise TfliteError(
                    f"{name} needs {operator.name} of {operator.outputs[0].type}, which TensorFlow Lite Micro has no "
                    "kernel for; use int8 or leave the point out"
                )


def _reduced(operator: Operator) -> bool:
    """Whether an operator reads weights of fewer bits than a float beside, or as, floats."""
    operands = [t for t in operator.inputs if t is not None]
    floats = operator.name == "DEQUANTIZE" or any(t.type == "FLOAT32" and not t.constant for t in operands)
    return floats and any(t.constant and t.type in ("FLOAT16", "INT8", "INT4") for t in operands)


def _subgraphs(graphs: Mapping[str, Subgraph]) -> list[Subgraph]:
    """The chain of IFs, and behind it two branches each: a point, and what hands on the scores so far."""
    inputs, outputs = _inputs(graphs), _outputs(graphs)
    image = ends.common(list(inputs.values()), INPUT_KEY)
    choice = emit.activation((1,), "INT32", CHOICE_KEY)
    scores = ends.common(list(outputs.values()), OUTPUT_KEY)
    so_far = emit.constant(np.zeros(scores.shape, scores.type.lower()), "router/zeros")
    so_far.table.quantization = scores.table.quantization
    operators: list[Operator] = []
    branches: list[Subgraph] = []
    for place, (name, graph) in enumerate(graphs.items()):
        relation = "LESS_EQUAL" if place == 0 else "GREATER_EQUAL" if place == len(graphs) - 1 else "EQUAL"
        compared = emit.compared(choice, relation, place)
        y = emit.activation(scores.shape, scores.type, OUTPUT_KEY, like=scores)
        taken, passed = _point(name, graph, image, scores), _passing(image, scores)
        operators += [compared, emit.branch(compared.outputs[0], [image, so_far], [y], taken, passed)]
        branches += [taken, passed]
        so_far = y
    main = Subgraph(operators, [image, choice], [so_far])
    main.table.name = "main"
    return [main, *branches]


def _point(name: str, graph: Subgraph, image: Tensor, scores: Tensor) -> Subgraph:
    """A point as a branch, requantised where the router's ends are not its own."""
    operators = list(graph.operators)
    (x,), (y,) = graph.inputs, graph.outputs
    if not ends.same(x, image):
        x = emit.activation(image.shape, image.type, INPUT_KEY, like=image)
        operators.insert(0, emit.quantize(x, graph.inputs[0]))
    if not ends.same(y, scores):
        y = emit.activation(scores.shape, scores.type, OUTPUT_KEY, like=scores)
        operators.append(emit.quantize(graph.outputs[0], y))
    unread = emit.activation(scores.shape, scores.type, "before", like=scores)
    branch = Subgraph(operators, [x, unread], [y])
    branch.table.name = name
    return branch


def _passing(image: Tensor, scores: Tensor) -> Subgraph:
    """The branch that hands on the scores so far."""
    unread = emit.activation(image.shape, image.type, INPUT_KEY, like=image)
    kept = emit.activation(scores.shape, scores.type, OUTPUT_KEY, like=scores)
    return Subgraph([], [unread, kept], [kept])


def _inputs(graphs: Mapping[str, Subgraph]) -> dict[str, Tensor]:
    return {name: graph.inputs[0] for name, graph in graphs.items()}


def _outputs(graphs: Mapping[str, Subgraph]) -> dict[str, Tensor]:
    return {name: graph.outputs[0] for name, graph in graphs.items()}
