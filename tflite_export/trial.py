"""What firmware is tried with before it is measured: a few inputs, and what the files answer to them on the host.

The text is a C++ header for the harness beside an exported array's own (``carray.py``); no app needs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tflite_export import carray

# How far raw scores may lie from the host's, in steps of the output's scale; of floats the share of the largest.
_STEPS = {"int8": 2, "uint8": 2, "int16": 32}
_FLOATS = 1e-4
_LINE = 24
_NONE = -1


@dataclass(frozen=True)
class HostAnswers:
    """One network of an array: whose figures it gives, where it begins, and its answers ``(n, classes)`` to inputs.

    ``floor`` is the smallest arena that firmware tries, below which it may crash.
    """

    file: str
    sha256: str
    inputs: np.ndarray = field(repr=False)
    scores: np.ndarray = field(repr=False)
    floor: int
    offset: int = 0
    choice: int | None = None  # of a router


def source(stem: str, trials: Sequence[HostAnswers]) -> dict[str, str]:
    """``STEM_trial.h``."""
    name = carray.identifier(stem)
    arrays: dict[bytes, str] = {}
    entries = "".join(_entry(trial, arrays) for trial in trials)
    listed = "".join(
        f"alignas(16) inline constexpr unsigned char {array}[] = {{\n{_lines(data)}}};\n"
        for data, array in arrays.items()
    )
    count, worst = min(len(trial.inputs) for trial in trials), max(_tolerance(trial.scores) for trial in trials)
    text = (
        "// Made by restnet-tf for its harness; do not edit.\n"
        "// Inputs, and what they gave in TensorFlow Lite Micro on the host that made this.\n"
        f"#ifndef TRIAL_{name.upper()}_H_\n#define TRIAL_{name.upper()}_H_\n\n"
        f'#include <cstddef>\n\n#include "{name}.h"\n#include "{name}_resolver.h"\n\nnamespace trial {{\n\n'
        f"constexpr const unsigned char* kArray = model_{name};\n"
        f"constexpr unsigned int kOperators = model_{name}_operators;\n"
        "template <class Resolver>\n"
        f"inline bool AddOperators(Resolver& resolver) {{ return model_{name}_add_operators(resolver); }}\n\n"
        f"constexpr std::size_t kInputs = {count};\n"
        f"constexpr double kTolerance = {worst!r};\n\n{listed}\n"
        "struct Entry {\n  const char* file;\n  const char* sha256;\n"
        "  std::size_t offset;\n  std::size_t floor;\n  int choice;\n"
        "  const unsigned char* inputs;\n  std::size_t input_bytes;\n"
        "  const unsigned char* scores;\n  std::size_t score_bytes;\n};\n"
        f"inline constexpr Entry kEntries[] = {{\n{entries}}};\n"
        f"constexpr std::size_t kCount = {len(trials)};\n\n}}  // namespace trial\n\n#endif\n"
    )
    return {f"{name}_trial.h": text}


def _entry(trial: HostAnswers, arrays: dict[bytes, str]) -> str:
    inputs, scores = (_array(values, arrays) for values in (trial.inputs, trial.scores))
    choice = _NONE if trial.choice is None else trial.choice
    takes, gives = (values.nbytes // len(values) for values in (trial.inputs, trial.scores))
    numbers = f"{trial.offset}, {trial.floor}, {choice}, {inputs}, {takes}, {scores}, {gives}"
    return f'    {{"{trial.file}", "{trial.sha256}", {numbers}}},\n'


def _array(values: np.ndarray, arrays: dict[bytes, str]) -> str:
    """The name of these bytes; equal ones are there once."""
    return arrays.setdefault(np.ascontiguousarray(values).tobytes(), f"kBytes{len(arrays)}")


def _lines(data: bytes) -> str:
    rows = (data[i : i + _LINE] for i in range(0, len(data), _LINE))
    return "".join(f"    {''.join(f'{value},' for value in row)}\n" for row in rows)


def _tolerance(scores: np.ndarray) -> float:
    if scores.dtype.kind == "f":
        return _FLOATS * float(np.abs(scores).max())
    return float(_STEPS.get(scores.dtype.name, 2))
