"""The list of devices: each is its own file, and nothing else names one."""

from __future__ import annotations

import ast
from dataclasses import fields
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import restnet_tf.commands
import tflite_export.devices
from restnet_tf.cli.devices import DeviceOption
from restnet_tf.cli.main import main
from tflite_export.devices import devices
from tflite_export.devices.subjects import DeviceOptions
from tflite_export.errors import TfliteError
from tflite_export.precision import EVERY

HOUSE = Path(restnet_tf.commands.__file__).parents[1]
FOLDER = Path(tflite_export.devices.__file__).parent


def named_in(path: Path) -> set[str]:
    """Devices of whose names a file has string literals."""
    literals = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
    return literals & {*devices.DEVICES, "ethos", "ethos-u"}


@pytest.mark.parametrize("path", sorted([*(HOUSE / "commands").glob("*.py"), *(HOUSE / "cli").glob("*.py")]), ids=str)
def test_no_command_branches_on_a_devices_name(path: Path) -> None:
    assert named_in(path) == set()


def test_a_device_is_named_in_its_own_files_alone() -> None:
    for path in FOLDER.glob("*.py"):
        assert all(path.stem.startswith(name.partition("-")[0]) for name in named_in(path)), path


@pytest.mark.parametrize("name", devices.DEVICES)
def test_a_device_says_what_it_takes(name: str) -> None:
    device = devices.named(name)
    assert device.name == name
    assert device.tried
    assert set(device.tried) <= set(EVERY)
    assert set(device.options) <= {field.name for field in fields(DeviceOptions)}
    if device.target is not None:
        assert set(device.target.rules.precisions) <= set(EVERY)
        assert device.target.rules.source
        assert devices.target(name) is device.target


def test_every_option_concerns_a_device() -> None:
    assert {field.name for field in fields(DeviceOptions)} == {o for d in devices.DEVICES.values() for o in d.options}


def test_what_is_not_exported_to_is_no_target() -> None:
    assert not {"host", "mcu"} & set(devices.targets())
    with pytest.raises(TfliteError, match="unknown target 'mcu'; choose one of android, coral, web, tflm, ethos"):
        devices.target("mcu")


def test_help_lists_the_devices_of_each_option() -> None:
    assert {"host", "tflm", "ethos-u55-128 and its sisters", "android", "coral", "mcu"} <= {*devices.listed("device")}
    assert len([name for name in devices.listed("device") if name.startswith("ethos-u")]) == 1
    assert "host" not in devices.listed("target")
    assert "tflm" in devices.listed("together")
    assert {"coral", "mcu"} <= {*devices.listed("log")}
    for command in ("bench", "export"):
        text = CliRunner().invoke(main, [command, "--help"]).output
        assert "{" not in text
        assert "ethos-u55-128 and its sisters" in " ".join(text.split())
        options = [o for o in main.commands[command].params if isinstance(o, DeviceOption)]
        assert options
        assert all(devices.listed(option._concerns) for option in options)


def test_joins_on_offer_are_those_of_the_devices() -> None:
    (option,) = [o for o in main.commands["export"].params if o.name == "together"]
    assert isinstance(option.type, click.Choice)
    assert {*option.type.choices} == {how for target in devices.targets().values() for how in target.together}
