"""What a person sees: tables, progress, warnings, errors in one line, and nothing of TensorFlow's start."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any, TextIO

import click

from restnet_tf.progress import Silent

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import Progress, TaskID

    from restnet_tf.commands.build import Done
    from restnet_tf.progress import Crew, Reporter, Running

# So often a log hears how far the workers are, in seconds; a terminal shows so many of them, the slowest.
_PLAIN_S = 60.0
_SHOWN = 8


QUIET = "restnet_tf.quiet"  # among what a command's context notes: errors alone are wanted


class Group(click.Group):
    """Turns what a user can mend into one line and exit code 1; a traceback is a bug of ours."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was named, our warnings and errors as lines on standard error."""
        from tflite_export.errors import DomainError

        _write_anything()
        with _our_warnings(ctx):
            try:
                return super().invoke(ctx)
            except DomainError as error:
                click.echo(f"restnet-tf: {' '.join(str(error).split())}", err=True)
            except KeyboardInterrupt:
                click.echo("restnet-tf: stopped; what was finished is kept, run the same command to go on", err=True)
                sys.exit(130)
            sys.exit(1)


def _write_anything() -> None:
    """A character that the terminal does not know becomes a question mark, not an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


@contextmanager
def _our_warnings(context: click.Context) -> Iterator[None]:
    """Show our warnings in one line each; what the libraries tell programmers is not for a user's terminal."""
    from restnet_tf.records import RestnetWarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, RestnetWarning) and QUIET not in context.meta:
            click.echo(f"restnet-tf: warning: {message}", err=True)

    with warnings.catch_warnings():
        warnings.simplefilter("always", RestnetWarning)
        warnings.showwarning = show
        yield


def import_tensorflow() -> None:
    """Import TensorFlow without its start-up chatter, which tells a user nothing."""
    from restnet_tf.work import start

    start.tensorflow()


def console() -> Console:
    """Standard output for tables."""
    from rich.console import Console

    # A pipe or a log file has no width; tables must not fold there.
    return Console(width=None if sys.stdout.isatty() else 200)


class StageBars:
    """Draws stages as progress bars on standard error, and below one what each worker is at.

    Where standard error is no terminal it prints the titles, and once a minute how far the workers are.
    """

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._task: TaskID | None = None
        self._title, self._told_s = "", time.monotonic()

    def stage(self, title: str) -> None:
        """Begin a bar, in place of that of the stage before."""
        if self._task is not None:
            self._bars.remove_task(self._task)
        self._title = title
        self._task = self._bars.add_task(title, total=None)
        if not self._bars.console.is_terminal:
            self._bars.console.print(title, highlight=False, markup=False, soft_wrap=True)

    def progress(self, done: int, total: int) -> None:
        """Draw how far the stage is."""
        assert self._task is not None
        self._bars.update(self._task, completed=done, total=total)

    def crew(self, crew: Crew) -> None:
        """Tell who is at what."""
        if self._task is not None and self._bars.console.is_terminal:
            lines = [f"{self._title}{_together(crew)}", *map(_at_work, crew.running[:_SHOWN])]
            self._bars.update(self._task, description="\n".join(lines))
        elif crew.running and time.monotonic() - self._told_s >= _PLAIN_S:
            self._told_s = time.monotonic()
            self.say(_standing(crew))

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._bars.console.print(line, highlight=False, markup=False, soft_wrap=True)


def _together(crew: Crew) -> str:
    """How many work and what they hold, where there are more than have a line each."""
    from restnet_tf import atomic

    if crew.workers <= _SHOWN:
        return ""
    return f" ({len(crew.running)} of {crew.workers} workers at it, {atomic.spoken(_held(crew))}; the slowest:)"


def _held(crew: Crew) -> int:
    """Bytes of all who work."""
    return sum(one.bytes for one in crew.running)


def _at_work(running: Running) -> str:
    """A worker and what it is at, in a line below the stage."""
    from restnet_tf import atomic

    memory = f", {atomic.spoken(running.bytes)}" if running.bytes else ""
    return f"  {running.worker}: {running.title}, {running.seconds:.0f} s{memory}"


def _standing(crew: Crew) -> str:
    """How far all workers are, in a line for a log."""
    from restnet_tf import atomic

    slowest, memory = crew.running[0], _held(crew)
    held = f"; they hold {atomic.spoken(memory)}" if memory else ""
    return (
        f"  {crew.done} of {crew.total} tasks done, {len(crew.running)} under way ({crew.workers}"
        f" worker{'s' * (crew.workers != 1)}), the slowest for {slowest.seconds:.0f} s: {slowest.title},"
        f" {slowest.worker}{held}"
    )


def quiet() -> bool:
    """Whether the command that runs is to print errors alone."""
    context = click.get_current_context(silent=True)
    return context is not None and QUIET in context.meta


def say(*lines: str) -> None:
    """Print lines that are no errors."""
    if not quiet():
        click.echo("\n".join(lines))


def table(one: RenderableType) -> None:
    """Print a table, or several."""
    if not quiet():
        console().print(one)


@contextmanager
def progress() -> Iterator[Reporter]:
    """A reporter for long work; its bars are gone behind it."""
    if quiet():
        yield Silent()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    errors = Console(stderr=True)
    with Progress(*columns, console=errors, disable=not errors.is_terminal) as bars:
        yield StageBars(bars)


def show(result: Done, *, as_json: bool = False) -> None:
    """What a build came to, what it wrote, and what to do next; raises ``RestnetError`` with the shortfall."""
    from restnet_tf.records import RestnetError

    if as_json:
        from restnet_tf.commands import build

        click.echo(build.as_json(result))
    elif not quiet():
        _show(result)
    if result.shortfall:
        raise RestnetError(result.shortfall)


def _show(result: Done) -> None:
    from restnet_tf.cli import time_table
    from restnet_tf.report import terminal

    table(terminal.operating_points(result.points, result.metric, result.loss, result.one))
    table(terminal.precisions(result.points, result.metric, result.one))
    if result.times is not None and result.times.waves:
        table(time_table.of(result.times))
    say(result.summary)
