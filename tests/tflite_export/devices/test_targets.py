"""What targets take: tables held against the programs that they were read from, and every refusal with its way out."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import needs
import networks
import numpy as np
import pytest
from operators import file, operator, tensor, unary

from tflite_export import emit, tail
from tflite_export.convert import convert
from tflite_export.devices import coral, coral_rules, devices, ethos_u, rules, tflm_kernels, tflm_wheel
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Buffer, Model, Tensor, names, read, schema, write
from tflite_export.kernels import HOST
from tflite_export.lowering import LOWERED

needs_micro = needs.MICRO.mark
needs_vela = needs.VELA.mark

_RUN_ALL = """
import base64, json, sys
import numpy as np
from tflite_micro.python.tflite_micro import runtime
for name, kind, model in json.load(sys.stdin):
    try:
        made = runtime.Interpreter.from_bytes(base64.b64decode(model), arena_size=1 << 16)
        entry = made.get_input_details(0)
        made.set_input(np.ones(entry["shape"], entry["dtype"]), 0)
        made.invoke()
        print(name, kind)
    except RuntimeError:
        pass
"""


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """One small residual network in every precision."""
    model = networks.anchor().model
    images = [networks.images(8).astype(np.float32)]
    return {p: convert(model, p, images) for p in ("float32", "float16", "int8", "int16x8")}


def words(content: bytes, target: str, precision: str = "int8") -> str:
    return "\n".join(map(str, rules.refusals(content, devices.target(target).rules, precision)))


@pytest.mark.slow
def test_an_unknown_target_or_precision_lists_the_known_ones(files: dict[str, bytes]):
    with pytest.raises(TfliteError, match=r"unknown target 'stm32'; choose one of android, coral, web, tflm, ethos"):
        words(files["int8"], "stm32")
    with pytest.raises(TfliteError, match="unknown precision 'int4'"):
        words(files["int8"], "tflm", "int4")
    with pytest.raises(TfliteError, match=r"not a \.tflite file"):
        words(b"nothing of the kind", "tflm")


@pytest.mark.slow
@pytest.mark.parametrize("target", devices.targets())
def test_a_small_network_is_taken_by_every_target_in_int8(target: str, files: dict[str, bytes]):
    assert words(files["int8"], target) == ""


@pytest.mark.slow
@needs_micro
def test_tflm_runs_what_is_not_refused_and_nothing_of_what_is(files: dict[str, bytes]):
    for precision in ("int8", "int16x8", "float32"):
        assert words(files[precision], "tflm", precision) == ""
        assert tflm_wheel.fault(files[precision], tail.one(files[precision], HOST).size) == ""
    assert "float16 does not run on TensorFlow Lite Micro: build with --precision int8" in words(
        files["float16"], "tflm", "float16"
    )
    assert tflm_wheel.fault(files["float16"], 1 << 20)


@needs_micro
def test_the_operators_of_tflm_are_those_that_its_wheel_registers():
    (library,) = Path(str(importlib.util.find_spec("tflite_micro").origin)).parent.rglob("_runtime.so")
    found = {m.decode() for m in re.findall(rb"_ZN6tflite5micro\d+Register_([A-Z0-9_]+?)Ev\0", library.read_bytes())}
    builtin = set(names("BuiltinOperator").values())
    # Custom ones are registered too.
    assert found & builtin == tflm_kernels.OPERATORS
    assert len(tflm_kernels.OPERATORS) == 100


@pytest.mark.slow
@needs_micro
def test_tflm_has_no_kernel_for_the_types_that_are_refused_and_has_one_for_others():
    import base64
    import json

    options = {"DIV": ("DivOptions", {}), "L2_NORMALIZATION": ("L2NormOptions", {})}
    names_of = sorted(set(tflm_kernels.LACKS) - {"RESIZE_BILINEAR", "PRELU", "REDUCE_MAX", "REDUCE_MIN"})
    cases = []
    for name in names_of:
        for kind in ("FLOAT32", "INT8", "INT16"):
            x, y = tensor(kind), tensor(kind, name="y")
            given = [x, x] if name in ("DIV", "FLOOR_DIV", "FLOOR_MOD") else [x]
            if name == "GATHER":
                given = [x, emit.constant(np.array([0], np.int32), "places")]
            if name == "L2_NORMALIZATION" and kind == "INT8":
                y.table.quantization = emit.quantisation(np.array([1 / 128]), np.array([0]))
            if name == "LOG_SOFTMAX" and kind == "INT8":
                y.table.quantization = emit.quantisation(np.array([16 / 256]), np.array([127]))
            kinds, values = options.get(name, ("", {}))
            content = file(operator(name, given, y, kinds, **values))
            cases.append((name, kind, base64.b64encode(content).decode()))
    done = subprocess.run(
        [sys.executable, "-c", _RUN_ALL], input=json.dumps(cases), capture_output=True, text=True, check=True
    )
    ran = {tuple(line.split()) for line in done.stdout.splitlines()}
    allowed = {(n, k) for n, k, _ in cases if k not in tflm_kernels.LACKS[n]}
    # The wheel's ZEROS_LIKE takes no INT8 either; it is in no network of ours.
    assert ran | {("ZEROS_LIKE", "INT8")} == allowed


@pytest.mark.slow
@needs_micro
@pytest.mark.parametrize("how", ["REDUCE_MAX", "REDUCE_MIN"])
def test_tflm_takes_the_largest_and_the_least_of_all_but_sixteen_bits(how: str):
    axis = emit.constant(np.array([1], np.int32), "axis")

    def runs(kind: str) -> bool:
        x, y = tensor(kind, shape=(1, 8)), tensor(kind, shape=(1,), name="y")
        return tflm_wheel.fault(file(operator(how, [x, axis], y, "ReducerOptions")), 1 << 16) == ""

    ran = {kind for kind in ("FLOAT32", "INT8", "INT16") if runs(kind)}
    assert {"FLOAT32", "INT8", "INT16"} - ran == tflm_kernels.LACKS[how]


@pytest.mark.slow
@needs_vela
def test_the_ethos_targets_are_those_that_vela_takes():
    told = subprocess.run([sys.executable, "-m", "ethosu.vela", "--help"], capture_output=True, text=True).stdout
    found = re.search(r"--accelerator-config \{([^}]*)\}", re.sub(r"\s", " ", told))
    assert found
    choices = {name.strip() for name in found[1].split(",")}
    assert choices == {name for name in devices.targets() if name.startswith("ethos")}


@pytest.mark.slow
@needs_vela
def test_the_operators_of_vela_are_those_of_its_report(tmp_path: Path):
    # It writes into the current folder, whatever --output-dir says.
    command = [sys.executable, "-m", "ethosu.vela", "--supported-ops-report"]
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    report = (tmp_path / "SUPPORTED_OPS.md").read_text()
    for heading, target in (("Ethos-U55 and Ethos-U65", "ethos-u55-128"), ("Ethos-U85", "ethos-u85-256")):
        table = report.split(f"## {heading} TFLite Summary Table")[1].split("\n## ")[0]
        found = set(re.findall(r"^\| ([A-Z][A-Z0-9_]+) \|", table, re.MULTILINE))
        assert found == devices.target(target).rules.operators


def test_an_operator_that_can_be_lowered_names_the_option():
    assert LOWERED == {"gelu": "GELU", "tanh-gelu": "GELU", "l2_normalization": "L2_NORMALIZATION"}
    assert "GELU is not in TensorFlow Lite Micro: rebuild with --lower gelu" in words(unary("GELU"), "tflm")
    assert words(unary("GELU"), "ethos-u55-128") == ""
    assert "rebuild with --lower tanh-gelu (documented rules" in words(unary("GELU"), "coral")
    assert words(unary("GELU"), "android") == ""
    assert "rebuild with --lower l2_normalization" in words(unary("L2_NORMALIZATION"), "ethos-u55-128")
    assert words(unary("L2_NORMALIZATION"), "tflm") == words(unary("L2_NORMALIZATION"), "coral") == ""


def test_an_operator_that_is_missing_is_named_once():
    x, y, z = tensor(), tensor(name="y"), tensor(name="z")
    told = words(file(operator("POW", [x, x], y), operator("POW", [y, y], z)), "tflm")
    assert told.count("POW is not in TensorFlow Lite Micro: replace that layer") == 1


def test_kernels_that_lack_a_type_are_refused():
    assert "no kernel for EXP of INT8: build with --precision float32" in words(unary("EXP"), "tflm")
    assert words(unary("EXP", "FLOAT32"), "tflm", "float32") == ""
    assert "no kernel for HARD_SWISH of INT16" in words(unary("HARD_SWISH", "INT16"), "tflm", "int16x8")


@pytest.mark.parametrize(
    ("target", "refused"),
    [
        ("tflm", ("float16", "dynamic")),
        ("coral", ("float32", "float16", "dynamic", "int16x8")),
        ("ethos-u65-256", ("float32", "float16", "dynamic")),
        ("android", ()),
    ],
)
def test_precisions_that_a_target_does_not_run(target: str, refused: tuple[str, ...]):
    for precision in ("float32", "float16", "dynamic", "int8", "int16x8"):
        kind = {"int8": "INT8", "int16x8": "INT16"}.get(precision, "FLOAT32")
        told = words(unary("RELU", kind), target, precision)
        assert (f"{precision} does not run on" in told) == (precision in refused)


def test_a_file_is_refused_that_is_not_what_its_precision_says():
    """Weights of int8 behind float activations run in TFLM, and are wrong."""
    x, y = tensor("FLOAT32"), tensor("FLOAT32", name="y")
    weights = emit.constant(np.ones((8, 1, 1, 8), np.int8), "w", np.ones(8))
    bias = emit.constant(np.zeros(8, np.float32), "b")
    hybrid = file(emit.conv_1x1(x, weights, bias, y, 0))
    assert "weights of INT8 at CONV_2D, so it is not float32 throughout" in words(hybrid, "tflm", "float32")
    assert words(hybrid, "android", "dynamic") == ""
    assert "activations of FLOAT32 at RELU" in words(unary("RELU", "FLOAT32"), "tflm", "int8")


def test_several_signatures_or_subgraphs():
    several = file(operator("RELU", [tensor()], tensor(name="y")), signatures=2)
    assert "several signatures (p0, p1) and it crashes on such a file: export a single point" in words(several, "tflm")
    for target in ("coral", "ethos-u55-64"):
        assert "several signatures (p0, p1) and it takes one point a file" in words(several, target)
    assert words(several, "android") == ""
    one, other = (read(unary("RELU")) for _ in range(2))
    routed = write(Model([*one.subgraphs, *other.subgraphs], one.signatures))
    assert words(routed, "tflm") == ""  # a router's branches
    assert "2 subgraphs" in words(routed, "ethos-u55-64")


def test_shapes_must_be_fixed_and_a_batch_of_one():
    batch = file(operator("RELU", [tensor(shape=(4, 4, 4, 8))], tensor(shape=(4, 4, 4, 8), name="y")))
    assert "has a batch of 4: convert with a fixed batch of 1" in words(batch, "tflm")
    x, y = tensor(), tensor(name="y")
    for t in (x, y):
        t.table.shapeSignature = np.array([-1, 4, 4, 8], np.int32)
    assert "open dimension" in words(file(operator("RELU", [x], y)), "ethos-u85-128")


def test_custom_operators_run_nowhere():
    custom = read(unary("RELU"))
    (relu,) = custom.subgraphs[0].operators
    relu.code = schema().OperatorCodeT(32, b"FlexErf", 1, 32)
    for target in devices.targets():
        assert "CUSTOM FlexErf is not in" in words(write(custom), target)


def _pooled(fused: int) -> bytes:
    pool = emit.average_pool(tensor(), (2, 2))
    pool.table.builtinOptions.fusedActivationFunction = fused
    return file(pool)


def _dilated(h: int, w: int) -> bytes:
    weights = emit.constant(np.ones((8, 1, 1, 8), np.int8), "w", np.ones(8))
    bias = emit.constant(np.zeros(8, np.int32), "b", np.ones(8))
    conv = emit.conv_1x1(tensor(), weights, bias, tensor(name="y"), 0)
    conv.table.builtinOptions.dilationHFactor, conv.table.builtinOptions.dilationWFactor = h, w
    return file(conv)


def _mean(axes: list[int], channels: int = 8) -> bytes:
    x = tensor(shape=(1, 4, 4, channels))
    axis = emit.constant(np.array(axes, np.int32), "axes")
    return file(operator("MEAN", [x, axis], tensor(shape=(1, channels), name="y"), "ReducerOptions"))


def _joined(value: int) -> bytes:
    block = emit.constant(np.full((1, 1, 8), value, np.int8), "c", np.array([1 / 256]))
    block.table.quantization = emit.quantisation(np.array([1 / 256]), np.array([-128]))
    y = tensor(shape=(1, 5, 8), name="y")
    return file(emit.concatenate([tensor(shape=(1, 4, 8)), block], y))


def _pad(first: int) -> bytes:
    pads = emit.constant(np.array([[first, 0], [1, 1], [1, 1], [0, 0]], np.int32), "pads")
    return file(operator("PAD", [tensor(), pads], tensor(shape=(1 + first, 6, 6, 8), name="y"), "PadOptions"))


def _packed(axis: int) -> bytes:
    x, y = tensor(shape=(1, 4, 8)), tensor(shape=(1, 1, 4, 8), name="y")
    return file(operator("PACK", [x], y, "PackOptions", valuesCount=1, axis=axis))


def _sloped(shape: tuple[int, ...]) -> bytes:
    return file(
        operator("PRELU", [tensor(), emit.constant(np.ones(shape, np.int8), "a", np.ones(1))], tensor(name="y"))
    )


def _squeezed(shape: tuple[int, ...]) -> bytes:
    y = tensor(shape=tuple(size for size in shape if size > 1), name="y")
    return file(operator("SQUEEZE", [tensor(shape=shape)], y, "SqueezeOptions", squeezeDims=[]))


def _strided(step: int, mask: int = 0) -> bytes:
    begin, end, steps = (np.array(x, np.int32) for x in ([0] * 3, [1, 4, 8], [1, step, 1]))
    given = [tensor(shape=(1, 4, 8)), *(emit.constant(x, "n") for x in (begin, end, steps))]
    y = tensor(shape=(1, 4 // step, 8), name="y")
    return file(operator("STRIDED_SLICE", given, y, "StridedSliceOptions", ellipsisMask=mask))


def _softmax(shape: tuple[int, ...]) -> bytes:
    return file(operator("SOFTMAX", [tensor(shape=shape)], tensor(shape=shape, name="y"), "SoftmaxOptions", beta=1.0))


def _dense(rows: int) -> bytes:
    weights = emit.constant(np.ones((6, 8), np.int8), "w", np.ones(1))
    given = [tensor(shape=(1, rows, 8)), weights, None]
    return file(operator("FULLY_CONNECTED", given, tensor(shape=(1, rows, 6), name="y"), "FullyConnectedOptions"))


@pytest.mark.parametrize(
    ("right", "wrong", "reason"),
    [
        (_pooled(0), _pooled(1), "AVERAGE_POOL_2D has a fused activation"),
        (_dilated(2, 2), _dilated(1, 2), "CONV_2D has dilations 1 and 2 that differ"),
        (_mean([1, 2]), _mean([0, 1]), "MEAN works along the batch"),
        (_mean([3]), _mean([3], channels=6), "works along 6 channels, which should be a multiple of 4"),
        (_joined(-128), _joined(0), "CONCATENATION joins constants other than zeros"),
        (_pad(0), _pad(1), "PAD pads the batch"),
        (_packed(1), _packed(0), "PACK packs along the batch"),
        (_sloped((1, 1, 8)), _sloped((4, 4, 8)), "PRELU has slopes of (4, 4, 8)"),
        (_squeezed((1, 5, 10)), _squeezed((5, 1, 10)), "of which only leading dimensions may be 1"),
        (_strided(1), _strided(2), "STRIDED_SLICE has strides other than 1"),
        (_strided(1), _strided(1, mask=1), "has a mask of an ellipsis or of new axes"),
        (_softmax((1, 10)), _softmax((1, 4, 10)), "SOFTMAX works on (1, 4, 10)"),
        (_softmax((1, 16_000)), _softmax((1, 16_001)), "one dimension of at most 16000 values"),
        (_dense(1), _dense(5), "FULLY_CONNECTED gives (1, 5, 6), where one dimension alone may exceed 1"),
        (
            unary("RELU"),
            file(operator("RELU", [tensor(shape=(1, 2, 3, 3, 4))], tensor(shape=(1, 2, 3, 3, 4), name="y"))),
            "of which only the 3 innermost dimensions may exceed 1",
        ),
    ],
)
def test_documented_rules_of_coral(right: bytes, wrong: bytes, reason: str):
    assert words(right, "coral") == ""
    told = words(wrong, "coral")
    assert reason in told
    assert "documented rules" in told
    assert "compile" not in told


def test_every_rule_of_coral_says_where_it_is_written():
    for rule in coral_rules.RULES:
        assert str(rule).endswith(('Edge TPU", Model requirements)', 'Edge TPU", Supported operations)'))
    assert {rule.about for rule in coral_rules.RULES if rule.fault} <= coral.OPERATORS


def test_only_documented_operators_pass_for_coral():
    assert set(names("BuiltinOperator").values()) >= coral.OPERATORS
    assert "BATCH_MATMUL" not in coral.OPERATORS


@pytest.mark.slow
@needs_vela
def test_vela_agrees_with_what_is_not_refused(files: dict[str, bytes]):
    for config in ("ethos-u55-32", "ethos-u65-512", "ethos-u85-2048"):
        found = ethos_u.compiled(files["int8"], config, "small")
        assert found.operators > 0
        assert "cycles_total" in found.summary
        (made,) = read(found.content).subgraphs
        assert [o.name for o in made.operators] == ["CUSTOM ethos-u"]


@pytest.mark.slow
@needs_vela
def test_a_model_that_vela_leaves_on_the_cpu_is_refused(files: dict[str, bytes]):
    """Its exit code is 0 in both cases."""
    with pytest.raises(TfliteError, match=r"leaves (\d+) of \1 operators of small on the CPU.*Float32"):
        ethos_u.compiled(files["float32"], "ethos-u55-128", "small")
    resize = emit.resize_bilinear(tensor(), (6, 6))
    partly = file(resize, operator("RELU", [resize.outputs[0]], tensor(shape=(1, 6, 6, 8), name="y")))
    with pytest.raises(TfliteError, match=r"leaves 1 of .* RESIZE_BILINEAR .*scale-factor=1.5"):
        ethos_u.compiled(partly, "ethos-u55-128", "resized")


@pytest.mark.slow
@needs_vela
def test_vela_refuses_what_is_no_model():
    with pytest.raises(TfliteError, match="Vela cannot compile broken for ethos-u55-128"):
        ethos_u.compiled(b"nothing of the kind", "ethos-u55-128", "broken")


def test_vela_that_is_missing_is_one_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TfliteError, match=r"not installed: pip install 'restnet-tf\[mcu\]'"):
        ethos_u.compiled(b"", "ethos-u55-128", "any")


def test_what_nothing_makes_is_read_from_vela_alone():
    made = read(unary("RELU"))
    (relu,) = made.subgraphs[0].operators
    relu.inputs.append(Tensor(tensor(name="scratch").table, Buffer()))
    with pytest.raises(TfliteError, match="before it is made"):
        read(write(made))
    relu.code = schema().OperatorCodeT(32, b"ethos-u", 1, 32)
    assert read(write(made)).subgraphs[0].operators[0].inputs[1].name == "scratch"
