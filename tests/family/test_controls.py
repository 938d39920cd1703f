"""What points that would ship are held against: their routes behind random fronts, and their network from nothing."""

from __future__ import annotations

from typing import Any

import networks
import numpy as np
import pytest

from restnet_tf.family import controls, fits, from_scratch
from restnet_tf.graph import cuts
from restnet_tf.methods.restnet import inside, jumps, method
from restnet_tf.methods.restnet.options import Options
from restnet_tf.points.points import FROM_SCRATCH
from restnet_tf.progress import Silent
from restnet_tf.stitches import variant

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Any, Any]:
    """A family, a path that jumps twice inside its large anchor, the job that fits it, and the fits."""
    folder = tmp_path_factory.mktemp("controls")
    networks.anchor((6, 10), 4, seed=1, name="large").model.save(folder / "large.keras")
    networks.anchor((4, 6), 1, seed=2, name="small").model.save(folder / "small.keras")
    np.savez(folder / "data.npz", x=networks.images(90), y=np.arange(90) % networks.CLASSES)
    names = {role: str(folder / f"{role}.keras") for role in ("large", "small")}
    options = Options(**names, data=str(folder / "data.npz"), out=folder / "run", effort=0.001, anyway=True)
    family = method.open(options, Silent())
    family.run.create()
    path = ((1, 2), (3, 4))
    plan = jumps.plan("large", family.cut_lists["large"], path, family.costs["large"])
    train, ranked = method._caches(family, [plan])
    job = method._job(family, plan, inside.starts(family, plan, inside.solutions(family)), train, ranked)
    return family, plan, job, fits.fit(family, [job])


def test_a_path_inside_an_anchor_has_twins_whose_front_alone_is_random(fitted: Any) -> None:
    family, plan, job, fit = fitted
    twins = list(controls.twins(family, [plan], {plan.name: job}, fit))
    assert [t.name for t in twins] == [f"random-{plan.name}", f"random-{plan.name}-2", f"random-{plan.name}-3"]
    assert {t.twin_of for t in twins} == {plan.name}
    x, large = networks.images(8, seed=3), family.anchors["large"]
    saved = family.run.load_fitted(twins[1].name)
    assert saved.shares.keys() == fit[plan.name].shares.keys()
    front, middle, last = plan.route
    features = networks.forward(_until(variant.randomised(large, 1), str(front.stop)), x)
    for stitched, piece in zip(saved.stitches, (middle, last), strict=True):
        end = large.logits if piece.stop is None else cuts.tensor(large.model, str(piece.stop))
        joined = variant.stitch.build(stitched)
        features = networks.forward(
            variant.piece(large, piece.start, end, stitched.tuned), np.asarray(joined(features))
        )
    np.testing.assert_allclose(networks.forward(twins[1].model, x), features, rtol=1e-3, atol=1e-3)


def _until(anchor: Any, cut: str) -> Any:
    return variant.piece(anchor, None, cuts.tensor(anchor.model, cut), {})


def test_the_network_of_a_point_is_trained_from_nothing_and_its_anchors_stay(fitted: Any) -> None:
    family, plan, job, fit = fitted
    before = [w.copy() for w in family.anchors["large"].model.get_weights()]
    control = from_scratch.control(family, plan, job, fit[plan.name])
    assert (control.macs, control.unshared, control.twin_of) == (plan.macs, plan.params, "")
    assert control.spent > 0
    for was, now in zip(before, family.anchors["large"].model.get_weights(), strict=True):
        np.testing.assert_array_equal(was, now)
    x = networks.images(8, seed=3)
    answers = networks.forward(control.model, x)
    drawn = networks.forward(from_scratch._untaught(plan, family.anchors, fit[plan.name], 0), x)
    assert np.abs(answers - drawn).max() > 1e-3  # it has learned something
    saved = family.run.stitch_path(FROM_SCRATCH).read_bytes()
    again = from_scratch.control(family, plan, job, fit[plan.name])
    np.testing.assert_array_equal(networks.forward(again.model, x), answers)
    assert family.run.stitch_path(FROM_SCRATCH).read_bytes() == saved
