"""The report: its numbers are the record's, it runs no user's text, asks nothing of a network, chooses like select."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import chromium
import measured_points
import needs
import networks
import numpy as np
import paths
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import escape

from restnet_tf import atomic
from restnet_tf.cli.main import main
from restnet_tf.commands import report as reporting
from restnet_tf.fitting.results import Fitted, RungResult
from restnet_tf.graph import costs, cuts
from restnet_tf.points import points, select
from restnet_tf.points.points import ANCHOR, CONTROL, DOMINATED, STITCHED, File, OperatingPoint, Score, Share
from restnet_tf.records import Piece, Plan, Reason, RestnetError, Stitch
from restnet_tf.report import advice, figures, pagedata, plots, savings, sheets, units, webpage
from restnet_tf.report import tables as report
from restnet_tf.report.contents import Report
from restnet_tf.report.figure import ACROSS, Figure, Line
from restnet_tf.run import plans_file
from restnet_tf.run.directory import Run
from restnet_tf.similarity.features import Statistics
from restnet_tf.stitches import stitch
from tflite_export.budget import parse
from tflite_export.convert import compile_object
from tflite_export.devices import measurements
from tflite_export.devices.measurements import Measurement

pytestmark = pytest.mark.slow

EVIL = "</script><img src=x onerror=\"alert('a')\"><!-- & | `b` [c](d)"
LADDERS = {"L1-S0": ("norm", 0.2), "S0-L1": ("closed form", 0.5)}


# ---- a finished run, of real anchors, plans and objects ---------------------------------------


def scored(right: int, kl: float | None = None, n: int = 200) -> Score:
    return Score.of(np.random.default_rng(right).permutation(n) < right, kl)


def file(name: str, precision: str, macs: int, right: int) -> File:
    size = 4 if precision == "float32" else 1
    times = (macs / 100 / size, macs / 90 / size, macs / 80 / size)
    figures = (400 + macs // 9 * size, macs // 50 * size, scored(right), scored(right - 3), times[1], times[2], times)
    return File(f"tflite/{name}.{precision}.tflite", "ab" * 32, *figures, 1, "LiteRT 2.3")


def point(name: str, kind: str, macs: int, right: int, **more: Any) -> OperatingPoint:
    made = {} if "status" in more else {p: file(name, p, macs, right - i) for i, p in enumerate(("float32", "int8"))}
    figures = {"rank": scored(right, 0.1), "test": scored(right - 3, 1 / right), "files": made}
    return OperatingPoint(name, kind, f"the way of {name}", macs, macs // 90, **{**figures, **more})


def all_plans(lists: dict[str, Any]) -> list[Plan]:
    """Of every pair in both orders, as a build names them."""
    found = []
    for front, back in (("large", "small"), ("small", "large")):
        for a in lists[front]:
            for b in lists[back]:
                route = (Piece(front, None, a.name), Piece(back, b.name, None))
                name = f"{front[0].upper()}{a.index}-{back[0].upper()}{b.index}"
                refused = stitch.compatible(a, b) or Reason("not_shortlisted", count=6, figure="cka")
                macs = (
                    a.macs_before + b.macs_after + (0 if stitch.compatible(a, b) else stitch.macs(a.layout, b.layout))
                )
                state = ("chosen", None) if name in LADDERS else ("rejected", refused)
                found.append(Plan(name, route, macs, 9, 0.5, float("nan"), None, *state, (a.index, b.index)))
    return found


def fitted(plan: Plan, lists: dict[str, Any]) -> Fitted:
    cut = {(role, c.name): c for role, found in lists.items() for c in found}
    front, back = (cut[piece.anchor, piece.stop or piece.start] for piece in plan.route)
    rung, kl = LADDERS[plan.name]
    tuned = {"norm/gamma": np.ones(7)} if rung == "norm" else {}
    made = Stitch(
        np.ones((front.shape[-1], back.shape[-1])), np.ones(back.shape[-1]), front.layout, back.layout, (0, None)
    )
    rungs = (RungResult("stitch", 0.4, 9, 9, 9, matched=0.45), RungResult("norm", min(0.4, kl), 9, 9, 9))
    return Fitted(replace(made, tuned=tuned), rung, kl, 0.5, rungs)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory as a build leaves it; one that anything may read and nothing may change."""
    anchors, lists = networks.pair()
    run = Run(tmp_path_factory.mktemp("of <b>run") / "a run")
    with run.opened({"large anchor": "big 0123456789abcdef", "data": "d", "seed": 3, "keras version": "3.15"}):
        pass
    asked = {
        "large": "big.keras",
        "small": None,
        "data": "da ta.npz",
        "effort": 0.5,
        "ship_all": True,
        "controls": False,
    }
    run.write_json(run.path / "run.json", json.loads((run.path / "run.json").read_text()) | {"options": asked})
    cka = np.random.default_rng(0).random([len(lists[r]) for r in lists])
    run.save_statistics(Statistics(640, 128, cka, {}), {role: [c.name for c in lists[role]] for role in lists})
    plans = all_plans(lists)
    plans_file.write_plans(run.plans_path, plans)
    chosen = {p.name: p for p in plans if p.status == "chosen"}
    for name, plan in chosen.items():
        run.save_fitted(name, fitted(plan, lists))
    for role, anchor in anchors.items():
        tensors = {c.name: cuts.tensor(anchor.model, c.name) for c in lists[role] if c.kind != "vector"}
        atomic.write_bytes(run.object_path(role, "float32", "0"), compile_object(anchor.model, tensors, "float32", []))
    whole = {role: costs.macs(costs.nodes(anchor.model)) for role, anchor in anchors.items()}
    family = (
        point("large", ANCHOR, whole["large"], 190),
        point("small", ANCHOR, whole["small"], 150),
        point("L1-S0", STITCHED, chosen["L1-S0"].macs, 170, rung="norm", unshared_params=7),
        point("S0-L1", STITCHED, chosen["S0-L1"].macs, 160, status=DOMINATED, reason=Reason.note("small | costs less")),
        point("distilled", CONTROL, whole["small"], 155, status=CONTROL),
    )
    meta = {
        "anchors": {"large": "big", "small": "little"},
        "data": "d",
        "metric": "accuracy",
        "class_names": list("abc"),
    }
    meta |= {"training_macs": 10**12, "distilling_macs": 3 * 10**11}
    run.write_json(run.points_path, points.to_json(family, meta))
    run.finish("points")
    return run.path


@pytest.fixture(scope="module")
def found(finished: Path) -> Report:
    return reporting.gather(Run(finished))


def many(found: Report) -> Report:
    """The same with more points between the anchors: some tie on the rank split, and the test split disagrees."""
    rng = random.Random(4)
    low, high = sorted(p.macs for p in found.points if p.kind == ANCHOR)
    more = []
    for i in range(20):
        made = point(f"P{i}", STITCHED, rng.randrange(low, high), rng.choice((165, 170, 175)))
        files = {name: replace(f, test=scored(rng.randrange(150, 195))) for name, f in made.files.items()}
        more.append(replace(made, files=files))
    return replace(found, points=(*found.points, *more))


DEVICE = Measurement("L1-S0", "int8", "Pixel <8>", "latency", 1234.5, "device", "LiteRT", "ab" * 32, (1.0,))
MEASURED = (
    DEVICE,
    replace(DEVICE, kind="compiler", tool="Vela 5"),
    replace(DEVICE, point="large", value=2000.0),
    replace(DEVICE, figure="arena", value=4096.0, kind="interpreter", tool="TFLM"),
)


class Seen(HTMLParser):
    """Elements with their attributes, and the tables by section: rows of (text, value) cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[list[tuple[str, str | None]]]] = {}
        self.words, self._section = "", ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append((tag, given))
        if tag == "section":
            self._section = str(given.get("id"))
        if tag == "tr":
            self.tables.setdefault(self._section, []).append([])
        if tag in ("td", "th"):
            self.tables[self._section][-1].append(("", given.get("data-value")))

    def handle_data(self, text: str) -> None:
        self.words += text
        if text.strip() and self.tags and self.tags[-1][0] in ("td", "th"):
            row = self.tables[self._section][-1]
            row[-1] = (row[-1][0] + text, row[-1][1])

    def table(self, key: str) -> tuple[list[str], dict[tuple[str, ...], dict[str, tuple[str, str | None]]]]:
        """Heads, and the rows by their first cells (two of them where files have rows)."""
        head, *rows = self.tables[key]
        heads = [text for text, _ in head]
        width = 2 if "precision" in heads else 1
        return heads, {tuple(t for t, _ in row[:width]): dict(zip(heads, row, strict=True)) for row in rows}


# ---- what it says ----------------------------------------------------------------------------


def test_numbers_of_the_points_are_those_of_the_record(finished: Path, found: Report) -> None:
    record = json.loads((finished / "points.json").read_text())["points"]
    _, rows = Seen(webpage.html(found)).table("points")
    assert list(rows) == [(n,) for n in ("small", "L1-S0", "S0-L1", "large", "distilled")]
    for entry in record:
        row = rows[entry["name"],]
        test, rank = (Score(**entry[split]) for split in ("test", "rank"))
        assert (
            row["accuracy, % [95 %]"][0]
            == f"{100 * test.value:.1f} [{100 * test.interval[0]:.1f}, {100 * test.interval[1]:.1f}]"
        )
        for head, value in {
            "accuracy, % [95 %]": 100 * test.value,
            "rank split, %": 100 * rank.value,
            "KL, nats": entry["test"]["kl"],
            "MMACs": entry["macs"] / 1e6,
            "params, K": entry["params"] / 1e3,
        }.items():
            assert float(str(row[head][1])) == value
            assert abs(float(row[head][0].split()[0]) - value) < 0.051
        assert row["route"][0] == entry["route"]
    assert [rows[n,]["front"][0] for n in ("large", "L1-S0", "S0-L1", "distilled")] == [
        "anchor", "shipped", "dominated", "control",
    ]  # fmt: skip
    assert rows["S0-L1",]["why not"][0] == "small | costs less"


def test_numbers_of_the_files_are_those_of_the_record(finished: Path, found: Report) -> None:
    _, rows = Seen(webpage.html(found)).table("files")
    record = {p["name"]: p["files"] for p in json.loads((finished / "points.json").read_text())["points"]}
    assert set(rows) == {(name, precision) for name, known in record.items() for precision in known}
    for (name, precision), row in rows.items():
        entry = record[name][precision]
        assert float(str(row["flash, KB"][1])) == entry["flash_bytes"] / 1e3
        assert float(str(row["arena, KB"][1])) == entry["arena_bytes"] / 1e3
        assert float(str(row["latency, ms"][1])) == entry["latency_median_us"] / 1e3
        assert float(str(row["p90, ms"][1])) == entry["latency_p90_us"] / 1e3
        assert float(str(row["accuracy, % [95 %]"][1])) == 100 * Score(**entry["test"]).value
        assert row["run by"][0] == "LiteRT 2.3, 1 thread"


def test_figures_of_different_kind_have_columns_of_their_own(found: Report) -> None:
    heads, rows = Seen(webpage.html(replace(found, measurements=MEASURED))).table("devices")
    assert heads[2:] == [
        "Pixel <8>: arena, KB (interpreter)", "Pixel <8>: latency, ms (compiler)", "Pixel <8>: latency, ms (device)",
    ]  # fmt: skip
    texts = {key: [row[head][0] for head in heads[2:]] for key, row in rows.items()}
    assert texts == {("L1-S0", "int8"): ["4.1", "1.234", "1.234"], ("large", "int8"): ["", "", "2.000"]}
    assert "devices" not in Seen(webpage.html(found)).tables


def test_the_ladder_has_every_rung(found: Report) -> None:
    heads, rows = Seen(webpage.html(found)).table("ladder")
    assert heads == ["point", *(f"{n}, nats" for n in ("closed form", "matched", "stitch", "norm")), "kept"]
    assert [text for text, _ in rows["L1-S0",].values()] == ["L1-S0", "0.500", "0.450", "0.400", "0.200", "norm"]


def test_every_column_of_figures_has_a_source_that_the_last_section_repeats(found: Report) -> None:
    text = webpage.html(replace(found, measurements=MEASURED))
    last = text[text.index('id="origin"') :]
    for table in report.tables(replace(found, measurements=MEASURED)):
        for column in table.columns:
            assert column.source or all(
                not isinstance(row[table.columns.index(column)].value, float) for row in table.rows
            )
            assert escape(column.source) in last
    assert escape(found.command) in last


def test_the_command_is_the_one_that_was_given(found: Report) -> None:
    where = f"--out '{found.run}'"
    assert (
        found.command
        == f"restnet-tf build --large big.keras --data 'da ta.npz' --effort 0.5 --ship-all --no-controls {where}"
    )


def test_the_parts_of_a_route_cost_what_the_point_costs(found: Report) -> None:
    _, lists = networks.pair()
    for p in found.points:
        if p.kind != CONTROL:
            assert sum(part.macs or 0 for part in found.parts[p.name]) == p.macs
    front, joint, back = found.parts["L1-S0"]
    assert (front.role, front.text, front.macs) == (
        "large",
        f"to {lists['large'][1].name}",
        lists["large"][1].macs_before,
    )
    assert (joint.role, back.role, back.text) == ("stitch", "small", f"from {lists['small'][0].name}")
    assert back.note == "7 parameters its own (norm)"
    assert found.parts["S0-L1"][2].note == "as in the anchor"


def test_parts_that_do_not_add_up_are_not_told(finished: Path, found: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Run, "object_paths", lambda run, name: ())
    parts = reporting.gather(Run(finished)).parts["L1-S0"]
    assert [part.macs is None for part in parts] == [True, False, True]
    assert "MACs not known" in webpage.html(replace(found, parts={"L1-S0": parts}))


def test_an_optimised_point_shows_the_route_of_what_it_came_from(finished: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    shutil.copytree(finished, run.path)
    origin = run.load_fitted("L1-S0")
    assert origin is not None
    run.save_fitted("half", replace(origin, origin="L1-S0"))
    meta, known = points.read(run.points_path)
    half = replace(next(p for p in known if p.name == "L1-S0"), name="half", origin="L1-S0", files={})
    run.write_json(run.points_path, points.to_json((*known, half), meta))
    gathered = reporting.gather(run)
    assert [part.role for part in gathered.parts["half"]] == [part.role for part in gathered.parts["L1-S0"]]
    assert "half" in webpage.html(gathered)


def test_cuts_and_pairs_are_those_of_the_plans(found: Report) -> None:
    _, lists = networks.pair()
    assert {role: list(names) for role, names in found.cuts.items()} == {r: [c.name for c in lists[r]] for r in lists}
    assert len(found.pairs) == 2 * len(lists["large"]) * len(lists["small"])
    pair = next(p for p in found.pairs if p.name == "S0-L1")
    assert (pair.front, pair.large, pair.small, pair.status, pair.r2) == ("small", 1, 0, "chosen", None)


def test_an_edited_plan_does_not_rename_a_cut(finished: Path, found: Report, tmp_path: Path) -> None:
    _, lists = networks.pair()
    edited = all_plans(lists)
    wrong = (Piece("large", None, lists["large"][3].name), edited[0].route[1])
    edited[0] = replace(edited[0], route=wrong)
    edited.append(replace(edited[1], name="my own"))
    edited[2] = replace(edited[2], name="S9-L9")  # a name says nothing
    edited[3] = replace(edited[3], cuts=())
    run = copied(finished, tmp_path / "run")
    plans_file.write_plans(run.plans_path, edited)
    assert reporting.gather(run).cuts == found.cuts


def test_cuts_of_a_run_that_kept_no_names_go_by_their_numbers(finished: Path, found: Report, tmp_path: Path) -> None:
    run = copied(finished, tmp_path / "run")
    atomic.write_npz(run.path / "similarity.npz", {"cka": np.array(found.cka)})
    told = reporting.gather(run)
    assert told.cuts["large"][:2] == ("cut 0 of large", "cut 1 of large")
    assert (told.cka, told.pairs) == (found.cka, ())
    assert "cut 1 of small" in webpage.html(told)


# ---- text of users, no network, equal bytes ---------------------------------------------------


def evil(found: Report) -> Report:
    worse = replace(found.points[2], name=EVIL, route=EVIL, rung=EVIL, reason=Reason.note(EVIL), status=DOMINATED)
    return replace(
        found,
        title=EVIL, run=f"/runs/{EVIL}", metric=EVIL, command=EVIL, facts={EVIL: EVIL},
        anchors={"large": EVIL, "small": EVIL},
        points=(*found.points[:2], worse, *found.points[3:]),
        cuts={role: (EVIL, *names[1:]) for role, names in found.cuts.items()},
        measurements=(replace(DEVICE, device=EVIL, tool=EVIL),),
        ladders={EVIL: found.ladders["L1-S0"]}, parts={EVIL: found.parts["L1-S0"]},
        pairs=tuple(replace(p, reason=EVIL) for p in found.pairs),
    )  # fmt: skip


def test_no_text_of_a_user_becomes_part_of_the_page(found: Report) -> None:
    plain, seen = Seen(webpage.html(found)), Seen(webpage.html(evil(found)))
    count = lambda page, tag: sum(name == tag for name, _ in page.tags)  # noqa: E731
    assert count(seen, "img") == 0
    assert count(seen, "script") == count(plain, "script") == 2
    assert not [name for _, given in seen.tags for name in given if name.startswith("onerror")]
    assert EVIL in seen.words


def test_markdown_shows_text_of_users_as_it_is(found: Report) -> None:
    # But for the command, which stands in an indented line of code, where nothing has a meaning.
    text = re.sub("^    .*$", "", sheets.markdown(evil(found)), flags=re.MULTILINE)
    assert "<img" not in text
    assert "[c](d)" not in text
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("| ")]
    assert len(tables) == len(report.tables(evil(found)))
    for lines in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1


def test_the_page_asks_nothing_of_a_network(found: Report) -> None:
    text = webpage.html(found)
    for tag, attributes in Seen(text).tags:
        for name in ("src", "href", "srcset", "action", "data"):
            assert not str(attributes.get(name) or "#").startswith(("http", "//", "file")), (tag, attributes)
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|import\(", text)
    assert "default-src 'none'" in text


def test_the_same_run_gives_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    first = [path.read_bytes() for path in reporting.write(finished, tmp_path / "a" / "one.html")]
    assert first == [path.read_bytes() for path in reporting.write(finished, tmp_path / "two.html")]
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["one.csv", "one.html", "one.md"]


# ---- tables for other programs ---------------------------------------------------------------


def test_csv_reads_back_to_the_record(found: Report) -> None:
    known = evil(many(replace(found, measurements=MEASURED)))
    rows = {(r["point"], r["precision"]): r for r in csv.DictReader(sheets.as_csv(known).splitlines())}
    expected = {(p.name, precision) for p in known.points for precision in p.files or [""]} | {("L1-S0", "int8")}
    assert set(rows) | {("L1-S0", "int8")} == expected
    for p in known.points:
        for precision in p.files or [""]:
            row, made = rows[p.name, precision], p.files.get(precision)
            assert (int(row["macs_count"]), row["route"]) == (p.macs, p.route)
            assert float(row["keras_test_score_share"]) == p.test.value
            if made:
                assert int(row["flash_bytes"]) == made.flash_bytes
                assert float(row["host_latency_median_us"]) == made.latency_median_us
                assert float(row["interpreter_rank_score_share"]) == made.rank.value
            else:
                assert row["flash_bytes"] == ""


def test_csv_has_a_column_for_each_kind(found: Report) -> None:
    rows = list(csv.DictReader(sheets.as_csv(replace(found, measurements=MEASURED)).splitlines()))
    row = next(r for r in rows if (r["point"], r["precision"]) == ("L1-S0", "int8"))
    assert row["Pixel <8> latency_us (measured on the device by LiteRT)"] == "1234.5"
    assert row["Pixel <8> latency_us (estimated by a compiler by Vela 5)"] == "1234.5"
    assert row["Pixel <8> arena_bytes (run by an interpreter by TFLM)"] == "4096.0"
    assert (row["rank_kl_closed_form_nats"], row["rank_kl_norm_nats"]) == ("0.5", "0.2")


def test_markdown_has_the_tables_of_the_page(found: Report) -> None:
    text = sheets.markdown(found)
    for table in report.tables(found):
        assert f"## {table.title}\n" in text
        for row in table.rows:
            assert sheets._row(sheets._plain(cell.text) for cell in row) in text


def test_a_page_of_results_is_the_report_with_fewer_columns_and_no_paths(found: Report) -> None:
    spec = importlib.util.spec_from_file_location("make", paths.ROOT / "docs" / "results" / "make.py")
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    built = replace(found, build=("build", "--large", "/somewhere/a.keras", "--budget", "macs<=1M"))
    text = make.page(built, "A with B", "0a1b2c3", "two cores", "a-b.png")
    assert "    restnet-tf build --large a.keras --budget 'macs<=1M'\n" in text
    assert "(../pictures/a-b.png)" in text
    assert "- commit: 0a1b2c3\n- machine: two cores\n" in text
    for table in report.tables(built):
        kept = [f for f in table.columns if f.name not in make.LEFT_OUT.get(table.key, ())]
        assert sheets._row(sheets._plain(f.head) for f in kept) in text
    names = {figure.name for figure in figures.FIGURES}
    assert set().union(*make.LEFT_OUT.values()) <= names


# ---- the command -----------------------------------------------------------------------------


def ask(*words: Any) -> tuple[int, str, str]:
    done = CliRunner().invoke(main, [str(word) for word in words])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


def copied(finished: Path, folder: Path) -> Run:
    for path in (p for p in finished.rglob("*") if p.is_file()):
        target = folder / path.relative_to(finished)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    return Run(folder)


def test_it_says_what_it_wrote(finished: Path, tmp_path: Path) -> None:
    run = copied(finished, tmp_path / "run")
    atomic.write_bytes(run.measurements_path, json.dumps(measurements.to_json(MEASURED)).encode())
    code, said, _ = ask("report", run.path)
    assert code == 0
    assert said.splitlines() == [f"wrote {run.path / 'report'}.{kind}" for kind in ("html", "md", "csv")]
    assert "Pixel &lt;8&gt;" in run.report_path.read_text()


def damaged(run: Run, what: str) -> Path:
    if what == "unfinished":
        record = json.loads((run.path / "run.json").read_text())
        run.write_json(run.path / "run.json", record | {"steps": {}})
    elif what == "measurements":
        run.measurements_path.write_text("{")
    else:
        (run.path / what).write_bytes(b"PK\x03\x04 no more")
    return run.path


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("unfinished", "is not finished; run its build again"),
        ("run.json", "cannot be read"),
        ("points.json", "is not a list of operating points"),
        ("plans.json", "is not a plans file"),
        ("similarity.npz", "is damaged"),
        ("stitches/L1-S0.npz", "is damaged"),
        ("measurements", "is not a list of measurements"),
    ],
)
def test_what_cannot_be_reported_is_one_line(finished: Path, tmp_path: Path, what: str, words: str) -> None:
    code, said, complaint = ask("report", damaged(copied(finished, tmp_path / "run"), what))
    assert (code, said, complaint.count("\n")) == (1, "", 1)
    assert words in complaint
    assert not (tmp_path / "run" / "report.html").exists()


def test_no_run_and_no_page(finished: Path, tmp_path: Path) -> None:
    code, _, complaint = ask("report", tmp_path)
    assert (code, complaint.count("\n")) == (1, 1)
    assert "is not a run directory" in complaint
    code, _, complaint = ask("report", finished, "--out", tmp_path / "a.md")
    assert (code, complaint.count("\n")) == (1, 1)
    assert "give --out a name that ends so" in complaint
    (tmp_path / "file").touch()
    code, _, complaint = ask("report", finished, "--out", tmp_path / "file" / "a.html")
    assert (code, complaint.count("\n")) == (1, 1)
    assert "cannot write" in complaint


def test_it_needs_no_tensorflow(finished: Path, tmp_path: Path) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nfrom restnet_tf.commands import report\n"
        "report.write(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "print({'tensorflow', 'keras', 'matplotlib', 'sklearn'} & set(sys.modules))\n"
    )
    words = [sys.executable, "-c", script, str(finished), str(tmp_path / "page.html")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, cwd=paths.ROOT)
    assert (done.stdout.strip(), done.stderr) == ("set()", "")


# ---- in a browser ----------------------------------------------------------------------------

needs_chromium = needs.BROWSER.mark


def written(found: Report, folder: Path) -> Path:
    path = folder / "page.html"
    path.write_text(webpage.html(found))
    return path


@pytest.fixture(scope="module")
def family(found: Report) -> Report:
    return many(replace(found, measurements=MEASURED))


@pytest.fixture(scope="module")
def page(family: Report, tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Page]:
    with chromium.Page(written(family, tmp_path_factory.mktemp("page"))) as opened:
        yield opened
        assert opened.complaints == []


@needs_chromium
def test_it_loads_in_peace(page: chromium.Page, family: Report) -> None:
    assert page.complaints == []
    assert {url.partition(":")[0] for url in page.asked} <= {"file", "data"}
    drawn = page.evaluate("[...document.querySelectorAll('.mark[data-point]')].map((m) => m.dataset.point)")
    off = page.evaluate("document.getElementById('plot-note').textContent")
    assert {p.name for p in family.points} == {p.name for p in family.points if p.name in drawn or p.name in off}
    assert len(drawn) == len(set(drawn)) > 15


@needs_chromium
def test_hover_shows_the_card_of_a_point(page: chromium.Page, family: Report) -> None:
    page.hover('.mark[data-point="large"]')
    assert not page.evaluate("card.hidden")
    words = page.evaluate("card.textContent")
    precision = page.evaluate("document.getElementById('precision').value")
    made = family.points[0].files[precision]
    assert words.startswith("large")
    assert f"{100 * made.test.value:.1f} %" in words
    assert "the way of large" in words
    assert "planned from the file" in words
    page.press("Escape")
    assert page.evaluate("card.hidden")
    page.evaluate("document.querySelector('.mark[data-point=large]').focus()")
    assert not page.evaluate("card.hidden")
    page.press("Escape")


@needs_chromium
@pytest.mark.parametrize("column", [0, 2, 7, 10])
def test_a_column_sorts_up_and_down(page: chromium.Page, column: int) -> None:
    head = f"document.querySelectorAll('#points thead button')[{column}]"
    read = (
        f"[...document.querySelectorAll('#points tbody tr')].map((r) => r.cells[{column}])"
        ".map((c) => c.dataset.value === undefined ? c.textContent : Number(c.dataset.value))"
    )
    page.evaluate(f"{head}.click()")
    up = page.evaluate(read)
    page.evaluate(f"{head}.click()")
    down = page.evaluate(read)

    def natural(v: Any) -> Any:
        return [int(t) if t.isdigit() else t.lower() for t in re.split(r"(\d+)", v)] if isinstance(v, str) else v

    filled = [v for v in up if v != ""]
    empty = [""] * (len(up) - len(filled))
    assert up == sorted(filled, key=natural) + empty
    assert down == sorted(filled, key=natural, reverse=True) + empty
    assert len(set(map(str, filled))) > 3


@needs_chromium
def test_every_axis_draws(page: chromium.Page, family: Report) -> None:
    axes = page.evaluate("X_AXES.map((a) => a.label)")
    assert len(axes) == 5 + len({figures.origin(m) for m in MEASURED})
    for x in range(len(axes)):
        for y in range(page.evaluate("Y_AXES.length")):
            choose = f"byId('x-axis').value = {x}; byId('y-axis').value = {y}; drawPlot();"
            page.evaluate(choose)
            marks = page.evaluate("document.querySelectorAll('.mark[data-point]').length")
            told = page.evaluate("byId('plot-note').textContent")
            # What was measured of int8 files alone has no place among float32 ones.
            assert bool(marks) != told.startswith("No ")
            assert marks or x >= 5
            assert "NaN" not in page.evaluate("byId('plot').innerHTML")
    page.evaluate("byId('x-axis').value = 0; byId('y-axis').value = 0; drawPlot();")


@needs_chromium
@pytest.mark.parametrize("unit", [units.SCORE, units.SHARE, units.NATS, units.RATIO, units.COUNT, units.KILOBYTES])
def test_a_figure_of_any_unit_may_be_an_axis(
    family: Report, unit: units.Unit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(line: Line) -> Any:
        return line.point.test if unit is units.SCORE else line.point.test.value

    added = Figure("added", "added", read, unit, "made up", title="what was added", axis=ACROSS)
    monkeypatch.setattr(figures, "FIGURES", (*figures.FIGURES, added))
    with chromium.Page(written(family, tmp_path)) as opened:
        at = opened.evaluate("X_AXES.findIndex((a) => a.name === 'added')")
        opened.evaluate(f"byId('x-axis').value = {at}; drawPlot()")
        assert opened.evaluate("byId('plot-note').textContent").startswith("Across: made up. ")
        assert opened.evaluate("document.querySelectorAll('.mark[data-point]').length") > 15
        assert "NaN" not in opened.evaluate("byId('plot').innerHTML")
        opened.hover('.mark[data-point="large"]')
        assert "what was added" in opened.evaluate("card.textContent")
        assert opened.complaints == []


@needs_chromium
def test_the_map_tells_a_pair_and_goes_by_the_keyboard(page: chromium.Page, family: Report) -> None:
    page.hover('#heat rect[data-row="1"][data-column="0"]')
    words = page.evaluate("card.textContent")
    assert f"{family.cuts['large'][1]} × {family.cuts['small'][0]}" in words
    assert f"CKA{family.cka[1][0]:.3f}" in words
    assert "L1-S0chosen" in words
    page.evaluate("document.querySelector('#heat svg').focus()")
    page.press("ArrowDown")
    assert f"{family.cuts['large'][2]} × " in page.evaluate("card.textContent")
    marked = page.evaluate("document.querySelectorAll('#heat .chosen').length")
    assert marked == sum(p.status == "chosen" for p in family.pairs)


def chosen(found: Report, budget: str) -> str:
    try:
        choice = select.select(found.points, parse(budget))
    except RestnetError as error:
        return str(error)
    return f"{choice.point.name} {choice.precision}"


@needs_chromium
def test_sliders_choose_as_the_command_does(page: chromium.Page, family: Report) -> None:
    rng, told = random.Random(0), set()
    for _ in range(60):
        places = {name: rng.choice((300, rng.randrange(300))) for name in ("macs", "flash", "ram", "latency")}
        for name, place in places.items():
            page.evaluate(
                f"byId('limit-{name}').value = {place}; byId('limit-{name}').dispatchEvent(new Event('input'))"
            )
        command = page.evaluate("byId('choice-command').textContent")
        budget = re.fullmatch(r"restnet-tf select '.*' --budget \"(.*)\"", command)
        assert budget, command
        expected = chosen(family, budget[1])
        first = page.evaluate("document.querySelector('#choice strong').textContent")
        if expected.startswith("no point"):
            assert (
                "; ".join(page.evaluate("[...document.querySelectorAll('#choice p')].map((p) => p.textContent)"))
                == expected
            )
        else:
            assert first == expected
            row = page.evaluate("document.querySelector('#files tr.picked').textContent")
            assert row.startswith("".join(expected.split()))
        told.add(first)
    assert len(told) > 5  # several points and a miss


@needs_chromium
@pytest.mark.parametrize(
    "budget", ["macs<=1", "flash<=0", "macs<=1G", "latency<=20ms, flash<=300KB", "ram<=40KB, macs<=3M"]
)
def test_the_rule_is_that_of_select(page: chromium.Page, family: Report, budget: str) -> None:
    terms = json.dumps([{"name": t.name, "limit": t.limit, "text": t.text} for t in parse(budget)])
    page.evaluate("named = (c) => `${c.point} ${c.precision}`")
    found = page.evaluate(f"(({{choice, nearest}}) => named(choice || nearest))(choose({terms}))")
    assert found in chosen(family, budget)


@needs_chromium
@pytest.mark.parametrize(("width", "dark"), [(390, False), (390, True), (1280, True)])
def test_it_fits_the_screen(family: Report, tmp_path: Path, width: int, dark: bool) -> None:
    with chromium.Page(written(family, tmp_path), width=width, dark=dark) as opened:
        assert opened.evaluate("document.documentElement.scrollWidth") <= width
        assert opened.complaints == []
        ground = opened.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (int(re.findall(r"\d+", ground)[0]) < 60) == dark


@needs_chromium
def test_text_of_users_runs_nothing(found: Report, tmp_path: Path) -> None:
    with chromium.Page(written(evil(found), tmp_path)) as opened:
        assert opened.evaluate("document.images.length") == 0
        assert opened.evaluate("document.querySelector('h1').textContent") == EVIL
        opened.evaluate("pairCard(document.querySelector('#heat rect'), 0, 0)")
        assert EVIL in opened.evaluate("card.textContent")
        assert opened.complaints == []


# ---- cascades ----------------------------------------------------------------------------------


def with_cascades(found: Report) -> Report:
    """Two cascades of the anchors, one with two positions that were chosen, and pictures of examples of one."""
    anchors = {p.name: p for p in found.points if p.kind == ANCHOR}
    joined = measured_points.cascade(anchors["small"], anchors["large"], (0.25, 0.5))
    other = replace(measured_points.cascade(anchors["small"], anchors["large"], (0.125,)), name="L1-S0>large")
    picture = plots.examples(np.zeros((3, 8, 8, 1), np.uint8), np.linspace(0, 1, 3), 0.5)
    return replace(found, points=(*found.points, joined, other), examples={joined.name: picture})


@pytest.fixture(scope="module")
def cascading(found: Report, tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Page]:
    path = written(with_cascades(found), tmp_path_factory.mktemp("cascading"))
    with chromium.Page(path) as opened:
        yield opened
        assert opened.complaints == []


def turn(page: chromium.Page, at: int) -> None:
    page.evaluate(f"byId('dial-at').value = {at}; byId('dial-at').dispatchEvent(new Event('input'))")


def figure_of(page: chromium.Page, name: str) -> str:
    return page.evaluate(f"document.querySelector('#dial-figures [data-figure={name}] dd').textContent")


@needs_chromium
def test_the_dial_says_what_each_position_gives(cascading: chromium.Page, found: Report) -> None:
    joined = with_cascades(found).points[-2]
    at = [p.name for p in savings.shipped(with_cascades(found).points)]
    cascading.evaluate(f"byId('cascade').value = {at.index(joined.name)}; redial()")
    cascading.evaluate("byId('precision').value = 'int8'; byId('precision').dispatchEvent(new Event('change'))")
    dial = joined.files["int8"].dial
    assert dial is not None
    assert cascading.evaluate("byId('dial-place').textContent") == "int8: as chosen on the rank split"
    assert cascading.evaluate("Number(byId('dial-at').value)") == 4
    for position, setting in enumerate(dial.curve):
        turn(cascading, position)
        assert figure_of(cascading, "thresholds_of_file").startswith(f"{setting.thresholds[0]:g}a stage")
        deferral = Share(setting.test_reach[1], joined.test.n)
        words = "{:.1f} % [{:.1f}, {:.1f}]".format(*(100 * v for v in (deferral.value, *deferral.interval)))
        assert figure_of(cascading, "test_goes_on_in_file").startswith(words)
        assert figure_of(cascading, "interpreter_test_score").startswith(f"{100 * setting.test.value:.1f} % [")
        latency = dial.mean_us(setting.test_reach)
        assert figure_of(cascading, "test_mean_host_latency") == f"{latency:.4g} usat worst 900 us"
        assert figure_of(cascading, "mean_macs").endswith(f"at worst {joined.macs / 1e3:.4g} K")
    assert cascading.evaluate("byId('dial-place').textContent") == "int8: all that can go on do"
    cascading.evaluate("byId('dial-chosen').click()")
    assert cascading.evaluate("Number(byId('dial-at').value)") == 4


@needs_chromium
def test_the_plot_shows_dials_what_was_chosen_and_where_the_slider_is(cascading: chromium.Page, found: Report) -> None:
    count = "(s) => document.querySelectorAll(`#plot svg ${s}`).length"
    seen = lambda selector: cascading.evaluate(f"({count})({json.dumps(selector)})")  # noqa: E731
    cascading.evaluate("byId('dial-chosen').click()")
    assert cascading.evaluate("X_AXES[0].label") == "mean MACs of one image"
    assert (seen(".curve"), seen(".notch"), seen(".worst.end"), seen(".turned")) == (2, 1, 2, 0)
    notch, mark = (
        cascading.evaluate(f"document.querySelector('{which}').getAttribute('transform').match(/[0-9.]+/g).map(Number)")
        for which in (".notch", '.mark[data-point="small>large"]')
    )
    assert notch[0] < mark[0]  # cheaper
    assert notch[1] > mark[1]  # and worse
    turn(cascading, 7)
    assert seen(".turned") == 1
    before = cascading.evaluate("document.querySelector('.turned').getAttribute('cx')")
    turn(cascading, 6)
    assert float(cascading.evaluate("document.querySelector('.turned').getAttribute('cx')")) < float(before)
    worst = cascading.evaluate("X_AXES.findIndex((a) => a.label.startsWith('worst MACs'))")
    cascading.evaluate(f"byId('x-axis').value = {worst}; drawPlot()")
    assert (seen(".curve"), seen(".worst"), seen(".mark.cascade[data-point]")) == (0, 0, 2)
    for x in range(cascading.evaluate("X_AXES.length")):
        for y in range(cascading.evaluate("Y_AXES.length")):
            cascading.evaluate(f"byId('x-axis').value = {x}; byId('y-axis').value = {y}; drawPlot()")
            assert "NaN" not in cascading.evaluate("byId('plot').innerHTML")
    cascading.evaluate("byId('x-axis').value = 0; byId('y-axis').value = 0; drawPlot()")


@needs_chromium
def test_a_mark_chooses_its_dial(cascading: chromium.Page) -> None:
    for name in ("L1-S0>large", "small>large"):
        mark = f"document.querySelector('.mark[data-point=\"{name}\"]')"
        cascading.evaluate(f"{mark}.dispatchEvent(new Event('click'))")
        assert cascading.evaluate("byId('cascade').selectedOptions[0].textContent") == name


@needs_chromium
def test_sliders_know_the_mean_and_the_worst_case(cascading: chromium.Page, found: Report) -> None:
    report = with_cascades(found)
    names = ("macs", "mean.macs", "latency", "mean.latency")
    rng, told = random.Random(1), set()
    for _ in range(40):
        for name in names:
            place = rng.choice((300, rng.randrange(300)))
            node = f"byId('limit-{name}')"
            cascading.evaluate(f"{node}.value = {place}; {node}.dispatchEvent(new Event('input'))")
        command = cascading.evaluate("byId('choice-command').textContent")
        budget = re.fullmatch(r"restnet-tf select '.*' --budget \"(.*)\"", command)
        assert budget, command
        first = cascading.evaluate("document.querySelector('#choice strong').textContent")
        expected = chosen(report, budget[1])
        assert first == expected or expected.startswith(first)
        told.add(first.split()[0])
        if first.startswith("small>large"):
            assert cascading.evaluate("byId('dial-place').textContent").startswith(f"{first.split()[1]}: ")
    assert {"small>large", "no"} <= told
    for name in names:
        cascading.evaluate(f"byId('limit-{name}').value = 300; byId('limit-{name}').dispatchEvent(new Event('input'))")


@needs_chromium
def test_without_cascades_nothing_speaks_of_them(page: chromium.Page) -> None:
    assert page.evaluate("byId('dial').hidden")
    assert page.evaluate("document.querySelectorAll('#examples, #cascades, .curve, .worst').length") == 0
    assert "mean" not in page.evaluate("byId('sliders').textContent")


@needs_chromium
@pytest.mark.parametrize("width", [390, 1280])
def test_cascades_fit_the_screen(found: Report, tmp_path: Path, width: int) -> None:
    with chromium.Page(written(with_cascades(found), tmp_path), width=width) as opened:
        assert opened.evaluate("document.documentElement.scrollWidth") <= width
        assert opened.evaluate("[...document.images].every((i) => i.complete && i.naturalWidth > 100)")
        assert opened.complaints == []


def test_a_cascade_has_rows_a_route_and_a_picture(finished: Path, tmp_path: Path) -> None:
    run = copied(finished, tmp_path / "run")
    meta, known = points.read(run.points_path)
    anchors = {p.name: p for p in known if p.kind == ANCHOR}
    joined = measured_points.cascade(anchors["small"], anchors["large"])
    mixed = measured_points.cascade(known[2], anchors["large"])
    run.write_json(run.points_path, points.to_json((*known, joined, mixed), meta))
    picture = plots.examples(np.zeros((3, 8, 8, 1), np.uint8), np.linspace(0, 1, 3), 0.5)
    atomic.write_bytes(run.examples_path(joined.name), picture)
    told = reporting.gather(run)
    assert told.examples == {joined.name: picture}
    assert told.facts["cascades"] == "2 shipped of 2"
    assert told.facts["cascades from the chord, on average"].endswith(" points on the rank split")
    assert [(p.role, p.macs, p.reach) for p in told.parts[joined.name]] == [
        ("small", anchors["small"].macs, 1.0),
        ("large", anchors["large"].macs, 0.25),
    ]
    assert told.parts[joined.name][1].note == "on 25 % of the rank split"
    assert [(p.role, p.text) for p in told.parts[mixed.name]] == [("stage", "L1-S0"), ("large", "whole")]
    _, rows = Seen(webpage.html(told)).table("cascades")
    assert {("small>large",), ("small",), ("large",), ("L1-S0>large",), ("L1-S0",)} == set(rows)
    csv_rows = [r for r in csv.DictReader(sheets.as_csv(told).splitlines()) if r["point"] == joined.name]
    assert [float(r["mean_macs_count"]) for r in csv_rows] == [joined.mean_macs] * 2
    assert [float(r["rank_goes_on_1_share"]) for r in csv_rows] == [0.25] * 2
    assert "## Cascades" in sheets.markdown(told)


def test_a_report_says_what_rankings_foretold_and_what_lies_below_a_rival(finished: Path, tmp_path: Path) -> None:
    run = copied(finished, tmp_path / "run")
    first = plans_file.read_plans(run.plans_path)[0]
    tried = [replace(first, name=f"p{i}", cka=i / 10, r2=-i / 10, kl=float(-i)) for i in range(6)]
    plans_file.write_plans(run.plans_path, tried)
    told = reporting.gather(run).facts
    assert "foretold the loss of 6 pairs" in told["rankings"]
    assert "CKA +1.00, R2 -1.00, chance " in told["rankings"]
    assert told["below a rival on the test split"]


def test_models_joined_as_they_are_have_a_report_without_plans(finished: Path, tmp_path: Path) -> None:
    run = copied(finished, tmp_path / "run")
    meta, known = points.read(run.points_path)
    large, small = known[:2]
    listed = (large, small, measured_points.cascade(small, large))
    run.write_json(run.points_path, points.to_json(listed, meta | {"training_macs": 0, "distilling_macs": 0}))
    run.plans_path.unlink()
    (run.path / "similarity.npz").unlink()
    record = json.loads((run.path / "run.json").read_text())
    options = {"models": ["a b.keras", "c.tflite"], "data": "d.npz", "cascades": 2}
    run.write_json(
        run.path / "run.json",
        record | {"inputs": record["inputs"] | {"method": "cascade"}, "options": options},
    )
    told = reporting.gather(run)
    assert told.build == ("cascade", "a b.keras", "c.tflite", "--data", "d.npz", "--cascades", "2")
    assert main.commands["cascade"].make_context("cascade", list(told.build[1:])).params["data"] == "d.npz"
    assert (told.pairs, told.cka, told.facts["training"]) == ((), (), "none")
    assert "points between the anchors" not in told.facts
    assert "small&gt;large" in webpage.html(told)


def test_text_of_a_user_in_a_cascade_is_text(found: Report) -> None:
    known = with_cascades(found)
    worse = replace(known, points=(*known.points[:-1], replace(known.points[-1], name=EVIL)), examples={EVIL: b"png"})
    seen = Seen(webpage.html(worse))
    assert [given["alt"] for tag, given in seen.tags if tag == "img"] == [
        f"test images that {EVIL} answers early and late"
    ]
    assert sum(tag == "script" for tag, _ in seen.tags) == 2


# ---- one rule, in Python and in the page ---------------------------------------------------------

MACS, SIZES = st.integers(1, 6), st.integers(1, 8)
FILES = st.builds(
    lambda right, flash, arena, latency: (right, flash, arena, float(latency)), st.integers(0, 4), SIZES, SIZES, SIZES
)
RUNS = st.lists(st.tuples(MACS, st.dictionaries(st.sampled_from(("float32", "int8")), FILES, min_size=1)), min_size=1)
LIMITS = st.dictionaries(st.sampled_from(("macs", "flash", "ram", "latency")), st.integers(0, 9), min_size=1)


def generated(run: list[tuple[int, dict[str, tuple[int, int, int, float]]]]) -> tuple[OperatingPoint, ...]:
    return tuple(
        measured_points.point(
            f"P{at}", macs, files={name: measured_points.file(*figures) for name, figures in files.items()}
        )
        for at, (macs, files) in enumerate(run)
    )


@needs_chromium
def test_a_generated_run_is_chosen_from_alike(page: chromium.Page, found: Report) -> None:
    outcomes = set()

    @settings(max_examples=200, deadline=None, derandomize=True)
    @given(RUNS, LIMITS)
    def alike(run: Any, limits: dict[str, int]) -> None:
        family = generated(run)
        terms = parse(", ".join(f"{name}<={limit}{'us' * (name == 'latency')}" for name, limit in limits.items()))
        given_limits = json.dumps([{"name": t.name, "limit": t.limit, "text": t.text} for t in terms])
        choices = json.dumps(pagedata.data(replace(found, points=family))["budget"]["choices"])
        outcome = page.evaluate(f"JSON.stringify(choose({given_limits}, {choices}))")
        there = json.loads(outcome)
        expected = chosen(replace(found, points=family), ", ".join(t.text for t in terms))
        if "choice" in there:
            assert f"{there['choice']['point']} {there['choice']['precision']}" == expected
        else:
            nearest = f"{there['nearest']['point']} {there['nearest']['precision']}"
            missed = [part["term"]["text"] for part in there["over"]]
            assert expected.startswith(f"no point meets the budget; the nearest, {nearest}, misses {missed[0]} (")
            assert all(text in expected for text in missed)
        outcomes.add("choice" in there)

    alike()
    assert outcomes == {True, False}


def test_what_the_page_advises_works_on_the_run(finished: Path, found: Report) -> None:
    steps = advice.of(found)
    assert [step.words[0] for step in steps][:2] == ["select", "bench"]
    page = Seen(webpage.html(found))
    for step in steps:
        name, *words = step.words
        assert main.commands[name].make_context(name, list(words)).params["run"] == finished
        assert step.command in page.words
    code, said, _ = ask(*steps[0].words)
    assert code == 0
    assert said.startswith(f"{steps[0].basis[0].point} ")


def test_the_words_of_the_build_mean_what_was_given(finished: Path, found: Report) -> None:
    kept = json.loads((finished / "run.json").read_text())["options"]
    name, *words = found.build
    options = main.commands[name].make_context(name, words).params
    assert {option: options[option] for option in kept} == kept


@pytest.mark.parametrize(
    ("inputs", "options", "settings", "command"),
    [
        ({}, {"seed": 4, "also": ["L0-S0"]}, "seed 3, rank by r2, fine tune auto", "build --seed 4"),
        ({"method": "restnet"}, {"window": 3}, "seed 3, rank by r2, fine tune auto", "build"),
        (
            {"method": "snnet", "window": 3, "two_stitch": True},
            {"anchor": ["a", "b"], "window": 3, "stride": 1, "own": True},
            "seed 3, method snnet, window 3",
            "build --method snnet --anchor a --anchor b --window 3 --own",
        ),
        (
            {"method": "stitchnet"},
            {"pool": ["a", "b"], "precision": "float32", "top": 3},
            "seed 3, rank by r2",
            "compose --pool a --pool b --top 3",
        ),
    ],
)
def test_a_method_tells_its_settings_and_its_command(
    finished: Path, tmp_path: Path, inputs: dict[str, Any], options: dict[str, Any], settings: str, command: str
) -> None:
    run = copied(finished, tmp_path / "run")
    record = json.loads((run.path / "run.json").read_text())
    record |= {"inputs": record["inputs"] | {"rank_by": "r2", "fine_tune": "auto"} | inputs, "options": options}
    run.write_json(run.path / "run.json", record)
    told = reporting.gather(run)
    assert told.facts["settings"] == settings
    assert " ".join(told.build) == command
    composed = inputs.get("method") == "stitchnet"
    assert (told.method.loss, told.method.reopens) == (("log loss", False) if composed else ("KL", True))
    assert (told.ladders == {}) == composed


def test_a_method_of_another_version_is_named(finished: Path, tmp_path: Path) -> None:
    run = copied(finished, tmp_path / "run")
    record = json.loads((run.path / "run.json").read_text())
    record["inputs"]["method"] = "glue"
    run.write_json(run.path / "run.json", record)
    code, _, said = ask("report", run.path)
    assert (code, said.count("\n")) == (1, 1)
    assert f"{run.path} was built by the method 'glue', which this version does not have" in said


def test_an_optimised_point_goes_the_way_of_the_one_it_is_of(finished: Path, tmp_path: Path) -> None:
    run = copied(finished, tmp_path / "run")
    meta, known = points.read(run.points_path)
    of = next(p for p in known if p.name == "L1-S0")
    meta["optimised"] = {"a.b": ["--prune", "0.5"]}
    run.write_json(run.points_path, points.to_json((*known, replace(of, name="a.b", origin="L1-S0")), meta))
    fit = run.load_fitted("L1-S0")
    assert fit is not None
    run.save_fitted("a.b", replace(fit, origin="L1-S0"))
    told = reporting.gather(run)
    assert told.parts["a.b"] == told.parts["L1-S0"]
    assert told.optimised == {"a.b": ("--prune", "0.5")}
    assert told.optimisable == {"L1-S0", "S0-L1"}


def test_a_name_with_its_hash_may_be_a_record(finished: Path, tmp_path: Path) -> None:
    run = copied(finished, tmp_path / "run")
    record = json.loads((run.path / "run.json").read_text())
    record["inputs"] |= {"data": {"name": "d 0123456789abcdef", "sha256": "f" * 64}, "versions": {"keras": "3"}}
    run.write_json(run.path / "run.json", record)
    facts = reporting.gather(run).facts
    assert facts["data"] == f"d 0123456789abcdef, sha256 {'f' * 16}, 3 classes"
    assert facts["large anchor"] == "big 0123456789abcdef"
    assert facts["versions"] == "keras 3"
