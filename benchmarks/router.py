"""What points in one file cost in TensorFlow Lite Micro: ``python -m benchmarks.router RUN [--precision int8]``.

Makes the router and the flash image of a run's elastic file, runs them and every point's own file in
TensorFlow Lite Micro on noise, and prints flash, the arena as that runtime measures it (its tail is that of a
64-bit host), the arena as planned, and whether the outputs are equal.
"""

from __future__ import annotations

import argparse
import io
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.records import BenchError
from tflite_export import flash, link, memory, router
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Tensor, read

# It takes the whole process down with it on what it cannot run, and tells the arena on descriptor 2 alone.
_MICRO = """
import io, sys
import numpy as np
from tflite_micro.python.tflite_micro import runtime
model, given = (sys.stdin.buffer.read(int(n)) for n in sys.argv[1:3])
found = runtime.Interpreter.from_bytes(model, arena_size=64 << 20)
scores = []
for choice in [int(word) for word in sys.argv[3:]] or [None]:
    for image in np.load(io.BytesIO(given)):
        found.set_input(image[None], 0)
        if choice is not None:
            found.set_input(np.array([choice], np.int32), 1)
        found.invoke()
        scores.append(found.get_output(0).copy())
found.print_allocations()
buffer = io.BytesIO()
np.save(buffer, np.concatenate(scores))
sys.stdout.buffer.write(buffer.getvalue())
"""


@dataclass(frozen=True)
class Ran:
    """Raw scores ``(choices, n, classes)``; flash and arena in bytes, ``planned`` of the head."""

    scores: np.ndarray
    flash: int
    head: int
    tail: int
    planned: int

    @property
    def arena(self) -> int:
        """All that has to be given to the interpreter."""
        return self.head + self.tail


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--points", default="", help="names of points, with commas; all where none is given")
    parser.add_argument("--images", type=int, default=4)
    asked = parser.parse_args(arguments)
    try:
        measure(asked.run, asked.precision, [name for name in asked.points.split(",") if name], asked.images)
    except (BenchError, TfliteError, OSError) as error:
        raise SystemExit(str(error)) from None


def measure(run: Path, precision: str, points: Sequence[str], images: int) -> None:
    """Print the figures of a run's router beside those of its points' own files."""
    elastic = (run / f"elastic.{precision}.tflite").read_bytes()
    content, image = router.of_elastic(elastic, points), flash.of_elastic(elastic, points)
    names = [entry["name"] for entry in link.points(content)["points"]]
    given = noise(read(content).subgraphs[0].inputs[0], images)
    routed = ran(content, given, range(len(names)))
    files = {name: (run / "tflite" / f"{name}.{precision}.tflite").read_bytes() for name in names}
    alone = {name: ran(file, given) for name, file in files.items()}
    entries = [ran(flash.entry(image, place), given) for place in range(len(names))]
    print(f"{run}, {precision}: {len(names)} points, {images} images of noise in TensorFlow Lite Micro")
    print(f"{'bytes':<22}{'flash':>12}{'arena':>12}{'head':>10}{'tail':>10}{'planned':>10}")
    for name, found in alone.items():
        _print(name, found.flash, found.arena, found.head, found.tail, found.planned)
    _print("files, sum", *(sum(column) for column in _columns(list(alone.values()))))
    _print("files, largest", *(max(column) for column in _columns(list(alone.values()))))
    _print("router", routed.flash, routed.arena, routed.head, routed.tail, routed.planned)
    _print("flash image", *(max(column) for column in _columns(entries)))
    for place, name in enumerate(names):
        both = {"router": routed.scores[place], "flash image": entries[place].scores[0]}
        words = (f"{who} {_difference(scores, alone[name].scores[0])}" for who, scores in both.items())
        print(f"choice {place} {name:<13} {', '.join(words)}")


def _columns(found: Sequence[Ran]) -> list[tuple[int, ...]]:
    return list(zip(*((f.flash, f.arena, f.head, f.tail, f.planned) for f in found), strict=True))


def _difference(scores: np.ndarray, expected: np.ndarray) -> str:
    worst = np.abs(scores.astype(float) - expected.astype(float)).max()
    return f"differs by up to {worst:.2g} of raw scores" if worst else "equal"


def ran(content: bytes, given: np.ndarray, choices: Sequence[int] = ()) -> Ran:
    """Run a file on raw images ``(n, h, w, c)`` of its own type, once for each choice.

    Raises BenchError with TensorFlow Lite Micro's own words where it fails, or is not there.
    """
    held = io.BytesIO()
    np.save(held, given)
    words = [str(len(content)), str(len(held.getvalue())), *map(str, choices)]
    command = [sys.executable, "-c", _MICRO, *words]
    done = subprocess.run(command, input=content + held.getvalue(), capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()[-3:] or ["nothing"]
        raise BenchError(f"TensorFlow Lite Micro ended with {done.returncode}; it said: {' / '.join(said)}")
    sizes = {key: int(size) for key, size in re.findall(rb"Arena allocation (head|tail) (\d+)", done.stderr)}
    scores = np.load(io.BytesIO(done.stdout)).reshape(max(1, len(choices)), len(given), -1)
    planned = memory.plan(memory.ranges(content)).size
    return Ran(scores, len(content), sizes[b"head"], sizes[b"tail"], planned)


def noise(image: Tensor, count: int) -> np.ndarray:
    """Images ``(count, h, w, c)`` as an input takes them, over all of its values or 0..255."""
    rng = np.random.default_rng(0)
    if image.type == "FLOAT32":
        return rng.uniform(0, 255, (count, *image.shape[1:])).astype(np.float32)
    room = np.iinfo(image.type.lower())
    low = max(int(room.min), 0) if image.type == "INT16" else int(room.min)  # a symmetric type has no use below 0
    return rng.integers(low, int(room.max) + 1, (count, *image.shape[1:])).astype(image.type.lower())


def _print(name: str, *figures: int) -> None:
    widths = (12, 12, 10, 10, 10)
    print(f"{name:<22}" + "".join(f"{figure:>{width},}" for figure, width in zip(figures, widths, strict=True)))


if __name__ == "__main__":
    main()
