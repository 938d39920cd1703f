"""Vela's estimates: of files that run on the Ethos-U as a whole, and of no others."""

from __future__ import annotations

import importlib.util

import keras
import needs
import pytest
from bench_files import IMAGES, elastic, files

from tflite_export.convert import convert
from tflite_export.devices import ethos_u
from tflite_export.devices.subjects import DeviceOptions, Subject
from tflite_export.errors import TfliteError

DEVICE = "ethos-u55-128"
needs_vela = needs.VELA.mark
# The columns that are read, as Vela 5.2 names them; sizes in KiB.
HEAD = (
    "system_config,memory_mode,sram_memory_used,dram_memory_used,on_chip_flash_memory_used,off_chip_flash_memory_used,"
    "cycles_total"
)


@pytest.fixture(scope="module")
def made() -> dict[str, Subject]:
    return files(("float32", "dynamic", "int8", "int16x8"))


def failure(subject: Subject) -> str:
    (found,) = ethos_u.measure(DEVICE, [subject], DeviceOptions())
    assert not found.measurements
    return found.failures[0]


@pytest.mark.slow
@needs_vela
def test_an_integer_file_has_cycles_sram_and_flash(made: dict[str, Subject]) -> None:
    (found,) = ethos_u.measure(DEVICE, [made["int8"]], DeviceOptions())
    assert found.failures == ()
    assert {(m.device, m.kind) for m in found.measurements} == {(DEVICE, "compiler")}
    said = {m.figure: m.value for m in found.measurements}
    assert said.keys() == {"cycles", "sram", "flash"}
    assert 1000 < said["cycles"] < 1e6
    assert said["sram"] >= 16 * 16 * 8  # the first activation
    assert said["flash"] > 2560 + 216 + 576  # the weights
    assert found.measurements[0].tool.endswith("Ethos_U55_High_End_Embedded, Shared_Sram")


@pytest.mark.slow
@needs_vela
def test_a_smaller_accelerator_takes_more_cycles(made: dict[str, Subject]) -> None:
    found = [next(ethos_u.measure(f"ethos-u55-{macs}", [made["int8"]], DeviceOptions())) for macs in (32, 256)]
    slow, fast = (f.measurements[0].value for f in found)
    assert slow > 1.5 * fast


@pytest.mark.slow
@needs_vela
def test_weights_in_dram_are_not_called_flash(made: dict[str, Subject]) -> None:
    (found,) = ethos_u.measure("ethos-u65-256", [made["int8"]], DeviceOptions())
    assert {m.figure for m in found.measurements} == {"cycles", "sram", "memory"}


@pytest.mark.slow
@needs_vela
@pytest.mark.parametrize("precision", ["float32", "dynamic"])
def test_float_files_are_refused(made: dict[str, Subject], precision: str) -> None:
    """Vela compiles them without an error, to nothing."""
    assert "it computes in float, of which ethos-u55-128 runs nothing" in failure(made[precision])


@pytest.mark.slow
@needs_vela
def test_float_files_would_be_seen_in_what_vela_says(made: dict[str, Subject], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ethos_u, "is_float", lambda subject: False)
    said = failure(made["float32"])
    assert "on the CPU beside the ethos-u55-128: " in said
    assert "FULLY_CONNECTED" in said


@pytest.mark.slow
@needs_vela
def test_operators_left_on_the_cpu_are_named() -> None:
    """Such as a bilinear resize by anything but a power of two."""
    image = keras.Input((16, 16, 3))
    x = keras.layers.Resizing(11, 11)(keras.layers.Conv2D(4, 3)(image))
    model = keras.Model(image, keras.layers.Dense(3)(keras.layers.Flatten()(x)))
    said = failure(Subject("p", "int8", convert(model, "int8", [IMAGES])))
    assert said.startswith("p.int8: Vela leaves 1 of ")
    assert " operators of p.int8 on the CPU beside the ethos-u55-128: RESIZE_BILINEAR" in said


@pytest.mark.slow
@needs_vela
def test_several_signatures_are_refused() -> None:
    """Vela would add them up."""
    assert "it has 2 signatures" in failure(elastic())


@pytest.mark.slow
@needs_vela
def test_one_bad_file_does_not_cost_the_others(made: dict[str, Subject]) -> None:
    first, second = ethos_u.measure(DEVICE, [Subject("p", "int8", b"nothing"), made["int8"]], DeviceOptions())
    assert "not a .tflite file" in first.failures[0]
    assert second.measurements


def test_without_vela_it_says_what_brings_it(made: dict[str, Subject], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TfliteError, match=r"pip install 'restnet-tf\[mcu\]'"):
        list(ethos_u.measure(DEVICE, [made["int8"]], DeviceOptions()))


def test_a_summary_by_hand() -> None:
    figures, setting = ethos_u.parsed(f"{HEAD}\nSystem,Shared_Sram,50.5,0.0,1.0,2.0,1021669\n")
    assert figures == {"cycles": 1021669, "sram": 51712, "flash": 3072}
    assert setting == "System, Shared_Sram"


@pytest.mark.parametrize(
    ("summary", "words"),
    [
        ("", "not understood: StopIteration"),
        (HEAD, "not understood: StopIteration"),
        ("a,b\n1,2\n", "not understood: KeyError 'cycles_total'"),
        (f"{HEAD}\nSystem,Shared_Sram,50.5", "not understood: TypeError"),
        (f"{HEAD}\nSystem,Shared_Sram,0,0,0,0,many\n", "not understood: ValueError"),
        (f"{HEAD}\nSystem,Shared_Sram,0,0,0,0,0.0\n", "estimates 0 cycles"),
    ],
)
def test_what_is_no_summary_is_refused(summary: str, words: str) -> None:
    with pytest.raises(TfliteError, match=words):
        ethos_u.parsed(summary)
