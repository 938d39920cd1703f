"""A report as one HTML page that asks nothing of a network; the tables stand in it without any script."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from restnet_tf.points.points import CONTROL, OperatingPoint
from restnet_tf.report import advice, contents, pagedata, savings, tables, units
from restnet_tf.report.contents import STAGE, Report, RoutePart

_PAGE = Path(__file__).parent / "page"
_MIDDLES = 4  # colours for anchors between the costliest and the cheapest
_SCRIPTS = ("shared.js", "plot.js", "dial.js", "budget.js", "heat.js", "table.js")


def html(report: Report) -> str:
    """The whole page; equal reports give equal text."""
    return _environment().get_template("page.html").render(
        report=report,
        style=_own("page.css"),
        script=Markup("\n").join(_own(name) for name in _SCRIPTS),
        steps=advice.of(report),
        keys=[{"colour": _colour(role, report), "words": _key(role, report)} for role in report.anchors],
        routes=[_route(p, report) for p in report.ordered],
        tables=tables.tables(report),
        cascades=savings.shipped(report.points),
        examples={name: b64encode(picture).decode() for name, picture in report.examples.items()},
        dimmed={p.name for p in report.points if contents.aside(p)},
        sources=_sources(report),
        data=pagedata.data(report),
    )  # fmt: skip


def _environment() -> Environment:
    """Escapes whatever is put into the page, but for what is marked as ours."""
    environment = Environment(
        loader=FileSystemLoader(_PAGE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    # JSON that can neither end the script element that it stands in nor open a comment there, in our order.
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    environment.tests["words"] = tables.is_words
    environment.tests["figure"] = lambda value: isinstance(value, float | int)
    return environment


def _own(name: str) -> Markup:
    return Markup((_PAGE / name).read_text(encoding="utf-8"))  # no text of a user is in it


def _route(point: OperatingPoint, report: Report) -> dict[str, Any]:
    """A bar as long as the point's MACs, of the anchors' pieces with the stitch between them."""
    parts = report.parts.get(point.name) or (RoutePart(CONTROL, point.route, point.macs),)
    longest = max(p.mean_macs for p in report.points)
    counted = all(part.macs is not None for part in parts)
    return {
        "point": point,
        "macs": _costs(point),
        "dim": contents.aside(point),
        "width": f"{100 * point.mean_macs / longest:.2f}",
        "parts": [_part(part, counted, report) for part in parts],
    }


def _costs(point: OperatingPoint) -> str:
    if point.cascade is None:
        return f"{units.millions(point.macs)} MMACs"
    return f"{units.millions(point.mean_macs)} MMACs on average, {units.millions(point.macs)} at worst"


def _part(part: RoutePart, counted: bool, report: Report) -> dict[str, Any]:
    """A part as long as what it adds to the point's mean MACs; all alike where these are not known."""
    share = (part.macs or 0) * part.reach if counted else 1
    return {"colour": _colour(part.role, report), "share": share, "words": _says(part, report)}


def _key(role: str, report: Report) -> str:
    """An anchor's name, and which it is."""
    at = list(report.anchors).index(role)
    place = "the large anchor" if not at else "the small anchor" if at == len(report.anchors) - 1 else ""
    return ", ".join(w for w in (report.anchors[role], place) if w)


def _colour(role: str, report: Report) -> str:
    """The class of an anchor's parts: of the costliest, the cheapest, or one of those between; of others their own."""
    if role not in report.anchors:
        return role
    at, last = list(report.anchors).index(role), len(report.anchors) - 1
    return "large" if not at else "small" if at == last else f"middle{(at - 1) % _MIDDLES}"


def _says(part: RoutePart, report: Report) -> str:
    name = report.anchors.get(part.role, "" if part.role in (CONTROL, STAGE) else part.role)
    macs = "MACs not known" if part.macs is None else f"{units.millions(part.macs)} MMACs"
    return ", ".join(words for words in (f"{name} {part.text}".strip(), macs, part.note) if words)


def _sources(report: Report) -> dict[str, list[tuple[str, str]]]:
    """The figures and their sources, by the command that made them."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for figure, source, command in tables.sources(report):
        groups.setdefault(command, []).append((figure, source))
    return groups
