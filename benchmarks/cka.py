"""All-pairs CKA of two models: restnet_tf.cka beside PyTorch's torch_cka and ckatorch, one run.

    python -m benchmarks.cka [--n 512,2048,8192] [--layers 5,10,20,40] [--json]

Every method takes the same seeded stream of features. Prints a table: images, layers a model,
seconds (median over the repeats; drawing the features is not counted), the time against ours
(median of the ratios within a repeat), the growth of resident memory over a process that holds one
batch already, and the largest difference to HSIC_1 as written in the paper (Nguyen, Raghu &
Kornblith 2020, eq. 3) in float64. Each measurement is a fresh process; each process warms up on one
batch of one layer. n grows at the fewest layers, the layers grow at the smallest n.

With ``pip install torch torch_cka ckatorch`` the packages themselves run; without them their
formulas do, in NumPy, and the table says so.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import multiprocessing
import os
import platform
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np

from tflite_export.errors import TfliteError

Features = list[np.ndarray]

METHODS = ("restnet_tf", "torch_cka", "ckatorch")
NOTES = {
    "restnet_tf": "one centred Gram a layer, one product for all pairs; sums over batches",
    "torch_cka": "unbiased and summed over batches like ours, in float32; "
    "for every pair it forms the second Gram and its own HSIC again",
    "ckatorch": "unbiased, float64; forms both Grams of every pair and keeps the CKA of the last batch only, "
    "hence its difference. Fed (1, b, d): else it compares positions inside each sample. One epoch of its 10",
}


@dataclass(frozen=True)
class CkaSetting:
    """What is compared: ``n`` images in batches of ``batch``, ``layers`` a model, ``width`` features each."""

    n: int
    layers: int
    width: int
    batch: int
    seed: int = 0


@dataclass(frozen=True)
class MethodRun:
    """One measurement; ``extra_mb`` is None where the system does not tell a process's peak memory."""

    tool: str
    seconds: float
    extra_mb: float | None
    values: list[list[float]]


class Stream:
    """The same batches for every method: rectified mixtures of a shared signal and noise, float32.

    Buffers are touched here and reused for every batch, so that memory growth is the method's own.
    ``seconds`` counts the time spent drawing.
    """

    def __init__(self, setting: CkaSetting) -> None:
        """Draw the layers' fixed mixing matrices; no batch yet."""
        self.setting = setting
        self.seconds = 0.0
        self._rng = np.random.default_rng(setting.seed)
        shape = (2, setting.layers)
        self._mixing = self._rng.standard_normal((*shape, 16, setting.width), dtype=np.float32) / 4
        self._held = np.ones((*shape, setting.batch, setting.width), dtype=np.float32)

    @property
    def batches(self) -> int:
        """How many batches there are."""
        return self.setting.n // self.setting.batch

    def draw(self) -> tuple[Features, Features]:
        """The next batch: per model a list of ``(batch, width)``, valid until the next call."""
        start = time.perf_counter()
        signal = self._rng.standard_normal((self.setting.batch, 16), dtype=np.float32)
        for model in range(2):
            for depth, out in enumerate(self._held[model]):
                self._rng.standard_normal(dtype=np.float32, out=out)
                out *= (depth + 1) / self.setting.layers
                out += signal @ self._mixing[model, depth]
                np.maximum(out, 0, out=out)
        self.seconds += time.perf_counter() - start
        return list(self._held[0]), list(self._held[1])

    def __iter__(self) -> Iterator[tuple[Features, Features]]:
        """All batches once."""
        for _ in range(self.batches):
            yield self.draw()


def ours(stream: Stream) -> np.ndarray:
    """CKA matrix by restnet_tf.cka."""
    from restnet_tf.similarity.cka import CkaSums

    sums = CkaSums()
    for xs, ys in stream:
        sums.update(xs, ys)
    return sums.matrix()


def hsic(k: np.ndarray, m: np.ndarray) -> float:
    """HSIC_1 of two Gram matrices ``(b, b)``, Nguyen et al. 2020, eq. 3, term by term."""
    b = len(k)
    k, m = k.copy(), m.copy()
    np.fill_diagonal(k, 0)
    np.fill_diagonal(m, 0)
    product = k @ m
    whole = np.trace(product) + k.sum() * m.sum() / ((b - 1) * (b - 2)) - 2 * product.sum() / (b - 2)
    return float(whole / (b * (b - 3)))


def _grams(features: Features) -> np.ndarray:
    wide = [f.astype(np.float64) for f in features]
    return np.stack([f @ f.T for f in wide])


def reference(stream: Stream) -> np.ndarray:
    """CKA matrix by ``hsic`` in float64: what the values of all methods are held against."""
    layers = stream.setting.layers
    xy, xx, yy = np.zeros((layers, layers)), np.zeros(layers), np.zeros(layers)
    for xs, ys in stream:
        ks, ms = _grams(xs), _grams(ys)
        xy += [[hsic(k, m) for m in ms] for k in ks]
        xx += [hsic(k, k) for k in ks]
        yy += [hsic(m, m) for m in ms]
    return xy / np.sqrt(np.outer(xx, yy))


def torch_cka_formula(stream: Stream) -> np.ndarray:
    """What torch_cka 0.21 computes, in its order and precision, in NumPy."""
    layers = stream.setting.layers
    xy, xx, yy = np.zeros((layers, layers)), np.zeros((layers, 1)), np.zeros((layers, layers))
    for xs, ys in stream:
        for i, x in enumerate(xs):
            k = x @ x.T
            xx[i] += hsic(k, k)
            for j, y in enumerate(ys):
                m = y @ y.T
                xy[i, j] += hsic(k, m)
                yy[i, j] += hsic(m, m)
    return xy / np.sqrt(xx * yy)


def ckatorch_formula(stream: Stream) -> np.ndarray:
    """What ckatorch 1.0.3 computes in one epoch: every pair anew, each batch replacing the last."""
    values = np.zeros((stream.setting.layers, stream.setting.layers))
    for xs, ys in stream:
        for i, x in enumerate(xs):
            for j, y in enumerate(ys):
                k, m = _grams([x])[0], _grams([y])[0]
                values[i, j] = hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))
    return values


def _replay(stream: Stream, as_one_sample: bool) -> tuple[Any, Any, list[str], Any]:
    """Two torch modules whose layers put out the stream's features, their names, and a loader to step it."""
    import torch

    class Replay(torch.nn.Module):
        def __init__(self, take: Callable[[], Features]) -> None:
            super().__init__()
            self.take = take
            self.layers = torch.nn.ModuleList(torch.nn.Identity() for _ in range(stream.setting.layers))

        def forward(self, x: Any) -> Any:
            for layer, feature in zip(self.layers, self.take(), strict=True):
                tensor = torch.from_numpy(feature)
                layer(tensor[None] if as_one_sample else tensor)
            return x

    held: list[Features] = []

    def first() -> Features:
        xs, ys = stream.draw()
        held[:] = [ys]
        return xs

    images = torch.utils.data.TensorDataset(torch.zeros(stream.setting.n, 1))
    loader = torch.utils.data.DataLoader(images, batch_size=stream.setting.batch)
    names = [f"layers.{i}" for i in range(stream.setting.layers)]
    return Replay(first), Replay(lambda: held[0]), names, loader


def torch_cka_package(stream: Stream) -> np.ndarray:
    """CKA matrix by the installed torch_cka."""
    from torch_cka import CKA

    first, second, names, loader = _replay(stream, as_one_sample=False)
    method = CKA(first, second, "first", "second", names, names)
    method.compare(loader, loader)
    return method.export()["CKA"].numpy()


def ckatorch_package(stream: Stream) -> np.ndarray:
    """CKA matrix by the installed ckatorch, one epoch."""
    from ckatorch import CKA

    first, second, names, loader = _replay(stream, as_one_sample=True)
    return CKA(first, second, names, names, "first", "second")(loader, epochs=1).numpy()


def _chosen(method: str) -> tuple[Callable[[Stream], np.ndarray], str]:
    """The function that runs ``method`` here, and what it is, in words."""
    if method in ("restnet_tf", "reference"):
        return (ours if method == "restnet_tf" else reference), f"NumPy {np.__version__}"
    formulas = {"torch_cka": torch_cka_formula, "ckatorch": ckatorch_formula}
    packages = {"torch_cka": torch_cka_package, "ckatorch": ckatorch_package}
    try:
        importlib.import_module(method)
    except ImportError as error:
        return formulas[method], f"formula in NumPy {np.__version__} ({error})"
    return packages[method], f"{method} {version(method)}, torch {version('torch')}"


def _resident(field: str) -> float | None:
    """``VmRSS`` or ``VmHWM`` (the peak) of this process in MB; None outside Linux."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    lines = dict(line.split(":", 1) for line in status.read_text(encoding="utf-8").splitlines() if ":" in line)
    return int(lines[field].split()[0]) * 1024 / 1e6


def _forget_peak() -> None:
    """Start the peak of resident memory again from what is held now (Linux: proc(5), clear_refs)."""
    with contextlib.suppress(FileNotFoundError):
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def measure(method: str, setting: CkaSetting) -> MethodRun:
    """Run ``method`` once in this process. Seconds leave out the time for drawing the features."""
    warnings.simplefilter("ignore")
    run, tool = _chosen(method)
    with contextlib.redirect_stderr(io.StringIO()):  # progress bars
        run(Stream(replace(setting, n=setting.batch, layers=1)))
        stream = Stream(setting)
        _forget_peak()
        before = _resident("VmRSS")
        start = time.perf_counter()
        values = run(stream)
        seconds = time.perf_counter() - start - stream.seconds
    peak = _resident("VmHWM")
    extra = None if peak is None or before is None else peak - before
    return MethodRun(tool, seconds, extra, np.asarray(values, np.float64).tolist())


def _apart(method: str, setting: CkaSetting) -> MethodRun:
    """``measure`` in a fresh process, so that memory is the method's own; raises TfliteError if it dies."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(measure, method, setting).result()
        except BrokenProcessPool as error:
            raise TfliteError(f"{method} died at {setting}; out of memory? try a smaller --width") from error


def compare(setting: CkaSetting, repeats: int) -> list[dict[str, Any]]:
    """One row a method: every repeat, medians, ratio to ours, memory, difference to the reference."""
    runs = [{method: _apart(method, setting) for method in METHODS} for _ in range(repeats)]
    exact = np.array(_apart("reference", setting).values)
    rows = []
    for method in METHODS:
        seconds = [run[method].seconds for run in runs]
        memory = [run[method].extra_mb for run in runs]
        peaks = [m for m in memory if m is not None]
        rows.append(
            {
                **asdict(setting),
                "method": method,
                "tool": runs[0][method].tool,
                "repeats_s": seconds,
                "median_s": median(seconds),
                "times_ours": median(run[method].seconds / run["restnet_tf"].seconds for run in runs),
                "peak_extra_mb": max(peaks) if peaks else None,
                "max_difference": float(np.abs(np.array(runs[0][method].values) - exact).max()),
            }
        )
    return rows


def settings(ns: list[int], layers: list[int], width: int, batch: int) -> list[CkaSetting]:
    """n grows at the fewest layers, then the layers grow at the smallest n."""
    growing_n = [CkaSetting(n, min(layers), width, batch) for n in sorted(ns)]
    return growing_n + [CkaSetting(min(ns), count, width, batch) for count in sorted(layers)[1:]]


def show(rows: list[dict[str, Any]], threads: int) -> None:
    """Print the table, and under it what each method computes."""
    from rich.console import Console
    from rich.table import Table

    first = rows[0]
    table = Table(title=f"All-pairs CKA, {first['width']} float32 features a layer, batches of {first['batch']}")
    for name in ("n", "layers", "method", "seconds", "x ours", "peak extra MB", "max difference"):
        table.add_column(name, justify="left" if name == "method" else "right")
    for row in rows:
        extra = "unknown" if row["peak_extra_mb"] is None else f"{row['peak_extra_mb']:.1f}"
        table.add_row(
            str(row["n"]),
            str(row["layers"]),
            row["method"],
            f"{row['median_s']:.3f}",
            f"{row['times_ours']:.1f}",
            extra,
            f"{row['max_difference']:.1e}",
            end_section=row["method"] == METHODS[-1],
        )
    console = Console()
    console.print(table)
    console.print(
        f"{platform.machine()}, {os.cpu_count()} cores, BLAS threads: {threads}, "
        f"Python {platform.python_version()}; "
        f"median of {len(first['repeats_s'])} repeats; difference to HSIC_1 (eq. 3) in float64",
        highlight=False,
    )
    for method in METHODS:
        tool = next(row["tool"] for row in rows if row["method"] == method)
        console.print(f"{method}: {tool}. {NOTES[method]}", highlight=False, markup=False)


def _counts(_: click.Context, option: click.Parameter, text: str) -> list[int]:
    parts = text.split(",")
    if not all(part.strip().isdigit() and int(part) > 0 for part in parts):
        raise click.BadParameter(f"{text!r}: give whole numbers above 0 with commas between, as 512,2048")
    return sorted({int(part) for part in parts})


@click.command(help=__doc__.split("\n\n")[0])
@click.option("--n", "ns", default="512,2048,8192", show_default=True, callback=_counts, help="Images.")
@click.option("--layers", default="5,10,20,40", show_default=True, callback=_counts, help="Layers a model.")
@click.option("--width", default=2048, show_default=True, type=click.IntRange(1), help="Features a layer.")
@click.option("--batch", default=128, show_default=True, type=click.IntRange(4), help="Images a batch.")
@click.option("--repeats", default=3, show_default=True, type=click.IntRange(1))
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1), help="BLAS threads of each.")
@click.option("--json", "as_json", is_flag=True, help="Print every repeat as JSON instead of the table.")
def main(ns: list[int], layers: list[int], width: int, batch: int, repeats: int, threads: int, as_json: bool) -> None:
    """Measure every setting and print it."""
    for n in ns:
        if n % batch:
            raise click.BadParameter(f"{n} is not a multiple of --batch {batch}", param_hint="--n")
    # Read when the child processes load their BLAS.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)
    rows: list[dict[str, Any]] = []
    for setting in settings(ns, layers, width, batch):
        click.echo(f"n {setting.n}, {setting.layers} layers ...", err=True)
        try:
            rows += compare(setting, repeats)
        except TfliteError as error:
            raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps({"threads": threads, "rows": rows}, indent=1))
    else:
        show(rows, threads)


if __name__ == "__main__":
    main()
