"""Writes the schema of points.json beside the pages: python docs/schema.py."""

from __future__ import annotations

import json
from pathlib import Path

from restnet_tf.points import json_schema

PATH = Path(__file__).resolve().parent / "points.schema.json"


def text() -> str:
    """The schema as a file that a person can read."""
    return json.dumps(json_schema.points_file(), indent=1) + "\n"


if __name__ == "__main__":
    PATH.write_text(text())
