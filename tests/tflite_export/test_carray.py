"""C++ source of a model: compiled, read back, and the arena it names tried in TensorFlow Lite Micro."""

from __future__ import annotations

import hashlib
import re
import subprocess
from pathlib import Path
from typing import Any

import cascade_files
import flatbuffers
import keras
import needs
import networks
import numpy as np
import pytest
import tflm_stand_in
from operators import file, operator, tensor

from tflite_export import carray, emit, kernels, memory, tail
from tflite_export.convert import convert
from tflite_export.devices import tflm_kernels, tflm_wheel
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Buffer, Model, read, schema, write
from tflite_export.kernels import HOST

needs_micro = needs.MICRO.mark
STRICT = ["-std=c++17", "-Wall", "-Wextra", "-Wconversion", "-Werror"]
COMPILERS = {
    "host": ["g++"],
    "cortex-m4": ["arm-none-eabi-g++", "-mcpu=cortex-m4", "-mthumb"],
    "cortex-m55": ["arm-none-eabi-g++", "-mcpu=cortex-m55", "-mthumb"],
}
ODD = ['say "hi"', "back\\slash", "what??/", "Käse", "tab\tnew\nline", "\x011", "日本", ""]


@pytest.fixture(scope="module")
def small() -> bytes:
    made = convert(networks.anchor().model, "int8", [networks.images(8).astype(np.float32)])
    return write(read(made))  # as linked files are; TensorFlow's own are aligned to 4 bytes


def written(folder: Path, texts: dict[str, str]) -> list[str]:
    for name, text in texts.items():
        (folder / name).write_text(text)
    return [name for name in texts if name.endswith(".cc")]


def compiled(folder: Path, command: list[str], *sources: str) -> None:
    done = subprocess.run([*command, *STRICT, *sources], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("core", COMPILERS)
def test_source_compiles_without_headers_of_tflm(core: str, small: bytes, tmp_path: Path):
    command = COMPILERS[core]
    needs.programs(command[0]).or_skip()
    sources = written(tmp_path, carray.sources(small, "L1-S0.int8") | carray.labels(ODD))
    compiled(tmp_path, [*command, "-c"], *sources)


@pytest.mark.slow
@needs.COMPILER.mark
def test_the_compiled_array_is_the_file(small: bytes, tmp_path: Path):
    (tmp_path / "main.cc").write_text(
        '#include <cstdint>\n#include <cstdio>\n#include "L1_S0_int8.h"\n#include "labels.h"\n'
        "int main(int count, char**) {\n"
        "  if (count > 1) {\n"
        "    for (std::size_t i = 0; i < model_labels_size; ++i) std::printf(\"%s%c\", model_labels[i], '\\0');\n"
        "    return 0;\n"
        "  }\n"
        "  if (reinterpret_cast<std::uintptr_t>(model_L1_S0_int8) % 16 != 0) return 1;\n"
        "  std::fwrite(model_L1_S0_int8, 1, model_L1_S0_int8_size, stdout);\n"
        "}\n"
    )
    sources = written(tmp_path, carray.sources(small, "L1-S0.int8") | carray.labels(ODD))
    compiled(tmp_path, ["g++", "-o", "main"], "main.cc", *sources)
    found = subprocess.run([tmp_path / "main"], capture_output=True, check=True).stdout
    assert found == small
    told = subprocess.run([tmp_path / "main", "labels"], capture_output=True, check=True).stdout
    assert told.decode().split("\0")[:-1] == ODD


@pytest.mark.slow
@needs.COMPILER.mark
@pytest.mark.parametrize("namespace", ["tflite", "tflite::micro"])
def test_the_resolver_registers_exactly_the_operators(namespace: str, small: bytes, tmp_path: Path):
    tflm_stand_in.headers(tmp_path, namespace)
    written(tmp_path, carray.sources(small, "small"))
    (tmp_path / "main.cc").write_text(
        '#include "small_resolver.h"\n'
        "int main() {\n"
        f"  {namespace}::MicroMutableOpResolver<model_small_operators> resolver;\n"
        "  if (!model_small_add_operators(resolver)) return 1;\n"
        "  return model_small_add_operators(resolver) ? 2 : 0;  // full: nothing more can be added\n"
        "}\n"
    )
    compiled(tmp_path, ["g++", "-I.", "-o", "main"], "main.cc")
    found = subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=True).stdout.split()
    used = {o.name for o in read(small).subgraphs[0].operators}
    assert len(found) == len(used)
    assert {"Conv2D", "FullyConnected", "Softmax"} <= set(found)


@pytest.mark.slow
@needs.COMPILER.mark
def test_kernels_for_int8_alone_are_registered_where_cmsis_nn_has_them(small: bytes, tmp_path: Path):
    tflm_stand_in.headers(tmp_path)
    written(tmp_path, carray.sources(small, "small"))
    (tmp_path / "main.cc").write_text(
        '#include "small_resolver.h"\nint main() {\n'
        "  tflite::MicroMutableOpResolver<model_small_operators> resolver;\n"
        "  return model_small_add_operators(resolver) ? 0 : 1;\n}\n"
    )
    compiled(tmp_path, ["g++", "-I.", "-DCMSIS_NN", "-o", "main"], "main.cc")
    found = subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=True).stdout.splitlines()
    assert {"Conv2D of int8", "FullyConnected of int8", "Softmax of int8"} <= set(found)


def test_an_operator_of_two_types_keeps_the_kernel_for_all():
    floats, integers = (
        file(operator("MUL", [x, x], tensor(k, name="y"))) for k in ("FLOAT32", "INT8") for x in [tensor(k)]
    )
    assert (carray.narrow(integers), carray.narrow(floats), carray.narrow(integers, floats)) == (("MUL",), (), ())
    resolver = carray.sources(floats, "p")["p_resolver.h"]
    assert "CMSIS_NN" not in resolver


def test_every_operator_of_tflm_has_a_method_of_its_resolver():
    known = {f"Add{m}" for m in tflm_stand_in.METHODS.split()}
    found = {carray.operators(file(operator(name, [tensor()], tensor(name="y"))))[0] for name in tflm_kernels.OPERATORS}
    assert found == known - {"AddEthosU"}


def test_operators_of_all_branches_are_registered_and_unknown_ones_refused():
    one, other = (read(file(operator(n, [tensor()], tensor(name="y")))) for n in ("RELU", "TANH"))
    both = write(Model([*one.subgraphs, *other.subgraphs]))
    assert carray.operators(both) == ("AddRelu", "AddTanh")
    with pytest.raises(TfliteError, match="TensorFlow Lite Micro has no GELU, so the file cannot run there"):
        carray.operators(file(operator("GELU", [tensor()], tensor(name="y"))))
    assert carray.operators(write(one), write(other)) == ("AddRelu", "AddTanh")
    with pytest.raises(TfliteError, match="2 subgraphs"):
        carray.sources(both, "elastic")


@pytest.mark.slow
def test_the_header_says_how_to_run_it(small: bytes):
    header = carray.sources(small, "L1-S0.int8", about="L1-S0 of demo")["L1_S0_int8.h"]
    needed, graph = tail.arena(small), read(small).subgraphs[0]
    assert "// L1-S0 of demo\n" in header
    assert hashlib.sha256(small).hexdigest() in header
    assert f"_arena_size = {needed.size};" in header
    assert f"{needed.head} planned for the tensors" in header
    assert "on a 32-bit core" in header
    for build in kernels.EVERY:
        assert f"//   {tail.one(small, build).size} with {build.title}\n" in header
    assert "input_shape[] = {1, 8, 8, 3};" in header
    assert f"input_zero_point = {graph.inputs[0].zero_points[0]};" in header
    scale = re.search(r"input_scale = (.*)f;", header)
    assert scale
    assert np.float32(scale[1]) == np.float32(graph.inputs[0].scales[0])
    # Floats as they are, by the same formula.
    plain = carray.sources(file(operator("RELU", [tensor("FLOAT32")], tensor("FLOAT32", name="y"))), "plain")["plain.h"]
    assert "output_scale = 1.0f;" in plain
    assert "output_zero_point = 0;" in plain


def test_names_become_identifiers():
    assert carray.identifier("L1-S0.prune50") == "L1_S0_prune50"
    assert carray.identifier("small*") != carray.identifier("small")
    with pytest.raises(TfliteError, match="no letter or digit"):
        carray.identifier("--")


def _offsets(content: bytes) -> list[int]:
    """Where each constant lies in the file; nothing of the code that aligns them."""
    table = schema().Model.GetRootAs(content, 0)
    found = [table.Buffers(i).DataAsNumpy() for i in range(table.BuffersLength()) if table.Buffers(i).DataLength()]
    return [content.index(data.tobytes()) for data in found if len(data) >= 32]


def _packed(table: Any) -> bytes:
    """As Python's generated code packs: aligned to 4 bytes."""
    builder = flatbuffers.Builder(1024)
    builder.Finish(table.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


@pytest.mark.slow
def test_weights_that_are_not_aligned_are_written_anew(small: bytes):
    packed = _packed(schema().ModelT.InitFromPackedBuf(small, 0))
    assert any(offset % 16 for offset in _offsets(packed))
    made = carray.aligned(packed)
    assert not any(offset % 16 for offset in _offsets(made))
    assert carray.aligned(small) is small
    source = carray.sources(packed, "packed")["packed.cc"]
    assert hashlib.sha256(made).hexdigest() in source
    assert f"from the file of sha256 {hashlib.sha256(packed).hexdigest()}" in re.sub(r"\s*//\s*", " ", source)


def test_weights_behind_the_flatbuffer_are_taken_in():
    """TFLM would run without them."""
    weights = emit.constant(np.arange(64, dtype=np.int8).reshape(8, 1, 1, 8), "w", np.ones(8))
    conv = emit.conv_1x1(tensor(), weights, None, tensor(name="y"), 0)  # type: ignore[arg-type]
    inside = file(conv)
    table = schema().ModelT.InitFromPackedBuf(inside, 0)
    (place,) = (i for i, b in enumerate(table.buffers) if b.data is not None and len(b.data) == 64)
    data = bytes(table.buffers[place].data)
    table.buffers[place].data, table.buffers[place].offset, table.buffers[place].size = None, 1 << 20, 64
    table.buffers[place].offset = -(-len(_packed(table)) // 16) * 16
    outside = _packed(table).ljust(table.buffers[place].offset, b"\0") + data
    found = carray.aligned(outside)
    assert found != outside
    plain = schema().Model.GetRootAs(found, 0)
    assert [plain.Buffers(i).Offset() for i in range(plain.BuffersLength())] == [0] * plain.BuffersLength()
    assert any(plain.Buffers(i).DataLength() == 64 for i in range(plain.BuffersLength()))


def _wheel_total(content: bytes) -> int:
    """What TFLM says that its arena holds, once it has run."""
    ran = tflm_wheel.run(content, tflm_wheel.noise(read(content).subgraphs[0].inputs[0], 1), 8 << 20)
    return ran.head + ran.tail


def _attention() -> keras.Model:
    image = keras.Input((8, 8, 3))
    x = keras.layers.Reshape((64, 3))(keras.layers.Rescaling(1 / 255)(image))
    x = keras.layers.LayerNormalization()(keras.layers.Dense(8)(x))
    x = keras.layers.MultiHeadAttention(2, 4)(x, x)
    return keras.Model(image, keras.layers.Dense(3, activation="softmax")(keras.layers.Flatten()(x)))


def _upsampled() -> keras.Model:
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2DTranspose(4, 3, strides=2, padding="same", activation="relu")(image)
    x = keras.layers.DepthwiseConv2D(3, padding="same", activation="relu6")(keras.layers.ZeroPadding2D(1)(x))
    x = keras.layers.MaxPooling2D(2)(keras.layers.LeakyReLU()(x))
    return keras.Model(image, keras.layers.Dense(3, activation="softmax")(keras.layers.GlobalAveragePooling2D()(x)))


@pytest.mark.slow
@needs_micro
@pytest.mark.parametrize("precision", ["float32", "int8", "int16x8"])
@pytest.mark.parametrize("kind", ["residual", "deep", "attention", "upsampled"])
def test_the_arena_is_enough_and_not_wildly_more(kind: str, precision: str):
    """Loaded and run in exactly this arena; beside TFLM's own figure of what it used."""
    makers = {
        "residual": lambda: networks.anchor().model,
        "deep": lambda: networks.anchor((8, 16, 32), 3, side=32).model,
        "attention": _attention,
        "upsampled": _upsampled,
    }
    model = makers[kind]()
    images = [networks.images(8, side=model.input_shape[1]).astype(np.float32)]
    content = convert(model, precision, images)
    needed = tail.one(content, HOST).size
    assert tflm_wheel.fault(content, needed) == ""
    assert _wheel_total(content) <= needed <= 1.02 * tflm_wheel.least(content, needed) + 64


@pytest.mark.slow
@needs_micro
def test_planning_takes_room_where_the_tensors_take_little(small: bytes):
    """An arena of the planned head and the true tail is too small for it."""
    head = memory.plan(memory.ranges(small)).size
    total = _wheel_total(small)
    assert tail.arena(small).head > head
    assert tflm_wheel.fault(small, total) != ""


@pytest.mark.slow
@needs_micro
def test_a_fault_in_tflm_is_told(small: bytes):
    assert "Failed to allocate" in tflm_wheel.fault(small, 2048)
    assert "GELU" in tflm_wheel.fault(file(operator("GELU", [tensor()], tensor(name="y"))), 1 << 16)


def test_a_plan_in_the_file_is_taken_at_its_word():
    model = read(file(operator("RELU", [tensor()], tensor(name="y"))))
    offsets = np.array([0, 0, 2, 128, -1], np.int32)
    model.metadata["OfflineMemoryAllocation"] = Buffer(offsets.view(np.uint8))
    found = tail.arena(write(model))
    assert (found.head, found.planner) == (256, "by Vela")


@pytest.mark.slow
@needs.COMPILER.mark
def test_the_header_of_a_cascade_names_its_thresholds_and_the_places_of_all_ends(tmp_path: Path):
    content = cascade_files.cascade("small>middle>large", "int8", (0.75, 0.5))
    made = carray.sources(content, "small-then-middle-then-large.int8")
    stem = "small_then_middle_then_large_int8"
    assert {*made} == {f"{stem}.h", f"{stem}.cc", f"{stem}_resolver.h"}
    header = made[f"{stem}.h"]
    assert "A cascade. A stage answers where its confidence (max, 0 to 1) is at or above its threshold" in header
    assert "_input_shape[] = {1, 8, 8, 3};" in header
    assert "_output_shape[] = {1, 3};" in header
    assert f"_arena_size = {tail.arena(content).size};" in header
    for method in ("AddIf", "AddReduceMax", "AddDequantize", "AddGreaterEqual"):
        assert f"resolver.{method}()" in made[f"{stem}_resolver.h"]
    (tmp_path / "main.cc").write_text(
        f'#include <cstdio>\n#include "{stem}.h"\nint main() {{\n'
        f'  std::printf("%zu %zu %zu %zu %zu", {", ".join(f"model_{stem}_{e}" for e in ENDS)});\n'
        f'  std::printf(" %g %g", static_cast<double>(model_{stem}_threshold_1),\n'
        f"              static_cast<double>(model_{stem}_threshold_2));\n"
        f'  for (const char* stage : model_{stem}_stages) std::printf(" %s", stage);\n}}\n'
    )
    compiled(tmp_path, ["g++", "-o", "main"], "main.cc", *written(tmp_path, made))
    said = subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=True).stdout
    assert said == "0 1 2 0 1 0.75 0.5 small middle large"


ENDS = ("input_image", "input_threshold_1", "input_threshold_2", "output_scores", "output_stage")


@pytest.mark.slow
def test_a_cascade_that_does_not_say_its_thresholds_has_no_header():
    model = read(cascade_files.cascade("small>large", "int8", (0.5,)))
    model.metadata.pop("restnet_tf")
    with pytest.raises(TfliteError, match="no operating points in it; link it with restnet-tf"):
        carray.sources(write(model), "small-then-large")


@pytest.mark.slow
def test_the_arena_is_that_of_what_firmware_is_built_with(small: bytes):
    reference, every = (
        carray.sources(small, "p", builds=builds)["p.h"] for builds in (kernels.built("reference"), kernels.EVERY)
    )
    assert f"_arena_size = {tail.one(small, kernels.Kernels()).size};" in reference
    assert "CMSIS-NN" not in reference
    assert f"_arena_size = {tail.arena(small).size};" in every
