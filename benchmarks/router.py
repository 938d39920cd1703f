"""What points in one file cost in TensorFlow Lite Micro: ``python -m benchmarks.router RUN [--precision int8]``.

Makes the router and the flash image of a run's elastic file, runs them and every point's own file in
TensorFlow Lite Micro on noise, and prints flash, the arena as that runtime measures it (its tail is that of a
64-bit host), the arena as planned, and whether the outputs are equal.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tflite_export import flash, link, memory, router
from tflite_export.devices import tflm_wheel
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import read

_ARENA = 64 << 20  # enough for any run's files: the runtime tells what it took of it


@dataclass(frozen=True)
class Measured:
    """What TensorFlow Lite Micro did with a file; bytes of it, its least arena, and ``planned`` of the arena's head."""

    ran: tflm_wheel.Ran
    flash: int
    arena: int
    planned: int

    @property
    def figures(self) -> tuple[int, ...]:
        """Bytes: flash, arena, head, tail, planned."""
        return self.flash, self.arena, self.ran.head, self.ran.tail, self.planned


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--points", default="", help="names of points, with commas; all where none is given")
    parser.add_argument("--images", type=int, default=4)
    options = parser.parse_args(arguments)
    try:
        measure(options.run, options.precision, [name for name in options.points.split(",") if name], options.images)
    except (TfliteError, OSError) as error:
        raise SystemExit(str(error)) from None


def measure(run: Path, precision: str, points: Sequence[str], images: int) -> None:
    """Print the figures of a run's router beside those of its points' own files."""
    elastic = (run / f"elastic.{precision}.tflite").read_bytes()
    content, image = router.of_elastic(elastic, points), flash.of_elastic(elastic, points)
    names = [entry["name"] for entry in link.points(content)["points"]]
    noise = tflm_wheel.noise(read(content).subgraphs[0].inputs[0], images)
    routed = measured(content, noise, range(len(names)))
    files = {name: (run / "tflite" / f"{name}.{precision}.tflite").read_bytes() for name in names}
    alone = {name: measured(file, noise) for name, file in files.items()}
    entries = [measured(flash.entry(image, place), noise) for place in range(len(names))]
    print(f"{run}, {precision}: {len(names)} points, {images} images of noise in TensorFlow Lite Micro")
    print(f"{'bytes':<22}{'flash':>12}{'arena':>12}{'head':>10}{'tail':>10}{'planned':>10}")
    for name, measurement in alone.items():
        _print(name, *measurement.figures)
    _print("files, sum", *(sum(column) for column in _columns(list(alone.values()))))
    _print("files, largest", *(max(column) for column in _columns(list(alone.values()))))
    _print("router", *routed.figures)
    _print("flash image", *(max(column) for column in _columns(entries)))
    for place, name in enumerate(names):
        both = {"router": routed.ran.scores[place], "flash image": entries[place].ran.scores[0]}
        words = (f"{who} {_difference(scores, alone[name].ran.scores[0])}" for who, scores in both.items())
        print(f"choice {place} {name:<13} {', '.join(words)}")


def _columns(rows: Sequence[Measured]) -> list[tuple[int, ...]]:
    return list(zip(*(f.figures for f in rows), strict=True))


def _difference(scores: np.ndarray, expected: np.ndarray) -> str:
    worst = np.abs(scores.astype(float) - expected.astype(float)).max()
    return f"differs by up to {worst:.2g} of raw scores" if worst else "equal"


def measured(content: bytes, images: np.ndarray, choices: Sequence[int] = ()) -> Measured:
    """Run a file on raw images ``(n, h, w, c)`` of its own type, once for each choice; raises as ``tflm_wheel.run``."""
    planned = memory.plan(memory.ranges(content)).size
    settings = (np.array(choices, np.int32)[:, None],) if choices else ()
    ran, arena = tflm_wheel.run(content, images, _ARENA, settings), tflm_wheel.least(content, planned)
    return Measured(ran, len(content), arena, planned)


def _print(name: str, *figures: int) -> None:
    widths = (12, 12, 10, 10, 10)
    print(f"{name:<22}" + "".join(f"{figure:>{width},}" for figure, width in zip(figures, widths, strict=True)))


if __name__ == "__main__":
    main()
