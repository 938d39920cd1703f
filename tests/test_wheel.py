"""What pip installs: an sdist of the source, the wheel built from it, and what of it works away from the source."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import needs
import paths
import pytest

pytestmark = [pytest.mark.slow, needs.BUILD.mark]
# What a clone has at its top, beside what git and the tools leave there.
SOURCE = (
    *(".ci", ".gitignore", "LICENSE", "MANIFEST.in", "Makefile", "README.md", "pyproject.toml", "setup.cfg"),
    *(
        ".github",
        ".pre-commit-config.yaml",
        "CHANGELOG.md",
        "CITATION.cff",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "mkdocs.yml",
    ),
    *("benchmarks", "docs", "restnet_tf", "tests", "tflite_export"),
)
NAMES = {"restnet_tf", "tflite_export"}
HARNESS = "tflite_export/devices/harness"
LEFT = ("__pycache__", "*.egg-info")  # by running and by building


def files(folder: Path) -> dict[str, bytes]:
    """Contents by path, without what running and building leave."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not any(parent.match(pattern) for parent in path.parents for pattern in LEFT)
    }


def build(kind: str, source: Path, out: Path) -> Path:
    """``"sdist"`` or ``"wheel"`` of a source tree, as pip builds it without isolation: from what is installed here."""
    script = f"import sys; from setuptools import build_meta; print(build_meta.build_{kind}(sys.argv[1]))"
    words = [sys.executable, "-c", script, str(out)]
    run = subprocess.run(words, cwd=source, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    return out / run.stdout.splitlines()[-1]


def packed(folder: Path) -> None:
    """A copy of the source, since building packs what an older build left there; its sdist; that one's wheel."""
    source = folder / "source"
    source.mkdir()
    for name in SOURCE:
        if (paths.ROOT / name).is_dir():
            shutil.copytree(paths.ROOT / name, source / name, ignore=shutil.ignore_patterns(*LEFT))
        else:
            shutil.copy(paths.ROOT / name, source / name)
    archive = build("sdist", source, folder)
    shutil.unpack_archive(archive, folder)
    (folder / archive.name.removesuffix(".tar.gz")).rename(folder / "sdist")
    shutil.unpack_archive(build("wheel", folder / "sdist", folder), folder / "site", "zip")


@pytest.fixture(scope="module")
def folder(once: paths.Once) -> Path:
    """Holds ``source``, the unpacked ``sdist``, and ``site`` with the wheel as pip puts it into site-packages."""
    return once("wheel", packed)


def test_the_sdist_is_the_source(folder: Path) -> None:
    """With its tests and what they read; setuptools adds a file, and writes setup.cfg anew."""
    source, sdist = files(folder / "source"), files(folder / "sdist")
    assert {name for name in sdist if not name.startswith("build/")} == source.keys() | {"PKG-INFO"}
    assert {name for name, data in source.items() if sdist[name] != data} <= {"setup.cfg"}


def test_the_wheel_has_two_names_and_all_their_files(folder: Path) -> None:
    wheel = {name: data for name, data in files(folder / "site").items() if ".dist-info/" not in name}
    ours, carried = {}, {}
    for name, data in files(folder / "source").items():
        if name.partition("/")[0] in NAMES:
            ours[name] = data
        elif name.startswith("benchmarks/harness/"):
            carried[f"{HARNESS}/{name.removeprefix('benchmarks/harness/')}"] = data
    assert wheel == ours | carried
    assert {f"{HARNESS}/coral.py", f"{HARNESS}/mcu/Makefile"} <= carried.keys()
    assert {f"{name}/py.typed" for name in NAMES} <= ours.keys()


def test_the_wheel_says_what_it_brings(folder: Path) -> None:
    (about,) = (folder / "site").glob("*.dist-info")
    assert set((about / "top_level.txt").read_text().split()) == NAMES
    assert "restnet-tf = restnet_tf.cli.main:main" in (about / "entry_points.txt").read_text()
    assert (about / "licenses" / "LICENSE").is_file()


@pytest.mark.parametrize(("device", "file"), [("mcu", "mcu/Makefile"), ("coral", "coral.py")])
def test_devices_name_the_harness_of_the_wheel(folder: Path, tmp_path: Path, device: str, file: str) -> None:
    """From another folder, isolated: neither the source nor PYTHONPATH is looked at."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from tflite_export.devices import devices\n"
        "from tflite_export.devices.subjects import DeviceError, DeviceOptions\n"
        "try: list(devices.DEVICES[sys.argv[2]].measure([], DeviceOptions()))\n"
        "except DeviceError as error: print(error)\n"
    )
    words = [sys.executable, "-I", "-c", script, str(folder / "site"), device]
    run = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert f"{device} needs --log FILE" in run.stdout, run.stderr
    assert f" {folder / 'site' / HARNESS / file} " in run.stdout


def test_a_worker_of_the_wheel_and_a_command_of_a_checkout_have_the_same_sources(folder: Path, tmp_path: Path) -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from restnet_tf.work import remote\n"
        "print(remote.__file__, remote.source_hash())\n"
    )
    hashes = {}
    for place in ("site", "source"):
        words = [sys.executable, "-I", "-c", script, str(folder / place)]
        run = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=True)
        file, hashes[place] = run.stdout.split()
        assert file.startswith(str(folder / place))
    assert hashes["site"] == hashes["source"]
