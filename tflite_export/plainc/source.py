"""Points and cascades of a family as C99: a header, a source with every constant and layer once, and their kernels.

Pure functions: text out, no files but the kernels' own sources, which travel as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from tflite_export import carray, template
from tflite_export.confidence import entropy_terms
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Tensor
from tflite_export.inputs import PHOTOS, InputKind
from tflite_export.plainc import chain, network, scratch
from tflite_export.plainc.chain import CChain
from tflite_export.plainc.factors import scale, zero_point
from tflite_export.plainc.layers import CLayer, Constant
from tflite_export.plainc.network import ArenaPlace, CNetwork, Placed, PlacedLayer

_FOLDER = Path(__file__).parent
KERNELS, TEMPLATES = _FOLDER / "kernels", _FOLDER / "templates"
HEADER, SOURCE = "restnet_model.h", "restnet_model.c"
_ALWAYS = ("restnet_kernels.h", "restnet_fixed_point.h", "restnet_window.h", "restnet_cmsis_nn.h")
_LINE = 24
# By type, scale and zero point of an input of photos: what number stands for a pixel.
_PIXELS = {("INT8", 1.0, -128): "pixel - 128", ("UINT8", 1.0, 0): "pixel itself"}
# By confidence: the kernel that computes it of scores.
_CONFIDENCES = {"max": "largest", "margin": "margin", "entropy": "certainty"}


@dataclass(frozen=True)
class PointSource:
    """A point to be written: its file, the stem of its C names, and what comments call it."""

    content: bytes = field(repr=False)
    stem: str
    about: str


@dataclass(frozen=True)
class CascadeSource:
    """A cascade to be written: the stems of its stages, which are among the points, and what stands between them."""

    stem: str
    about: str
    stages: tuple[str, ...]
    confidence: str
    thresholds: tuple[float, ...]


@dataclass(frozen=True)
class Written:
    """Files by name, and bytes: of the arena that plain C takes, and of constants in flash."""

    files: Mapping[str, bytes] = field(repr=False)
    arena: int
    constants: int


def written(
    points: Sequence[PointSource],
    cascades: Sequence[CascadeSource],
    labels: Sequence[str],
    about: str,
    kind: InputKind = PHOTOS,
) -> Written:
    """The files of a family; raises TfliteError as ``network.of_file`` does, and for points of one C name."""
    networks = {point.stem: network.of_file(point.content) for point in points}
    names = [_name(stem) for stem in [*(p.stem for p in points), *(c.stem for c in cascades)]]
    if len(set(names)) < len(names):
        double = next(name for name in names if names.count(name) > 1)
        raise TfliteError(f"two points would be called {double} in C; export them one by one")
    pool = _Pool()
    chains = {cascade.stem: _chain(cascade, networks) for cascade in cascades}
    told = {point.stem: _point(point, networks[point.stem], pool) for point in points}
    placed = [*(one.alone for one in networks.values()), *(one.placed for one in chains.values())]
    first = networks[points[0].stem].input
    values: dict[str, Any] = {
        "about": about.replace("*/", "* /"),
        "told": kind.told,
        "pixels": _PIXELS.get((first.type, scale(first), zero_point(first)), "") if kind.photos else "",
        "arenas": [max(one.arenas[way] for one in placed) for way in (0, 1)],
        "scratches": [max(4, *_scratches(placed, helium)) for helium in (True, False)],
        "labels": labels,
        "points": list(told.values()),
        "cascades": [_cascade(cascade, chains[cascade.stem], told, pool) for cascade in cascades],
        "constants": pool.constants,
        "layers": pool.layers,
    }
    texts = {name: template.text((TEMPLATES / name).read_text("utf-8"), **values) for name in (HEADER, SOURCE)}
    kernels = {"restnet_confidence.c"} if cascades else set()
    kernels |= {f"restnet_{layer['kernel']}.c" for layer in pool.layers}
    sources = {name: (KERNELS / name).read_bytes() for name in (*_ALWAYS, *sorted(kernels))}
    return Written({name: text.encode() for name, text in texts.items()} | sources, values["arenas"][0], pool.size)


class _Pool:
    """Constants and layers that are written once, by their content."""

    def __init__(self) -> None:
        self.constants: list[dict[str, Any]] = []
        self.layers: list[dict[str, str]] = []
        self.size = 0
        self._names: dict[Any, str] = {}
        self._counts: dict[str, int] = {}

    def constant(self, constant: Constant) -> str:
        """The name of an array."""
        if constant.digest not in self._names:
            name = self._named(constant.digest, "constant")
            numbers = constant.values.reshape(-1)
            self.size += numbers.nbytes
            self.constants.append(
                {"kind": constant.kind, "name": name, "size": len(numbers), "text": _numbers(numbers)}
            )
        return self._names[constant.digest]

    def layer(self, layer: CLayer) -> str:
        """The name of a layer's record."""
        text = self._text(layer.record)
        key = layer.kernel, text
        if key not in self._names:
            self.layers.append({"kernel": layer.kernel, "name": self._named(key, layer.kernel), "text": text})
        return self._names[key]

    def _named(self, key: Any, stem: str) -> str:
        number = self._counts[stem] = self._counts.get(stem, -1) + 1
        self._names[key] = f"{stem}_{number}"
        return self._names[key]

    def _text(self, value: Any) -> str:
        if isinstance(value, Mapping):
            return f"{{{', '.join(f'.{name} = {self._text(own)}' for name, own in value.items())}}}"
        if isinstance(value, tuple):
            return f"{{{', '.join(map(self._text, value))}}}"
        if isinstance(value, Constant):
            return self.constant(value)
        return "0" if value is None else _integer(int(value))


def _integer(value: int) -> str:
    """The least number of 32 bits has no literal of its own."""
    return "INT32_MIN" if value == -(2**31) else str(value)


def _numbers(values: np.ndarray) -> str:
    words = [template.float32(v) for v in values] if values.dtype.kind == "f" else [_integer(int(v)) for v in values]
    return "\n".join(f"    {', '.join(words[i : i + _LINE])}," for i in range(0, len(words), _LINE))


def _name(stem: str) -> str:
    return f"model_{carray.identifier(stem)}"


def _scratches(placed: Sequence[Placed], helium: bool) -> Iterator[int]:
    """Bytes of working memory that CMSIS-NN's kernels want, call by call."""
    return (scratch.wanted(call.layer, helium) for one in placed for call in one.calls)


def _point(point: PointSource, made: CNetwork, pool: _Pool) -> dict[str, Any]:
    name, x, y = _name(point.stem), made.input, made.output
    number = f"{x.type.lower()}_t"
    calls = [_call(call, pool, number) for call in made.alone.calls]
    return {
        "stem": point.stem,
        "name": name,
        "macro": name.upper(),
        "about": point.about.replace("*/", "* /"),
        "number": number,
        "calls": calls,
        "uses_arena": any("arena" in call for call in calls),
        "arena": made.alone.arenas[0],
        "input_at": _at(made.alone.input_offsets),
        "input_shape": " x ".join(map(str, x.shape[1:])),
        "input_size": prod(x.shape),
        "input_scale": scale(x),
        "input_zero_point": zero_point(x),
        "output_shape": " x ".join(map(str, y.shape[1:])),
        "output_size": prod(y.shape),
        "output_scale": scale(y),
        "output_zero_point": zero_point(y),
    }


def _call(call: PlacedLayer, pool: _Pool, number: str) -> str:
    cast = "" if number == "int8_t" else "(const int8_t *)"
    operands = [
        pool.constant(one) if isinstance(one, Constant) else f"{cast if one.name == network.INPUT else ''}{_place(one)}"
        for one in call.reads
    ]
    arguments = [f"&{pool.layer(call.layer)}", *operands, _place(call.writes)]
    return f"{call.layer.kernel}({', '.join(arguments)})"


def _place(place: ArenaPlace) -> str:
    return place.name if place.offsets is None else f"{place.name} + {_at(place.offsets)}"


def _at(offsets: tuple[int, int]) -> str:
    """An offset as C has it: which of two that differ is for its preprocessor to say."""
    plain, apart = offsets
    return str(plain) if plain == apart else f"AT({plain}, {apart})"


def _chain(cascade: CascadeSource, networks: Mapping[str, CNetwork]) -> CChain:
    """Its stages behind each other; raises TfliteError for stages that one function cannot run."""
    stages = [networks[stem] for stem in cascade.stages]
    for what, kinds in (
        ("take inputs of several shapes", {one.input.shape for one in stages}),
        ("take numbers of several types", {one.input.type for one in stages}),
        (
            "give scores of several scales",
            {(one.output.shape, scale(one.output), zero_point(one.output)) for one in stages},
        ),
    ):
        if len(kinds) > 1:
            raise TfliteError(f"the stages of {cascade.stem} {what}; export its stages one by one with --point")
    return chain.of_networks(stages)


def _cascade(
    cascade: CascadeSource, made: CChain, points: Mapping[str, Mapping[str, Any]], pool: _Pool
) -> dict[str, Any]:
    first, *_ = stages = [points[stem] for stem in cascade.stages]
    calls = [[_call(call, pool, first["number"]) for call in stage] for stage in made.stages]
    name = _name(cascade.stem)
    return {
        "name": name,
        "macro": name.upper(),
        "about": cascade.about.replace("*/", "* /"),
        "rule": carray.dial_rule(cascade.confidence).replace("\n// ", "\n * "),
        "number": first["number"],
        "arena": made.placed.arenas[0],
        "stages": [{"about": stage["about"], "calls": own} for stage, own in zip(stages, calls, strict=True)],
        "thresholds": cascade.thresholds,
        "sure": _sure(cascade.confidence, made.output, pool),
    }


def _sure(confidence: str, scores: Tensor, pool: _Pool) -> str:
    """The call that says how sure a stage is."""
    kernel, classes = f"restnet_{_CONFIDENCES[confidence]}", scores.shape[-1]
    own, zero = scale(scores), zero_point(scores)
    if confidence != "entropy":
        return f"{kernel}(output, {classes}, {template.float32(own)}, {zero})"
    terms, factor = entropy_terms(own, zero, classes)
    return f"{kernel}(output, {classes}, {pool.constant(Constant('float', terms))}, {template.float32(factor)})"
