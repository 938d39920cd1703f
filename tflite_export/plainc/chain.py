"""The stages of a cascade as one network: what an earlier stage has computed, a later one does not compute again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from math import prod
from typing import Any

from tflite_export import emit
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Tensor
from tflite_export.plainc import functions, network
from tflite_export.plainc.factors import scale, zero_point
from tflite_export.plainc.layers import Alias, CLayer, Constant
from tflite_export.plainc.network import CNetwork, Placed, PlacedLayer

# Only behind these an activation is worth its room while an earlier stage goes on to its end.
_WORK = ("conv", "dense", "depthwise", "matmul")


@dataclass(frozen=True, eq=False)
class CChain:
    """All calls, how many of them each stage is, and the tensor that says how scores are scaled."""

    placed: Placed
    counts: tuple[int, ...]
    output: Tensor

    @property
    def stages(self) -> list[tuple[PlacedLayer, ...]]:
        """The calls of each stage, which read what the stages before have left."""
        return [self.placed.calls[a:b] for a, b in pairwise(accumulate(self.counts, initial=0))]


def of_networks(networks: Sequence[CNetwork]) -> CChain:
    """The calls of stages whose inputs have one shape and type.

    Raises TfliteError where a stage takes bytes at another scale than the first.
    """
    entry, kept = networks[0].input, _Kept()
    stages = [kept.remaining(one, entry) for one in networks]
    placed = network.placed(entry, [one.output for one in networks], [part for parts in stages for part in parts])
    counts = (sum(isinstance(part, CLayer) for part in parts) for parts in stages)
    return CChain(placed, tuple(counts), networks[0].output)


class _Kept:
    """What the stages so far have computed, by value: equal layers of equal values give equal values."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}
        self._tensors: dict[int, Tensor] = {}

    def remaining(self, stage: CNetwork, entry: Tensor) -> list[CLayer | Alias]:
        """The layers of a stage whose results are not there yet; the new results are there from now on."""
        values = _Values(stage, self._numbers)
        replaced = {id(stage.input): entry}
        parts: list[CLayer | Alias] = []
        if (table := _to_own_scale(entry, stage.input)) is not None:
            parts.append(table)
            del replaced[id(stage.input)]
        for part in stage.parts:
            kept = self._tensors.get(values.number(part.writes))
            if isinstance(part, CLayer) and kept is not None and values.shared(part.writes):
                replaced[id(part.writes)] = kept
            else:
                parts.append(_reading(part, replaced))
        for part in stage.parts:
            if isinstance(part, CLayer) and values.shared(part.writes):
                self._tensors.setdefault(values.number(part.writes), part.writes)
        return parts


class _Values:
    """The values of a stage's tensors as numbers, equal for equal values of all stages that have one table of them."""

    def __init__(self, stage: CNetwork, numbers: dict[Hashable, int]) -> None:
        self._all = numbers
        self._layers: dict[int, list[CLayer]] = defaultdict(list)
        self._numbers = {id(stage.input): self._new(("input", scale(stage.input), zero_point(stage.input)))}
        self._worth = {id(stage.input): False}
        self._ends = {id(stage.output)}
        for part in reversed(stage.parts):
            if isinstance(part, Alias) and id(part.writes) in self._ends:
                self._ends.add(id(part.reads))
        for part in stage.parts:
            if isinstance(part, CLayer):
                self._layers[id(part.writes)].append(part)
        for part in stage.parts:
            self._number(part)

    def number(self, tensor: Tensor) -> int:
        """Of what it holds when all of it is written."""
        return self._numbers[id(tensor)]

    def shared(self, tensor: Tensor) -> bool:
        """Whether other stages may read it: it took work, and it is not the caller's, who reads scores there."""
        return self._worth[id(tensor)] and id(tensor) not in self._ends

    def _new(self, key: Hashable) -> int:
        return self._all.setdefault(key, len(self._all))

    def _number(self, part: CLayer | Alias) -> None:
        place = id(part.writes)
        if isinstance(part, Alias):
            self._numbers[place], self._worth[place] = self._numbers[id(part.reads)], self._worth[id(part.reads)]
            return
        operands = [read for layer in self._layers[place] for read in layer.reads if not isinstance(read, Constant)]
        if all(id(read) in self._numbers for read in operands):  # else another layer writes the rest of it
            layers = self._layers[place]
            self._numbers[place] = self._new(tuple(self._key(layer) for layer in layers))
            self._worth[place] = any(layer.kernel in _WORK for layer in layers) or any(
                self._worth[id(read)] for read in operands
            )

    def _key(self, layer: CLayer) -> Hashable:
        reads = tuple(one.digest if isinstance(one, Constant) else self.number(one) for one in layer.reads)
        return layer.kernel, _content(layer.record), reads


def _content(value: Any) -> Hashable:
    """A field of a layer's record, by what is in it."""
    if isinstance(value, Mapping):
        return tuple((name, _content(own)) for name, own in value.items())
    if isinstance(value, tuple):
        return tuple(map(_content, value))
    return value.digest if isinstance(value, Constant) else value


def _reading(part: CLayer | Alias, replaced: Mapping[int, Tensor]) -> CLayer | Alias:
    """A layer that reads the tensors that stand for its own."""
    if isinstance(part, Alias):
        return replace(part, reads=replaced.get(id(part.reads), part.reads))
    reads = tuple(one if isinstance(one, Constant) else replaced.get(id(one), one) for one in part.reads)
    return replace(part, reads=reads)


def _to_own_scale(entry: Tensor, own: Tensor) -> CLayer | None:
    """What brings the input of a cascade to the scale of a stage; None where they are alike."""
    if (scale(own), zero_point(own)) == (scale(entry), zero_point(entry)):
        return None
    if entry.type != "INT8":
        raise TfliteError(f"its stages take {entry.type} at several scales; export its stages one by one with --point")
    values = Constant("int8_t", functions.table(emit.quantize(entry, own)))
    return CLayer("table", {"count": prod(entry.shape), "values": values}, (entry,), own)
