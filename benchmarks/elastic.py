"""What an elastic file costs at run time: ``python -m benchmarks.elastic RUN [--precision float32]``.

Times every switch between two points against a second run of the same point, in turns, and holds the
peak memory of one elastic interpreter against that of one interpreter for each point's own file; each in
a fresh process that has run every point.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import permutations
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from tflite_export import link
from tflite_export.errors import TfliteError
from tflite_export.runtime import ElasticModel, Point

_MODES = ("nothing", "elastic", "separate")


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--memory", choices=_MODES, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    path = options.run / f"elastic.{options.precision}.tflite"
    if not path.exists():
        raise SystemExit(f"{path} is missing; build the run with --precision {options.precision}")
    if options.memory:
        print(_peak(options.memory, options.run, path, options.precision))
        return
    added = switches(path, options.repeats)
    worst = max(added, key=lambda pair: added[pair])
    print(f"{path}: {len(added)} switches, {options.repeats} repeats each, 1 thread")
    print(f"  a switch adds {median(added.values()):.1f} us (median of all pairs)")
    print(f"  the slowest, {worst[0]} to {worst[1]}, {added[worst]:.1f} us")
    peaks = {mode: _measured(mode, options.run, options.precision) for mode in _MODES}
    elastic, separate = (peaks[mode] - peaks["nothing"] for mode in ("elastic", "separate"))
    print(f"  peak memory over an empty process: elastic {elastic / 1024:.1f} MB, separate {separate / 1024:.1f} MB")
    if elastic > 0:
        print(f"  separate takes {separate / elastic:.2f} times as much")


def switches(path: Path, repeats: int) -> dict[tuple[str, str], float]:
    """Microseconds that a run takes more after another point's than after its own, the median of pairs."""
    model = ElasticModel(path)
    model.warm()
    images = {p.name: np.full(model.input_shape(p), 127.0, np.float32) for p in model.points}

    def timed(point: Point) -> float:
        start = time.perf_counter_ns()
        model.run(images[point.name], point)
        return (time.perf_counter_ns() - start) / 1000

    added = {}
    for first, second in permutations(model.points, 2):
        differences = []
        for _ in range(repeats):
            timed(second)
            alone = timed(second)
            timed(first)
            differences.append(timed(second) - alone)
        added[first.name, second.name] = median(differences)
    return added


def _measured(mode: str, run: Path, precision: str) -> int:
    command = [sys.executable, "-m", "benchmarks.elastic", str(run), "--precision", precision, "--memory", mode]
    process = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    if process.returncode:
        raise TfliteError(f"measuring memory ({mode}) failed: {process.stderr.strip().splitlines()[-1]}")
    return int(process.stdout.split()[-1])


def _peak(mode: str, run: Path, path: Path, precision: str) -> int:
    """KiB of this process at its peak, after every point has run."""
    import ai_edge_litert.interpreter  # noqa: F401 - the empty process has it loaded too

    # What loading the libraries took for a moment would hide the difference; Linux forgets it on request.
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    models: list[Any] = []
    if mode == "elastic":
        model = ElasticModel(path)
        model.warm()
        models.append(model)
    if mode == "separate":
        names = [entry["name"] for entry in link.points(path.read_bytes())["points"]]
        models += [_opened(run / "tflite" / f"{name}.{precision}.tflite") for name in names]
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    del models
    return int(peak.split()[1])


def _opened(path: Path) -> Any:
    """An interpreter of one file that has run once."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    interpreter.invoke()
    return interpreter


if __name__ == "__main__":
    main()
