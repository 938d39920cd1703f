"""The tables of a report as text: Markdown for a README or an issue, CSV for everything else."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from restnet_tf.report import figures, tables
from restnet_tf.report.contents import Report
from restnet_tf.report.figure import CSV, FILE, POINT, Figure, Line
from restnet_tf.report.tables import Table


def markdown(report: Report) -> str:
    """All tables with units; what each column's figures are stands below it."""
    facts = [f"- {_plain(name)}: {_plain(value)}" for name, value in report.facts.items()]
    parts = [f"# {_plain(report.title)}\n", "\n".join(facts), f"\nBuilt by\n\n    {_line(report.command)}"]
    parts += [section(table) for table in tables.tables(report)]
    return "\n".join(parts) + "\n"


def as_csv(report: Report) -> str:
    """One row a point and precision (one without a precision where a point has no file), units in the heads."""
    columns = (
        *figures.shown(CSV, POINT),
        *(figure for figure in figures.shown(CSV, FILE) if POINT not in figure.of),
        *figures.climbed(report.ladders),
        *tables.of_devices(report.points, report.measurements),
    )
    rows = [_record(columns, line) for line in _lines(report)]
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _lines(report: Report) -> Iterable[Line]:
    for point in report.ordered:
        # What was measured on a file counts, even where points.json has forgotten the file since.
        precisions = {m.precision for m in report.measurements if m.point == point.name} | set(point.files)
        for precision in sorted(precisions) or [""]:
            yield Line(point, report.points, precision)


def _record(columns: Iterable[Figure], line: Line) -> dict[str, Any]:
    record: dict[str, Any] = {}
    for figure in columns:
        origin = f" ({figure.source})" if figure.over else ""
        values = figure.unit.spread(figure.read(line))
        record |= {f"{figure.name}{end}{origin}": value for end, value in values.items()}
    return record


def section(table: Table) -> str:
    """A table under its title; what each column is stands below it."""
    heads = [_plain(column.head) for column in table.columns]
    lines = [_row(heads), _row("---" if tables.is_words(column) else "---:" for column in table.columns)]
    lines += [_row(_plain(cell.text) for cell in row) for row in table.rows]
    sources = [f"{_plain(c.head)}: {_plain(c.source)}" for c in table.columns if c.source]
    return f"\n## {_plain(table.title)}\n\n{_plain(table.note)}\n\n" + "\n".join(lines) + _notes(sources)


def _notes(sources: Sequence[str]) -> str:
    return "\n\n" + "\n".join(f"- {source}" for source in sources)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, in one line."""
    for mark in "\\`*|[]":
        # A bracket alone makes no link, but [one](of these) does.
        text = text.replace(mark, f"\\{mark}") if mark not in "[]" else text.replace("](", "]\\(")
    return _line(text.replace("&", "&amp;").replace("<", "&lt;"))


def _line(text: str) -> str:
    return " ".join(text.split())
