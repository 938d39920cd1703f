"""LiteRT.js as npm brings it: from the user's cache, or into a folder of the tests; what lacks it is skipped."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest

from tflite_export.devices import web_modules
from tflite_export.devices.subjects import DeviceError

_SECONDS = 120


def folder() -> Path:
    """Where it lies; skips the test, saying so, where npm does not bring it."""
    place, reason = _installed()
    if reason:
        pytest.skip(reason)
    return place


@cache
def _installed() -> tuple[Path, str]:
    place = web_modules.folder()
    for _ in range(2):
        try:
            web_modules.opened(place)
        except DeviceError:
            if shutil.which("npm") is None:
                return place, "no npm here, which brings LiteRT.js: apt-get install npm"
            place = Path(tempfile.mkdtemp(prefix="restnet-tf-litert-js-"))
            command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(place), web_modules.REQUIREMENT]
            subprocess.run(command, capture_output=True, timeout=_SECONDS)
        else:
            return place, ""
    return place, f"npm did not bring LiteRT.js: npm install {web_modules.REQUIREMENT}"
