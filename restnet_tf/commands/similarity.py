"""The CKA of two anchors' cuts, as a picture and a matrix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from restnet_tf import atomic
from restnet_tf.family import compute, opening
from restnet_tf.graph import cuts
from restnet_tf.methods.restnet import method
from restnet_tf.methods.restnet.options import ROLES, Options
from restnet_tf.progress import Reporter
from restnet_tf.report import plots
from restnet_tf.similarity import features


def write(out: Path, report: Reporter, **options: Any) -> tuple[Path, Path]:
    """Write the CKA matrix of two anchors as ``out.png`` and ``out.npz``; returns both paths.

    ``options`` are those of ``build`` that name the anchors and the data. Raises ``RestnetError`` where these cannot
    be used, and where ``out`` cannot be written.
    """
    atomic.check_writable(out.parent)
    chosen = Options(**options)
    images = opening.images(chosen, report)
    anchors = {role: method.model(chosen, role).load() for role in ROLES}
    cut_lists = {role: cuts.find(anchor.model) for role, anchor in anchors.items()}
    report.stage("similarity of all pairs of cuts")
    statistics = features.collect(anchors, cut_lists, images.fit.head(compute.STATISTICS_IMAGES), report.progress)
    names = {role: [cut.name for cut in cut_lists[role]] for role in ROLES}
    title = f"{anchors['large'].name} against {anchors['small'].name}, {statistics.n} images of {images.name}"
    picture, matrix = out.with_name(f"{out.name}.png"), out.with_name(f"{out.name}.npz")
    atomic.write_bytes(picture, plots.heat_map(statistics.cka, names["large"], names["small"], title))
    arrays = {"cka": statistics.cka, "n": statistics.n, "batch": statistics.batch}
    atomic.write_npz(matrix, arrays | {role: np.array(names[role]) for role in ROLES})
    return picture, matrix
