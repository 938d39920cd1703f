"""Labels from file names: ``python -m benchmarks.labelled FOLDER OUT.npz`` for images called ``0230_n02105855.jpg``.

Makes an ``.npz`` for models of ``--classes`` classes from a folder of images whose names begin with their class: a
tenth of them for calibration, the rest in halves, one to choose thresholds on and one to report on.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from restnet_tf.data.images import decode, fit

_CLASS = re.compile(r"\d+")
_CALIBRATING = 10  # one in so many


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, read, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", type=int, default=224, help="of the square that is cut out of the middle")
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--no-labels", action="store_true", help="leave them out: answers are then the largest model's")
    parser.add_argument("--seed", type=int, default=0, help="of the order in which images are dealt out")
    options = parser.parse_args(arguments)
    if not named(options.folder):
        raise SystemExit(f"{options.folder} has no file whose name begins with a number")
    x, y = images(options.folder, (options.size, options.size, 3), seed=options.seed)
    start = len(y) // _CALIBRATING
    middle = (start + len(y)) // 2
    parts = {"train": slice(0, start), "val": slice(start, middle), "test": slice(middle, None)}
    arrays: dict[str, Any] = {f"x_{part}": x[rows] for part, rows in parts.items()}
    if not options.no_labels:
        arrays |= {f"y_{part}": y[rows] for part, rows in parts.items()}
        arrays["class_names"] = np.array([str(number) for number in range(options.classes)])
    np.savez(options.out, **arrays)
    print(f"{options.out}: " + ", ".join(f"{len(y[rows])} {part}" for part, rows in parts.items()))


def named(folder: Path) -> list[Path]:
    """The files whose names begin with a class, by name; none where ``folder`` is none."""
    return sorted(path for path in folder.iterdir() if _CLASS.match(path.name)) if folder.is_dir() else []


def images(
    folder: Path, shape: tuple[int, ...], count: int | None = None, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Some such files, all of them without ``count``, in an order of ``seed``: ``(n, *shape)`` uint8 and classes."""
    paths = named(folder)
    order = np.random.default_rng(seed).permutation(len(paths))[:count]
    height, width, channels = shape
    x = np.stack([fit(decode(paths[i].read_bytes()), (height, width, channels)) for i in order])
    return x, np.array([_label(paths[i]) for i in order])


def _label(path: Path) -> int:
    number = _CLASS.match(path.name)
    assert number is not None  # others were left out
    return int(number[0])


if __name__ == "__main__":
    main()
