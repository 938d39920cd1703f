"""Fits and closed-form maps as named arrays, which is how the run directory keeps them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from restnet_tf.fitting.results import Fitted, RungResult
from restnet_tf.records import Layout, Stitch
from restnet_tf.stitches.step import Solution


def solution_arrays(stem: str, solution: Solution) -> dict[str, Any]:
    """A closed-form map as arrays whose names begin alike."""
    arrays = {f"{stem}.kernel": solution.kernel, f"{stem}.bias": solution.bias, f"{stem}.r2": solution.r2}
    if solution.pooled is not None:
        arrays |= {f"{stem}.class_kernel": solution.pooled[0], f"{stem}.class_bias": solution.pooled[1]}
    return arrays


def solutions(arrays: Any) -> dict[str, Solution]:
    """All closed-form maps of a file, by what their arrays' names begin with."""
    solutions = {}
    for stem in (name.removesuffix(".r2") for name in arrays.files if name.endswith(".r2")):
        pooled = None
        if f"{stem}.class_kernel" in arrays:
            pooled = arrays[f"{stem}.class_kernel"], arrays[f"{stem}.class_bias"]
        solutions[stem] = Solution(
            arrays[f"{stem}.kernel"], arrays[f"{stem}.bias"], float(arrays[f"{stem}.r2"]), pooled
        )
    return solutions


def fit_arrays(fitted: Fitted) -> dict[str, Any]:
    """A fit as arrays."""
    meta: dict[str, Any] = {name: getattr(fitted, name) for name in ("rung", "kl", "closed_form_kl", "settled")}
    meta |= {"origin": fitted.origin} if fitted.origin else {}
    meta |= {"rungs": [asdict(r) for r in fitted.rungs], "stitches": []}
    arrays: dict[str, Any] = {}
    for joint, stitch in enumerate(fitted.stitches):
        ends = {"source": asdict(stitch.source), "target": asdict(stitch.target), "clamp": stitch.clamp}
        meta["stitches"].append(ends)
        values = {"kernel": stitch.kernel, "bias": stitch.bias, **stitch.parts}
        values |= {f"tuned:{path}": value for path, value in stitch.tuned.items()}
        arrays |= {f"{joint}:{name}": value for name, value in values.items()}
    return {"meta": np.array(json.dumps(meta)), **arrays}


def fit(arrays: Any) -> Fitted:
    """What ``fit_arrays`` made."""
    meta = json.loads(str(arrays["meta"]))
    *before, last = (_stitch(ends, arrays, f"{joint}:") for joint, ends in enumerate(meta.pop("stitches")))
    rungs = tuple(RungResult(**r) for r in meta.pop("rungs"))
    return Fitted(stitch=last, before=tuple(before), rungs=rungs, **meta)


def _stitch(ends: Mapping[str, Any], arrays: Any, prefix: str) -> Stitch:
    """One stitch of a file of them; its arrays' names begin alike."""
    names = [name.removeprefix(prefix) for name in arrays.files if name.startswith(prefix)]
    parts = {name: arrays[prefix + name] for name in names if not name.startswith("tuned:")}
    tuned = {name.removeprefix("tuned:"): arrays[prefix + name] for name in names if name.startswith("tuned:")}
    source, target = (_layout(ends[end]) for end in ("source", "target"))
    return Stitch(parts.pop("kernel"), parts.pop("bias"), source, target, tuple(ends["clamp"]), parts, tuned)


def _layout(entry: Mapping[str, Any]) -> Layout:
    return Layout(tuple(entry["shape"]), tuple(entry["grid"]) if entry["grid"] else None)
