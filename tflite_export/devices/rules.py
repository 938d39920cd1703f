"""What a device takes, as a record that its own file fills in; and the reasons for what that refuses.

Every record names the program or the document that it was read from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from tflite_export import cascades, lookups
from tflite_export.flatbuffer import Model, Operator, Tensor, read
from tflite_export.lowering import advised
from tflite_export.precision import precision_named


@dataclass(frozen=True)
class Rules:
    """What a kind of device takes; ``source`` says where that was read or tried, ``title`` what messages call it.

    ``precisions`` begin with the one to advise. ``operators`` None stands for every builtin one; ``lacks`` are types
    of activations that it has no kernel for, by operator. ``signatures`` and ``subgraphs`` say whether a file may
    have several, ``several`` what comes of it otherwise. ``faults`` finds what else of a file breaks its rules.
    """

    title: str
    source: str
    precisions: tuple[str, ...]
    operators: frozenset[str] | None = None
    lacks: Mapping[str, frozenset[str]] = field(default_factory=dict)
    signatures: bool = False
    subgraphs: bool = False
    several: str = "it takes one point a file"
    faults: Callable[[Model], Iterator[str]] | None = None


@dataclass(frozen=True)
class Refusal:
    """Why a device does not take a file, what would work, and where that is known from."""

    reason: str
    instead: str
    source: str

    def __str__(self) -> str:
        """One line."""
        return f"{self.reason}: {self.instead} ({self.source})"


def refusals(content: bytes, rules: Rules, precision: str) -> tuple[Refusal, ...]:
    """All reasons for which rules do not allow a file of a precision; empty where they do.

    Raises TfliteError for an unknown precision and for bytes that are no ``.tflite`` file.
    """
    recipes = {part: precision_named(part) for part in precision.split(cascades.GOES_ON)}
    model = read(content)
    reasons = [*_entries(rules, model), *_shapes(rules, model), *_operators(rules, model)]
    if wrong := [part for part in recipes if part not in rules.precisions]:
        return (_wrong_precision(rules, wrong[0]), *reasons)
    reasons += [*_types(rules, model, precision), *_kernels(rules, model)]
    if rules.faults is not None:
        reasons += [Refusal(fault, "change that layer of the anchor", rules.source) for fault in rules.faults(model)]
    return tuple(dict.fromkeys(reasons))


def _wrong_precision(rules: Rules, precision: str) -> Refusal:
    best = rules.precisions[0]
    return Refusal(f"{precision} does not run on {rules.title}", f"build with --precision {best}", rules.source)


def _entries(rules: Rules, model: Model) -> Iterator[Refusal]:
    advice = "export a single point"
    if len(model.signatures) > 1 and not rules.signatures:
        keys = ", ".join(s.key for s in model.signatures)
        reason = f"the file has several signatures ({keys}) and {rules.several}"
        yield Refusal(reason, advice, rules.source)
    elif len(model.subgraphs) > 1 and not rules.subgraphs:
        reason = f"the file has {len(model.subgraphs)} subgraphs and {rules.several}"
        yield Refusal(reason, advice, rules.source)


def _shapes(rules: Rules, model: Model) -> Iterator[Refusal]:
    advice = "convert with a fixed batch of 1"
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            if not tensor.fixed:
                yield Refusal(f"tensor {tensor.name!r} has an open dimension {tensor.shape}", advice, rules.source)
        for end in graph.inputs:
            if end.fixed and len(end.shape) > 1 and end.shape[0] != 1:
                yield Refusal(f"the input {end.name!r} has a batch of {end.shape[0]}", advice, rules.source)


def _operators(rules: Rules, model: Model) -> Iterator[Refusal]:
    for name in sorted({operator.name for operator in _all(model)}):
        if name in rules.operators if rules.operators is not None else not name.startswith("CUSTOM"):
            continue
        advice = _instead(rules, "GELU" if name in lookups.OPERATORS and _looks_up(model) else name)
        yield Refusal(f"{name} is not in {rules.title}", advice, rules.source)


def _looks_up(model: Model) -> bool:
    """Whether a file holds lookups in GELU's place."""
    return any(
        isinstance(part, lookups.Lookup) for graph in model.subgraphs for part in lookups.joined(graph.operators)
    )


def _instead(rules: Rules, name: str) -> str:
    lower = advised(name, rules.operators)
    if rules.operators is not None and name in rules.operators:
        return "rebuild without --lower gelu"
    return f"rebuild with --lower {lower}" if lower else "replace that layer of the anchor"


def _types(rules: Rules, model: Model, precision: str) -> Iterator[Refusal]:
    """A file that is not what its precision says is refused whatever its name: it may run, and be wrong."""
    recipes = [precision_named(part) for part in precision.split(cascades.GOES_ON)]
    activations = frozenset().union(*(recipe.activations for recipe in recipes))
    ends = {end.upper() for recipe in recipes for end in recipe.ends}
    kept = activations | {recipe.weights for recipe in recipes}
    if not all(recipe.calibrated for recipe in recipes):
        kept |= {"FLOAT32"}
    # A confidence and its threshold are floats whatever the stages are; no layer is made of these operators alone.
    comparing = cascades.COMPARING if any(map(cascades.is_cascade, model.signatures)) else ()
    for operator in _all(model):
        if operator.name.startswith("CUSTOM") or operator.name in comparing:
            continue
        for tensor in _operands(operator):
            if tensor.type not in (kept if tensor.constant else activations | ends):
                what = "weights" if tensor.constant else "activations"
                reason = f"the file has {what} of {tensor.type} at {operator.name}, so it is not {precision} throughout"
                yield Refusal(reason, f"build with --precision {rules.precisions[0]}", rules.source)
                return


def _kernels(rules: Rules, model: Model) -> Iterator[Refusal]:
    for operator in _all(model):
        lacks = rules.lacks.get(operator.name, frozenset())
        others = " or ".join(p for p in rules.precisions if not lacks & precision_named(p).activations)
        advice = f"build with --precision {others}, or replace that layer"
        for kind in sorted({t.type for t in _operands(operator) if not t.constant} & lacks):
            yield Refusal(f"{rules.title} has no kernel for {operator.name} of {kind}", advice, rules.source)


def _all(model: Model) -> Iterator[Operator]:
    for graph in model.subgraphs:
        yield from graph.operators


def _operands(operator: Operator) -> list[Tensor]:
    return [tensor for tensor in (*operator.inputs, *operator.outputs) if tensor is not None]
