"""LiteRT.js, where npm has put it: it is looked for in a folder of the user's cache, and never downloaded from here."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tflite_export.devices.subjects import DeviceError

REQUIREMENT = "@litertjs/core@2.5.3"  # the one that was tried
# By the name below ``modules/`` of the page: where it lies in its package.
_PARTS = {"core/dist": "*.js", "core/wasm": "*", "wasm-utils/dist": "*.js"}


@dataclass(frozen=True)
class Modules:
    """The files of LiteRT.js by their names on a page, and its version."""

    contents: Mapping[str, Callable[[], bytes]]
    version: str


def folder() -> Path:
    """Where ``npm install`` is to put it."""
    caches = os.environ.get("XDG_CACHE_HOME")
    return (Path(caches) if caches else Path.home() / ".cache") / "restnet-tf" / "litert-js"


def opened(place: Path | None = None) -> Modules:
    """What is there; raises ``DeviceError`` with the command that brings it where it is not."""
    where = place or folder()
    packages = where / "node_modules" / "@litertjs"
    files = {
        f"{part}/{path.name}": partial(path.read_bytes)
        for part, pattern in _PARTS.items()
        for path in sorted((packages / part).glob(pattern))
    }
    try:
        version = str(json.loads((packages / "core" / "package.json").read_text(encoding="utf-8"))["version"])
    except (OSError, ValueError, KeyError, TypeError):
        version = ""
    if not version or any(not [name for name in files if name.startswith(part)] for part in _PARTS):
        quoted = shlex.quote(str(where))
        raise DeviceError(f"web needs LiteRT.js, which is not here: npm install --prefix {quoted} {REQUIREMENT}")
    return Modules(files, version)
