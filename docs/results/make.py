"""Makes a page of results from a finished run, so that no number on it is typed by hand:

python docs/results/make.py RUN docs/results/NAME.md --title "ResNet-56 with ResNet-8" --commit COMMIT \
  --machine "two server cores, beside other work"

It writes the page and its picture, ``docs/pictures/NAME.png``.
"""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Container, Sequence
from dataclasses import replace
from pathlib import Path

from restnet_tf.commands.report import gather
from restnet_tf.report import plots, sheets, tables
from restnet_tf.report.contents import Report
from restnet_tf.run.directory import Run

PICTURES = Path(__file__).resolve().parents[1] / "pictures"
# What a page leaves out of the tables, by the names of the figures: report.md of the run has all.
LEFT_OUT = {
    "points": {"keras_rank_score", "rank_goes_on", "thresholds", "mean_macs", "params", "unshared_params"},
    "cascades": {"mean_macs"},
    "files": {
        *("interpreter_rank_score", "rank_goes_on_in_file", "thresholds_of_file"),
        *("mean_host_latency", "host_latency_p90", "run_by"),
    },
}
FACTS = {"settings", "versions", "training", "finished", "elastic files", "from the chord, on average", "compute saved"}


def page(report: Report, title: str, commit: str, machine: str, picture: str) -> str:
    """The page as Markdown; ``picture`` is the name of the picture's file."""
    facts = {**report.facts, "commit": commit, "machine": machine}
    parts = [
        f"# {title}",
        f"![Score against MACs of the points, the chord and the cascades](../pictures/{picture})",
        f"Built by\n\n    {command(report.build)}",
        "\n".join(f"- {name}: {value}" for name, value in facts.items() if name in FACTS | {"commit", "machine"}),
        *(sheets.section(without(table, LEFT_OUT.get(table.key, ()))).strip() for table in tables.tables(report)),
        "`docs/results/make.py` made this page from the run.",
    ]
    return "\n\n".join(parts) + "\n"


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
    given = parser.parse_args()
    report = gather(Run(given.run))
    picture = PICTURES / f"{given.page.stem}.png"
    picture.write_bytes(plots.by_macs(report.points, given.title, report.metric, report.method.one))
    given.page.write_text(page(report, given.title, given.commit, given.machine, picture.name))


if __name__ == "__main__":
    main()
