"""What trackers are told of a run, read back from a real store of MLflow and from real event files."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import finished
import pytest
from console import ask

from restnet_tf.commands import log
from restnet_tf.records import RestnetError
from restnet_tf.report import mlflow_log, tensorboard_log, tracked
from restnet_tf.report.contents import Ladder, Report
from restnet_tf.report.tracked import Tracked

LADDERS = {"L1-S0": Ladder("norm", {"closed form": 0.5, "stitch": 0.25, "norm": 0.125})}
REPORT = Report("runs/a", "l + s on d", "accuracy", {}, {}, "build", finished.POINTS, ladders=LADDERS)
OPTIONS = {"method": "restnet", "large": "l.keras", "budget": "", "plans": None, "seed": 0, "also": ["a", "b"]}
PARAMETERS = {"method": "restnet", "large": "l.keras", "seed": "0", "also": "a, b", "metric": "accuracy"}


@pytest.fixture
def told(tmp_path: Path) -> Tracked:
    (tmp_path / "tflite").mkdir()
    (tmp_path / "tflite" / "a.tflite").write_bytes(b"1234")
    (tmp_path / "points.png").write_bytes(b"a picture")
    files = {name: tmp_path / name for name in ("tflite/a.tflite", "points.png")}
    return tracked.of(REPORT, OPTIONS, "# the report", files)


def test_what_is_told(told: Tracked) -> None:
    assert (told.name, told.title, told.parameters) == ("a", "l + s on d", PARAMETERS)
    assert told.series["loss/L1-S0"] == ((0, 0.5), (1, 0.25), (2, 0.125))
    assert told.rungs == {"loss/L1-S0": ("closed form", "stitch", "norm")}
    assert told.series["score over mean.macs/float32"] == (
        (1_000_000, 0.74),
        (3_000_000, 0.89),
        (9_000_000, 0.965),
    )
    large = {name: value for name, value in told.figures.items() if name.endswith("/large.float32")}
    assert large == {
        "score/large.float32": 0.965,
        "rank_score/large.float32": 0.975,
        "macs/large.float32": 9e6,
        "params/large.float32": 9e4,
        "flash/large.float32": 9e5,
        "ram/large.float32": 225e3,
        "latency/large.float32": 90.0,
        "mean.macs/large.float32": 9e6,
        "mean.latency/large.float32": 90.0,
    }


@pytest.mark.slow
def test_mlflow_has_all_of_it(told: Tracked, tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="mlflow is not installed: pip install 'restnet-tf[mlflow]'")
    before = dict(os.environ)
    uri = str(tmp_path / "mlruns")
    mlflow_log.check(uri)
    assert mlflow_log.write(uri, told).startswith("run ")
    with mlflow_log._client(uri) as client:
        experiment = client.get_experiment_by_name("restnet-tf").experiment_id
        (run,) = client.search_runs([experiment])
        assert run.info.run_name == "a"
        assert run.info.status == "FINISHED"
        assert run.data.params == PARAMETERS
        assert run.data.tags["rungs of loss/L1-S0"] == "closed form, stitch, norm"
        assert {n: v for n, v in run.data.metrics.items() if n in told.figures} == told.figures
        for name, steps in told.series.items():
            history = client.get_metric_history(run.info.run_id, name)
            assert sorted((one.step, one.value) for one in history) == [*steps]
        root = {one.path for one in client.list_artifacts(run.info.run_id)}
        assert root == {"points.png", "report.md", "tflite"}
        assert [one.path for one in client.list_artifacts(run.info.run_id, "tflite")] == ["tflite/a.tflite"]
    assert dict(os.environ) == before


@pytest.mark.slow
def test_many_figures_are_more_than_one_call(tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="mlflow is not installed: pip install 'restnet-tf[mlflow]'")
    many = {f"score/p{number}": float(number) for number in range(mlflow_log._AT_ONCE + 1)}
    mlflow_log.write(str(tmp_path), Tracked("a", "t", {}, many, {}, {}, ""))
    with mlflow_log._client(str(tmp_path)) as client:
        (run,) = client.search_runs([client.get_experiment_by_name("restnet-tf").experiment_id])
        assert run.data.metrics == many


@pytest.mark.slow
def test_event_files_have_all_of_it(told: Tracked, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed: pip install 'restnet-tf[tensorboard]'")
    assert tensorboard_log.write(str(tmp_path / "logs"), told) == str(tmp_path / "logs" / "a")
    scalars, texts, other = read_events(tmp_path / "logs" / "a")
    assert scalars == {
        **{name: [(0, pytest.approx(value))] for name, value in told.figures.items()},
        **{name: [(step, pytest.approx(value)) for step, value in steps] for name, steps in told.series.items()},
    }
    assert texts["report"] == "# the report"
    assert texts["rungs"] == "- loss/L1-S0: closed form, stitch, norm"
    assert f"| tflite/a.tflite | 4 | `{tmp_path / 'tflite/a.tflite'}` |" in texts["files"]
    assert other["points"] == b"a picture"
    assert other["_hparams_/session_start_info"] == PARAMETERS


def read_events(folder: Path) -> tuple[dict[str, list[tuple[int, float]]], dict[str, str], dict[str, Any]]:
    """Scalars with their steps, texts, and pictures and parameters, by their tags, as TensorBoard reads them."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    from tensorboard.plugins.hparams import metadata
    from tensorboard.util import tensor_util

    scalars, texts, other = {}, {}, {}
    (file,) = folder.glob("events.out.tfevents.*")
    for event in EventFileLoader(str(file)).Load():
        for value in event.summary.value:
            plugin = value.metadata.plugin_data.plugin_name
            if plugin == "scalars":
                scalars.setdefault(value.tag, []).append((event.step, tensor_util.make_ndarray(value.tensor).item()))
            elif plugin == "text":
                texts[value.tag] = tensor_util.make_ndarray(value.tensor).item().decode()
            elif plugin == "images":
                other[value.tag] = tensor_util.make_ndarray(value.tensor)[-1]
            else:
                start = metadata.parse_session_start_info_plugin_data(value.metadata.plugin_data.content)
                other[value.tag] = {name: one.string_value for name, one in start.hparams.items()}
    return scalars, texts, other


@pytest.mark.slow
def test_a_cascade_is_logged_to_both(colours: Path, tmp_path: Path) -> None:
    for package in log.TRACKERS:
        pytest.importorskip(package, reason=f"{package} is not installed: pip install 'restnet-tf[{package}]'")
    models = [colours / f"{role}.int8.tflite" for role in ("small", "large")]
    places = (f"mlflow:{tmp_path / 'mlruns'}", f"tensorboard:{tmp_path / 'logs'}")
    options = [word for place in places for word in ("--log", place)]
    answer = ask("cascade", *models, "--data", colours / "data.npz", "--out", tmp_path / "run", *options)
    assert answer.code == 0, answer.err
    assert f"logged to tensorboard at {tmp_path / 'logs'}: {tmp_path / 'logs' / 'run'}" in answer.out
    with mlflow_log._client(str(tmp_path / "mlruns")) as client:
        (run,) = client.search_runs([client.get_experiment_by_name("restnet-tf").experiment_id])
        kept = {one.path for one in client.list_artifacts(run.info.run_id, "tflite")}
        root = {one.path for one in client.list_artifacts(run.info.run_id)}
    assert f"logged to mlflow at {tmp_path / 'mlruns'}: run {run.info.run_id}" in answer.out
    shipped = json.loads((tmp_path / "run" / "points.json").read_text())["points"]
    files = [file for point in shipped for file in point["files"].values()]
    assert kept == {file["path"] for file in files}
    assert {"report.html", "report.md", "report.csv", "points.json", "run.json", "points.png"} <= root
    assert run.data.params["data"] == str(colours / "data.npz")
    assert read_events(tmp_path / "logs" / "run")[0].keys() == run.data.metrics.keys()


@pytest.mark.parametrize("word", ["mlflow", "mlflow:", "wandb:x", ""])
def test_what_is_no_tracker_is_a_usage_error(word: str, tmp_path: Path) -> None:
    answer = ask("cascade", "a.tflite", "b.tflite", "--data", "digits", "--out", tmp_path / "run", "--log", word)
    assert answer.code == 2
    assert f"{word!r} names no tracker; give mlflow:URI or tensorboard:DIR" in " ".join(answer.err.split())


def test_a_tracker_without_its_package_is_told_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "find_spec", lambda name: None)
    answer = ask("cascade", "a.tflite", "b.tflite", "--data", "x", "--out", tmp_path / "run", "--log", "mlflow:m")
    assert answer.code == 1
    assert answer.complaint == "restnet-tf: --log mlflow:m needs mlflow: pip install 'restnet-tf[mlflow]'"
    assert not (tmp_path / "run").exists()


def test_a_place_that_takes_no_runs_is_told_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow", reason="mlflow is not installed: pip install 'restnet-tf[mlflow]'")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # between which seconds go by
    (tmp_path / "file").touch()
    for word in (f"mlflow:{tmp_path / 'file'}", "mlflow:http://127.0.0.1:9", f"tensorboard:{tmp_path / 'file' / 'x'}"):
        answer = ask("cascade", "a.tflite", "b.tflite", "--data", "x", "--out", tmp_path / "run", "--log", word)
        assert answer.code == 1
        assert str(tmp_path / "file") in answer.complaint or "127.0.0.1" in answer.complaint
    assert not (tmp_path / "run").exists()


def test_a_run_that_could_not_be_logged_is_finished_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(place: str, told: Tracked) -> str:
        raise RestnetError("the server is gone")

    monkeypatch.setattr(log.reporting, "write", lambda path: ())
    monkeypatch.setattr(log.reporting, "gather", lambda run: REPORT)
    monkeypatch.setattr(log.Run, "options", lambda run: OPTIONS)
    monkeypatch.setitem(log.TRACKERS, "mlflow", log.Tracker("mlflow", "URI", str, refuse))
    with pytest.raises(
        RestnetError, match=r"^runs/a is finished, but not logged: the server is gone; the same command"
    ):
        log.Log("mlflow", "x").write(Path("runs/a"))


def test_neither_package_is_imported_before_it_is_needed() -> None:
    import subprocess

    code = "import sys, restnet_tf.commands.api; print({'mlflow', 'tensorboard'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
