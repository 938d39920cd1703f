"""What points that would ship are held against: their routes behind random fronts, and their network from nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras
import networks
import numpy as np
import pytest

from restnet_tf.family import compute, controls, fits, from_scratch
from restnet_tf.fitting import ladder, scratch
from restnet_tf.fitting.examples import Examples
from restnet_tf.graph import batches, costs, cuts
from restnet_tf.methods.restnet import jumps, method, outlook, routes
from restnet_tf.methods.restnet.options import Options
from restnet_tf.points.points import FROM_SCRATCH
from restnet_tf.progress import Silent
from restnet_tf.stitches import variant

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, dict[str, Any], dict[str, Any], Any]:
    """A family, a path that jumps twice inside its large anchor and one that exits, their jobs, and the fits."""
    folder = tmp_path_factory.mktemp("controls")
    networks.anchor((6, 10), 2, convolutions=1, seed=1, name="large").model.save(folder / "large.keras")
    networks.anchor((4, 6), 1, convolutions=1, seed=2, name="small").model.save(folder / "small.keras")
    np.savez(folder / "data.npz", x=networks.images(90), y=np.arange(90) % networks.CLASSES)
    names = {role: str(folder / f"{role}.keras") for role in ("large", "small")}
    options = Options(**names, data=str(folder / "data.npz"), out=folder / "run", effort=0.001, anyway=True, jumps=True)
    family = method.open(options, Silent())
    with family.run.opened({}):
        ways = routes.of(family)
    inside = [(("large", 1), ("large", 2)), (("large", 3), ("large", 4))]
    out = [(("large", 2), ("large", len(family.cut_lists["large"])))]
    plans = {kind: jumps.plan(tuple(p), family.places, family.costs) for kind, p in (("inside", inside), ("out", out))}
    train, ranked = method._caches(family, list(plans.values()))
    jobs = {p.name: method._job(family, p, ways.starts(p), train, ranked) for p in plans.values()}
    return family, plans, jobs, fits.fit(family, list(jobs.values()))


@pytest.fixture(scope="module")
def fitted(built: Any) -> tuple[Any, Any, Any, Any]:
    """The path inside, with its job and all fits."""
    family, plans, jobs, fit = built
    return family, plans["inside"], jobs[plans["inside"].name], fit


@pytest.fixture(scope="module")
def every(built: Any) -> list[controls.Control]:
    """The twins of both."""
    family, plans, jobs, fit = built
    return list(controls.twins(family, list(plans.values()), jobs, fit))


def test_an_exit_has_twins_too(built: Any, every: list[controls.Control]) -> None:
    _, plans, _, _ = built
    twins = [t for t in every if t.twin_of == plans["out"].name]
    assert len(twins) == 3
    assert networks.forward(twins[0].model, networks.images(4)).shape == (4, networks.CLASSES)


def test_a_path_inside_an_anchor_has_twins_whose_front_alone_is_random(
    fitted: Any, every: list[controls.Control]
) -> None:
    family, plan, _, fit = fitted
    twins = [t for t in every if t.twin_of == plan.name]
    assert [t.name for t in twins] == [f"random-{plan.name}", f"random-{plan.name}-2", f"random-{plan.name}-3"]
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

    before = {cut.name: cut.macs_before for cut in family.cut_lists["large"]}[str(front.stop)]
    assert twins[1].spent == saved.spent + compute.views(family) * before


@pytest.mark.parametrize("kind", ["inside", "out"])
def test_a_twin_starts_at_what_fits_its_own_front(built: Any, kind: str) -> None:
    family, plans, jobs, fit = built
    job, plan = jobs[plans[kind].name], replace(plans[kind], name="another")
    twin = controls._twins(family, plan, job, fit[job.name])[1]
    [own] = controls._jobs(family, twin.untaught, [twin])
    large, images = family.anchors["large"], family.data.fit.images
    x = images.block(np.arange(len(images)))
    features = networks.forward(_until(variant.randomised(large, 1), str(plan.route[0].stop)), x)
    start = plan.route[1].start
    target = keras.Model(large.model.inputs[0], cuts.tensor(large.model, start) if kind == "inside" else large.logits)

    def missed(given: Any) -> float:
        first = given.before[0].stitch if given.before else given.start
        return float(np.mean((variant.stitch.applied(first, features) - networks.forward(target, x)) ** 2))

    assert missed(own) < missed(job)


def _until(anchor: Any, cut: str) -> Any:
    return variant.piece(anchor, None, cuts.tensor(anchor.model, cut), {})


def test_the_network_of_a_point_is_trained_from_nothing_and_its_anchors_stay(fitted: Any) -> None:
    family, plan, job, fit = fitted
    before = [w.copy() for w in family.anchors["large"].model.get_weights()]
    control = from_scratch.control(family, plan, job, fit[plan.name])
    assert (control.macs, control.unshared, control.twin_of) == (plan.macs, plan.params, "")
    assert control.spent > 0
    seen, pieces = control.spent / (scratch.PASSES * plan.macs), from_scratch._pieces(plan, family.anchors)
    assert seen * scratch.PASSES * ladder.work(*pieces) <= sum(r.work for r in fit[plan.name].rungs)
    for was, now in zip(before, family.anchors["large"].model.get_weights(), strict=True):
        np.testing.assert_array_equal(was, now)
    x = networks.images(8, seed=3)
    answers = networks.forward(control.model, x)
    untaught = from_scratch._untaught(plan, family.anchors, fit[plan.name], 0)
    assert np.abs(answers - networks.forward(untaught, x)).max() > 1e-3  # it has learned something
    assert not {w.tobytes() for w in untaught.get_weights() if w.ndim == 4} & {w.tobytes() for w in before}
    saved = family.run.stitch_path(FROM_SCRATCH).read_bytes()
    again = from_scratch.control(family, plan, job, fit[plan.name])
    np.testing.assert_array_equal(networks.forward(again.model, x), answers)
    assert family.run.stitch_path(FROM_SCRATCH).read_bytes() == saved


def test_a_twin_from_nothing_is_named_by_its_point_and_decides_and_is_trained_within_the_memory(
    fitted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    family, plan, job, fit = fitted
    values = sum(costs.held(costs.nodes(piece)) for piece in from_scratch._pieces(plan, family.anchors))
    monkeypatch.setattr(batches, "BYTES", batches.held(20, values))
    taken, tensors = [], Examples.tensors
    monkeypatch.setattr(Examples, "tensors", lambda self, rows: taken.append(len(rows)) or tensors(self, rows))
    control = from_scratch.control(family, plan, job, fit[plan.name], named=True, twin=True)
    assert set(taken) == {20}
    assert (control.name, control.twin_of) == (f"{FROM_SCRATCH}-{plan.name}", plan.name)
    assert family.run.stitch_path(control.name).exists()
    assert networks.forward(control.model, networks.images(4)).shape == (4, networks.CLASSES)


def test_auto_may_give_points_weights_of_their_own_where_twins_tell_what_these_owe(built: Any) -> None:
    family, _, jobs, _ = built
    assert [list(job.rungs) for job in jobs.values()] == [["stitch", "norm", "relu", "back"]] * 2
    options = family.options
    assert outlook.may_unshare(options)
    others = ({"controls": False}, {"small": None}, {"data": None}, {"fine_tune": "relu"})
    assert not any(outlook.may_unshare(replace(options, **other)) for other in others)
    assert not outlook.may_unshare(type(options)())  # the demo


def test_from_nothing_are_the_median_and_what_auto_gave_weights_of_its_own(built: Any, monkeypatch: Any) -> None:
    family, plans, jobs, fit = built
    own = {name: replace(one, rung="back") for name, one in fit.items()}
    calls: list[tuple[str, bool, bool]] = []

    def control(family: Any, plan: Any, job: Any, fitted: Any, *, named: bool, twin: bool) -> Any:
        calls.append((plan.name, named, twin))

    monkeypatch.setattr(from_scratch, "control", control)
    monkeypatch.setattr(controls, "twins", lambda *_: iter(()))
    first, second = plans.values()
    names = [first.name, second.name]
    shared = {name: replace(one, rung="norm") for name, one in fit.items()}
    list(method._twins(family, [first, second], names, jobs, shared))
    assert calls == [(second.name, False, False)]
    calls.clear()
    list(method._twins(family, [first, second], names, jobs, own))
    assert calls == [(second.name, False, True), (first.name, True, True)]
