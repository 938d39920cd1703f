"""What files say of the operating points in them, for the programs that run them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from restnet_tf.points.points import SOURCES, Cascade, Dial, File, OperatingPoint, Score, mean_cost
from tflite_export import inputs


def elastic(points: Iterable[OperatingPoint], precision: str, meta: Mapping[str, Any]) -> dict[str, Any]:
    """What an elastic file says of its points: plain figures, each with its source in ``sources``."""
    entries = []
    for p in points:
        file = p.files[precision]
        measured = {
            "flash": file.flash_bytes,
            "ram": file.arena_bytes,
            "latency": round(file.latency_median_us, 3),
            "latency_tool": file.tool,
            "latency_threads": file.threads,
        }
        entries.append(_entry(p, file.rank, file.test) | measured | _of_cascade(p, file))
    return _whole(entries, precision, meta)


def own(
    point: OperatingPoint, dial: Dial, scores: tuple[Score, Score], precision: str, meta: Mapping[str, Any]
) -> dict[str, Any]:
    """What a cascade's own file says of itself: nothing that another machine would measure otherwise."""
    assert point.cascade is not None
    staged = {
        "mean_macs": round(mean_cost(point.cascade.macs, dial.rank_reach)),
        "cascade": _cascade_entry(point.cascade, dial),
    }
    return _whole([_entry(point, *scores) | staged], precision, meta)


def _whole(entries: Sequence[Mapping[str, Any]], precision: str, meta: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "format": 1,
        "precision": precision,
        "metric": meta["metric"],
        "labels": meta["class_names"],
        **inputs.note(inputs.noted(meta)),
        "sources": SOURCES,
        "points": list(entries),
    }


def _entry(point: OperatingPoint, rank: Score, test: Score) -> dict[str, Any]:
    """What is known of a point without running its file anywhere but in the interpreter."""
    return {
        "name": point.name,
        "kind": point.kind,
        "route": point.route,
        "macs": point.macs,
        "params": point.params,
        "score": round(test.value, 6),
        "score_images": test.n,
        "rank_score": round(rank.value, 6),
        "rank_images": rank.n,
    }


def _of_cascade(point: OperatingPoint, file: File) -> dict[str, Any]:
    """What only a cascade has to say: its means, and itself with the time that each stage adds; nothing of others."""
    if point.cascade is None or file.dial is None:
        return {}
    # Medians of stages that take next to no time may lie the wrong way round.
    added = [round(max(0.0, float(us)), 3) for us in np.diff(file.dial.latencies_us, prepend=0.0)]
    return {
        "mean_macs": round(mean_cost(point.cascade.macs, file.dial.rank_reach)),
        "mean_latency": round(file.mean_latency_us, 3),
        "cascade": _cascade_entry(point.cascade, file.dial) | {"latency": added},
    }


def _cascade_entry(cascade: Cascade, dial: Dial) -> dict[str, Any]:
    """A cascade as files tell of it: how it is set, and what each place of its dial gives on the rank split."""
    return {
        "stages": list(cascade.stages),
        "confidence": cascade.confidence,
        "thresholds": list(dial.thresholds),
        "macs": list(cascade.macs),
        "reach": list(dial.rank_reach),
        "curve": [
            {"thresholds": list(s.thresholds), "reach": list(s.rank_reach), "score": round(s.rank.value, 6)}
            for s in dial.curve
        ],
    }
