"""A family for browsers: two small networks and their cascade in one int8 file, and a page that serves it."""

from __future__ import annotations

import base64
import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cascade_files
import numpy as np
from chromium import Page
from PIL import Image

from tflite_export import cascades
from tflite_export.cascades import Stage
from tflite_export.devices import web
from tflite_export.devices.exports import Parcel, PointFile
from tflite_export.flatbuffer import only, read
from tflite_export.inputs import PHOTOS, InputKind

LABELS = ("cat", 'the "dog"', "<b>fish</b>")
CASCADE = "small>large"
_MACS = {"small": 1e5, "large": 4e5}
# What the browser says of a missing graphics adapter, whoever asks for one.
_NO_ADAPTER = "No available adapters."


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing."""


@cache
def elastic() -> bytes:
    """The family's file, with what the linker notes in it."""
    models = {name: read(cascade_files.stage(name, "int8")) for name in _MACS}
    stages = {name: Stage(only(model), made_of=(model,)) for name, model in models.items()}
    middle = cascade_files.middle("small", "int8")
    shares = {0.0: 0.0, middle: 0.5, 2.0: 1.0}
    marks = [{"thresholds": [at], "reach": [1.0, share], "score": 0.8} for at, share in shares.items()]
    about = {"stages": list(_MACS), "confidence": "max", "macs": list(_MACS.values()), "curve": marks, **marks[1]}
    points: list[dict[str, Any]] = [{"name": n, "macs": m, "score": 0.5 + m / 1e6} for n, m in _MACS.items()]
    points.append({"name": CASCADE, "macs": 5e5, "mean_macs": 3e5, "score": 0.85, "cascade": about})
    chains = {CASCADE: (list(stages.values()), "max")}
    return cascades.elastic(stages, chains, {"format": 1, "labels": list(LABELS), "points": points})


def exported(folder: Path, kind: InputKind = PHOTOS) -> Path:
    """The folder of ``export --target web``, without LiteRT.js."""
    source = folder / "elastic.int8.tflite"
    source.write_bytes(elastic())
    points = (PointFile("small", "int8", cascade_files.stage("small", "int8")),)
    out = folder / "out"
    out.mkdir()
    for name, content in web.export(Parcel("demo", points, LABELS, source, kind=kind)).files.items():
        (out / name).write_bytes(content)
    return out


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder, by a static server that knows nothing of us."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def until(page: Page, expression: str, seconds: float = 60) -> Any:
    """The value of an expression as soon as it is any."""
    end = time.monotonic() + seconds
    while not (value := page.evaluate(expression)):
        assert time.monotonic() < end, page.evaluate("document.body.innerText")
        time.sleep(0.05)
    return value


def begun(page: Page) -> None:
    """The page has loaded the family."""
    until(page, "!!globalThis.started")
    page.evaluate("started")


def complaints(page: Page) -> list[str]:
    return [line for line in page.complaints if line != _NO_ADAPTER]


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image.astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def give(page: Page, name: str, content: bytes) -> None:
    """A file, as a person chooses it."""
    coded = base64.b64encode(content).decode()
    page.evaluate(
        f"""(() => {{
          const bytes = Uint8Array.from(atob("{coded}"), (c) => c.charCodeAt(0));
          const chosen = new DataTransfer();
          chosen.items.add(new File([bytes], "{name}"));
          const input = document.getElementById("file");
          input.files = chosen.files;
          input.dispatchEvent(new Event("change"));
        }})()"""
    )


def turned(page: Page, control: str, value: object) -> None:
    """A slider or a field, as a person sets it."""
    page.evaluate(
        f"""(() => {{
          const control = document.getElementById("{control}");
          control.value = "{value}";
          control.dispatchEvent(new Event("input"));
        }})()"""
    )
