"""The exported Kotlin through the real compiler, against stand-ins for Android and LiteRT: its types, not its runs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import android_stand_in
import cascade_files
import needs
import npm
import pytest
import web_family

from tflite_export import kotlin
from tflite_export.inputs import InputKind

pytestmark = [pytest.mark.slow, needs.JAVA.mark]
COMPILER = "kotlin-compiler@2.4.20"
FILES = {
    "family": web_family.elastic,
    "points": lambda: cascade_files.stage("small", "float32"),
    "cascade": lambda: cascade_files.cascade("small>large", "int16x8", (0.5,)),
}


def compiled(folder: Path, sources: list[Path]) -> subprocess.CompletedProcess[str]:
    program = npm.folder(COMPILER) / "node_modules" / "kotlin-compiler" / "bin" / "kotlinc"
    words = ["bash", program, "-Werror", "-d", folder / "classes", *sources, *android_stand_in.written(folder)]
    quick = {**os.environ, "JAVA_OPTS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"}
    return subprocess.run(words, capture_output=True, text=True, timeout=500, env=quick)


def test_the_app_and_the_class_compile_without_a_warning(tmp_path: Path) -> None:
    """A family with a cascade, points alone, a cascade alone; a class for signals, without labels."""
    texts = {}
    for package, content in FILES.items():
        name = f"restnet.{package}"
        texts[f"{package}.kt"] = kotlin.snippet(content(), "it.tflite", cascade_files.LABELS, package=name)
        texts[f"{package}_app.kt"] = kotlin.activity(content(), "it.tflite", name)
    values = InputKind(photos=False, low=-1.0, high=1.0)
    texts["signals.kt"] = kotlin.snippet(cascade_files.stage("small", "int8"), "it.tflite", (), values)
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    done = compiled(tmp_path, [tmp_path / name for name in texts])
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "classes" / "restnet" / "family" / "MainActivity.class").exists()
