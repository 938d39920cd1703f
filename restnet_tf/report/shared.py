"""What the elastic files take, in sentences: each as a multiple of the anchors' own files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def sentences(meta: Mapping[str, Any]) -> list[str]:
    """A sentence for each precision; nothing of a run that kept no sizes. ``meta`` is that of its ``points.json``."""
    return [_sentence(precision, sizes) for precision, sizes in meta.get("elastic", {}).items() if sizes["anchors"]]


def _sentence(precision: str, sizes: Mapping[str, Any]) -> str:
    times, left_out = sizes["bytes"] / sizes["anchors"], sizes["left_out"]
    told = f"elastic.{precision}.tflite has {times:.2f} times the bytes of the anchors' files"
    return f"{told}; left out of it for their size: {', '.join(left_out)}" if left_out else told
