"""Whether a run's ``points.json`` is as the published schema says, for the tests that build runs to share."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import paths

FILE = paths.ROOT / "docs" / "points.schema.json"


@cache
def _validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads(FILE.read_text()))


def faults(content: Any) -> list[str]:
    """Where a content does not fit, with what is wrong there."""
    return [f"{error.json_path}: {error.message[:200]}" for error in _validator().iter_errors(content)]


def faults_of(run: Path) -> list[str]:
    """Those of a run's file."""
    return faults(json.loads((run / "points.json").read_text()))
