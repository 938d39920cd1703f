"""What some tests need beside the project: where it is missing they are skipped, and the reason says what to do."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
from dataclasses import dataclass

import chromium
import paths
import pytest


@dataclass(frozen=True)
class Need:
    """Something that may be missing, and what to say where it is."""

    there: bool
    reason: str

    @property
    def mark(self) -> pytest.MarkDecorator:
        """On a test or a parameter that needs it."""
        return pytest.mark.skipif(not self.there, reason=self.reason)

    def or_skip(self) -> None:
        """In a test that turns out to need it."""
        if not self.there:
            pytest.skip(self.reason)


def extra(name: str, *modules: str) -> Need:
    """Modules that an extra of the project brings."""
    return Need(_importable(*modules), f"no {' and '.join(modules)} here: pip install -e '.[{name}]'")


def programs(*names: str) -> Need:
    """Programs on the PATH."""
    missing = [name for name in names if shutil.which(name) is None]
    return Need(
        not missing, f"no {' and '.join(missing)} here: see TOOLS in the Makefile; make test as root installs it"
    )


def beside(name: str) -> Need:
    """A file or folder of real models or data in ``../shared``."""
    return Need((paths.SHARED / name).exists(), f"no ../shared/{name} here: put the real models and data there")


def builder(least: int) -> Need:
    """Setuptools of a major version or later, which builds the project's wheel."""
    try:
        there = int(importlib.metadata.version("setuptools").partition(".")[0]) >= least
    except importlib.metadata.PackageNotFoundError:
        there = False
    return Need(there, f"no setuptools {least} or later here: pip install -e '.[dev]'")


def _importable(*modules: str) -> bool:
    return all(importlib.util.find_spec(name) for name in modules)


MICRO = extra("mcu", "tflite_micro")
VELA = extra("mcu", "ethosu")
QUANTIZER = extra("quant", "ai_edge_quantizer")
TFMOT = extra("tfmot", "tensorflow_model_optimization", "tf_keras")
SAFETENSORS = extra("vit", "safetensors")
KERAS_HUB = extra("vit", "keras_hub")
TORCH = Need(_importable("torch"), "no torch here: pip install torch")
ARM = programs("arm-none-eabi-g++", "qemu-system-arm", "make", "sha256sum")
BUILD = builder(77)
COMPILER = programs("g++")
JAVA = Need(shutil.which("java") is not None, "no java here: apt-get install default-jre-headless")
BROWSER = Need(chromium.PROGRAM is not None, programs("chromium").reason)
ANCHORS = beside("anchors")
PHOTOS = beside("data/imagenet_sample")
