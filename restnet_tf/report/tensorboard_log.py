"""A run as TensorBoard shows it: an event file of scalars, texts, a picture and the parameters of its hparams page."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from restnet_tf.records import RestnetError
from restnet_tf.report.tracked import Tracked

_PICTURE = ".png"


def check(folder: str) -> None:
    """Refuse (``RestnetError``) a folder that cannot be written; one that is not there yet is made."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _refusal(Path(folder), error) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise _refusal(Path(folder), PermissionError(0, "write-protected"))


def write(folder: str, tracked: Tracked) -> str:
    """Write a run into a folder of its own and return that; raises ``RestnetError`` where it cannot be written."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    path = Path(folder) / tracked.name
    try:
        events = EventFileWriter(str(path))
        for step, summary in _summaries(tracked):
            events.add_event(Event(step=step, summary=summary))
        events.close()
    except OSError as error:
        raise _refusal(path, error) from None
    return str(path)


def _refusal(path: Path, error: OSError) -> RestnetError:
    return RestnetError(f"cannot write to {path}: {error.strerror}; give another folder behind tensorboard:")


def _summaries(tracked: Tracked) -> Iterator[tuple[int, Any]]:
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb
    from tensorboard.plugins.scalar.summary_v2 import scalar_pb
    from tensorboard.plugins.text.summary_v2 import text_pb

    yield 0, hparams_pb(dict(tracked.parameters), trial_id=tracked.name)
    yield from ((0, scalar_pb(name, value)) for name, value in tracked.figures.items())
    for name, steps in tracked.series.items():
        yield from ((step, scalar_pb(name, value)) for step, value in steps)
    yield 0, text_pb("report", tracked.text)
    yield 0, text_pb("files", _listed(tracked))
    yield 0, text_pb("rungs", "\n".join(f"- {name}: {', '.join(rungs)}" for name, rungs in tracked.rungs.items()))
    yield from ((0, _picture(name, path)) for name, path in tracked.files.items() if path.suffix == _PICTURE)


def _listed(tracked: Tracked) -> str:
    """Where the files lie: TensorBoard keeps none."""
    rows = (f"| {name} | {path.stat().st_size:,} | `{path.resolve()}` |" for name, path in tracked.files.items())
    return "\n".join(("| file | bytes | path |", "|---|---:|---|", *rows))


def _picture(name: str, path: Path) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary

    image = Summary.Image(encoded_image_string=path.read_bytes())
    return Summary(value=[Summary.Value(tag=Path(name).stem, image=image)])
