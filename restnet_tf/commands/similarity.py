"""The CKA of two anchors' cuts, as a picture and a matrix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from restnet_tf import atomic
from restnet_tf.family import first_looks, opening
from restnet_tf.methods.restnet import method
from restnet_tf.methods.restnet.options import ROLES, Options
from restnet_tf.progress import Reporter
from restnet_tf.report import plots
from restnet_tf.similarity import matrix


def write(out: Path, report: Reporter, **options: Any) -> tuple[Path, Path]:
    """Write the CKA matrix of two anchors as ``out.png`` and ``out.npz``; returns both paths.

    ``options`` are those of ``build`` that name the anchors and the data. Raises ``RestnetError`` where these cannot
    be used, and where ``out`` cannot be written.
    """
    atomic.check_writable(out.parent)
    chosen = Options(**options)
    images = opening.images(chosen, report)
    models = {role: (model := method.model(chosen, role), model.load()) for role in ROLES}
    orders = opening.class_orders(models, images)
    models = {role: (model, opening.ordered(a, orders[role], images)) for role, (model, a) in models.items()}
    impressions = first_looks.of_anchors(models, images)
    first_looks.say(impressions, report)
    first_looks.judge(impressions, first_looks.BY_ROLE, chosen.anyway, report)
    large, small = (models[role][1] for role in ROLES)
    report.stage("similarity of all pairs of cuts")
    alike = matrix.similarity(large, small, images.fit.head(matrix.IMAGES), progress=report.progress)
    names = {role: [cut.name for cut in cuts] for role, cuts in zip(ROLES, alike.cuts, strict=True)}
    title = f"{large.name} against {small.name}, {alike.n} {images.kind.many} of {images.name}"
    picture, table = out.with_name(f"{out.name}.png"), out.with_name(f"{out.name}.npz")
    atomic.write_bytes(picture, plots.heat_map(alike.cka, names["large"], names["small"], title))
    arrays = {"cka": alike.cka, "n": alike.n, "batch": alike.batch}
    atomic.write_npz(table, arrays | {role: np.array(names[role]) for role in ROLES})
    return picture, table
