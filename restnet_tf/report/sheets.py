"""The tables of a report as text: Markdown for a README or an issue, CSV for everything else."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from restnet_tf import words
from restnet_tf.points.points import File, OperatingPoint
from restnet_tf.report import tables as reporting
from restnet_tf.report.tables import Report, Table
from tflite_export.devices.measurements import KINDS, UNITS

_BASE = {"bytes": "bytes", "time": "us", "count": "count"}


def markdown(report: Report) -> str:
    """All tables with units; what each column's figures are stands below it."""
    facts = [f"- {_plain(name)}: {_plain(value)}" for name, value in report.facts.items()]
    parts = [f"# {_plain(report.title)}\n", "\n".join(facts), f"\nBuilt by\n\n    {_line(report.command)}"]
    parts += [_section(table) for table in reporting.tables(report)]
    return "\n".join(parts) + "\n"


def as_csv(report: Report) -> str:
    """One row a point and precision (one without a precision where a point has no file), units in the heads."""
    heads = list(dict.fromkeys(_head(m) for m in report.measurements))
    rungs = list(dict.fromkeys(step for known in report.ladders.values() for step in known.steps))
    measured = {(m.point, m.precision, _head(m)): m.value for m in report.measurements}
    rows = []
    for point in report.ordered:
        ladder = report.ladders[point.name].steps if point.name in report.ladders else {}
        # What was measured on a file counts, even where points.json has forgotten the file since.
        known = {m.precision for m in report.measurements if m.point == point.name} | set(point.files)
        for precision in sorted(known) or [""]:
            row = _network(point) | _file(point.files.get(precision), precision)
            row |= {f"rank_kl_{step.replace(' ', '_')}_nats": ladder.get(step) for step in rungs}
            row |= {head: measured.get((point.name, precision, head)) for head in heads}
            rows.append(row)
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _network(p: OperatingPoint) -> dict[str, Any]:
    low, high = p.test.interval
    return {
        "point": p.name,
        "kind": p.kind,
        "status": p.status,
        "reason": words.sentence(p.reason),
        "route": p.route,
        "rung": p.rung,
        "macs_count": p.macs,
        "params_count": p.params,
        "unshared_params_count": p.unshared_params,
        "test_images_count": p.test.n,
        "rank_images_count": p.rank.n,
        "keras_test_score_share": p.test.value,
        "keras_test_score_low95_share": low,
        "keras_test_score_high95_share": high,
        "keras_rank_score_share": p.rank.value,
        "keras_test_agreement_share": p.test.agreement,
        "keras_test_kl_nats": p.test.kl,
    }


def _file(file: File | None, precision: str) -> dict[str, Any]:
    low, high = file.test.interval if file else (None, None)
    return {
        "precision": precision,
        "file": file.path if file else "",
        "sha256": file.sha256 if file else "",
        "interpreter_test_score_share": file.test.value if file else None,
        "interpreter_test_score_low95_share": low,
        "interpreter_test_score_high95_share": high,
        "interpreter_rank_score_share": file.rank.value if file else None,
        "flash_bytes": file.flash_bytes if file else None,
        "arena_planned_bytes": file.arena_bytes if file else None,
        "host_latency_median_us": file.latency_median_us if file else None,
        "host_latency_p90_us": file.latency_p90_us if file else None,
        "host_threads_count": file.threads if file else None,
        "host_tool": file.tool if file else "",
    }


def _head(m: Any) -> str:
    return f"{m.device} {m.figure}_{_BASE[UNITS[m.figure]]} ({KINDS[m.kind]} by {m.tool})"


def _section(table: Table) -> str:
    heads = [_plain(column.head) for column in table.columns]
    numeric = [bool(column.source) for column in table.columns]
    lines = [_row(heads), _row("---:" if right else "---" for right in numeric)]
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
