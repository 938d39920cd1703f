"""What is added to a finished run: a point that was made from another goes by that one's route."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from restnet_tf.family import additions
from restnet_tf.fitting.results import Fitted
from restnet_tf.records import Layout, Piece, Plan, Stitch
from restnet_tf.run import plans_file
from restnet_tf.run.directory import Run

PLAN = Plan("L1-S0", (Piece("large", None, "a"), Piece("small", "b", None)), 9, 9, 0.5, 0.5, None, "chosen")
END = Layout((1, 1, 1))
FITTED = Fitted(Stitch(np.ones((1, 1), "f4"), np.zeros(1, "f4"), END, END, (None, None)), "norm", 0.2, 0.5, ())


def test_an_optimised_point_has_the_plan_of_what_it_came_from_whatever_it_is_called(tmp_path: Path) -> None:
    run = Run(tmp_path)
    plans_file.write_plans(
        run.plans_path, [PLAN, replace(PLAN, name="L2.S0"), replace(PLAN, name="out", status="rejected")]
    )
    for name, origin in (("L1-S0", ""), ("half", "L1-S0"), ("L2.S0", ""), ("L1-S0.gone", "L9-S9"), ("out", "")):
        run.save_fitted(name, replace(FITTED, origin=origin))
    family: Any = SimpleNamespace(run=run)
    members = additions.members(family)
    assert {name: plan.name for name, plan in members.plans.items()} == {n: n for n in ("L1-S0", "half", "L2.S0")}
    assert members.plans["half"] == replace(PLAN, name="half")
    assert set(members.fitted) == {"L1-S0", "half", "L2.S0", "L1-S0.gone", "out"}
