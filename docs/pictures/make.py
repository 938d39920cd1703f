"""Makes the picture of the first page from a finished run:

restnet-tf cascade resnet8.keras resnet56.keras --data cifar10_subset.npz --out runs/two
python docs/pictures/make.py runs/two docs/pictures/cascades.png
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import restnet_tf
from restnet_tf.points.points import ANCHOR, OperatingPoint
from restnet_tf.report import plots


def main(run: str, picture: str) -> None:
    """Draw RUN's points under the names of their models; ``picture`` is the PNG to write."""
    points = restnet_tf.open_run(run).points
    Path(picture).write_bytes(plots.by_macs(named(points), "one file, two networks, a dial: CIFAR-10", "accuracy"))


def named(points: tuple[OperatingPoint, ...]) -> list[OperatingPoint]:
    """Points by the names of their models, where a run says small and large."""
    models = {p.name: p.route for p in points if p.kind == ANCHOR}
    return [replace(p, name=">".join(models.get(stage, stage) for stage in p.name.split(">"))) for p in points]


if __name__ == "__main__":
    main(*sys.argv[1:])
