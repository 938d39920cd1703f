"""What a harness printed on a device: one line of JSON a file, between whatever else the line carried."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tflite_export.errors import TfliteError

# What is copied to devices: installed beside this file, in the source among the benchmarks.
_HERE = Path(__file__).resolve()
HARNESS = next(p for p in (_HERE.with_name("harness"), _HERE.parents[2] / "benchmarks" / "harness") if p.is_dir())


def lines(path: Path, harness: str) -> list[dict[str, Any]]:
    """The records of one harness in a capture, its last line not among them.

    Raises ``TfliteError`` where it cannot be read, holds none, has a damaged one or ends in the middle.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise TfliteError(f"cannot read {path}: {error.strerror}") from None
    entries: list[dict[str, Any]] = []
    since = 0  # lines of the capture's present part; several may stand one after the other
    for number, line in enumerate(text.splitlines(), start=1):
        start = line.find('{"harness"')
        if start < 0:
            continue
        try:
            entry = json.loads(line[start:])
        except ValueError:
            damaged = repr(line[start:][:60])
            raise TfliteError(f"{path}, line {number}: cut off or damaged: {damaged}; capture it again") from None
        if entry.get("harness") != harness:
            raise TfliteError(f"{path} is a capture of the harness {entry.get('harness')!r}, not of {harness!r}")
        if "end" not in entry:
            entries.append(entry)
            since += 1
        elif entry["end"] != since:
            raise TfliteError(
                f"{path}, line {number}: {since} lines where the harness printed {entry['end']}; some are lost"
            )
        else:
            since = 0
    if not entries:
        raise TfliteError(f"{path} holds no line of the {harness} harness")
    if since:
        raise TfliteError(f"{path} ends behind {len(entries)} lines without the harness's last one; capture it again")
    return entries
