"""`export` from a finished run to what one flashes, as a user calls it; and every refusal in one line."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import cascade_files
import needs
import networks
import numpy as np
import pytest
from click.testing import CliRunner, Result
from operators import file, operator, tensor

from restnet_tf.cli.main import main
from restnet_tf.points import points
from restnet_tf.points.points import (
    ANCHOR,
    CASCADE,
    CONTROL,
    DOMINATED,
    STITCHED,
    Cascade,
    Dial,
    File,
    OperatingPoint,
    Score,
)
from tflite_export import cascades, flash, link, router, tail
from tflite_export.convert import convert
from tflite_export.devices import tflm_wheel
from tflite_export.flatbuffer import Model, read, write
from tflite_export.kernels import Kernels

pytestmark = pytest.mark.slow

needs_micro = needs.MICRO.mark
needs_vela = needs.VELA.mark
LABELS = ["cat", 'the "dog"', "$fish"]


def point(name: str, files: dict[str, bytes], kind: str = STITCHED, **changed: Any) -> OperatingPoint:
    score = Score.of(np.array([True, False]))
    entries = {
        precision: File(
            path=f"tflite/{name}.{precision}.tflite",
            sha256=hashlib.sha256(content).hexdigest(),
            flash_bytes=len(content),
            arena_bytes=1,
            rank=score,
            test=score,
            latency_median_us=1.0,
            latency_p90_us=1.0,
            latency_repeats_us=(1.0,),
            threads=1,
            tool="none",
        )
        for precision, content in files.items()
    }
    return OperatingPoint(name, kind, name, 1, 1, score, score, files=entries, **changed)


def gelu() -> bytes:
    made = read(file(operator("GELU", [tensor()], tensor(name="y"))))
    made.signatures[0].key = "serving_default"
    return write(made)


@pytest.fixture(scope="module")
def contents() -> dict[str, dict[str, bytes]]:
    """Files by point and precision: two that run everywhere, and one whose GELU TFLM lacks."""
    images = [networks.images(8).astype(np.float32)]
    found: dict[str, dict[str, bytes]] = {"L2-S1": {"int8": gelu()}}
    for seed, name in enumerate(("small", "L1-S0")):
        model = networks.anchor(seed=seed).model
        found[name] = {p: write(read(convert(model, p, images))) for p in ("int8", "float32")}
    return found


@pytest.fixture
def run(contents: dict[str, dict[str, bytes]], tmp_path: Path) -> Path:
    """A finished run that nobody built."""
    path = tmp_path / "demo"
    (path / "tflite").mkdir(parents=True)
    for name, files in contents.items():
        for precision, content in files.items():
            (path / "tflite" / f"{name}.{precision}.tflite").write_bytes(content)
    two = {name: read(contents[name]["int8"]) for name in ("small", "L1-S0")}
    for name, model in two.items():
        model.signatures[0].key = name
    joined = Model([m.subgraphs[0] for m in two.values()], [m.signatures[0] for m in two.values()])
    (path / "elastic.int8.tflite").write_bytes(write(joined))
    everyone = [
        point("small", contents["small"], ANCHOR),
        point("L1-S0", contents["L1-S0"]),
        point("L2-S1", contents["L2-S1"]),
        point("L9-S9", {}, status=DOMINATED),
        point("distilled", {}, CONTROL, status="control"),
    ]
    meta = {"metric": "accuracy", "class_names": LABELS}
    (path / "points.json").write_text(json.dumps(points.to_json(everyone, meta)))
    return path


def export(run: Path, *words: str) -> Result:
    arguments = ["export", str(run), *words]
    if "--out" not in words:
        arguments += ["--out", str(run.parent / "out")]
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def out(run: Path) -> set[str]:
    folder = run.parent / "out"
    return {p.name for p in folder.iterdir()} if folder.exists() else set()


def failed(result: Result, words: str, code: int = 1) -> None:
    assert result.exit_code == code, result.output
    line = result.stderr.strip().splitlines()[-1]
    assert words in line
    assert "Traceback" not in result.output


def test_tflm_takes_what_it_can_and_says_why_not_the_rest(run: Path):
    result = export(run, "--target", "tflm")
    assert result.exit_code == 0, result.output
    sources = {f"{name}_int8{end}" for name in ("small", "L1_S0") for end in (".h", ".cc", "_resolver.h", "_trial.h")}
    assert out(run) == sources | {"labels.h", "labels.cc"}
    assert "refused L2-S1: GELU is not in TensorFlow Lite Micro: rebuild with --lower gelu" in result.stdout
    assert f"wrote {run.parent / 'out' / 'L1_S0_int8.cc'}" in result.stdout
    assert "next: compile " in result.stdout
    assert "L1-S0, int8, of demo" in (run.parent / "out" / "L1_S0_int8.h").read_text()


def test_c_takes_what_tflm_lacks_and_refuses_by_name(run: Path, contents: dict[str, dict[str, bytes]]):
    result = export(run, "--target", "c")
    assert result.exit_code == 0, result.output
    assert "refused" not in result.stdout
    text = (run.parent / "out" / "restnet_model.h").read_text()
    assert "int model_L2_S1_int8_run(const int8_t *input, int8_t *output);" in text
    assert {"restnet_model.c", "restnet_conv.c", "restnet_table.c"} <= out(run)
    x = tensor()
    odd = file(operator("FLOOR_DIV", [x, x], tensor(name="y")))
    everyone = [point("small", contents["small"], ANCHOR), point("L3-S1", {"int8": odd})]
    (run / "tflite" / "L3-S1.int8.tflite").write_bytes(odd)
    (run / "points.json").write_text(
        json.dumps(points.to_json(everyone, {"metric": "accuracy", "class_names": LABELS}))
    )
    told = "refused L3-S1: FLOOR_DIV is not in C without an interpreter: replace that layer of the anchor"
    again = export(run, "--target", "c")
    assert told in again.stdout, again.output
    failed(export(run, "--target", "c", "--point", "L3-S1"), "does not take L3-S1: FLOOR_DIV is not in")


def test_c_gets_one_point_where_one_is_asked_for(run: Path):
    assert export(run, "--target", "c", "--point", "small").exit_code == 0
    text = (run.parent / "out" / "restnet_model.h").read_text()
    assert "model_small_int8_run" in text
    assert "L1_S0" not in text
    failed(export(run, "--target", "c", "--precision", "float32"), "float32 does not run on C without an interpreter")


@needs.COMPILER.mark
def test_the_firmware_holds_the_files_of_the_run(run: Path, contents: dict[str, dict[str, bytes]]):
    assert export(run, "--target", "tflm", "--precision", "float32", "--point", "small").exit_code == 0
    folder = run.parent / "out"
    (folder / "main.cc").write_text(
        '#include <cstdio>\n#include "small_float32.h"\n'
        "int main() { std::fwrite(model_small_float32, 1, model_small_float32_size, stdout); }\n"
    )
    subprocess.run(["g++", "-std=c++17", "-o", "main", "main.cc", "small_float32.cc"], cwd=folder, check=True)
    found = subprocess.run([folder / "main"], capture_output=True, check=True).stdout
    assert found == contents["small"]["float32"]


def test_all_takes_every_point_or_none(run: Path):
    failed(export(run, "--target", "tflm", "--all"), "does not take L2-S1: GELU is not in TensorFlow Lite Micro")
    assert out(run) == set()
    assert export(run, "--target", "tflm", "--all", "--precision", "float32").exit_code == 0


def test_a_point_that_is_refused_is_an_error(run: Path):
    failed(export(run, "--target", "tflm", "--point", "L2-S1"), "rebuild with --lower gelu")
    assert out(run) == set()


@needs_micro
def test_a_point_that_tflm_cannot_run_is_refused_with_its_words(run: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tflm_wheel, "fault", lambda content, size, choice: "it ends by SIGABRT")
    failed(
        export(run, "--target", "tflm", "--point", "small"), "TensorFlow Lite Micro cannot run it: it ends by SIGABRT"
    )


def test_tflm_without_its_wheel_says_that_nothing_was_tried(run: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tflm_wheel, "installed", lambda: False)
    assert "not tried: pip install 'restnet-tf[mcu]'" in export(run, "--target", "tflm", "--point", "small").stdout


@needs.COMPILER.mark
@pytest.mark.parametrize(
    ("how", "stem", "word"), [("image", "points_int8", "GetModel"), ("router", "router_int8", "second input")]
)
def test_all_points_in_one_array(run: Path, how: str, stem: str, word: str):
    result = export(run, "--target", "tflm", "--together", how)
    assert result.exit_code == 0, result.output
    assert "refused L2-S1: GELU" in result.stdout
    folder = run.parent / "out"
    assert out(run) == source_files(stem, more=("_trial.h", *(["_interpreters.h"] if how == "image" else [])))
    # Figures of each point in it are told by the hash of the run's own file.
    trial = (folder / f"{stem}_trial.h").read_text()
    for name in ("small", "L1-S0"):
        own = (run / "tflite" / f"{name}.int8.tflite").read_bytes()
        assert f'{{"{name}.int8", "{hashlib.sha256(own).hexdigest()}", ' in trial
    assert word in (folder / f"{stem}.h").read_text()
    assert ("AddIf" in (folder / f"{stem}_resolver.h").read_text()) == (how == "router")
    (folder / "main.cc").write_text(
        f'#include <cstdio>\n#include "{stem}.h"\nint main() {{\n'
        f"  for (const char* point : model_{stem}_points) std::puts(point);\n"
        f"  std::fwrite(model_{stem}, 1, model_{stem}_size, stdout);\n}}\n"
    )
    flags = ["-std=c++17", "-Wall", "-Wextra", "-Wconversion", "-Werror"]
    subprocess.run(["g++", *flags, "-o", "main", "main.cc", f"{stem}.cc"], cwd=folder, check=True)
    said = subprocess.run([folder / "main"], capture_output=True, check=True).stdout
    names, content = said.split(b"\n", 2)[:2], said.split(b"\n", 2)[2]
    assert {*names} == {b"small", b"L1-S0"}
    elastic = (run / "elastic.int8.tflite").read_bytes()
    made = (router if how == "router" else flash).of_elastic(elastic, [name.decode() for name in names])
    assert content == made


def test_only_tflm_takes_points_together_and_the_elastic_file_must_be_there(run: Path):
    failed(export(run, "--target", "coral", "--together", "image"), "--together image is for tflm; Coral's Edge TPU")
    words = ("--target", "tflm", "--together", "router")
    failed(export(run, *words, "--point", "small"), "without --all or --together", 2)
    (run / "elastic.int8.tflite").unlink()
    failed(export(run, *words), "not with --converter tf")
    assert out(run) == set()


def test_the_arena_is_that_of_the_kernels_that_are_named(run: Path):
    words = ("--point", "small", "--kernels", "reference", "--core", "cortex-m4")
    assert export(run, "--target", "tflm", *words).exit_code == 0
    content = (run / "tflite" / "small.int8.tflite").read_bytes()
    assert f"_arena_size = {tail.one(content, Kernels()).size};" in (run.parent / "out" / "small_int8.h").read_text()
    failed(
        export(run, "--target", "coral", "--kernels", "reference"), "--kernels and --core are for tflm; the arena of"
    )


def test_coral_gets_files_rules_and_the_command(run: Path, contents: dict[str, dict[str, bytes]]):
    result = export(run, "--target", "coral")
    assert result.exit_code == 0, result.output
    assert "refused L2-S1: GELU is not in Coral's Edge TPU" in result.stdout
    assert out(run) == {"small.int8.tflite", "L1-S0.int8.tflite", "check.txt", "compile.sh", "labels.txt"}
    folder = run.parent / "out"
    assert (folder / "small.int8.tflite").read_bytes() == contents["small"]["int8"]
    assert "documented rules, not compiled" in (folder / "check.txt").read_text()
    # The script, with a compiler that prints what it is called with.
    stand_in = folder / "bin" / "edgetpu_compiler"
    stand_in.parent.mkdir()
    stand_in.write_text('#!/bin/sh\necho "$@"\n')
    stand_in.chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", folder / "compile.sh"],
        env={"PATH": f"{stand_in.parent}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines() == ["-s L1-S0.int8.tflite", "-s small.int8.tflite"]
    failed(export(run, "--target", "coral", "--precision", "float32"), "float32 does not run on Coral's Edge TPU")


def test_android_gets_the_elastic_file_and_kotlin_of_this_run(run: Path):
    result = export(run, "--target", "android", "--precision", "int8")
    assert result.exit_code == 0, result.output
    assert out(run) == {"settings.gradle.kts", "build.gradle.kts", "src"}
    folder = run.parent / "out" / "src" / "main"
    assert (folder / "assets" / "elastic.int8.tflite").read_bytes() == (run / "elastic.int8.tflite").read_bytes()
    kotlin = (folder / "kotlin" / "StitchedClassifier.kt").read_text()
    for name in ("small", "L1-S0"):
        assert f'"{name}" to intArrayOf(8, 8, 3),' in kotlin
    assert r'listOf("cat", "the \"dog\"", "\$fish")' in kotlin
    assert "ByteArray(CLASSES)" in kotlin
    assert "has not been compiled" in kotlin
    assert kotlin.count("{") == kotlin.count("}")


def test_android_gets_one_point_where_one_is_asked_for(run: Path):
    assert export(run, "--target", "android", "--point", "small").exit_code == 0
    folder = run.parent / "out" / "src" / "main"
    assert {path.name for path in (folder / "assets").iterdir()} == {"small.float32.tflite"}
    assert "putFloat(value)" in (folder / "kotlin" / "StitchedClassifier.kt").read_text()


def test_the_web_gets_a_page_and_the_elastic_file_of_this_run(run: Path):
    result = export(run, "--target", "web", "--precision", "int8")
    assert result.exit_code == 0, result.output
    folder = run.parent / "out"
    assert {"index.html", "demo.js", "package.json", "serve.json", "elastic.int8.tflite"} < out(run)
    family = json.loads((folder / "family.json").read_text())
    assert [(p["name"], p["shape"]) for p in family["points"]] == [("small", [8, 8, 3]), ("L1-S0", [8, 8, 3])]
    assert family["labels"] == LABELS
    starts = read((folder / "elastic.int8.tflite").read_bytes()).signatures
    assert {end.type for entry in starts for end in entry.inputs.values()} == {"FLOAT32"}
    assert "next: cd " in result.stdout
    assert "npm install && npx serve" in result.stdout


@needs_vela
def test_ethos_gets_vela_s_file_and_source(run: Path):
    result = export(run, "--target", "ethos-u55-128", "--point", "L1-S0")
    assert result.exit_code == 0, result.output
    source = {"L1_S0_int8.h", "L1_S0_int8.cc", "L1_S0_int8_resolver.h", "labels.h", "labels.cc"}
    assert out(run) == source | {"L1-S0.int8_vela.tflite"}
    folder = run.parent / "out"
    (made,) = read((folder / "L1-S0.int8_vela.tflite").read_bytes()).subgraphs
    assert [o.name for o in made.operators] == ["CUSTOM ethos-u"]
    assert "AddEthosU" in (folder / "L1_S0_int8_resolver.h").read_text()
    assert "planned by Vela" in (folder / "L1_S0_int8.h").read_text()


@needs_vela
def test_a_point_that_vela_leaves_on_the_cpu_is_refused(run: Path, contents: dict[str, dict[str, bytes]]):
    from tflite_export import emit

    resize = emit.resize_bilinear(tensor(), (6, 6))
    partly = file(resize, operator("RELU", [resize.outputs[0]], tensor(shape=(1, 6, 6, 8), name="y")))
    (run / "tflite" / "L2-S1.int8.tflite").write_bytes(partly)
    everyone = [point("L2-S1", {"int8": partly}), point("small", contents["small"])]
    (run / "points.json").write_text(json.dumps(points.to_json(everyone, {"metric": "accuracy", "class_names": []})))
    result = export(run, "--target", "ethos-u55-128")
    assert result.exit_code == 0, result.output
    assert "refused L2-S1: Vela leaves 1 of" in result.stdout
    assert "small.int8_vela.tflite" in out(run)
    failed(export(run, "--target", "ethos-u55-128", "--all"), "RESIZE_BILINEAR")


def test_ethos_without_vela_is_one_line(run: Path, monkeypatch: pytest.MonkeyPatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "ethosu" else real(name, *more)
    )
    failed(export(run, "--target", "ethos-u55-128"), "pip install 'restnet-tf[mcu]'")


def test_what_is_asked_for_must_be_there(run: Path, tmp_path: Path):
    failed(export(run, "--target", "stm32"), "unknown target 'stm32'; choose one of android, coral, web, tflm")
    failed(
        export(run, "--target", "tflm", "--point", "L3-S3"), "no files of a point 'L3-S3'; it has: L1-S0, L2-S1, small"
    )
    failed(export(run, "--target", "tflm", "--point", "L9-S9"), "no files of a point 'L9-S9'")  # dominated
    failed(export(run, "--target", "tflm", "--precision", "int4"), "unknown precision 'int4'")
    failed(export(run, "--target", "tflm", "--precision", "int16x8"), "no files of int16x8, only of float32, int8")
    failed(export(run, "--target", "tflm", "--point", "small", "--all"), "without --all", 2)
    failed(export(run), "Missing option '--target'", 2)
    failed(export(tmp_path / "nothing", "--target", "tflm"), "points.json is missing")
    assert out(run) == set()


def test_a_run_of_floats_alone_says_how_to_get_integers(run: Path, contents: dict[str, dict[str, bytes]]):
    everyone = [point("small", {"float32": contents["small"]["float32"]})]
    (run / "points.json").write_text(json.dumps(points.to_json(everyone, {"metric": "accuracy", "class_names": []})))
    failed(export(run, "--target", "coral"), "only float32; build it with --precision int8")


def test_a_file_that_is_gone_or_changed_is_refused(run: Path):
    path = run / "tflite" / "small.int8.tflite"
    content = path.read_bytes()
    path.write_bytes(content + b"\0" * 16)
    failed(export(run, "--target", "tflm", "--point", "small"), "is not the file that points.json describes")
    path.unlink()
    failed(export(run, "--target", "tflm", "--point", "small"), "No such file or directory; build the run again")


def test_an_output_that_cannot_be_written_is_one_line_and_leaves_nothing(run: Path, tmp_path: Path):
    taken = tmp_path / "taken"
    taken.write_text("a file")
    failed(export(run, "--target", "tflm", "--point", "small", "--out", str(taken)), "cannot write")
    assert taken.read_text() == "a file"
    assert not [p for p in tmp_path.rglob("*") if ".tmp" in p.name]


def test_the_same_export_gives_the_same_bytes(run: Path):
    assert export(run, "--target", "tflm").exit_code == 0
    first = {p.name: p.read_bytes() for p in (run.parent / "out").iterdir()}
    assert export(run, "--target", "tflm").exit_code == 0
    assert {p.name: p.read_bytes() for p in (run.parent / "out").iterdir()} == first


# ---- cascades ------------------------------------------------------------------------------------

MACS = {"small": 10, "middle": 30, "large": 100}
NAMES = ("small>large", "small>middle>large")


def cascade_point(name: str, files: dict[str, bytes], **more: Any) -> OperatingPoint:
    stages = tuple(name.split(">"))
    macs, reach = tuple(MACS[s] for s in stages), tuple(0.5**n for n in range(len(stages)))
    # What decided stands in the cascade, what was chosen for a file in its dial.
    cascade = Cascade(stages, macs, "max", (0.0,) * (len(stages) - 1), reach, reach, **more)
    made = point(name, files, CASCADE, cascade=cascade)
    dialled = {
        p: replace(
            entry,
            path=f"tflite/{cascades.in_files(name)}.{cascades.in_files(p)}.tflite",
            dial=Dial(cascade_files.dial(name, p.split(">")[0]), reach, reach, (1.0,) * len(stages)),
        )
        for p, entry in made.files.items()
    }
    return replace(made, files=dialled, macs=sum(macs))


@pytest.fixture
def cascading(tmp_path: Path) -> Path:
    """A finished run of three networks and their cascades, the last of which is dominated."""
    path = tmp_path / "demo"
    everyone = [
        replace(point(name, {p: cascade_files.stage(name, p) for p in ("int8", "float32")}), macs=macs)
        for name, macs in MACS.items()
    ]
    for name in NAMES:
        precisions = ("int8", "float32", *(("int8>float32",) if name == NAMES[0] else ()))
        files = {p: cascade_files.cascade(name, p, cascade_files.dial(name, p.split(">")[0])) for p in precisions}
        everyone.append(cascade_point(name, files))
    written(path, everyone)
    models = [read(cascade_files.stage(name, "int8")) for name in MACS]
    for name, model in zip(MACS, models, strict=True):
        model.signatures[0].key = name
    whole = Model([m.subgraphs[0] for m in models], [m.signatures[0] for m in models])
    notes = {"points": [{"name": name, "macs": macs} for name, macs in MACS.items()]}
    link.finish(whole, models, notes)
    (path / "elastic.int8.tflite").write_bytes(write(whole))
    return path


def written(path: Path, everyone: list[OperatingPoint]) -> None:
    (path / "tflite").mkdir(parents=True, exist_ok=True)
    for one in everyone:
        for precision, entry in one.files.items():
            if one.cascade is None:
                content = cascade_files.stage(one.name, precision)
            else:
                dial = entry.dial.thresholds if entry.dial else ()
                content = cascade_files.cascade(one.name, precision, dial)
            (path / entry.path).write_bytes(content)
    (path / "points.json").write_text(
        json.dumps(points.to_json(everyone, {"metric": "accuracy", "class_names": LABELS}))
    )


def source_files(*stems: str, more: tuple[str, ...] = ("_trial.h",)) -> set[str]:
    files = {f"{stem}{end}" for stem in stems for end in (".h", ".cc", "_resolver.h", *more)}
    return files | {"labels.h", "labels.cc"}


def test_tflm_takes_a_cascade_as_one_network(cascading: Path):
    result = export(cascading, "--target", "tflm")
    assert result.exit_code == 0, result.output
    stems = ("small_int8", "middle_int8", "large_int8", "small_then_large_int8", "small_then_middle_then_large_int8")
    assert out(cascading) == source_files(*stems)
    header = (cascading.parent / "out" / "small_then_large_int8.h").read_text()
    assert "// small>large, int8, of demo, for TensorFlow Lite Micro" in header
    assert "refused" not in result.stdout
    assert export(cascading, "--target", "tflm", "--point", "small>large", "--precision", "int8>float32").exit_code == 0
    assert "small_then_large_int8_then_float32.cc" in out(cascading)


@needs.COMPILER.mark
def test_one_image_comes_with_a_loop_for_each_cascade_and_a_router_with_none(cascading: Path):
    result = export(cascading, "--target", "tflm", "--together", "image")
    assert result.exit_code == 0, result.output
    loops = {"cascade.h", "small_then_large_int8.h", "small_then_middle_then_large_int8.h"}
    assert out(cascading) == source_files("points_int8", more=("_trial.h", "_interpreters.h")) | loops
    folder = cascading.parent / "out"
    (folder / "main.cc").write_text("".join(f'#include "{name}"\n' for name in sorted(loops)) + "int main() {}\n")
    flags = ["-std=c++17", "-Wall", "-Wextra", "-Wconversion", "-Werror"]
    subprocess.run(["g++", *flags, "-o", "main", "main.cc", "points_int8.cc"], cwd=folder, check=True)
    routed = export(cascading, "--target", "tflm", "--together", "router", "--out", str(cascading.parent / "routed"))
    assert routed.exit_code == 0, routed.output
    assert (
        "refused small>large: a router holds no cascades; give --together image, or export it alone\n" in routed.stdout
    )
    assert "router_int8.cc" in {path.name for path in (cascading.parent / "routed").iterdir()}


def test_c_gets_a_function_for_each_cascade(cascading: Path):
    result = export(cascading, "--target", "c")
    assert result.exit_code == 0, result.output
    assert (
        "cascades come as their stages; a function of each in restnet_model.c runs them until one is sure"
        in result.stdout
    )
    text = (cascading.parent / "out" / "restnet_model.h").read_text()
    for name in ("model_small_then_large_int8", "model_small_then_middle_then_large_int8"):
        assert f"int {name}_run(const int8_t *input, int8_t *output, const float *thresholds);" in text
    first = cascade_files.dial("small>large", "int8")[0]
    assert f"#define MODEL_SMALL_THEN_LARGE_INT8_THRESHOLDS {{{np.float32(first)!s}f}}" in text


def test_coral_gets_stages_and_the_code_that_compares(cascading: Path):
    result = export(cascading, "--target", "coral")
    assert result.exit_code == 0, result.output
    files = {f"{name}.int8.tflite" for name in MACS}
    assert out(cascading) == files | {"check.txt", "compile.sh", "labels.txt", "cascades.json", "cascade.py"}
    assert "cascades come as their stages; cascade.py runs them until one is sure\n" in result.stdout
    loops = json.loads((cascading.parent / "out" / "cascades.json").read_text())
    assert loops["small>large"] == {
        "stages": ["small.int8.tflite", "large.int8.tflite"],
        "confidence": "max",
        "thresholds": list(cascade_files.dial("small>large", "int8")),
    }
    alone = export(cascading, "--target", "coral", "--point", "small>large", "--out", str(cascading.parent / "one"))
    assert alone.exit_code == 0, alone.output
    there = {path.name for path in (cascading.parent / "one").iterdir()}
    assert {"small.int8.tflite", "large.int8.tflite", "cascade.py"} < there
    assert "middle.int8.tflite" not in there


@needs_vela
@needs.COMPILER.mark
def test_ethos_gets_stages_and_the_loop_over_them(cascading: Path):
    result = export(cascading, "--target", "ethos-u55-128", "--point", "small>large")
    assert result.exit_code == 0, result.output
    files = {"small.int8_vela.tflite", "large.int8_vela.tflite", "cascade.h", "small_then_large_int8.h"}
    assert out(cascading) == source_files("small_int8", "large_int8", more=()) | files
    folder = cascading.parent / "out"
    assert "compiled by Vela" in (folder / "small_then_large_int8.h").read_text()
    # What the loop compares are the ends of Vela's files.
    ends = [read((folder / f"{n}.int8_vela.tflite").read_bytes()).subgraphs[0] for n in ("small", "large")]
    assert [(g.inputs[0].type, g.outputs[0].type) for g in ends] == [("INT8", "INT8")] * 2
    (folder / "main.cc").write_text('#include "small_then_large_int8.h"\nint main() {}\n')
    flags = ["-std=c++17", "-Wall", "-Wextra", "-Wconversion", "-Werror"]
    sources = ["main.cc", "small_int8.cc", "large_int8.cc"]
    subprocess.run(["g++", *flags, "-o", "main", *sources], cwd=folder, check=True)


def test_a_front_that_runs_twice_is_told_with_its_cost(cascading: Path):
    _, everyone = points.read(cascading / "points.json")
    resumed = [
        replace(p, cascade=replace(p.cascade, macs=(10, 60), resumes=("large",))) if p.name == "small>large" else p
        for p in everyone
    ]
    written(cascading, resumed)
    said = export(cascading, "--target", "coral").stdout
    assert "small>large: the front that its stages share runs twice where it goes on, 40 MACs more\n" in said
    assert "small>middle>large: the front" not in said


def test_a_cascade_without_a_file_of_a_stage_is_left_out_with_a_word(cascading: Path):
    _, everyone = points.read(cascading / "points.json")
    written(cascading, [replace(p, files={}, status=DOMINATED) if p.name == "middle" else p for p in everyone])
    result = export(cascading, "--target", "coral")
    assert result.exit_code == 0, result.output
    assert "refused small>middle>large: its stage middle has no file of int8 in the run\n" in result.stdout
    assert set(json.loads((cascading.parent / "out" / "cascades.json").read_text())) == {"small>large"}
    failed(export(cascading, "--target", "coral", "--all"), "its stage middle has no file of int8")


def test_a_dominated_point_is_exported_where_a_cascade_needs_it(cascading: Path):
    _, everyone = points.read(cascading / "points.json")
    written(cascading, [replace(p, status=DOMINATED) if p.name == "middle" else p for p in everyone])
    assert export(cascading, "--target", "coral").exit_code == 0
    assert "middle.int8.tflite" in out(cascading)
    # It has no entry in an image of those that were shipped.
    said = export(cascading, "--target", "tflm", "--together", "image").stdout
    assert "refused small>middle>large: its stage middle has no file of int8" in said


def test_a_stage_that_the_target_refuses_takes_its_cascades_with_it(cascading: Path):
    _, everyone = points.read(cascading / "points.json")
    (broken,) = (p for p in everyone if p.name == "middle")
    content = gelu()
    entry = replace(broken.files["int8"], sha256=hashlib.sha256(content).hexdigest())
    written(cascading, list(everyone))
    (cascading / entry.path).write_bytes(content)
    others = [replace(p, files={"int8": entry}) if p.name == "middle" else p for p in everyone]
    (cascading / "points.json").write_text(
        json.dumps(points.to_json(others, {"metric": "accuracy", "class_names": []}))
    )
    result = export(cascading, "--target", "coral")
    assert result.exit_code == 0, result.output
    assert "refused middle: GELU is not in Coral" in result.stdout
    assert "refused small>middle>large: " in result.stdout
    assert set(json.loads((cascading.parent / "out" / "cascades.json").read_text())) == {"small>large"}


def test_android_gets_a_cascade_with_its_dial(cascading: Path):
    assert export(cascading, "--target", "android", "--point", "small>large", "--precision", "int8").exit_code == 0
    folder = cascading.parent / "out" / "src" / "main"
    assert {path.name for path in (folder / "assets").iterdir()} == {"small-then-large.int8.tflite"}
    assert "val dials" in (folder / "kotlin" / "StitchedClassifier.kt").read_text()


def test_a_cascade_of_another_precision_alone_is_named(cascading: Path):
    _, everyone = points.read(cascading / "points.json")
    mixed = [
        replace(p, files={"int8>float32": p.files["int8>float32"]}) if p.name == "small>large" else p for p in everyone
    ]
    written(cascading, mixed)
    said = export(cascading, "--target", "tflm").stdout
    assert "refused small>large: it has no file of int8; ask for --precision 'int8>float32'" in said
    taken = export(cascading, "--target", "tflm", "--precision", "int8>float32")
    assert taken.exit_code == 0, taken.output
    failed(
        export(cascading, "--target", "coral", "--precision", "int8>float32"),
        "float32 does not run on Coral's Edge TPU",
    )
