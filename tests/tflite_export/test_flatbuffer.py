"""A .tflite file as objects: read, written, run; files of other makers; damage."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import flatbuffers
import keras
import needs
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as generated
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keras import layers

from tflite_export.chatter import captured
from tflite_export.convert import convert
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import (
    ALIGNMENT,
    Buffer,
    Model,
    Signature,
    Subgraph,
    Tensor,
    only,
    read,
    schema,
    text,
    write,
)
from tflite_export.memory import ranges
from tflite_export.precision import PRECISIONS


@pytest.fixture(scope="module")
def network() -> tuple[keras.Model, bytes]:
    keras.utils.set_random_seed(5)
    image = keras.Input((6, 5, 2))
    x = layers.Conv2D(3, 3, padding="same", activation="relu")(image)
    model = keras.Model(image, layers.Dense(4, activation="softmax")(layers.Flatten()(x)))
    return model, convert(model, "float32")


def test_operators_stand_in_execution_order(network):
    graph = only(read(network[1]))
    assert [operator.name for operator in graph.operators] == [
        "CONV_2D",
        "RESHAPE",
        "FULLY_CONNECTED",
        "SOFTMAX",
    ]
    # Each reads what the one before wrote, from the input to the output.
    chain = [graph.inputs[0], *(operator.outputs[0] for operator in graph.operators)]
    assert [operator.inputs[0] for operator in graph.operators] == chain[:-1]
    assert chain[-1] == graph.outputs[0]


def test_constants_are_the_models_weights(network):
    model, file = network
    graph = only(read(file))
    filters = graph.operators[0].inputs[1]
    # TFLite holds (out, h, w, in) where Keras holds (h, w, in, out).
    np.testing.assert_allclose(filters.values(), model.layers[1].kernel.numpy().transpose(3, 0, 1, 2))
    assert filters.nbytes == 3 * 3 * 3 * 2 * 4
    assert not graph.inputs[0].constant


@pytest.mark.slow
def test_quantisation_is_that_of_the_file(network):
    model, _ = network
    images = np.random.default_rng(0).uniform(0, 255, (8, 6, 5, 2)).astype(np.float32)
    graph = only(read(convert(model, "int8", [images])))
    filters = graph.operators[0].inputs[1]
    peaks = np.abs(model.layers[1].kernel.numpy()).max((0, 1, 2))
    np.testing.assert_allclose(filters.scales, peaks / 127, rtol=1e-5)
    assert filters.zero_points == (0, 0, 0)
    exit_ = graph.outputs[0]
    assert (exit_.scales, exit_.zero_points) == ((1 / 256,), (-128,))


def test_every_truncation_is_refused(network):
    file = network[1]
    for length in [*range(0, len(file) - 1, 23), *range(len(file) - 24, len(file))]:
        with pytest.raises(TfliteError, match="not a"):
            ranges(file[:length])


def test_other_bytes_are_refused():
    with pytest.raises(TfliteError, match=r"not a \.tflite file: 10 bytes"):
        read(b"0123456789")


def test_a_name_that_is_no_text_can_be_read():
    assert text(b"\x84conv") == "\N{REPLACEMENT CHARACTER}conv"
    assert text(None) == ""


@pytest.mark.parametrize(
    ("type_", "shape", "size"),
    [("INT4", (3, 5), 8), ("INT64", (2,), 16), ("BOOL", (), 1), ("FLOAT16", (0, 3), 0)],
)
def test_sizes_in_bytes(type_, shape, size):
    assert _tensor(type_, shape).nbytes == size


def test_size_of_an_open_tensor_is_refused():
    with pytest.raises(TfliteError, match=r"'t' has the open shape \(-1, 4\)"):
        _ = _tensor("INT8", (1, 4), signature=[-1, 4]).nbytes


def _tensor(type_: str, shape: tuple[int, ...], signature: list[int] | None = None) -> Tensor:
    table = schema().TensorT(shape=list(shape), type=getattr(schema().TensorType, type_), name="t")
    table.shapeSignature = signature
    return Tensor(table, Buffer())


# --- there and back -------------------------------------------------------------------------------


def plain(value: Any) -> Any:
    """A record of the schema as lists, tuples and numbers."""
    if isinstance(value, np.ndarray | list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, bytes | str):
        return value if isinstance(value, bytes) else value.encode()
    if isinstance(value, np.generic):
        return value.item()
    return plain(vars(value)) if hasattr(value, "__dict__") else value


def whole(file: bytes) -> dict[str, Any]:
    """All that a file says, by the schema's own code, with contents in place of indices of buffers and codes."""
    model = generated.ModelT.InitFromPackedBuf(file, 0)

    def content(index: int) -> bytes:
        found = model.buffers[index]
        inside = b"" if found.data is None else np.asarray(found.data, np.uint8).tobytes()
        return file[found.offset : found.offset + found.size] if found.offset > 1 else inside

    for graph in model.subgraphs:
        for tensor in graph.tensors:
            tensor.buffer = content(tensor.buffer)
        for operator in graph.operators or ():
            operator.opcodeIndex = plain(model.operatorCodes[operator.opcodeIndex])
            if operator.largeCustomOptionsOffset > 1:
                first = operator.largeCustomOptionsOffset
                operator.customOptions = list(file[first : first + operator.largeCustomOptionsSize])
                operator.largeCustomOptionsOffset = operator.largeCustomOptionsSize = 0
    for entry in model.metadata or ():
        entry.buffer = content(entry.buffer)
    model.operatorCodes = model.buffers = model.metadataBuffer = None
    return without_empty(plain(model))


def without_empty(value: Any) -> Any:
    """An absent vector and an empty one are the same to every reader."""
    if isinstance(value, list):
        return [without_empty(item) for item in value]
    if isinstance(value, dict):
        return {k: without_empty(v) for k, v in value.items() if v is not None and v != []}
    return value


def answers(file: bytes, seed: int = 0) -> list[np.ndarray]:
    """Outputs of every signature, or of the file as a whole, on the same noise."""
    from ai_edge_litert.interpreter import Interpreter

    def noise(entry: dict[str, Any]) -> np.ndarray:
        rng, kind = np.random.default_rng(seed), np.dtype(entry["dtype"])
        if kind == np.bool_:
            return rng.integers(0, 2, entry["shape"]).astype(kind)
        if kind.kind == "f":
            return rng.uniform(-1, 1, entry["shape"]).astype(kind)
        return rng.integers(0, 100, entry["shape"]).astype(kind)

    with captured():
        interpreter = Interpreter(model_content=file)
        interpreter.allocate_tensors()
        if not interpreter.get_signature_list():
            for entry in interpreter.get_input_details():
                interpreter.set_tensor(entry["index"], noise(entry))
            interpreter.invoke()
            return [interpreter.get_tensor(entry["index"]) for entry in interpreter.get_output_details()]
        found = []
        for key in interpreter.get_signature_list():
            runner = interpreter.get_signature_runner(key)
            inputs = {name: noise(entry) for name, entry in sorted(runner.get_input_details().items())}
            outputs = runner(**inputs)
            found += [outputs[name].copy() for name in sorted(outputs)]
        return found


def details(file: bytes) -> Any:
    """What LiteRT knows of every tensor."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=file)
    return plain([dict(entry, dtype=str(entry["dtype"])) for entry in interpreter.get_tensor_details()])


def mixed() -> keras.Model:
    """Small, with one of each kind of operator that quantises differently."""
    keras.utils.set_random_seed(6)
    image = keras.Input((8, 8, 2))
    x = layers.Conv2D(4, 3, padding="same", activation="relu6")(layers.Rescaling(1 / 255)(image))
    x = layers.Add()([x, layers.DepthwiseConv2D(3, padding="same")(x)])
    x = layers.Resizing(6, 6, interpolation="bilinear")(layers.AveragePooling2D(2)(x))
    x = layers.Concatenate()([layers.Conv2D(40, 3)(x), layers.Conv2D(2, 3)(x)])
    return keras.Model(image, layers.Dense(5, activation="softmax")(layers.Flatten()(x)))


def noise_images(count: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(1).uniform(0, 255, (count, *shape)).astype(np.float32)


@cache
def ours(precision: str) -> bytes:
    return convert(mixed(), precision, [noise_images(8, 8, 8, 2)])


@cache
def two_signatures(tmp: str) -> bytes:
    """Two functions that share their weights and have several ends each."""
    rng = np.random.default_rng(2)
    module = tf.Module()
    module.weights = tf.Variable(rng.normal(size=(600, 5)).astype(np.float32))

    @tf.function(input_signature=[tf.TensorSpec((2, 600), tf.float32, name="a")])
    def one(a: Any) -> Any:
        return {"y": tf.nn.relu(a @ module.weights), "z": a + 1}

    spec = [tf.TensorSpec((1, 600), tf.float32, name="b"), tf.TensorSpec((1, 5), tf.float32, name="c")]

    @tf.function(input_signature=spec)
    def two(b: Any, c: Any) -> Any:
        return {"y": b @ module.weights - c}

    tf.saved_model.save(module, tmp, signatures={"one": one, "two": two})
    return tf.lite.TFLiteConverter.from_saved_model(tmp, signature_keys=["one", "two"]).convert()


@cache
def control_flow() -> bytes:
    """IF and WHILE, whose options name subgraphs by number."""

    @tf.function(input_signature=[tf.TensorSpec((1, 4), tf.float32), tf.TensorSpec((), tf.bool)])
    def serve(x: Any, flag: Any) -> Any:
        y = tf.cond(flag, lambda: tf.exp(x), lambda: x * 2 + 1)
        _, y = tf.while_loop(lambda i, _: i < 3, lambda i, v: (i + 1, v * 0.5 + x), [0, y])
        return y

    return tf.lite.TFLiteConverter.from_concrete_functions([serve.get_concrete_function()], tf.Module()).convert()


@cache
def open_batch() -> bytes:
    return tf.lite.TFLiteConverter.from_keras_model(mixed()).convert()


def packed(model: Any, behind: bytes = b"") -> bytes:
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output()) + behind


def custom(behind: bool = False) -> bytes:
    """An operator of a name that only its maker knows, with options of its own, in the file or behind it."""
    model = generated.ModelT.InitFromPackedBuf(ours("float32"), 0)
    operator = model.subgraphs[0].operators[0]
    options = bytes(range(200))
    builtin = generated.BuiltinOperator.CUSTOM
    model.operatorCodes.append(generated.OperatorCodeT(builtin, "Mine", 2, builtin))
    operator.opcodeIndex = len(model.operatorCodes) - 1
    operator.builtinOptions, operator.builtinOptionsType = None, 0
    operator.intermediates = [3, -1]
    model.subgraphs[0].tensors.append(generated.TensorT(shape=[2], isVariable=True, name="state", hasRank=True))
    operator.inputs = [*operator.inputs, -1, len(model.subgraphs[0].tensors) - 1]
    operator.mutatingVariableInputs = [False] * (len(operator.inputs) - 1) + [True]
    if not behind:
        operator.customOptions = list(options)
        return packed(model)
    operator.largeCustomOptionsOffset, operator.largeCustomOptionsSize = 2, len(options)
    operator.largeCustomOptionsOffset = len(packed(model))
    return packed(model, options)


def outside(file: bytes, least: int = 1024) -> bytes:
    """The same file with its larger buffers behind the flatbuffer, as ai-edge-quantizer writes them."""
    model, behind = generated.ModelT.InitFromPackedBuf(file, 0), b""
    moved = [b for b in model.buffers if b.data is not None and len(b.data) >= least]
    assert moved
    contents = [np.asarray(b.data, np.uint8).tobytes() for b in moved]
    for buffer, content in zip(moved, contents, strict=True):
        buffer.data, buffer.offset, buffer.size = None, 16, len(content)
    start = len(packed(model))
    for buffer, content in zip(moved, contents, strict=True):
        behind += b"\0" * (-(start + len(behind)) % 16)
        buffer.offset = start + len(behind)
        behind += content
    assert len(packed(model)) == start
    return packed(model, behind)


FOREIGN: dict[str, Callable[[Path], bytes]] = {
    "two signatures": lambda folder: two_signatures(str(folder)),
    "control flow": lambda folder: control_flow(),
    "open batch": lambda folder: open_batch(),
    "custom": lambda folder: custom(),
    "custom, options outside": lambda folder: custom(behind=True),
    "weights outside": lambda folder: outside(ours("float32")),
    **{precision: lambda folder, p=precision: ours(p) for precision in PRECISIONS},  # type: ignore[misc]
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", FOREIGN)
def test_a_file_read_and_written_says_the_same(kind: str, tmp_path: Path):
    file = FOREIGN[kind](tmp_path)
    again = write(read(file))
    before, after = whole(file), whole(again)
    assert after == before
    assert write(read(again)) == again
    if not kind.startswith("custom"):  # LiteRT knows no such operator
        assert details(again) == details(file)
        found, expected = answers(again), answers(file)
        assert len(found) > 0
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)


def test_the_comparison_sees_every_kind_of_difference():
    """Keeps the test above honest: each of these changes shows."""
    expected = whole(ours("int8"))
    changes: list[Callable[[Any], None]] = [
        lambda m: setattr(m.subgraphs[0].tensors[0].quantization, "zeroPoint", [1]),
        lambda m: setattr(m.subgraphs[0].tensors[0], "shapeSignature", [-1, 8, 8, 2]),
        lambda m: setattr(m.subgraphs[0].tensors[2], "name", b"other"),
        lambda m: setattr(m.subgraphs[0].operators[1].builtinOptions, "fusedActivationFunction", 2),
        lambda m: setattr(m.operatorCodes[0], "version", 77),
        lambda m: setattr(m.signatureDefs[0].outputs[0], "tensorIndex", 1),
        lambda m: setattr(m.subgraphs[0].operators[1], "inputs", [0, 1, 2]),
        lambda m: setattr(m.metadata[0], "name", b"other"),
        lambda m: setattr(m, "description", b"other"),
        lambda m: setattr(m.subgraphs[0].operators[0], "mutatingVariableInputs", [True]),
    ]
    for change in changes:
        model = generated.ModelT.InitFromPackedBuf(ours("int8"), 0)
        change(model)
        assert whole(packed(model)) != expected
    weights = next(i for i, b in enumerate(model.buffers) if b.data is not None and len(b.data) > 30)
    model = generated.ModelT.InitFromPackedBuf(ours("int8"), 0)
    changed = np.array(model.buffers[weights].data, np.uint8)
    changed[7] ^= 1
    model.buffers[weights].data = changed
    assert whole(packed(model)) != expected


@pytest.mark.slow
def test_the_files_hold_what_they_are_to_test(tmp_path: Path):
    operators = {
        kind: [op for g in read(FOREIGN[kind](tmp_path / kind)).subgraphs for op in g.operators] for kind in FOREIGN
    }
    names = {kind: {op.name for op in found} for kind, found in operators.items()}
    assert {"IF", "WHILE"} <= names["control flow"]
    assert "CUSTOM Mine" in names["custom"] & names["custom, options outside"]
    assert {"CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "RESIZE_BILINEAR", "CONCATENATION"} <= names["int8"]
    first = operators["custom"][0]
    assert [t.name for t in first.intermediates if t] == [read(custom()).subgraphs[0].tensors[3].name]
    assert first.intermediates[1:] == [None]
    assert first.inputs[-2] is None
    assert first.inputs[-1].table.isVariable
    assert [s.key for s in read(two_signatures(str(tmp_path / "s"))).signatures] == ["one", "two"]
    assert not only(read(open_batch())).inputs[0].fixed
    for kind in ("custom", "custom, options outside"):
        assert bytes(operators[kind][0].table.customOptions) == bytes(range(200))


def installed() -> list[Path]:
    """Files that installed packages bring along."""
    return sorted(
        p for folder in {*map(Path, sys.path)} if folder.name == "site-packages" for p in folder.rglob("*.tflite")
    )


def test_files_of_installed_packages_survive():
    found = installed()
    if not found:
        needs.MICRO.or_skip()
    for path in found:
        file = path.read_bytes()
        again = write(read(file))
        assert whole(again) == whole(file), path
        assert write(read(again)) == again
        for one, other in zip(answers(again), answers(file), strict=True):
            np.testing.assert_array_equal(one, other)


def test_weights_behind_the_flatbuffer_are_taken_in():
    """TensorFlow Lite Micro runs without them, and says nothing."""
    file = outside(ours("float32"))
    again = write(read(file))
    raw = generated.ModelT.InitFromPackedBuf(again, 0)
    assert [(b.offset, b.size) for b in raw.buffers] == [(0, 0)] * len(raw.buffers)
    assert again == write(read(ours("float32")))
    for one, other in zip(answers(again), answers(file), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("cut", [1, 100, 4000])
def test_weights_behind_the_flatbuffer_that_are_cut_off_are_refused(cut: int):
    with pytest.raises(TfliteError, match=r"not a whole \.tflite file"):
        read(outside(ours("float32"))[:-cut])


@pytest.mark.slow
@needs.QUANTIZER.mark
def test_what_ai_edge_quantizer_keeps_outside_is_taken_in(tmp_path: Path):
    from ai_edge_quantizer import quantizer, recipe

    keras.utils.set_random_seed(9)
    image = keras.Input((16, 16, 2))
    x = layers.Dense(1024, activation="relu")(layers.Flatten()(image))
    (tmp_path / "float.tflite").write_bytes(convert(keras.Model(image, layers.Dense(4)(x)), "float32"))
    job = quantizer.Quantizer(str(tmp_path / "float.tflite"), recipe.dynamic_wi8_afp32())
    file = bytes(job.quantize().quantized_model)
    assert any(b.offset > 1 for b in generated.ModelT.InitFromPackedBuf(file, 0).buffers)
    again = write(read(file))
    assert all(b.offset == 0 for b in generated.ModelT.InitFromPackedBuf(again, 0).buffers)
    assert whole(again) == whole(file)
    for one, other in zip(answers(again), answers(file), strict=True):
        np.testing.assert_array_equal(one, other)


# --- what is written once, and how ----------------------------------------------------------------


def placed(file: bytes) -> list[tuple[int, bytes]]:
    """Place and content of every buffer that is not empty."""
    base = np.frombuffer(file, np.uint8).__array_interface__["data"][0]
    root = generated.Model.GetRootAs(file, 0)
    arrays = [root.Buffers(i).DataAsNumpy() for i in range(root.BuffersLength())]
    return [
        (a.__array_interface__["data"][0] - base, a.tobytes()) for a in arrays if isinstance(a, np.ndarray) and len(a)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in FOREIGN if kind != "open batch"])
def test_every_constant_is_aligned_and_there_once(kind: str, tmp_path: Path):
    found = placed(write(read(FOREIGN[kind](tmp_path))))
    assert found
    assert not [place for place, _ in found if place % ALIGNMENT]
    assert len({content for _, content in found}) == len(found)


@pytest.mark.slow
def test_equal_weights_of_two_layers_are_stored_once():
    keras.utils.set_random_seed(3)
    image = keras.Input((6, 6, 8))
    x = layers.Conv2D(8, 3, padding="same")(layers.Conv2D(8, 3, padding="same", activation="relu")(image))
    graph = only(read(convert(keras.Model(image, x), "float32")))
    first, second = (op.inputs[1] for op in graph.operators)

    def sizes(content: np.ndarray) -> list[int]:
        second.buffer = Buffer(content)
        return [len(found) for _, found in placed(write(Model([graph])))]

    assert sizes(first.buffer.data.copy()).count(first.nbytes) == 1
    again = only(read(write(Model([graph]))))
    assert again.operators[0].inputs[1].buffer is again.operators[1].inputs[1].buffer
    # Not by length or by place: one other byte, and there are two.
    changed = first.buffer.data.copy()
    changed[5] ^= 1
    assert sizes(changed).count(first.nbytes) == 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["float32", "int8", "weights outside"])
def test_constants_are_views_of_what_was_read(kind: str, tmp_path: Path):
    file = FOREIGN[kind](tmp_path)
    constants = [t for t in only(read(file)).tensors if t.constant]
    assert constants
    assert all(np.shares_memory(t.buffer.data, np.frombuffer(file, np.uint8)) for t in constants)
    assert all(np.shares_memory(t.values(), np.frombuffer(file, np.uint8)) for t in constants if t.type != "INT4")


def test_a_tensor_of_two_subgraphs_is_written_once():
    model = read(ours("int8"))
    (graph,) = model.subgraphs
    shorter = Subgraph(graph.operators[:2], graph.inputs, graph.operators[1].outputs)
    pair = Model([graph, shorter], [Signature("a", graph, {"x": graph.inputs[0]}, {"y": graph.outputs[0]})])
    pair.signatures.append(Signature("b", shorter, {"x": graph.inputs[0]}, {"y": shorter.outputs[0]}))
    file = write(pair)
    root = generated.Model.GetRootAs(file, 0)

    def places(number: int, kind: str) -> set[int]:
        found = root.Subgraphs(number)
        return {getattr(found, kind)(i)._tab.Pos for i in range(getattr(found, f"{kind}Length")())}

    assert places(1, "Tensors") < places(0, "Tensors")
    assert len(places(1, "Tensors")) == len(write_order(shorter))
    # All that the second costs is its own tables of indices.
    assert len(file) - len(write(Model([graph], pair.signatures[:1]))) < 600
    alone = write(Model([shorter], [replace(pair.signatures[1])]))
    np.testing.assert_array_equal(answers(file)[1], answers(alone)[0])


def write_order(graph: Subgraph) -> list[Tensor]:
    return only(read(write(Model([graph])))).tensors


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["float32", "int8", "two signatures", "control flow"])
def test_names_are_left_out_of_all_but_the_ends(kind: str, tmp_path: Path):
    file = FOREIGN[kind](tmp_path)
    bare = write(read(file), names=False)
    assert len(bare) < len(write(read(file)))
    for before, after in zip(read(file).subgraphs, read(bare).subgraphs, strict=True):
        ends = {id(t) for t in (*before.inputs, *before.outputs)}
        assert [t.name for t in after.tensors] == [t.name if id(t) in ends else "" for t in before.tensors]
    expected, found = whole(file), whole(bare)
    for graph in (*expected["subgraphs"], *found["subgraphs"]):
        for tensor in graph["tensors"]:
            tensor.pop("name", None)
    assert found == expected
    for one, other in zip(answers(bare), answers(file), strict=True):
        np.testing.assert_array_equal(one, other)


def test_writing_changes_nothing_of_the_model():
    model = read(ours("int8"))
    first = write(model)
    write(model, names=False)
    assert write(model) == first


def test_more_than_a_flatbuffer_holds_is_refused():
    model = read(ours("float32"))
    weights = next(t for t in only(model).tensors if t.constant)
    weights.buffer = Buffer(np.broadcast_to(np.uint8(1), 2**31))  # takes no room
    with pytest.raises(TfliteError, match="less than 2 GiB"):
        write(model)


# --- damage ---------------------------------------------------------------------------------------

# A byte of the file, as a share of its length, and what becomes of it and its neighbours.
_EDITS = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.one_of(st.binary(min_size=1, max_size=1), st.sampled_from([b"\0" * 4, b"\1\0\0\0", b"\xff" * 4])),
    ),
    min_size=1,
    max_size=4,
)
_RUNS = """
import resource, sys
from pathlib import Path
from ai_edge_litert.interpreter import Interpreter
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
for path in sorted(Path(sys.argv[1]).iterdir()):
    print(path.name, flush=True)
    try:
        interpreter = Interpreter(model_content=path.read_bytes())
        interpreter.allocate_tensors()
        interpreter.invoke()
        for entry in interpreter.get_output_details():
            interpreter.get_tensor(entry["index"])
    except (ValueError, RuntimeError):
        print("refused", flush=True)
"""


@pytest.mark.parametrize("scale", [0.0, float("inf"), 1e-30])
def test_integer_sums_that_end_litert_are_refused(scale: float):
    model = read(ours("int8"))
    total = next(op for op in only(model).operators if op.name == "ADD").outputs[0]
    total.table.quantization.scale = np.array([scale], np.float32)
    with pytest.raises(TfliteError, match="ADD works on INT8 with the scales"):
        read(write(model))


def test_an_output_that_nothing_makes_is_refused():
    model = read(ours("float32"))
    graph = only(model)
    graph.operators.pop()
    with pytest.raises(TfliteError, match="no operator makes the output"):
        read(write(model))


@pytest.mark.slow
def test_damage_is_refused_or_survived(tmp_path: Path):
    """Whatever bytes change: a clean refusal, or objects that can be written, read and given to LiteRT.

    In a process of its own, since LiteRT ends the process over what it does not check.
    """
    survivors, refused = set(), 0

    @settings(max_examples=400, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
    @given(kind=st.sampled_from(["float32", "int8", "int16x8", "dynamic"]), edits=_EDITS)
    def damage(kind: str, edits: list[tuple[float, bytes]]) -> None:
        nonlocal refused
        file = bytearray(ours(kind))
        for share, content in edits:
            at = min(int(share * len(file)), len(file) - len(content))
            file[at : at + len(content)] = content
        try:
            again = write(read(bytes(file)))
        except TfliteError:
            refused += 1
            return
        assert write(read(again)) == again
        survivors.add(again)

    damage()
    assert refused > 50
    assert len(survivors) > 100
    for index, content in enumerate(sorted(survivors)):
        (tmp_path / f"{index:03}").write_bytes(content)
    done = subprocess.run([sys.executable, "-c", _RUNS, str(tmp_path)], capture_output=True, text=True, check=False)
    said = done.stdout.splitlines()
    assert done.returncode == 0, f"LiteRT died of {said[-1]}"
    assert len(said) - said.count("refused") == len(survivors)
    assert said.count("refused") < len(survivors) / 2
