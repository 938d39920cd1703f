"""A report as one HTML page that asks nothing of a network; the tables stand in it without any script."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from html import escape
from math import isfinite
from pathlib import Path
from string import Template
from typing import Any

from restnet_tf import words
from restnet_tf.points.points import CONTROL, SHIPPED, SOURCES, STITCHED, File, OperatingPoint, Score
from restnet_tf.report import tables as reporting
from restnet_tf.report.tables import Cell, Part, Report, Table
from tflite_export.devices.measurements import KINDS, UNITS

_PAGE = Path(__file__).parent / "page"
_MIDDLES = 4  # colours for anchors between the costliest and the cheapest
_SCRIPTS = ("shared.js", "plot.js", "budget.js", "heat.js", "table.js")


def html(report: Report) -> str:
    """The whole page; equal reports give equal text."""
    scripts = "\n".join((_PAGE / name).read_text() for name in _SCRIPTS)
    return Template((_PAGE / "page.html").read_text()).substitute(
        title=escape(report.title),
        style=(_PAGE / "page.css").read_text(),
        facts="\n".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in report.facts.items()),
        command=escape(report.command),
        steps=_next(report),
        metric=escape(report.metric),
        routes="\n".join(_route(p, report) for p in report.ordered),
        tables="\n".join(_table(table, report) for table in reporting.tables(report)),
        sources=_sources(report),
        keys="\n".join(_key(role, report) for role in report.anchors),
        similarity='<a href="#similarity">Similarity</a>' if report.cka else "",
        large=escape(report.anchors.get("large", "")),
        small=escape(report.anchors.get("small", "")),
        data=_in_script(_data(report)),
        script=scripts,
    )


def _next(report: Report) -> str:
    """Commands that go on from here, for the run as the user names it."""
    run = shlex.quote(report.run)
    shipped = [p for p in report.points if p.kind == STITCHED and p.status == SHIPPED]
    steps = [
        ("Choose a file for a device", f'restnet-tf select {run} --budget "macs<={_middle(report) / 1e6:.4g}M"'),
    ]
    if report.method.reopens:
        steps.append(("Hold every file against TensorFlow's own conversion", f"restnet-tf verify {run}"))
    if shipped and report.method.reopens:
        steps.append(
            (
                "Prune a stitch between grids (needs the extra tfmot)",
                f"restnet-tf optimize {run} --point {shipped[0].name} --prune 0.5",
            )
        )
    return "\n".join(f"<li>{escape(what)}<br><code class=copy>{escape(command)}</code></li>" for what, command in steps)


def _middle(report: Report) -> int:
    macs = sorted(p.macs for p in report.points if p.kind != CONTROL)
    return macs[len(macs) // 2]


def _route(point: OperatingPoint, report: Report) -> str:
    """A bar as long as the point's MACs, of the anchors' pieces with the stitch between them."""
    parts = report.parts.get(point.name) or (Part(CONTROL, point.route, point.macs),)
    longest = max(p.macs for p in report.points)
    known = all(part.macs is not None for part in parts)
    shares = [part.macs if known and part.macs is not None else 1 for part in parts]
    bar = "".join(
        f'<span class="part {_colour(part.role, report)}" style="flex-grow:{share}"'
        f' title="{escape(_says(part, report))}"></span>'
        for part, share in zip(parts, shares, strict=True)
    )
    dim = " dim" if reporting.aside(point) else ""
    return (
        f'<div class="route{dim}" data-point="{escape(point.name)}"><div class=name>{escape(point.name)}'
        f"<small>{reporting.millions(point.macs)} MMACs{f', {escape(point.rung)}' if point.rung else ''}</small></div>"
        f'<div><div class=bar style="width:{100 * point.macs / longest:.2f}%">{bar}</div><ul>'
        + "".join(f'<li class="{_colour(part.role, report)}">{escape(_says(part, report))}</li>' for part in parts)
        + "</ul></div></div>"
    )


def _key(role: str, report: Report) -> str:
    """An anchor's name in its colour."""
    at = list(report.anchors).index(role)
    told = "the large anchor" if not at else "the small anchor" if at == len(report.anchors) - 1 else ""
    words = ", ".join(w for w in (report.anchors[role], told) if w)
    return f'<span class="key {_colour(role, report)}">{escape(words)}</span>'


def _colour(role: str, report: Report) -> str:
    """The class of an anchor's parts: of the costliest, the cheapest, or one of those between; of others their own."""
    if role not in report.anchors:
        return role
    at, last = list(report.anchors).index(role), len(report.anchors) - 1
    return "large" if not at else "small" if at == last else f"middle{(at - 1) % _MIDDLES}"


def _says(part: Part, report: Report) -> str:
    name = report.anchors.get(part.role, "" if part.role == CONTROL else part.role)
    macs = "MACs not known" if part.macs is None else f"{reporting.millions(part.macs)} MMACs"
    return ", ".join(words for words in (f"{name} {part.text}".strip(), macs, part.note) if words)


def _table(table: Table, report: Report) -> str:
    heads = "".join(
        f'<th scope=col{" class=n" if column.source else ""} title="{escape(column.source or column.head)}">'
        f"{escape(column.head)}</th>"
        for column in table.columns
    )
    dim = {p.name for p in report.points if reporting.aside(p)}
    rows = "\n".join(
        f'<tr data-point="{escape(str(row[0].value))}"{" class=dim" if row[0].value in dim else ""}>'
        f"<th scope=row>{escape(row[0].text)}</th>{''.join(_cell(cell) for cell in row[1:])}</tr>"
        for row in table.rows
    )
    return (
        f'<section id="{table.key}"><h2>{escape(table.title)}</h2><p class=note>{escape(table.note)}</p>'
        f'<div class=scroll tabindex=0 role=region aria-label="{escape(table.title)}"><table><thead><tr>{heads}'
        f"</tr></thead><tbody>\n{rows}\n</tbody></table></div></section>"
    )


def _cell(cell: Cell) -> str:
    if isinstance(cell.value, float | int):
        return f'<td class=n data-value="{cell.value!r}">{escape(cell.text)}</td>'
    return f"<td>{escape(cell.text)}</td>"


def _sources(report: Report) -> str:
    """The commands once each, the figures that each made below it."""
    groups: dict[str, list[str]] = {}
    for figure, source, command in reporting.sources(report):
        groups.setdefault(command, []).append(f"<tr><td>{escape(figure)}</td><td>{escape(source)}</td></tr>")
    return "\n".join(
        f"<p>By <code>{escape(command)}</code></p><div class=scroll><table><thead><tr><th scope=col>figure</th>"
        f"<th scope=col>source</th></tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
        for command, rows in groups.items()
    )


def _data(report: Report) -> dict[str, Any]:
    """What the script draws from: plain figures in base units."""
    reasons = list(dict.fromkeys(pair.reason for pair in report.pairs))
    return {
        "run": shlex.quote(report.run),
        "metric": report.metric,
        "loss": [report.method.loss, report.method.of],
        "ran": report.method.ran,
        "anchors": dict(report.anchors),
        "sources": SOURCES | {"keras": f"{report.method.ran} on the test split"},
        "kinds": KINDS,
        "units": UNITS,
        # In the order of the record: of equal choices the first one is taken.
        "points": [_point(p, report) for p in report.points],
        "measurements": [
            {k: v for k, v in asdict(m).items() if k not in ("repeats", "sha256")} for m in report.measurements
        ],
        "cuts": {role: list(names) for role, names in report.cuts.items()},
        "cka": [[_short(value) for value in row] for row in report.cka],
        "reasons": reasons,
        "pairs": [
            [p.name, p.front, p.large, p.small, p.macs, _short(p.r2), _short(p.kl), p.status, reasons.index(p.reason)]
            for p in report.pairs
        ],
    }


def _point(p: OperatingPoint, report: Report) -> dict[str, Any]:
    return {
        "name": p.name,
        "kind": p.kind,
        "standing": reporting.standing(p),
        "reason": words.sentence(p.reason),
        "shipped": p.kind != CONTROL and p.status == SHIPPED,
        "route": p.route,
        "rung": p.rung,
        "macs": p.macs,
        "params": p.params,
        "unshared": p.unshared_params,
        "keras": _score(p.test) | {"rank": p.rank.value, "kl": p.test.kl, "agreement": p.test.agreement},
        # By name, as `restnet-tf select` goes through them.
        "files": {name: _file(f) for name, f in sorted(p.files.items())},
        "parts": [_says(part, report) for part in report.parts.get(p.name, ())],
    }


def _file(f: File) -> dict[str, Any]:
    figures = {"flash": f.flash_bytes, "ram": f.arena_bytes, "latency": f.latency_median_us, "p90": f.latency_p90_us}
    tool = f"{f.tool}, {f.threads} thread{'s' if f.threads > 1 else ''}"
    return _score(f.test) | figures | {"rank": f.rank.value, "tool": tool, "path": f.path}


def _score(score: Score) -> dict[str, Any]:
    low, high = score.interval
    return {"score": score.value, "low": low, "high": high, "n": score.n}


def _short(value: float | None) -> float | None:
    return None if value is None or not isfinite(value) else round(value, 4)


def _in_script(data: dict[str, Any]) -> str:
    """JSON that cannot end the script element that it stands in, nor open a comment there."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)  # ASCII, so no line separators either
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
