"""Training a stitch on cached features: what each rung may change, when it stops, what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import networks
import numpy as np
import pytest
from cached_features import filled
from scipy.special import log_softmax, rel_entr, softmax

from restnet_tf.fitting import cache, ladder, loss, rungs, trainee
from restnet_tf.fitting.curve import Curve
from restnet_tf.fitting.examples import Examples
from restnet_tf.fitting.results import Fitted
from restnet_tf.fitting.stints import Stint
from restnet_tf.graph import costs, cuts
from restnet_tf.records import Anchor, RestnetError, Stitch
from restnet_tf.similarity import features
from restnet_tf.stitches import stitch

pytestmark = pytest.mark.slow

FRONT, BACK = "0.1.out", "0.0.out"  # large, (8, 8, 6) -> small, (8, 8, 4)
ENOUGH_WORK = 400_000_000  # some 60 steps of the small back


@pytest.fixture(scope="module")
def anchors() -> dict[str, Anchor]:
    return networks.pair(convolutions=1)[0]


@pytest.fixture(scope="module")
def caches(anchors: dict[str, Anchor], tmp_path_factory: pytest.TempPathFactory) -> dict[str, cache.Cache]:
    folder = tmp_path_factory.mktemp("caches")
    return {
        "train": cached(folder / "train", anchors, networks.split(192, seed=1)),
        "rank": cached(folder / "rank", anchors, networks.split(64, seed=2)),
        "unlabelled": cached(folder / "unlabelled", anchors, networks.split(192, labelled=False, seed=1)),
    }


def cached(folder: Path, anchors: dict[str, Anchor], split: Any) -> cache.Cache:
    wanted = {"large": [FRONT, cache.LOGITS], "small": [cache.INPUT, cache.PENULTIMATE, cache.LOGITS]}
    labels = 0 if split.labels is None else networks.CLASSES
    return filled(folder, anchors, wanted, cache.plain(split, anchors), len(split), labels)


def examples(filled: cache.Cache, role: str = "large", cut: str = FRONT) -> Examples:
    return Examples.of(filled, filled, (role, cut), "small", "large")


@pytest.fixture(scope="module")
def start(anchors: dict[str, Anchor]) -> Stitch:
    """The closed-form stitch."""
    names = {"large": FRONT, "small": BACK}
    pair = {role: tuple(c for c in cuts.find(a.model) if c.name == names[role]) for role, a in anchors.items()}
    return features.initial(("large", 0, 0), pair, features.collect(anchors, pair, networks.split(192, seed=1)))


def back_of(anchors: dict[str, Anchor], cut: str = BACK) -> Any:
    small = anchors["small"]
    first = small.model.inputs[0] if cut == cache.INPUT else cuts.tensor(small.model, cut)
    return cuts.between(small.model, first, [small.features, small.logits])


@pytest.fixture(scope="module")
def small_back(anchors: dict[str, Anchor]) -> Any:
    """One for all fits, which then share what is traced of it."""
    return back_of(anchors)


@pytest.fixture(scope="module")
def run(small_back: Any, caches: dict[str, cache.Cache], start: Stitch) -> Any:
    """A fit of the pair; keywords replace its examples, rungs and so on."""

    def fitted(*rungs: str, work: int = ENOUGH_WORK, **changes: Any) -> Fitted:
        train = changes.pop("train", examples(caches["train"]))
        ranked = changes.pop("ranked", examples(caches["rank"]))
        first = changes.pop("start", start)
        back = changes.pop("back", None) or small_back
        return ladder.fit(first, back, train, ranked, rungs=dict.fromkeys(rungs, work), **changes)

    return fitted


@pytest.fixture(scope="module")
def climbed(run: Any) -> Fitted:
    return run("stitch", "norm", "back")


def kl_of(back: Any, fitted: Stitch, ranked: Examples) -> float:
    """Mean KL of a stitched back, in NumPy, without the code under test."""
    x = np.asarray(ranked.x, np.float32) @ fitted.kernel + fitted.bias
    logits = networks.forward(networks.keras.Model(back.inputs[0], back.outputs[1]), np.clip(x, *fitted.clamp))
    return float(rel_entr(softmax(ranked.teacher, axis=1), softmax(logits, axis=1)).sum(axis=1).mean())


def same(a: Fitted, b: Fitted) -> bool:
    arrays = [{"kernel": f.stitch.kernel, "bias": f.stitch.bias, **f.stitch.tuned} for f in (a, b)]
    return arrays[0].keys() == arrays[1].keys() and all(np.array_equal(v, arrays[1][k]) for k, v in arrays[0].items())


def test_kl_is_scipys() -> None:
    rng = np.random.default_rng(0)
    p, q = rng.normal(0, 4, (20, 7)).astype(np.float32), rng.normal(0, 4, (20, 7)).astype(np.float32)
    expected = rel_entr(softmax(p, axis=1), softmax(q, axis=1)).sum(axis=1)
    np.testing.assert_allclose(loss.kl_divergence(p, q), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(loss.kl_divergence(p, p), 0, atol=1e-6)
    np.testing.assert_allclose(loss.kl_divergence(p, q + 100), expected, rtol=1e-3, atol=1e-4)


def test_kl_of_sure_answers_is_finite_and_right() -> None:
    p, q = np.float32([[200, 0, 0]]), np.float32([[0, 200, 0]])
    assert float(loss.kl_divergence(p, q)[0]) == pytest.approx(200, rel=1e-5)
    np.testing.assert_allclose(-log_softmax(q)[0, 0], 200)


def test_the_closed_form_is_where_it_starts(run: Any, anchors: Any, caches: Any, start: Stitch) -> None:
    result = run("stitch")
    assert result.closed_form_kl == pytest.approx(kl_of(back_of(anchors), start, examples(caches["rank"])), rel=1e-3)


def test_a_fit_ends_where_it_was_best(
    run: Any, small_back: Any, caches: Any, start: Stitch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Matching brings it near; a teacher that says the contrary then leads it away, again and again from the best."""
    listed, add = list[float](), Curve.add
    monkeypatch.setattr(Curve, "add", lambda curve, kl: (listed.append(kl), add(curve, kl))[1])
    train, ranked = examples(caches["train"]), examples(caches["rank"])
    contrary, far = replace(train, teacher=-train.teacher), replace(start, kernel=start.kernel / 2)
    fitted = run("stitch", train=contrary, ranked=ranked, start=far, work=4 * ENOUGH_WORK)
    first, further, furthest, anew, *_ = listed
    assert fitted.kl == first < further < furthest
    assert anew < (first + furthest) / 2
    assert kl_of(small_back, fitted.stitch, ranked) == pytest.approx(first, rel=1e-3)


def test_training_the_stitch_beats_the_closed_form(run: Any, anchors: Any, caches: Any, start: Stitch) -> None:
    result = run("stitch")
    assert result.rung == "stitch"
    assert result.kl < 0.9 * result.closed_form_kl
    assert result.stitch.tuned == {}
    assert not np.array_equal(result.stitch.kernel, start.kernel)
    # The anchor's own back gives that KL: nothing but the stitch was changed.
    assert result.kl == pytest.approx(kl_of(back_of(anchors), result.stitch, examples(caches["rank"])), rel=1e-3)


def test_the_norm_rung_changes_scales_and_shifts_alone(run: Any, anchors: Any) -> None:
    result = run("norm")
    back = back_of(anchors)
    norms = {v.path for v in back.trainable_variables if v.path.endswith(("gamma", "beta"))}
    assert result.rung == "norm"
    assert set(result.stitch.tuned) == norms
    own = {v.path: np.asarray(v) for v in back.weights}
    assert all(not np.array_equal(own[path], value) for path, value in result.stitch.tuned.items())


def test_the_back_rung_tunes_every_trainable_weight(run: Any, anchors: Any, caches: Any) -> None:
    result = run("back")
    back = back_of(anchors)
    assert set(result.stitch.tuned) == {v.path for v in back.trainable_variables}
    copy = networks.keras.models.clone_model(back)
    copy.set_weights(back.get_weights())
    for variable in copy.weights:
        if variable.path in result.stitch.tuned:
            variable.assign(result.stitch.tuned[variable.path])
    assert result.kl == pytest.approx(kl_of(copy, result.stitch, examples(caches["rank"])), rel=1e-3)


def test_a_rung_starts_where_the_one_below_ended(climbed: Fitted) -> None:
    assert [r.rung for r in climbed.rungs] == ["stitch", "norm", "back"]
    trail = [climbed.closed_form_kl, *(r.kl for r in climbed.rungs)]
    assert trail == sorted(trail, reverse=True)
    assert climbed.kl == min(trail)


def test_the_anchors_stay_bit_identical(run: Any, anchors: Any, start: Stitch) -> None:
    weights = {role: [np.array(w) for w in a.model.get_weights()] for role, a in anchors.items()}
    kernel, bias = start.kernel.copy(), start.bias.copy()
    result = run("stitch", "norm", "back")
    assert result.stitch.tuned, "nothing was tuned, so nothing was at risk"
    for role, anchor in anchors.items():
        for old, new in zip(weights[role], anchor.model.get_weights(), strict=True):
            assert old.tobytes() == new.tobytes()
    assert (start.kernel.tobytes(), start.bias.tobytes()) == (kernel.tobytes(), bias.tobytes())


def test_a_fit_is_a_function_of_its_seed(run: Any, climbed: Fitted) -> None:
    again = run("stitch", "norm", "back")
    assert same(again, climbed)
    assert again.rungs == climbed.rungs
    assert not same(run("stitch", "norm", "back", seed=1), climbed)


@pytest.mark.slow
def test_enough_spares_the_back(run: Any, climbed: Fitted) -> None:
    norm = climbed.rungs[1].kl
    spared = run("stitch", "norm", "back", enough=norm * 1.01)
    assert [r.rung for r in spared.rungs] == ["stitch", "norm"]
    assert all(path.endswith(("gamma", "beta")) for path in spared.stitch.tuned)
    tried = run("stitch", "norm", "back", enough=norm * 0.99)
    assert [r.rung for r in tried.rungs] == ["stitch", "norm", "back"]
    assert [r.rung for r in run("stitch", "norm", "relu", enough=norm * 1.01).rungs] == ["stitch", "norm"]


@pytest.fixture(scope="module")
def bent(anchors: Any, caches: Any, start: Stitch) -> dict[str, Any]:
    """A teacher that answers to how bright a feature is, either way: no affine map can tell it."""
    sets = {}
    for name in ("train", "rank"):
        plain = examples(caches[name])
        x = np.asarray(plain.x, np.float32).reshape(len(plain.x), -1)
        turned = np.abs(x - np.median(x, axis=0)).mean(axis=1)
        logits = np.zeros_like(np.asarray(plain.teacher))
        logits[:, 0] = 40 * (turned - turned.mean())
        sets[name] = replace(plain, teacher=logits, labels=None)
    return {"train": sets["train"], "ranked": sets["rank"]}


def test_relu_features_help_where_an_affine_map_cannot(run: Any, bent: Any) -> None:
    result = run("stitch", "norm", "relu", **bent)
    assert [r.rung for r in result.rungs] == ["stitch", "norm", "relu"]
    assert result.rung == "relu"
    assert result.rungs[2].kl < 0.98 * result.rungs[1].kl
    assert stitch.hidden(result.stitch) > 0
    assert result.stitch.kernel.shape[0] == 6 + stitch.hidden(result.stitch)
    assert all(path.endswith(("gamma", "beta")) for path in result.stitch.tuned)


@pytest.mark.slow
def test_relu_features_that_do_not_help_are_taken_away(run: Any, caches: Any) -> None:
    plain = run("stitch", "norm", "back")
    wrong = replace(examples(caches["train"]), teacher=-3 * np.asarray(caches["train"].logits("large")), labels=None)
    result = run("stitch", "norm", "relu", "back", train=wrong)
    assert [r.rung for r in result.rungs] == ["stitch", "norm", "relu", "back"]
    assert result.stitch.parts == {}
    assert result.stitch.kernel.shape == plain.stitch.kernel.shape
    # What follows them starts where the rung before them ended.
    without = run("stitch", "norm", "back", train=wrong)
    assert result.kl == without.kl


def test_taking_relu_features_away_takes_what_was_trained_beside_them(anchors: Any, start: Stitch, bent: Any) -> None:
    """Also where they gained a little: too little to be kept."""
    trainer = ladder._Trainer(trainee.Trainee(start, (), back_of(anchors)), start, bent["train"], bent["ranked"], 0)
    before = trainer.validate()
    trainer.widen()
    assert trainer.validate() == pytest.approx(before, rel=1e-4)
    gain = trainer.climb(rungs.rung_named("relu"), ENOUGH_WORK, lambda rung, done, total: None, match=False)
    assert gain.kl < before
    trainer.narrow()
    assert trainer.validate() == before
    assert trainer.result().parts == {}


def test_without_labels_the_teacher_is_enough(run: Any, caches: Any) -> None:
    train = examples(caches["unlabelled"])
    assert train.labels is None
    result = run("stitch", train=train)
    assert result.kl < 0.9 * result.closed_form_kl
    assert not same(result, run("stitch")), "the labels had no say where there are some"


def test_matching_comes_first_and_heeds_the_penultimate_features(run: Any, caches: Any) -> None:
    train = examples(caches["train"])
    elsewhere = replace(train, match=np.asarray(train.match)[::-1].copy())
    assert not same(run("stitch", train=elsewhere), run("stitch"))


def test_without_a_stitch_there_is_no_matching(run: Any, anchors: Any, caches: Any) -> None:
    sets = {
        "train": examples(caches["train"], "small", cache.INPUT),
        "ranked": examples(caches["rank"], "small", cache.INPUT),
    }
    whole = {"start": None, "back": back_of(anchors, cache.INPUT), **sets}
    result = run("back", **whole)
    assert result.kl < result.closed_form_kl
    small = caches["rank"].logits("small")
    expected = rel_entr(softmax(sets["ranked"].teacher, axis=1), softmax(small, axis=1)).sum(axis=1).mean()
    assert result.closed_form_kl == pytest.approx(expected, rel=1e-3)
    assert set(result.stitch.tuned) == {v.path for v in anchors["small"].model.trainable_variables}
    backwards = replace(sets["train"], match=np.asarray(sets["train"].match)[::-1].copy())
    assert same(run("back", **{**whole, "train": backwards}), result)


def test_what_gains_nothing_is_stopped_early_and_not_kept(run: Any, anchors: Any, caches: Any, start: Stitch) -> None:
    """Trained towards the opposite answers, every validation is worse than the start."""
    train = examples(caches["train"])
    wrong = replace(train, teacher=-3 * np.asarray(train.teacher), labels=None)
    seen: list[tuple[str, int, int]] = []
    result = run("norm", train=wrong, progress=lambda *at: seen.append(at))
    _, taken, steps = seen[-1]
    assert taken < steps
    assert result.rung == "closed form"
    assert result.kl == result.closed_form_kl
    assert result.stitch.tuned == {}
    np.testing.assert_array_equal(result.stitch.kernel, start.kernel)
    assert result.rungs[0].images == 16 * taken


def test_training_keeps_to_its_work(run: Any, anchors: Any) -> None:
    from restnet_tf.fitting import ladder
    from restnet_tf.graph import costs

    calls = costs.nodes(back_of(anchors))
    forward = costs.macs(calls) + ladder._MACS_A_VALUE * costs.values(calls)
    # So small a network is counted as the least that one takes.
    assert costs.macs(calls) < forward < ladder._LEAST_WORK
    result = run("stitch", work=2 * ladder._LEAST_WORK * 128 * 7).rungs[0]
    assert (result.images, result.work) == (7 * 128, 7 * 128 * 2 * ladder._LEAST_WORK)
    assert result.macs == 7 * 128 * 2 * costs.macs(calls)
    assert result.judging > 0 == result.judging % costs.macs(calls)  # counted beside them
    result = run("back", work=3 * ladder._LEAST_WORK * 128 * 6).rungs[0]
    assert result.work <= 6 * 128 * 3 * ladder._LEAST_WORK


def test_few_examples_are_counted_as_they_are(run: Any, caches: Any) -> None:
    few = examples(caches["train"])
    few = Examples(few.x[:10], few.teacher[:10], few.match[:10], few.labels[:10])  # type: ignore[index]
    steps: list[int] = []
    result = run("stitch", work=1, train=few, progress=lambda rung, done, total: steps.append(total))
    assert 0 < result.rungs[0].images <= 10 * steps[0]
    assert result.rungs[0].images % 10 == 0


def test_the_rate_falls_where_validation_gains_nothing(run: Any, caches: Any) -> None:
    """At a rate that is far too high, the best of a fit that calms down beats that of one that does not."""
    from restnet_tf.fitting import ladder

    fast = tuple(replace(rung, rate=0.3) for rung in rungs.RUNGS)
    result = {}
    for factor in (1.0, ladder._CALMER):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rungs, "RUNGS", fast)
            patch.setattr(ladder, "_CALMER", factor)
            result[factor] = run("stitch", work=2 * ladder._LEAST_WORK * 128 * 60)
    assert result[ladder._CALMER].kl <= result[1.0].kl


def test_batches_are_bounded_by_what_they_hold(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from restnet_tf.fitting import ladder
    from restnet_tf.graph import batches

    monkeypatch.setattr(batches, "BYTES", 1)
    monkeypatch.setattr(batches, "LEAST", 8)
    steps: list[int] = []
    result = run(
        "stitch", work=2 * ladder._LEAST_WORK * 128 * 7, progress=lambda rung, done, total: steps.append(total)
    )
    assert (result.rungs[0].images, steps[0]) == (8 * steps[0], 7 * 128 // 8)


def test_validations_take_no_longer_than_the_training(run: Any, caches: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from restnet_tf.fitting import ladder

    ranked, seen = examples(caches["rank"]), []
    validate = ladder._Trainer.validate
    monkeypatch.setattr(ladder._Trainer, "validate", lambda self: seen.append(len(self._rank.x)) or validate(self))
    monkeypatch.setattr(ladder, "_LEAST_JUDGES", 10)
    run("stitch", work=8 * ladder._LEAST_WORK * 32)
    assert set(seen) == {32}
    run("stitch", work=8 * ladder._LEAST_WORK * 5)
    assert set(seen) == {32, 10}
    run("stitch", work=8 * ladder._LEAST_WORK * 1000)
    assert set(seen) == {32, 10, len(ranked.x)}


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_features_that_are_not_finite_are_refused(run: Any, caches: Any, value: float) -> None:
    """Where they are read: a ReLU behind the stitch may turn them into zeros."""
    sets = {}
    for name, features_of in (("train", caches["train"]), ("ranked", caches["rank"])):
        whole = examples(features_of)
        x = np.array(whole.x)
        x[:, 0, 0, :] = value
        sets[name] = replace(whole, x=x)
    for broken in (sets, {"train": sets["train"]}, {"ranked": sets["ranked"]}):
        with pytest.raises(RestnetError, match=f"^the features of large at {FRONT} hold NaN or infinity: its weights"):
            run("stitch", **broken)


@pytest.mark.parametrize(
    ("part", "name"),
    [("teacher", "the logits of large"), ("match", "the features of small at its classifier")],
)
def test_what_the_anchors_say_has_to_be_finite_too(run: Any, caches: Any, part: str, name: str) -> None:
    whole = examples(caches["train"])
    values = np.array(getattr(whole, part))
    values[:, 0] = np.nan
    with pytest.raises(RestnetError, match=f"^{name} hold NaN or infinity"):
        run("stitch", train=replace(whole, **{part: values}))


def test_a_loss_that_is_not_finite_is_told(run: Any, start: Stitch) -> None:
    """Also where a ReLU hides what the stitch's weights have become."""
    kernel = start.kernel.copy()
    kernel[0, 0] = np.nan
    with pytest.raises(RestnetError, match="the stitch rung diverged: the loss is not finite"):
        run("stitch", start=replace(start, kernel=kernel))


@pytest.fixture(scope="module")
def halves(run: Any, small_back: Any, caches: Any, start: Stitch, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A fit in a call for its cheap rungs and one for each costly one, with its state in a file between them."""
    folder = tmp_path_factory.mktemp("states")

    def fitted(*names: str, enough: float = 0.0, **changes: Any) -> tuple[Fitted, Fitted]:
        train, ranked = (changes.pop(k, examples(caches[c])) for k, c in (("train", "train"), ("ranked", "rank")))
        given = changes.pop("start", start)
        back = changes.pop("back", None) or small_back
        shares = dict.fromkeys(names, ENOUGH_WORK)
        first, state = ladder.begin(given, back, train, ranked, rungs=shares, **changes)
        more = first
        while len(more.rungs) < len(names) and more.kl > enough:
            np.savez(folder / "state.npz", **state)
            with np.load(folder / "state.npz") as arrays:
                state = dict(arrays)
            more, state = ladder.proceed(more, state, given, back, train, ranked, rungs=shares, **changes)
        return first, more

    return fitted


@pytest.fixture(scope="module")
def material(small_back: Any, caches: Any, start: Stitch) -> tuple[Any, ...]:
    """What a fit of the pair is made of."""
    return start, small_back, examples(caches["train"]), examples(caches["rank"])


def everything(fitted: Fitted) -> dict[str, Any]:
    hidden = {name: values.tobytes() for name, values in fitted.stitch.parts.items()}
    weights = {path: value.tobytes() for path, value in fitted.stitch.tuned.items()}
    plain = fitted.stitch.kernel.tobytes(), fitted.stitch.bias.tobytes()
    figures = fitted.rung, fitted.kl, fitted.closed_form_kl, fitted.rungs
    return {"hidden": hidden, "tuned": weights, "plain": plain, "figures": figures}


@pytest.mark.parametrize("names", [("stitch", "norm", "relu", "back"), ("norm", "back"), ("back",)], ids="-".join)
def test_a_call_a_rung_gives_the_bytes_of_one(run: Any, halves: Any, names: tuple[str, ...]) -> None:
    whole = run(*names, seed=3)
    first, both = halves(*names, seed=3)
    assert everything(both) == everything(whole)
    assert [r.rung for r in first.rungs] == [n for n in names if not rungs.rung_named(n).costly]
    assert first.rungs == whole.rungs[: len(first.rungs)]


def test_two_calls_carry_the_variables_of_a_rung_that_was_not_kept(
    run: Any, halves: Any, bent: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The norms gain too little to be kept, and what follows starts from them all the same."""
    monkeypatch.setattr(ladder, "_MIN_GAIN", 1.0)
    first, both = halves("stitch", "norm", "relu", **bent)
    assert (first.rung, first.stitch.tuned) == ("stitch", {})
    assert first.rungs[1].kl < first.kl
    assert everything(both) == everything(run("stitch", "norm", "relu", **bent))


def test_a_whole_anchor_is_fitted_in_two_calls_too(run: Any, halves: Any, anchors: Any, caches: Any) -> None:
    sets = {
        "train": examples(caches["train"], "small", cache.INPUT),
        "ranked": examples(caches["rank"], "small", cache.INPUT),
    }
    whole = {"start": None, "back": back_of(anchors, cache.INPUT), **sets}
    assert everything(halves("norm", "back", **whole)[1]) == everything(run("norm", "back", **whole))


def test_a_cheap_rung_that_widens_is_taken_up_again(run: Any, halves: Any, bent: Any) -> None:
    cheap = tuple(replace(r, costly=False) if r.name == "relu" else r for r in rungs.RUNGS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rungs, "RUNGS", cheap)
        first, both = halves("stitch", "norm", "relu", "back", **bent)
        assert first.rung == "relu"
        assert everything(both) == everything(run("stitch", "norm", "relu", "back", **bent))


def test_the_second_call_stops_where_it_is_enough(halves: Any) -> None:
    first, more = halves("stitch", "norm", "back", enough=np.inf)
    assert more is first


@pytest.mark.parametrize("name", [rung.name for rung in rungs.RUNGS])
def test_a_rung_changes_what_it_says_it_tunes_and_nothing_else(run: Any, anchors: Any, name: str) -> None:
    """Of the back; every rung, whatever is added to the list."""
    rung, back = rungs.rung_named(name), back_of(anchors)
    result = run(name)
    assert result.rung == name
    assert set(result.stitch.tuned) == {v.path for v in rung.tunes(back)}
    assert (stitch.hidden(result.stitch) > 0) == rung.widens
    assert result.rungs[0].macs == result.rungs[0].images * rung.passes * costs.macs(costs.nodes(back))


def test_a_rung_goes_on_in_another_stint_and_keeps_whatever_it_gains(
    material: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = {"stitch": ENOUGH_WORK, "norm": ENOUGH_WORK}
    trial = Stint({name: work // 4 for name, work in shares.items()}, checks=2)
    first, state = ladder.begin(*material, rungs=shares, stint=trial)
    assert first.rung == "norm"
    monkeypatch.setattr(ladder, "_MIN_GAIN", 1.0)
    more, _ = ladder.proceed(first, state, *material, rungs=shares, stint=Stint({"norm": ENOUGH_WORK}))
    assert (more.kl, more.rung) == (more.rungs[2].kl, "norm")
    assert more.kl < first.kl
    assert more.shares == {"stitch": more.rungs[0].work, "norm": more.rungs[1].work + more.rungs[2].work}
    assert more.standing(2) == replace(more, rungs=more.rungs[:2], kl=first.kl).standing(2) == first.standing(2)
    assert more.standing(3).kl == more.kl


def test_a_rung_that_cannot_come_to_its_rival_is_given_up(material: Any) -> None:
    shares = {"norm": ENOUGH_WORK}
    whole, _ = ladder.begin(*material, rungs=shares)
    spared, _ = ladder.begin(*material, rungs=shares, stint=Stint(shares, reach=1e-9))
    assert (whole.rungs[0].given_up, spared.rungs[0].given_up) == (False, True)
    assert spared.rungs[0].work < whole.rungs[0].work
    assert spared.kl == spared.rungs[0].kl < spared.closed_form_kl
    reached, _ = ladder.begin(*material, rungs=shares, stint=Stint(shares, reach=whole.closed_form_kl))
    assert everything(reached) == everything(whole)
