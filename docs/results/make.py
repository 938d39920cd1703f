"""Makes a page of results from a finished run, so that no number on it is typed by hand:

python docs/results/make.py RUN docs/results/NAME.md --title "ResNet-56 with ResNet-8" --commit COMMIT \
  --machine "two server cores, beside other work"

It writes the page, its picture ``docs/pictures/NAME.png``, and its record ``docs/results/runs/NAME.json``, whose
figures the first pages name: ``tests/test_numbers.py`` holds them against it. ``--seconds`` are those that it took;
``--before`` is a command that made an anchor, and may be given again.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
from collections.abc import Container, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from restnet_tf.commands.report import gather
from restnet_tf.points import front, points
from restnet_tf.points.points import ANCHOR, CASCADE, CONTROL, SHIPPED, STITCHED, OperatingPoint
from restnet_tf.report import plots, savings, sheets, tables
from restnet_tf.report.contents import Report
from restnet_tf.run.directory import Run

PICTURES = Path(__file__).resolve().parents[1] / "pictures"
RECORDS = Path(__file__).resolve().parent / "runs"
# What a page leaves out of the tables, by the names of the figures: report.md of the run has all.
LEFT_OUT = {
    "points": {"keras_rank_score", "rank_goes_on", "thresholds", "mean_macs", "params", "unshared_params"},
    "cascades": {"mean_macs"},
    "files": {
        *("interpreter_rank_score", "rank_goes_on_in_file", "thresholds_of_file"),
        *("mean_host_latency", "host_latency_p90", "run_by"),
    },
}
FACTS = {
    *("points between the anchors", "from the chord, on average", "below a rival on the test split"),
    "shipped for their memory",
    *("cascades", "cascades from the chord, on average", "compute saved", "lost by rounding", "elastic files"),
    *("rankings", "settings", "versions", "training", "finished"),
}


def page(report: Report, title: str, commit: str, machine: str, picture: str, before: Sequence[str] = ()) -> str:
    """The page as Markdown; ``picture`` is the name of the picture's file, ``before`` are commands before the build."""
    facts = {**report.facts, "commit": commit, "machine": machine}
    parts = [
        f"# {title}",
        f"![Score against MACs of the points, the chord and the cascades](../pictures/{picture})",
        "Built by\n\n" + "\n".join(f"    {line}" for line in (*before, command(report.build))),
        "\n".join(f"- {name}: {value}" for name, value in facts.items() if name in FACTS | {"commit", "machine"}),
        *(sheets.section(without(table, LEFT_OUT.get(table.key, ()))).strip() for table in tables.tables(report)),
        "`docs/results/make.py` made this page from the run.",
    ]
    return "\n\n".join(parts) + "\n"


def record(report: Report, title: str, commit: str, machine: str) -> dict[str, Any]:
    """What a page was made from, and its figures by name."""
    return {
        "title": title,
        "command": command(report.build),
        "commit": commit,
        "date": report.facts["finished"],
        "machine": machine,
        "metric": report.metric,
        "figures": figures(report),
    }


def figures(report: Report) -> dict[str, float]:
    """Scores in percent of the test split, costs in percent of the costliest anchor, and what is counted.

    A cascade has each place of its dial, the cheapest first, as ``small>large@1``.
    """
    largest = max((p for p in report.points if p.kind == ANCHOR), key=lambda p: p.macs)
    told: dict[str, float] = {"test": largest.test.n, "rank": largest.rank.n}
    stitches = [p for p in report.points if p.kind == STITCHED]
    rivals = [p.reason.rival for p in stitches if p.reason is not None]
    told |= {"stitches": len(stitches), "stitches shipped": sum(p.status == SHIPPED for p in stitches)}
    told |= {f"stitches beaten by {rival}": rivals.count(rival) for rival in sorted({r for r in rivals if r})}
    for point in report.points:
        if point.kind != CONTROL:
            for place, setting in enumerate(points.turned(point), start=1):
                name = f"{point.name}@{place}" if point.kind == CASCADE else point.name
                told |= {f"{name} {what}": value for what, value in _costs(setting, largest).items()}
            told |= _files(point, largest)
    if notched := savings.notched(report.points):
        leads = [q.test.value - front.chord(report.points, q.test_mean_macs, "test") for q in notched]
        told["cascades above the chord"] = round(100 * sum(leads) / len(leads), 1)
    return told


def _costs(point: OperatingPoint, largest: OperatingPoint) -> dict[str, float]:
    mean, worst = (round(100 * macs / largest.macs) for macs in (point.test_mean_macs, point.macs))
    return {"score": round(100 * point.test.value, 1), "mean": mean, "worst": worst}


def _files(point: OperatingPoint, largest: OperatingPoint) -> dict[str, float]:
    """Scores of files as they were shipped, and their bytes."""
    told: dict[str, float] = {}
    for precision, file in point.files.items():
        told[f"{point.name}.{precision} score"] = round(100 * file.test.value, 1)
        if precision in largest.files:
            told[f"{point.name}.{precision} bytes"] = round(
                100 * file.flash_bytes / largest.files[precision].flash_bytes
            )
    return told


def command(words: Sequence[str]) -> str:
    """The command that built the run, files by their names alone."""
    names = (Path(word).name if os.sep in word else word for word in words)
    return shlex.join(["restnet-tf", *names])


def without(table: tables.Table, names: Container[str]) -> tables.Table:
    """A table without some of its columns."""
    kept = [at for at, figure in enumerate(table.columns) if figure.name not in names]
    rows = tuple(tuple(row[at] for at in kept) for row in table.rows)
    return replace(table, columns=tuple(table.columns[at] for at in kept), rows=rows)


def main() -> None:
    """Write the page and its picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("page", type=Path)
    for name in ("title", "commit", "machine"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--before", action="append", default=[])
    given = parser.parse_args()
    report = gather(Run(given.run))
    picture = PICTURES / f"{given.page.stem}.png"
    picture.write_bytes(plots.by_macs(report.points, given.title, report.metric, report.method.one))
    content = record(report, given.title, given.commit, given.machine)
    content["figures"] |= {"seconds": given.seconds} if given.seconds else {}
    (RECORDS / f"{given.page.stem}.json").write_text(json.dumps(content, indent=1) + "\n")
    given.page.write_text(page(report, given.title, given.commit, given.machine, picture.name, given.before))


if __name__ == "__main__":
    main()
