"""A run as MLflow keeps it: one of its runs, in the experiment ``restnet-tf`` or the one that the environment names."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from restnet_tf.records import RestnetError
from restnet_tf.report.tracked import Tracked

if TYPE_CHECKING:
    from mlflow import MlflowClient

_EXPERIMENT = "restnet-tf"
_AT_ONCE = 90  # of parameters, tags and metrics; MLflow takes 100 of some in one call
_KINDS = ("metrics", "params", "tags")  # in the order in which MLflow takes them
_LONGEST = 5000  # characters of a tag's or a parameter's value
# Nothing is told to anybody but the server that the user names, a folder is as good a place as a database, and a
# server that does not answer is soon given up.
_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_FILE_STORE": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
}


def check(uri: str) -> None:
    """Refuse (``RestnetError``) a tracking server, database or folder that does not take runs."""
    with _client(uri) as client:
        _experiment(client)


def write(uri: str, tracked: Tracked) -> str:
    """Write a run and return where it is, in words; raises ``RestnetError`` where the server refuses it."""
    with _client(uri) as client:
        run = client.create_run(_experiment(client), run_name=tracked.name).info.run_id
        entries = [*_entries(tracked)]
        for at in range(0, len(entries), _AT_ONCE):
            some = entries[at : at + _AT_ONCE]
            metrics, params, tags = ([one for its, one in some if its == kind] for kind in _KINDS)
            client.log_batch(run, metrics, params, tags)
        client.log_text(run, tracked.text, "report.md")
        for name, path in tracked.files.items():
            client.log_artifact(run, str(path), str(PurePosixPath(name).parent).removeprefix("."))
        client.set_terminated(run)
    return f"run {run}"


@contextmanager
def _client(uri: str) -> Iterator[MlflowClient]:
    with _settings():
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        try:
            yield MlflowClient(tracking_uri=uri)
        except (MlflowException, OSError) as error:
            raise RestnetError(f"MLflow at {uri} does not take runs: {' '.join(str(error).split())[:300]}") from None


@contextmanager
def _settings() -> Iterator[None]:
    """MLflow's settings where the user has made none, for as long as this lasts."""
    ours = {name: value for name, value in _SETTINGS.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)


def _experiment(client: MlflowClient) -> str:
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", _EXPERIMENT)
    there = client.get_experiment_by_name(name)
    return there.experiment_id if there else client.create_experiment(name)


def _entries(tracked: Tracked) -> Iterator[tuple[str, Any]]:
    """Parameters, tags and metrics, as MLflow has them."""
    from mlflow.entities import Metric, Param, RunTag

    now = int(1000 * time.time())
    yield from (("params", Param(name, value[:_LONGEST])) for name, value in tracked.parameters.items())
    yield "tags", RunTag("mlflow.note.content", tracked.title)
    yield from (("tags", RunTag(f"rungs of {name}", ", ".join(rungs))) for name, rungs in tracked.rungs.items())
    yield from (("metrics", Metric(name, value, now, 0)) for name, value in tracked.figures.items())
    for name, steps in tracked.series.items():
        yield from (("metrics", Metric(name, value, now, step)) for step, value in steps)
