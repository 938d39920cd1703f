"""The JSON Schema of ``points.json``, made from the types of its records: what reads a run elsewhere can rely on it."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints

from restnet_tf.points import points
from restnet_tf.points.points import OperatingPoint
from restnet_tf.records import FACTS, Reason

_PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
_WORDS = {"type": "object", "additionalProperties": {"type": "string"}}


def points_file() -> dict[str, Any]:
    """The schema of the whole file, in draft 2020-12; a method may note more beside the points."""
    records: dict[str, Any] = {}
    listed = _of(tuple[OperatingPoint, ...], records)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "points.json of restnet-tf",
        "description": "Operating points of a run: what each costs and scores, and the file that holds it."
        " Sizes in bytes, times in microseconds, costs in multiply-accumulates and parameters, shares from 0 to 1.",
        "type": "object",
        "required": ["format", "anchors", "data", "metric", "points"],
        "properties": {
            "format": {"const": points.FORMAT},
            "anchors": {"description": "Names of the models by role.", **_WORDS},
            "data": {"type": "string"},
            "test_sha256": {
                "type": "string",
                "description": "Of the test split: its images, labels and class names, in order.",
            },
            "metric": {"enum": ["accuracy", "agreement"], "description": "What scores count."},
            "class_names": {"type": ["array", "null"], "items": {"type": "string"}},
            "versions": _WORDS,
            "training_macs": {"type": "integer"},
            "distilling_macs": {"type": "integer"},
            "points": listed,
        },
        "$defs": dict(sorted(records.items())),
    }


def _of(kind: Any, records: dict[str, Any]) -> dict[str, Any]:
    """The schema of values of a type; those of records are collected by their names."""
    if kind in _PLAIN:
        return {"type": _PLAIN[kind]}
    if is_dataclass(kind):
        return _record(kind, records)
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return {"anyOf": [_of(one, records) for one in inner]}
    if origin in (Mapping, dict):
        return {"type": "object", "additionalProperties": _of(inner[1], records)}
    if origin is tuple and inner[-1] is Ellipsis:
        return {"type": "array", "items": _of(inner[0], records)}
    if origin is tuple:
        places = [_of(one, records) for one in inner]
        return {"type": "array", "prefixItems": places, "minItems": len(places), "maxItems": len(places)}
    raise TypeError(f"points.json holds no {kind}")


def _record(kind: Any, records: dict[str, Any]) -> dict[str, Any]:
    name = kind.__name__
    if name not in records:
        records[name] = {}  # a record may hold others of its kind
        hints = get_type_hints(kind)
        whole = {
            "description": _told(kind),
            "type": "object",
            "required": [one.name for one in fields(kind) if _required(one)],
            "properties": {one.name: _of(hints[one.name], records) for one in fields(kind)},
            "additionalProperties": False,
        }
        records[name] = _reason(whole) if kind is Reason else whole
    return {"$ref": f"#/$defs/{name}"}


def _reason(whole: dict[str, Any]) -> dict[str, Any]:
    """A reason is a code with its facts, or a person's own words."""
    properties = {**whole["properties"], "code": {"enum": list(FACTS)}}
    return {"anyOf": [{"type": "string"}, {**whole, "properties": properties}]}


def _required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _told(kind: Any) -> str:
    """What a record is, in one paragraph, without the marks of code."""
    return " ".join((kind.__doc__ or "").replace("``", "").split())
