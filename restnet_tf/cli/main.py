"""The command line: parses, calls one function, prints. Heavy imports wait until a command runs."""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from restnet_tf.cli import compose
from restnet_tf.cli import options as build_options
from restnet_tf.cli.devices import device_option
from restnet_tf.fitting.rungs import AUTO, FINE_TUNES

if TYPE_CHECKING:
    from restnet_tf.records import Anchor


class _Group(click.Group):
    """Turns what a user can mend into one line and exit code 1; a traceback is a bug of ours."""

    def invoke(self, ctx: click.Context) -> Any:
        from tflite_export.errors import DomainError

        try:
            return super().invoke(ctx)
        except DomainError as error:
            click.echo(f"restnet-tf: {' '.join(str(error).split())}", err=True)
        except Exception as error:
            # Raised inside tf.data (an image that vanished, say), ours comes back wrapped in TensorFlow's.
            told = str(error).partition("RestnetError: ")[2].splitlines()
            if not told:
                raise
            click.echo(f"restnet-tf: {told[0]}", err=True)
        except KeyboardInterrupt:
            click.echo("restnet-tf: stopped; what was finished is kept, run the same command to go on", err=True)
            sys.exit(130)
        sys.exit(1)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="restnet-tf")
def main() -> None:
    """Turn pretrained Keras models into a family of TFLite models between them, by stitching."""


def _import_tensorflow() -> None:
    """Import TensorFlow without its start-up chatter, which tells a user nothing."""
    from restnet_tf.cli import heap
    from tflite_export import chatter

    heap.keep_freed()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Part of the chatter comes before its own logging heeds any level.
    with chatter.captured():
        import tensorflow  # noqa: F401
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    warnings.showwarning = _show_warning


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Ours in one line; what the libraries tell programmers is not for a user's terminal."""
    if Path(filename).parent.name == "restnet_tf":
        click.echo(f"restnet-tf: warning: {message}", err=True)


@main.command()
@build_options.method
@build_options.pair
@build_options.snnet
@click.option("--data", metavar="DATA", help="A folder, an .npz file, digits, or keras:cifar10 and the like.")
@click.option("--out", type=click.Path(path_type=Path), help="The run directory.  [default: runs/LARGE-SMALL-DATA]")
@click.option(
    "--budget",
    default="",
    metavar="TERMS",
    help='Limits, as in "macs<=30M, flash<=500KB"; devices\' are looked at last.',
)
@click.option(
    "--precision",
    default="float32,int8",
    show_default=True,
    metavar="LIST",
    help="Of float32, float16, dynamic, int8, int16x8.",
)
@click.option(
    "--max-points", type=click.IntRange(1, 64), help="Variants to fit.  [default: 8; 6 for the demo; all of snnet]"
)
@click.option(
    "--order",
    type=click.Choice(["both", "large-small", "small-large"]),
    help="Which anchor may be the front.  [default: both; small-large of snnet]",
)
@click.option(
    "--rank-by",
    type=click.Choice(["cka", "r2"]),
    default="cka",
    show_default=True,
    help="What makes the shortlist.",
)
@click.option(
    "--fine-tune",
    type=click.Choice(list(FINE_TUNES)),
    default=AUTO,
    show_default=True,
    help="How far up the ladder a fit may climb.",
)
@click.option(
    "--effort",
    type=click.FloatRange(0.001, 1000),
    help="Training compute; 1 is minutes on two cores.  [default: 1; less for the demo]",
)
@click.option("--plans", type=click.Path(path_type=Path), help="An edited plans.json to build instead.")
@click.option(
    "--converter",
    type=click.Choice(["link", "tf"]),
    default="link",
    show_default=True,
    help="Link variants from anchors compiled once, or convert each whole (slow; for comparison).",
)
@click.option(
    "--recalibrate", is_flag=True, help="Calibrate the back of every integer variant anew on what its stitch delivers."
)
@click.option("--uint8-input", is_flag=True, help="int8 files take images as bytes 0..255, as cameras give them.")
@click.option(
    "--lower", default="", metavar="LIST", help="Operators to make of others, for targets without them: gelu."
)
@click.option("--ship-all", is_flag=True, help="Write .tflite files of dominated points too.")
@click.option("--controls/--no-controls", default=True, show_default=True, help="Fit the controls too.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="What all chance follows from.")
def build(**options: Any) -> None:
    """Build the family between two anchors, or more of them.

    Without options it trains two small anchors on scikit-learn's digits and builds theirs.

    \b
    Example:
      restnet-tf build --large EfficientNetB3 --small MobileNetV2 --data photos/
      restnet-tf build --method snnet --anchor resnet20.keras --anchor resnet56.keras --data cifar10.npz
    """
    build_options.check(options)
    _import_tensorflow()
    from restnet_tf import methods
    from restnet_tf.commands import build as job

    name = options.pop("method")
    kind = methods.options(name)
    own = {f.name for f in fields(kind)}
    with _progress() as report:
        done = job.build(name, kind(**{key: value for key, value in options.items() if key in own}), report)
    _show(done)


@main.command()
@click.argument("model")
@click.option("--arch", metavar="NAME", help="Architecture of a weights file.")
@click.option("--preprocess", type=build_options.PREPROCESS, default="none", show_default=True)
@click.option(
    "--weights",
    default="imagenet",
    show_default=True,
    metavar="WHICH",
    help=build_options.WEIGHTS_HELP.capitalize() + ".",
)
@click.option("--weights-dir", type=click.Path(path_type=Path), help="Where ImageNet weight files lie.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def inspect(model: str, as_json: bool, **options: Any) -> None:
    """List where MODEL can be cut: shape, MACs and parameters before and after.

    \b
    Example:
      restnet-tf inspect MobileNetV2:alpha=0.35,input=96 --weights none
    """
    _import_tensorflow()
    from restnet_tf.anchors import zoo
    from restnet_tf.graph import cuts

    anchor = zoo.load(model, **options)
    found = cuts.find(anchor.model)
    if as_json:
        click.echo(json.dumps({"anchor": anchor.name, "cuts": [asdict(cut) for cut in found]}, indent=1))
    else:
        _console().print(_cut_table(anchor, found))


@main.command()
@build_options.pair
@click.option("--data", metavar="DATA", required=True, help="A folder, an .npz file, digits, or keras:cifar10.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("similarity"),
    show_default=True,
    help="Writes OUT.png and OUT.npz.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
def similarity(out: Path, **options: Any) -> None:
    """Compare all cuts of two anchors by CKA: a heat map as PNG, the matrix as .npz.

    \b
    Example:
      restnet-tf similarity --large resnet56.keras --small resnet20.keras --data cifar10.npz
    """
    _import_tensorflow()
    from restnet_tf.commands import similarity as matrices

    with _progress() as report:
        picture, matrix = matrices.write(out, report, **options)
    click.echo(f"wrote {picture} and {matrix}")


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--budget",
    required=True,
    metavar="TERMS",
    help='As in "macs<=30M, flash<=500KB, latency<=10ms, tflm.arena<=64KB, ethos-u55-128.cycles<=2M".',
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def select(run: Path, budget: str, as_json: bool) -> None:
    """Choose the best operating point of RUN that meets a budget; exit 1 when none does.

    DEVICE.FIGURE limits what `restnet-tf bench` measured on a device.

    \b
    Example:
      restnet-tf select runs/demo --budget "macs<=3M, flash<=300KB, latency<=1ms"
    """
    from restnet_tf.points import points
    from restnet_tf.points import select as selection
    from restnet_tf.run.directory import Run
    from tflite_export.budget import parse
    from tflite_export.devices import measurements

    terms = parse(budget)
    meta, found = points.read(Run(run).points_path)
    choice = selection.select(found, terms, measurements.read(Run(run).measurements_path), run)
    if as_json:
        content = {
            "point": choice.point.name,
            "precision": choice.precision,
            "file": str(run / choice.file.path),
        }
        click.echo(json.dumps(content, indent=1))
        return
    score = choice.file.test
    low, high = (100 * x for x in score.interval)
    click.echo(f"{choice.point.name} {choice.precision}: {choice.point.route}")
    click.echo(f"  {meta['metric']} {100 * score.value:.1f} % [{low:.1f}, {high:.1f}] of {score.n} test images")
    for name, figure in selection.FIGURES.items():
        click.echo(f"  {name} {selection.amount(name, figure.of(choice.point, choice.file))} ({figure.source})")
    for m in choice.measured:
        click.echo(
            f"  {m.device}.{m.figure} {selection.amount(m.figure, m.value)} ({measurements.KINDS[m.kind]}, {m.tool})"
        )
    click.echo(f"  file {run / choice.file.path}")
    if choice.unknown:
        click.echo(f"  not measured there, though they score higher: {', '.join(choice.unknown)}")


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@device_option(
    "--device",
    "names",
    multiple=True,
    required=True,
    metavar="DEVICE",
    concerns="device",
    help="{devices}; may be given again.",
)
@click.option("--point", "only_points", multiple=True, metavar="NAME", help="A point of RUN.  [default: all]")
@click.option("--precision", "precisions", multiple=True, metavar="NAME", help="[default: those that the device takes]")
@device_option(
    "--threads",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    concerns="threads",
    help="Of {devices}.",
)
@device_option(
    "--no-xnnpack",
    "xnnpack",
    flag_value=False,
    default=True,
    concerns="xnnpack",
    help="{devices}: LiteRT's own kernels.",
)
@device_option(
    "--repeats",
    type=click.IntRange(1),
    default=50,
    show_default=True,
    concerns="repeats",
    help="Runs that count, of {devices}.",
)
@device_option(
    "--binary",
    type=click.Path(path_type=Path),
    concerns="binary",
    help="{devices}: TensorFlow Lite's benchmark_model for it.",
)
@device_option(
    "--serial",
    "serials",
    multiple=True,
    concerns="serials",
    help="{devices}: a device of adb's list; may be given again.",
)
@device_option(
    "--log",
    type=click.Path(path_type=Path),
    concerns="log",
    help="{devices}: what the harness printed there.",
)
def bench(
    run: Path, names: tuple[str, ...], only_points: tuple[str, ...], precisions: tuple[str, ...], **given: Any
) -> None:
    """Measure RUN's files on devices, by an interpreter or by a compiler; the figures are kept in RUN.

    \b
    Example:
      restnet-tf bench runs/demo --device host --device tflm --device ethos-u55-128
    """
    from restnet_tf.commands import bench as benching
    from restnet_tf.report import terminal
    from tflite_export.devices.subjects import Options

    with _progress() as report:
        done = benching.bench(run, names, Options(**given), report, only_points=only_points, precisions=precisions)
    if done.measurements:
        _console().print(terminal.measured(done.measurements, done.points))
        count = len(done.measurements)
        click.echo(f"wrote {count} figure{'s' if count > 1 else ''} to {run / 'measurements.json'}")
        click.echo(f'next: restnet-tf select {run} --budget "{benching.example(done)}"')
    for line in done.failures[1:]:  # the first is told last
        click.echo(f"  {line}", err=True)
    benching.judge(done)


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--point", required=True, metavar="NAME", help="A stitched point of RUN, as in L1-S0.")
@click.option("--qat", is_flag=True, help="Train the weights behind int8 rounding.")
@click.option(
    "--prune",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="SHARE",
    help="Set this share of every kernel to zero.",
)
@click.option("--cluster", type=click.IntRange(2), metavar="N", help="Leave at most N distinct values in every kernel.")
@click.option(
    "--scope",
    type=click.Choice(["stitch", "back"]),
    default="stitch",
    show_default=True,
    help="The stitch alone, or the back's convolutions and dense layers too (no longer shared then).",
)
@click.option(
    "--epochs",
    type=click.IntRange(1, 1000),
    help="Passes over the views that the fit saw.  [default: 2; 8 for the back]",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="What all chance follows from.")
def optimize(run: Path, point: str, qat: bool, prune: float | None, cluster: int | None, **options: Any) -> None:
    """Quantise, prune or cluster a point of RUN by training; needs the extra tfmot.

    The result lies in RUN as another stitch, such as L1-S0.prune50; the point itself stays.

    \b
    Example:
      restnet-tf optimize runs/demo --point L1-S0 --prune 0.5
    """
    asked = {"qat": 0 if qat else None, "prune": prune, "cluster": cluster}
    given = {method: amount for method, amount in asked.items() if amount is not None}
    if len(given) != 1:
        raise click.UsageError("give exactly one of --qat, --prune and --cluster")
    ((method, amount),) = given.items()
    from restnet_tf.commands import optimize as optimizing

    optimizing.check_installed()
    _import_tensorflow()
    with _progress() as report:
        done = optimizing.optimize(run, point, optimizing.Wanted(method, amount, **options), report)
    click.echo(f"wrote {done.path}")
    for split, before in done.before.items():
        after = done.after[split]
        click.echo(
            f"  {split}: {done.metric} {100 * before.value:.1f} -> {100 * after.value:.1f} % of {after.n} images,"
            f" KL to the large anchor {before.kl:.4f} -> {after.kl:.4f}"
        )


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@device_option("--target", required=True, metavar="T", concerns="target", help="{devices}.")
@click.option("--point", metavar="P", help="One point of RUN, as in L1-S0.")
@click.option("--all", "every", is_flag=True, help="Every shipped point; an error where the target refuses one.")
@device_option(
    "--together",
    type=click.Choice(["image", "router"]),
    concerns="together",
    help="All shipped points in one array for {devices}, weights once: an entry each, or one network that chooses.",
)
@click.option("--precision", metavar="P", help="[default: the first that the target takes and RUN has]")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The folder to write to.")
def export(run: Path, out: Path, point: str | None, every: bool, **options: Any) -> None:
    """Write what one flashes: RUN's points as files of a target.

    Without --point or --all these are the shipped points that the target takes; the others are named with the reason.

    \b
    Example:
      restnet-tf export runs/demo --target tflm --point L1-S0 --out firmware/model
    """
    if point is not None and (every or options["together"]):
        raise click.UsageError("give --point alone, without --all or --together")
    from restnet_tf.commands import export as exporting

    with _progress() as report:
        done = exporting.export(run, exporting.Request(point=point, every=every, **options), out, report)
    for path in done.written:
        click.echo(f"wrote {path} ({path.stat().st_size:,} bytes)")
    for name, reasons in done.refused:
        click.echo(f"refused {name}: {'; '.join(reasons)}")
    for remark in done.remarks:
        click.echo(remark)
    click.echo(f"next: {done.advice}")


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--precision", default="float32,int8", show_default=True, help="Precisions, by commas.")
@click.option("--images", type=click.IntRange(min=1), default=256, show_default=True, help="Test images at most.")
def verify(run: Path, precision: str, images: int) -> None:
    """Run RUN's files beside Keras and beside TensorFlow's own conversions; exit 1 where float32 differs.

    \b
    Example:
      restnet-tf verify runs/demo --images 100
    """
    _import_tensorflow()
    from restnet_tf.commands import build as job
    from restnet_tf.commands import verify as finished
    from restnet_tf.report import terminal

    precisions = [name.strip() for name in precision.split(",") if name.strip()]
    with _progress() as report, job.reopened(run, report) as family:
        found = finished.check(family, precisions, images)
    _console().print(terminal.verified(found, images))
    finished.judge(found)


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The .html to write, its tables beside it.  [default: RUN/report.html]",
)
def report(run: Path, out: Path | None) -> None:
    """Write what RUN found as one page that needs no network, and as tables in Markdown and CSV.

    \b
    Example:
      restnet-tf report runs/demo
    """
    from restnet_tf.commands import report as reporting

    for path in reporting.write(run, out):
        click.echo(f"wrote {path}")


@main.command()
@click.argument("arch")
@click.option("--data", metavar="DATA", required=True, help="Labelled images: a folder, an .npz file, or digits.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The .keras file to write.")
@click.option("--epochs", type=click.IntRange(1), default=30, show_default=True, help="Passes over the fit images.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), default=1e-3, show_default=True, help="Learning rate.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="What all chance follows from.")
def train(arch: str, data: str, out: Path, **options: Any) -> None:
    """Train ARCH from nothing on small labelled images, where no pretrained anchor is at hand.

    \b
    Example:
      restnet-tf train ViT:input=8,patch=2,width=64,depth=6,heads=4 --data digits --out vit6.keras
    """
    _import_tensorflow()
    from restnet_tf.commands import train as training

    with _progress() as report:
        done = training.train(arch, data, out, **options, report=report)
    click.echo(
        f"wrote {done.path}: {100 * done.rank:.1f} % of {done.images[0]} rank images right,"
        f" {100 * done.test:.1f} % of {done.images[1]} test images"
    )
    click.echo(f"next: restnet-tf build --large {done.path} --small ANOTHER.keras --data {data}")


def _show(done: Any) -> None:
    """What a build found, what it wrote, and what to do next."""
    from restnet_tf.records import RestnetError
    from restnet_tf.report import terminal

    console = _console()
    console.print(terminal.operating_points(done.points, done.metric, done.loss))
    console.print(terminal.precisions(done.points, done.metric))
    click.echo(done.summary)
    if done.shortfall:
        raise RestnetError(done.shortfall)


def _cut_table(anchor: Anchor, found: Any) -> Any:
    from rich.table import Table

    table = Table(title=f"{anchor.name}: {len(found)} cuts", title_justify="left")
    table.add_column("cut", no_wrap=True)
    table.add_column("kind")
    for name in ("shape", "clamp", "MMACs before", "after", "params before", "after"):
        table.add_column(name, justify="right")
    for cut in found:
        clamp = "" if cut.clamp[0] is None else "ReLU6" if cut.clamp[1] == 6 else "ReLU"
        table.add_row(
            cut.name,
            cut.kind if cut.grid is None else f"tokens of {cut.grid[0]}x{cut.grid[1]}",
            "x".join(map(str, cut.shape)),
            clamp,
            f"{cut.macs_before / 1e6:.1f}",
            f"{cut.macs_after / 1e6:.1f}",
            f"{cut.params_before:,}",
            f"{cut.params_after:,}",
        )
    return table


def _console() -> Any:
    from rich.console import Console

    # A pipe or a log file has no width; tables must not fold there.
    return Console(width=None if sys.stdout.isatty() else 200)


class _Report:
    """Draws stages as progress bars on standard error."""

    def __init__(self, bars: Any) -> None:
        self._bars = bars
        self._task: Any = None

    def stage(self, title: str) -> None:
        if self._task is not None:
            self._bars.remove_task(self._task)
        self._task = self._bars.add_task(title, total=None)
        if not self._bars.console.is_terminal:
            self._bars.console.print(title)

    def progress(self, done: int, total: int) -> None:
        self._bars.update(self._task, completed=done, total=total)

    def say(self, line: str) -> None:
        self._bars.console.print(line, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def _progress() -> Iterator[_Report]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        yield _Report(bars)


compose.add(main, _progress, _show, _import_tensorflow)
