"""The operators of a network in groups of one kind and depth: what sensitivity is measured of, one group in turn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tflite_export.emit import WEIGHTED
from tflite_export.flatbuffer import Operator, Subgraph
from tflite_export.mixed.widening import MOVING, able, floating, is_sum

MOST = 24  # groups, which bound what measuring takes
_DEPTHS = 4
_SUMS, _ENDS = "sums", "classifier and scores"
# In floats, and in one group: what one of them gains the others lose again, and together they take less time.
_FLOATS = "norms, their sums and attention"
_TITLES = {
    "ADD": "additions",
    "AVERAGE_POOL_2D": "pools",
    "CONV_2D": "convolutions",
    "DEPTHWISE_CONV_2D": "depthwise convolutions",
    "FULLY_CONNECTED": "dense layers",
    "LOGISTIC": "sigmoids",
    "MEAN": "means",
    "MUL": "factors",
    "RSQRT": "roots",
    "SOFTMAX": "softmax",
    "SUB": "differences",
}


@dataclass(frozen=True)
class OperatorGroup:
    """Operators, as what they give is called, that are tried together."""

    name: str
    operators: tuple[str, ...]


def of(graph: Subgraph) -> tuple[OperatorGroup, ...]:
    """All operators that have a form of sixteen bits: by kind, and within it by depth; at most ``MOST`` groups."""
    candidates = [op for op in graph.operators if able(op)]
    kinds = {id(op): _kind(op, graph) for op in candidates}
    kinds |= {id(op): _FLOATS for op in floating(graph)}
    kinds |= dict.fromkeys(map(id, candidates[-2:]), _ENDS) if candidates[-1:] and _gives(candidates[-1], graph) else {}
    titles = sorted(set(kinds.values()))
    depths = max(1, min(_DEPTHS, MOST // max(1, len(titles))))
    groups: list[OperatorGroup] = []
    for title in titles[:MOST]:
        members = [op for op in candidates if kinds[id(op)] == title]
        groups += _parts(title, members, 1 if title in (_ENDS, _FLOATS) else min(depths, len(members)))
    return tuple(groups)


def _parts(title: str, operators: Sequence[Operator], count: int) -> Iterator[OperatorGroup]:
    """Operators of a kind in so many parts, from the image on."""
    ends = [len(operators) * number // count for number in range(count + 1)]
    for number in range(count):
        names = tuple(op.outputs[0].name for op in operators[ends[number] : ends[number + 1]])
        yield OperatorGroup(title if count == 1 else f"{title} {number + 1}/{count}", names)


def _kind(operator: Operator, graph: Subgraph) -> str:
    """What an operator is called among its like; what writes into a sum is another kind than what does not."""
    if is_sum(operator):
        return _SUMS
    writes = operator.name in WEIGHTED and any(is_sum(reader) for reader in _readers(operator, graph))
    return _TITLES.get(operator.name, operator.name.lower()) + (" into sums" if writes else "")


def _gives(operator: Operator, graph: Subgraph) -> bool:
    return operator.outputs[0] is graph.outputs[0]


def _readers(operator: Operator, graph: Subgraph) -> Iterator[Operator]:
    """What reads an operator's numbers, wherever they are moved to."""
    for reader in graph.operators:
        if any(t is operator.outputs[0] for t in reader.inputs):
            yield from _readers(reader, graph) if reader.name in MOVING else (reader,)
