"""Generated C compiled on this host and called from here, and inputs for it."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tflite_export import carray
from tflite_export.flatbuffer import read

FLAGS = ("-std=c99", "-O1", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-pedantic", "-Werror")


class Library:
    """The functions of a family; a point is called by the stem of its file's name."""

    def __init__(self, files: Mapping[str, bytes], folder: Path, *flags: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
        sources = sorted(name for name in files if name.endswith(".c"))
        shared = "family.so"
        command = ["gcc", *FLAGS, *flags, "-shared", "-fPIC", *sources, "-o", shared]
        subprocess.run(command, cwd=folder, check=True)
        self._library = ctypes.CDLL(str(folder / shared))

    def run(self, stem: str, inputs: np.ndarray, output: int, *, inside: bool = False) -> np.ndarray:
        """Raw outputs ``(n, output)`` of raw inputs ``(n, 1, ...)``; ``inside`` puts each into the arena's own room."""
        name = f"model_{carray.identifier(stem)}"
        return np.stack([self._one(name, np.ascontiguousarray(one), output, inside) for one in inputs])

    def cascade(
        self, stem: str, one: np.ndarray, output: int, thresholds: tuple[float, ...] | None = None
    ) -> tuple[int, np.ndarray]:
        """The stage that answers a raw input, and its raw scores."""
        call = self._library[f"model_{carray.identifier(stem)}_run"]
        scores, values = np.zeros(output, np.int8), np.ascontiguousarray(one)
        dial = None if thresholds is None else (ctypes.c_float * len(thresholds))(*thresholds)
        return int(call(_pointer(values), _pointer(scores), dial)), scores

    def cascade_at(self, stem: str, address: int, output: int) -> int:
        """What a cascade returns for an input at an address."""
        call, scores = self._library[f"model_{carray.identifier(stem)}_run"], np.zeros(output, np.int8)
        return int(call(ctypes.c_void_p(address), _pointer(scores), None))

    def place(self, stem: str) -> int:
        """The address of the arena's room for an input."""
        call = self._library[f"model_{carray.identifier(stem)}_input"]
        call.restype = ctypes.c_void_p
        return int(call())

    def _one(self, name: str, values: np.ndarray, output: int, inside: bool) -> np.ndarray:
        scores = np.zeros(output, np.int8)
        place = _pointer(values)
        if inside:
            room = self.place(name.removeprefix("model_"))
            ctypes.memmove(room, values.ctypes.data, values.nbytes)
            place = ctypes.c_void_p(room)
        assert self._library[f"{name}_run"](place, _pointer(scores)) == 0
        return scores


def _pointer(values: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(values.ctypes.data)


def compiled_alone(header: Path, language: str) -> None:
    """Raises where a header does not compile on its own."""
    subprocess.run(["gcc", "-x", language, "-Wall", "-Wextra", "-Werror", "-fsyntax-only", str(header)], check=True)


def noise(content: bytes, count: int, seed: int = 0) -> np.ndarray:
    """Seeded inputs over all numbers."""
    shape = read(content).subgraphs[0].inputs[0].shape
    return np.random.default_rng(seed).integers(-128, 128, (count, *shape)).astype(np.int8)
