"""A ``.tflite`` file as C++ source for TensorFlow Lite Micro: an array to flash, and a header that says how to run it.

The array and its header need no header of TFLM, so that they compile alone; the operators that the file uses stand in
a header of their own. Pure functions: text out, no files.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tflite_export import cascades, template
from tflite_export.devices import tflm_kernels
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import ALIGNMENT, Operator, Signature, Tensor, read, schema, write
from tflite_export.inputs import PHOTOS, InputKind
from tflite_export.kernels import EVERY, Kernels
from tflite_export.tail import Arena, one

_LINE = 16
_HEX = [f"0x{value:02x}," for value in range(256)]
# Where the resolver's method is not the operator's name in capitals at each word.
_METHODS = {
    "BATCH_MATMUL": "BatchMatMul",
    "CUMSUM": "CumSum",
    "PADV2": "PadV2",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "UnidirectionalSequenceLSTM",
    "CUSTOM ethos-u": "EthosU",
}
# Operators of which CMSIS-NN has kernels for int8 alone, which take less flash than those for every type.
_NARROW = (
    "ADD",
    "AVERAGE_POOL_2D",
    "BATCH_MATMUL",
    "CONV_2D",
    "DEPTHWISE_CONV_2D",
    "FULLY_CONNECTED",
    "MAX_POOL_2D",
    "MUL",
    "SOFTMAX",
)


@dataclass(frozen=True)
class Several:
    """The points in one array, by name: entries ``stride`` bytes apart, or a router's choices where it is 0.

    ``networks`` are the files of which the array is made up: every entry's, or the router.
    """

    points: tuple[str, ...]
    stride: int
    networks: tuple[bytes, ...]


def sources(
    content: bytes,
    name: str,
    *,
    about: str = "",
    several: Several | None = None,
    kind: InputKind = PHOTOS,
    builds: Sequence[Kernels] = EVERY,
) -> dict[str, str]:
    """File names and texts of a model: ``NAME.h``, ``NAME.cc`` and ``NAME_resolver.h``, all names begin ``model_``.

    ``several`` says what an array of more than one point holds, ``kind`` what it takes; the arena suffices for each of
    ``builds``. Raises TfliteError for operators that the resolver has no method for, and for files that ``tail.arena``
    refuses.
    """
    stem, array = identifier(name), aligned(content)
    if several and array != content:
        raise TfliteError("an array of several points must have its weights at 16 bytes already")
    networks = several.networks if several else (array,)
    arenas = [max((one(n, kernels) for n in networks), key=lambda need: need.size) for kernels in builds]
    needed = max(arenas, key=lambda need: need.size)
    told = _told(array, about, arenas, content)
    header = _header(array, f"model_{stem}", told, needed, _points(f"model_{stem}", several) if several else "", kind)
    return {
        f"{stem}.h": header,
        f"{stem}.cc": _data(array, stem, told),
        f"{stem}_resolver.h": _resolver(networks, f"model_{stem}", told),
    }


def _points(name: str, several: Several) -> str:
    """How the header tells the points of an array of more than one."""
    count, how = len(several.points), "the second input, an int32, is the place of the point that shall run"
    stride = ""
    if several.stride:
        how = f"the point at place i is tflite::GetModel({name} + i * {name}_stride)"
        stride = f"constexpr std::size_t {name}_stride = {several.stride};\n"
    lines = "".join(f"    {template.c_string(point)},\n" for point in several.points)
    return (
        f"\n// Its points by rising cost; {how}.\n{stride}constexpr std::size_t {name}_points_size = {count};\n"
        f"constexpr const char* {name}_points[] = {{\n{lines}}};\n"
    )


def _dial(array: bytes, name: str, signature: Signature) -> str:
    """How the header tells a cascade's thresholds, and the places of its inputs and outputs."""
    entry, tensors = cascades.entry_of(array), signature.subgraph
    places = {key: (tensors.inputs, tensor) for key, tensor in signature.inputs.items()}
    places |= {key: (tensors.outputs, tensor) for key, tensor in signature.outputs.items()}
    numbered = "".join(
        f"constexpr std::size_t {name}_{'input' if side is tensors.inputs else 'output'}_{key} = "
        f"{next(n for n, t in enumerate(side) if t is tensor)};\n"
        for key, (side, tensor) in places.items()
    )
    chosen = "".join(
        f"constexpr float {name}_{cascades.threshold_key(number)} = {template.float32(value)};\n"
        for number, value in enumerate(entry.thresholds)
    )
    lines = "".join(f"    {template.c_string(stage)},\n" for stage in entry.stages)
    return (
        f"\n// A cascade. {dial_rule(entry.confidence)}\n"
        "// Places of its inputs, of which the thresholds are one float each, and of its outputs: the scores, and\n"
        "// one int32, the stage that answered, from 0. Write all inputs before each run: the arena lends them away.\n"
        f"{numbered}// The thresholds that were chosen when the file was made.\n{chosen}"
        f"constexpr std::size_t {name}_stages_size = {len(entry.stages)};\n"
        f"constexpr const char* {name}_stages[] = {{\n{lines}}};\n"
    )


def dial_rule(confidence: str) -> str:
    """What thresholds mean, as lines of a C++ comment behind their first words."""
    return (
        f"A stage answers where its confidence ({confidence}, 0 to 1) is at or above its threshold; else\n"
        "// the next one runs, and the last one always answers. Threshold 0: always answers; above 1: never does."
    )


def labels(names: Sequence[str]) -> dict[str, str]:
    """``labels.h`` and ``labels.cc``: the classes in the order of the scores, UTF-8, one copy for all points."""
    count = f"constexpr std::size_t model_labels_size = {len(names)};"
    declared = f"#include <cstddef>\n\n{count}\nextern const char* const model_labels[];\n"
    lines = "".join(f"    {template.c_string(name)},\n" for name in names) or "    nullptr,\n"
    return {
        "labels.h": _guarded("model_labels", declared),
        "labels.cc": f'#include "labels.h"\n\nconst char* const model_labels[] = {{\n{lines}}};\n',
    }


def aligned(content: bytes) -> bytes:
    """The file as it is where TFLM can read it in place, else written anew: weights inside, at 16 bytes.

    TFLM runs without the weights that a file keeps behind its flatbuffer, and says nothing.
    """
    model = read(content)  # refuses what is no whole file
    start = _address(np.frombuffer(content, np.uint8))
    table = schema().Model.GetRootAs(content, 0)
    behind = any(table.Buffers(index).Offset() > 1 for index in range(table.BuffersLength()))
    # Metadata may lie anywhere: TFLM reads it in words of 4 bytes at most.
    constants = [t for graph in model.subgraphs for t in graph.tensors if t.constant]
    if behind or any((_address(t.buffer.data) - start) % ALIGNMENT for t in constants):
        return write(model)
    return content


def identifier(name: str) -> str:
    """A point's name as a part of C++ names and file names; raises TfliteError where nothing of it remains."""
    told = name.replace(cascades.TAUGHT, cascades.TAUGHT_IN_FILES)
    part = re.sub(r"[^0-9A-Za-z]+", "_", told).strip("_")
    if not part:
        raise TfliteError(f"{name!r} has no letter or digit, so no C++ name can be made of it")
    return part


def operators(*networks: bytes) -> tuple[str, ...]:
    """The resolver's methods for exactly the operators of files, in all of their subgraphs, by name.

    Raises TfliteError for an operator that TFLM lacks.
    """
    graphs = [graph for content in networks for graph in read(content).subgraphs]
    used = sorted({operator.name for graph in graphs for operator in graph.operators})
    missing = [name for name in used if name not in tflm_kernels.OPERATORS and name not in _METHODS]
    if missing:
        raise TfliteError(f"TensorFlow Lite Micro has no {', '.join(missing)}, so the file cannot run there")
    return tuple(f"Add{_METHODS.get(name) or _capitals(name)}" for name in used)


def _capitals(name: str) -> str:
    # ``capitalize`` would make "2d" of "2D".
    return "".join(word[0] + (word[1:] if word[0].isdigit() else word[1:].lower()) for word in name.split("_"))


def _told(array: bytes, about: str, arenas: Sequence[Arena], origin: bytes) -> str:
    what = f"// {about}\n" if about else ""
    digest, first = (hashlib.sha256(data).hexdigest() for data in (array, origin))
    anew = "" if digest == first else f"// Written anew, weights at 16 bytes, from the file of sha256\n// {first}\n"
    most = max(arenas, key=lambda need: need.size)
    lines = "".join(f"//   {need.size} with {need.kernels.title}\n" for need in arenas)
    return (
        f"// Made by restnet-tf; do not edit.\n{what}"
        f"// sha256 of the .tflite file: {digest}\n{anew}"
        f"// Arena: {most.size} bytes: {most.head} planned {most.planner}, and {most.tail} for the interpreter's own\n"
        f"// records, on a 32-bit core. Of these it is the largest:\n{lines}"
        "// Less fails in AllocateTensors, though arena_used_bytes() may tell of less afterwards.\n"
    )


def _header(array: bytes, name: str, told: str, needed: Arena, points: str, kind: InputKind) -> str:
    model = read(array)
    graph, cascade = model.subgraphs[0], cascades.holds_one(model)
    ends = "".join(
        _end(f"{name}_{side}{number if len(tensors) > 1 else ''}", tensor)
        for side, every in (("input", graph.inputs), ("output", graph.outputs))
        for tensors in (every[:1] if cascade else every,)
        for number, tensor in enumerate(tensors)
    )
    ends = f"\n// It takes values {kind.told}.{ends}" if ends and not kind.photos else ends
    points += _dial(array, name, model.signatures[0]) if cascade else ""
    return told + _guarded(
        name,
        "#include <cstddef>\n#include <cstdint>\n\n"
        f"extern const unsigned char {name}[];\n"
        f"constexpr std::size_t {name}_size = {len(array)};\n"
        "// Declare it so: alignas(16) static std::uint8_t arena[...];\n"
        f"constexpr std::size_t {name}_arena_size = {needed.size};\n"
        f"{ends}{points}",
    )


def _end(name: str, tensor: Tensor) -> str:
    """Type, shape and scale of an input or output; floats get a scale of 1, so that one formula serves both."""
    scale = tensor.scales[0] if tensor.scales else 1.0
    zero_point = tensor.zero_points[0] if tensor.zero_points else 0
    return (
        f"\n// {tensor.type}; value = scale * (number - zero point)\n"
        f"constexpr std::int32_t {name}_shape[] = {{{', '.join(map(str, tensor.shape))}}};\n"
        f"constexpr float {name}_scale = {template.float32(scale)};\n"
        f"constexpr std::int32_t {name}_zero_point = {zero_point};\n"
    )


def _data(array: bytes, stem: str, told: str) -> str:
    lines = ("".join(_HEX[value] for value in array[i : i + _LINE]) for i in range(0, len(array), _LINE))
    return (
        f'{told}#include "{stem}.h"\n\n'
        f"alignas({ALIGNMENT}) const unsigned char model_{stem}[] = {{\n" + "\n".join(lines) + "\n};\n"
    )


def narrow(*networks: bytes) -> tuple[str, ...]:
    """Operators that files use on int8 alone, of which there are kernels for that."""
    every = [operator for content in networks for graph in read(content).subgraphs for operator in graph.operators]
    wide = {operator.name for operator in every if not _of_int8(operator)}
    return tuple(sorted({operator.name for operator in every} & {*_NARROW} - wide))


def _of_int8(operator: Operator) -> bool:
    """Whether all that it reads and gives is int8, but for a bias."""
    tensors = [tensor for tensor in (*operator.inputs[:2], *operator.outputs) if tensor is not None]
    return all(tensor.type == "INT8" for tensor in tensors)


def _added(methods: Sequence[str], kernels: Mapping[str, str]) -> str:
    """The expression that registers methods, with a kernel where one is named."""
    calls = [f"static_cast<int>(resolver.{method}({kernels.get(method, '')})) == 0" for method in methods]
    return " &&\n         ".join(calls) or "true"


def _resolver(networks: Sequence[bytes], name: str, told: str) -> str:
    methods = operators(*networks)
    kernels = {f"Add{_METHODS.get(n) or _capitals(n)}": f"tflite::Register_{n}_INT8()" for n in narrow(*networks)}
    body = f"  return {_added(methods, {})};\n"
    if kernels:
        body = (
            "#if defined(CMSIS_NN)\n  // The kernels for int8 alone, which take less flash.\n"
            f"  return {_added(methods, kernels)};\n#else\n{body}#endif\n"
        )
    return told + _guarded(
        f"{name}_resolver",
        '#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"\n\n'
        f"constexpr unsigned int {name}_operators = {len(methods)};\n\n"
        "// Adds exactly the operators of this model to an empty MicroMutableOpResolver of that many, which stands in\n"
        "// the namespace tflite or, in newer sources, tflite::micro; false where one cannot be added.\n"
        "template <template <unsigned int> class MicroMutableOpResolver>\n"
        f"inline bool {name}_add_operators(MicroMutableOpResolver<{name}_operators>& resolver) {{\n"
        f"{body}}}\n",
    )


def _guarded(name: str, text: str) -> str:
    guard = f"{name.upper()}_H_"
    return f"#ifndef {guard}\n#define {guard}\n\n{text}\n#endif  // {guard}\n"


def _address(data: np.ndarray) -> int:
    return int(data.__array_interface__["data"][0])
