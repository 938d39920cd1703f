"""`link`: a finished run gains files and loses none, nothing is fitted, and all points are decided anew."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import networks
import numpy as np
import paths
import pytest
from click.testing import CliRunner, Result
from stages import Stages

from restnet_tf.cli.main import main
from restnet_tf.commands import build, link
from restnet_tf.family import additions, footprints
from restnet_tf.family.anchor_pieces import Members
from restnet_tf.methods.restnet import jumps
from restnet_tf.methods.restnet.options import Options
from restnet_tf.points import front, points
from restnet_tf.points.points import ANCHOR, CONTROL, DOMINATED, SHIPPED, OperatingPoint
from restnet_tf.progress import Silent
from restnet_tf.records import Excess, Reason, RestnetError
from restnet_tf.run import plans_file
from restnet_tf.run.directory import Run
from tflite_export.budget import parse
from tflite_export.flatbuffer import only, read
from tflite_export.runtime import ElasticModel

pytestmark = pytest.mark.slow
# As ``options`` below, on the command line.
QUICK = ["--effort", "0.001", "--max-points", "4", "--precision", "float32", "--fine-tune", "stitch", "--no-controls"]


def options(folder: Path) -> Options:
    """Of a small family with points that are not worth shipping."""
    inputs = {name: str(folder / f"{name}.keras") for name in ("large", "small")}
    quick = Options(effort=0.001, max_points=4, precision="float32", fine_tune="stitch", controls=False, anyway=True)
    return replace(quick, **inputs, data=str(folder / "data.npz"), out=folder / "run")


def filled(folder: Path) -> None:
    for role, anchor in networks.pair(2, convolutions=1)[0].items():
        anchor.model.save(folder / f"{role}.keras")
    np.savez(folder / "data.npz", x=networks.images(90), y=np.arange(90) % networks.CLASSES)
    build.build("restnet", options(folder), Silent())


@pytest.fixture(scope="session")
def built(once: paths.Once) -> Path:
    return once("link", filled)


@pytest.fixture
def run(built: Path, tmp_path: Path) -> Path:
    return shutil.copytree(built / "run", tmp_path / "run")


def files(run: Path) -> dict[str, bytes]:
    return {str(p.relative_to(run)): p.read_bytes() for p in run.rglob("*") if p.is_file() and p.name != ".lock"}


def listed(run: Path) -> dict[str, OperatingPoint]:
    return {p.name: p for p in points.read(run / "points.json")[1]}


def command(*words: object) -> Result:
    return CliRunner().invoke(main, ["link", *map(str, words)], catch_exceptions=False)


@dataclass(frozen=True)
class Linked:
    """A copy of the run with a second precision, to be read, and what was told and given where it was linked."""

    run: Path
    stages: list[str]
    files: tuple[Path, ...]


@pytest.fixture(scope="module")
def added(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Linked:
    run, report = shutil.copytree(built / "run", tmp_path_factory.mktemp("both") / "run"), Stages()
    linked = link.link(run, report, precisions=["int8"])
    return Linked(run, report.stages, tuple(linked.files))


@pytest.fixture
def both(added: Linked) -> Path:
    return added.run


def test_a_precision_is_added_to_every_point_that_has_files_and_nothing_is_fitted(built: Path, added: Linked) -> None:
    run, before = added.run, files(built / "run")
    stocked = [p.name for p in listed(built / "run").values() if p.files]
    after = files(run)
    assert not [stage for stage in added.stages if stage.startswith(("fitting", "features", "similarity", "closed"))]
    assert sorted(path.name for path in added.files) == sorted(f"{name}.int8.tflite" for name in stocked)
    kept = [name for name in before if name.startswith(("stitches", "tflite", "objects", "similarity", "plans"))]
    assert all(after[name] == before[name] for name in kept)
    assert [p.name for p in listed(run).values() if set(p.files) == {"float32", "int8"}] == stocked
    assert [p.name for p in listed(run).values() if p.files] == stocked
    assert {p.name for p in ElasticModel(run / "elastic.int8.tflite").points} == set(stocked)
    # Asked once more, it has all of that.
    answer = command(run, "--precision", "int8")
    assert (answer.exit_code, answer.output.splitlines()[-1]) == (0, f"{run} has all of that already")


def test_no_file_between_the_anchors_is_beaten_by_one_that_costs_no_more(both: Path) -> None:
    """In each precision by the scores of its own files, over MACs, flash and arena."""
    every = [p for p in listed(both).values() if p.ratings]
    for precision in ("float32", "int8"):
        there = [(p, p.ratings[precision]) for p in every if precision in p.ratings]
        shipped = [p for p, rating in there if rating.status == SHIPPED]
        assert {p.name for p in shipped} == {p.name for p in every if precision in p.files}
        for point in (p for p in shipped if p.kind != ANCHOR):
            file = point.files[precision]
            assert (point.ratings[precision].flash_bytes, point.ratings[precision].rank) == (
                file.flash_bytes,
                file.rank,
            )
            for rival, rating in there:
                cheaper = rival.macs <= point.macs and rating.flash_bytes <= file.flash_bytes
                if rival is not point and cheaper and rating.arena_bytes <= file.arena_bytes:
                    lead, error = rating.rank.lead(file.rank)
                    assert lead <= error, f"{rival.name} beats {point.name} in {precision}"
    out = {(p.name, name) for p in every for name, rating in p.ratings.items() if rating.status == DOMINATED}
    assert out
    assert not [pair for pair in out if Run(both).tflite_path(*pair).exists()]


def test_flash_and_arena_are_known_before_anything_is_fitted(both: Path) -> None:
    """What a plan's file takes is what it took once it was fitted; a budget refuses what is over in every precision."""
    rated = {p.name: p.ratings for p in listed(both).values() if p.ratings}
    with build.reopened(both, Silent()) as family:
        members = additions.members(family)
        for precision in ("float32", "int8"):
            names = [name for name, ratings in rated.items() if precision in ratings]
            for name, size in footprints.of(members, names, precision).items():
                real = rated[name][precision]
                assert size.flash == pytest.approx(real.flash_bytes, rel=0.1)
                assert size.arena == pytest.approx(real.arena_bytes, rel=0.1)
        exits = [
            jumps.plan((jump,), family.places, family.costs) for jump in jumps.exits("large", family.places["large"])
        ]
        out = footprints.of(Members(family, {p.name: p for p in exits}, {}), [p.name for p in exits], "int8")
        assert exits
        assert all(size.flash < rated["large"]["int8"].flash_bytes for size in out.values())
        plans = [replace(p, status="candidate", reason=None) for p in members.plans.values()]
        least = sorted(footprints.of(members, [p.name for p in plans], "int8").items(), key=lambda pair: pair[1])
        limit = (least[0][1].flash + least[-1][1].flash) // 2
        limited = replace(family, settings=replace(family.settings, budget=parse(f"flash<={limit}")))
        left = {p.name: p for p in footprints.within(limited, plans)}
        wide = replace(family, settings=replace(family.settings, budget=parse("flash<=1MB, macs<=1")))
        assert footprints.within(wide, plans) == tuple(plans)
    assert {n for n, p in left.items() if p.status == "candidate"} == {n for n, size in least if size.flash <= limit}
    (reason,) = {p.reason for n, p in left.items() if n == least[-1][0]}
    assert reason == Reason("over_budget", excess=(Excess(f"flash<={limit}", "flash", least[-1][1].flash),))


def test_a_budget_of_flash_prunes_plans_before_they_are_fitted(built: Path, tmp_path: Path) -> None:
    with pytest.raises(RestnetError, match=r"no pair of cuts is left to stitch: .* over the budget flash<=1KB"):
        build.build("restnet", replace(options(built), out=tmp_path / "run", budget="flash<=1KB"), Silent())
    assert not list((tmp_path / "run").glob("stitches/*"))
    over = [p for p in plans_file.read_plans(tmp_path / "run" / "plans.json") if p.reason]
    assert any(p.reason is not None and p.reason.excess and p.reason.excess[0].figure == "flash" for p in over)


def test_a_point_that_was_not_shipped_gets_files_and_stays_what_it_is(run: Path) -> None:
    beaten = next(p.name for p in listed(run).values() if p.status == DOMINATED)
    assert not listed(run)[beaten].files
    answer = command(run, "--point", beaten)
    assert answer.exit_code == 0, answer.output
    assert f"wrote {run / 'tflite' / f'{beaten}.float32.tflite'}" in answer.output
    point = listed(run)[beaten]
    assert (point.status, set(point.files)) == (DOMINATED, {"float32"})
    image = networks.images(1)[0]
    assert ElasticModel(run / "elastic.float32.tflite").run(image, point=beaten).shape == (networks.CLASSES,)
    # A precision that is added later is made of it too.
    link.link(run, Silent(), precisions=["int8"])
    assert set(listed(run)[beaten].files) == {"float32", "int8"}


def test_bytes_as_input_make_the_integer_files_anew_and_no_others(run: Path) -> None:
    link.link(run, Silent(), precisions=["int8"])
    before = files(run)
    linked = link.link(run, Silent(), uint8_input=True)
    after = files(run)
    assert linked.files
    assert all(path.name.endswith(".int8.tflite") for path in linked.files)
    assert all(only(read(path.read_bytes())).inputs[0].type == "UINT8" for path in linked.files)
    assert all(after[name] == before[name] for name in before if name.endswith(".float32.tflite"))


def test_a_build_with_another_precision_adds_it_and_takes_none_away(built: Path, run: Path) -> None:
    again = replace(options(built), out=run, precision="float16")
    done = build.build("restnet", again, Silent())
    assert {frozenset(p.files) for p in done.points if p.files} == {frozenset({"float32", "float16"})}
    assert json.loads((run / "run.json").read_text())["options"]["precision"] == "float32,float16"


def test_a_budget_that_decides_no_point_makes_no_other_run(built: Path, run: Path) -> None:
    done = build.build("restnet", replace(options(built), out=run, budget="latency<=10s"), Silent())
    assert "within the budget: " in done.summary
    answer = CliRunner().invoke(main, ["build", *words(built), *QUICK, "--out", str(run), "--budget", "macs<=1K"])
    assert answer.exit_code == 1
    assert "holds a run with another budget" in answer.output


def test_what_decides_the_points_is_another_run_still(built: Path, run: Path) -> None:
    before = files(run)
    answer = CliRunner().invoke(main, ["build", *words(built), "--out", str(run), "--max-points", "2"])
    assert answer.exit_code == 1
    assert "holds a run with another" in answer.output
    assert files(run) == before


def words(built: Path) -> list[str]:
    return ["--large", f"{built}/large.keras", "--small", f"{built}/small.keras", "--data", f"{built}/data.npz"]


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        (["--point", "L9-S9"], r"has no point L9-S9; it has large, small"),
        (["--precision", "int3"], "int3"),
    ],
)
def test_what_is_not_there_is_refused_and_nothing_changes(run: Path, asked: list[str], complaint: str) -> None:
    before = files(run)
    answer = command(run, *asked)
    assert answer.exit_code == 1
    assert complaint in answer.output
    assert answer.output.count("restnet-tf:") == 1
    assert files(run) == before


def test_a_folder_that_is_no_run_and_nothing_to_add(tmp_path: Path, run: Path) -> None:
    assert "is not a run directory" in command(tmp_path, "--precision", "int8").output
    answer = command(run)
    assert answer.exit_code == 2
    assert "give --precision, --point or --uint8-input" in answer.output


def test_a_point_that_is_added_is_decided_beside_all_others(run: Path) -> None:
    """A stitch of zeros cannot be worth more than the small anchor, and must not make the elastic file larger."""
    before = files(run)
    with build.reopened(run, Silent()) as family:
        name = next(p.name for p in listed(run).values() if p.name in additions.members(family).plans)
        plan, fitted = additions.members(family).plans[name], Run(run).load_fitted(name)
        assert fitted is not None
        blank = replace(fitted.stitch, kernel=0 * fitted.stitch.kernel, bias=0 * fitted.stitch.bias, tuned={})
        worse = replace(fitted, stitch=blank, settled=True, origin=name)
        point = additions.add(family, replace(plan, name=f"{name}.blank"), worse, [])
    assert (point.status, point.files) == (DOMINATED, {})
    assert point.reason is not None
    assert listed(run)[f"{name}.blank"].status == DOMINATED
    assert f"tflite/{name}.blank.float32.tflite" not in files(run)
    signatures = {p.name for p in ElasticModel(run / "elastic.float32.tflite").points}
    assert signatures == {p.name for p in listed(run).values() if p.files}
    assert abs(len(files(run)["elastic.float32.tflite"]) - len(before["elastic.float32.tflite"])) < 200


def test_points_that_a_new_one_beats_are_shipped_no_longer(run: Path) -> None:
    """A twin of the large anchor's answers at a stitched point's cost: what it beats loses its files."""
    with build.reopened(run, Silent()) as family:
        members = additions.members(family)
        meta, known = points.read(run / "points.json")
        stitched = [p for p in known if p.name in members.plans]
        # All images right, and no KL: nothing that costs as much can stay beside it.
        best = points.Score.of(np.ones(stitched[0].rank.n, bool), 0.0)
        file = next(f for p in known for f in p.files.values())
        shipped_once = family.run.tflite_path(stitched[-1].name, "float32")
        shipped_once.write_bytes(b"a file")
        rated = {"float32": points.Rating(1, 1, best)}
        changes = {stitched[0].name: {"rank": best, "ratings": rated}, stitched[-1].name: {"files": {"float32": file}}}
        raised = [replace(p, **changes.get(p.name, {})) for p in known]
        family.run.write_json(family.run.points_path, points.to_json(raised, meta))
        settled = additions.link(family)
    others = [p for p in settled if p.name in members.plans and p.name != stitched[0].name]
    dearer = [p for p in others if p.macs >= stitched[0].macs]
    assert dearer
    assert all(p.status == DOMINATED for p in dearer)
    assert not [p.name for p in dearer if p.files]
    assert stitched[-1].name in {p.name for p in dearer}
    assert not shipped_once.exists()
    # Decided once more without it, they are what they were.
    again = front.decide([p for p in settled if p.name != stitched[0].name])
    before = {p.name: p.status for p in front.decide([p for p in known if p.name != stitched[0].name])}
    assert {p.name: p.status for p in again} == before
    assert next(p for p in settled if p.name == stitched[0].name).status == SHIPPED
    assert not [p for p in settled if p.kind == CONTROL and p.files]
