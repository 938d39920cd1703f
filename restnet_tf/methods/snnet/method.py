"""SN-Net: all stitches between neighbouring anchors, trained together (Pan, Cai, Zhuang 2023, and v2).

Windows of neighbouring blocks share a stitch, which starts at the ridge solution of all their pairs; each step of
the training draws one configuration. Every configuration is measured after it, and those on the front
are shipped. Every step keeps its result in the run directory, and a build that finds it there goes on behind it.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any

from restnet_tf import atomic
from restnet_tf.anchors import applications
from restnet_tf.family import additions, anchor_pieces, footprints, forecast, one_pass, opening, ship
from restnet_tf.family.family import TEACHER, Family
from restnet_tf.family.first_looks import Remedies
from restnet_tf.family.references import References, of_family
from restnet_tf.graph import costs
from restnet_tf.methods.snnet import outlook, routes, steps
from restnet_tf.methods.snnet.options import Options
from restnet_tf.methods.snnet.routes import Chain
from restnet_tf.methods.snnet.supernet import Configuration
from restnet_tf.methods.snnet.windows import Sliding, Window
from restnet_tf.points import select
from restnet_tf.points.points import OperatingPoint
from restnet_tf.progress import Reporter
from restnet_tf.records import Plan, RestnetError, Stitch
from restnet_tf.report import summary as words
from restnet_tf.report.contents import Wording
from restnet_tf.run import plans_file
from restnet_tf.run.directory import Run
from restnet_tf.stitches import closed_form, variant
from restnet_tf.stitches.step import Solution
from restnet_tf.words import sentence
from restnet_tf.work import sources, start, tasks
from restnet_tf.work.sources import ModelSource
from restnet_tf.work.tasks import Executor

if TYPE_CHECKING:
    from restnet_tf.records import Anchor

_NAME = __name__.split(".")[-2]  # its folder's
WORDING = Wording()
Build = Family[Options]


def open(options: Options, report: Reporter, execute: Executor = tasks.serially) -> Build:
    """Load the inputs; the anchors have letters, A for the cheapest."""
    start.tensorflow(ours=False)
    settings = opening.settings(options, order="small-large")
    data = opening.images(options, report)
    run = Run(out(options))
    atomic.check_writable(run.path)
    report.stage("loading the anchors")
    models = _by_letter(options)
    remedies = _advice(options, models)
    if len(specs := _specs(options)) > len(options.anchor):
        models[TEACHER] = _loaded(options, specs[-1], _modes(options)[-1])
    return opening.family(options, settings, data, models, run, report, remedies, execute)


def out(options: Options) -> Path:
    """The run directory: the user's, or the one of these inputs."""
    return options.out or opening.default_out(options.models, options.data)


def identity(family: Build) -> dict[str, Any]:
    """All that decides the result."""
    options = family.options
    names = ("window", "stride", "two_stitch", "train", "sampling")
    settings = {name: getattr(options, name) for name in names} | {"share": not options.own, "low_rank": options.rank}
    return opening.identity(family, _NAME, settings | {"teacher": steps.teacher(family), "most": options.max_points})


def check(family: Build) -> None:
    """Refuse (``RestnetError``) what leaves nothing to stitch, before any work is done."""
    if family.options.max_points != 0:
        plans = _chosen(_proposed(family))
        if not family.run.record_path.exists():
            atomic.check_room(family.run.path, forecast.kept(family, outlook.fitting(family, plans).features))


def build(family: Build) -> None:
    """Build a family in its opened run directory; every point and control, measured."""
    if family.options.max_points != 0 and not family.run.done("training"):
        forecast.say(outlook.forecast(family, _chosen(_proposed(family))), family.run.path, family.report)
    # Anchors that are trained too are compiled anew behind it: once does to see that they can be.
    precisions = family.settings.precisions
    anchor_pieces.compile_anchors(family, precisions if steps.exact(family) else precisions[:1])
    ship.preview(family)
    if family.options.max_points == 0:
        ship.ship(family, (), {}, ())
        return
    windows = _windows(family)
    starts = _starts(family, windows)
    chosen = _plans(family, windows, starts)
    configurations = _configurations(family, chosen, windows)
    stitches = len({name for c in configurations for name in c.windows})
    family.report.say(f"{len(configurations)} configurations through {stitches} stitches")
    fitted, rivals = steps.train(family, configurations, _stitches(family, windows, starts))
    ship.ship(reopen(family), chosen, fitted, rivals)


def extend(family: Build) -> None:
    """Make the files that the options of a finished run ask for and it lacks."""
    finished = reopen(family)
    if additions.lacks(finished):
        additions.link(finished)


def reopen(family: Build) -> Build:
    """The family with the anchors that its training left: others than it began with where it trained all."""
    path = family.run.trained_path
    if steps.exact(family) or not path.exists():
        return family
    weights = sources.trained_weights(path)
    anchors = {role: variant.trained(a, weights[role]) for role, a in family.anchors.items()}
    named = {
        role: replace(family.sources[role], sha256=a.sha256, trained=path.absolute(), role=role)
        for role, a in anchors.items()
    }
    for role, source in named.items():
        sources.remember(source, anchors[role])
    return replace(family, anchors=anchors, sources={**family.sources, **named})


def references(family: Build) -> References:
    """The points in Keras, and what makes stages of them."""
    return of_family(reopen(family))


def summary(family: Build, meta: Mapping[str, Any], listed: Sequence[OperatingPoint]) -> list[str]:
    """How many configurations are worth shipping, and what beats the others."""
    nouns = words.Nouns(("configuration", "configurations"), verb="trained")
    return words.family(family.run.path, meta, listed, nouns)


def _chain(family: Build) -> Chain:
    order = family.by_cost
    return Chain(
        {role: family.cut_lists[role] for role in order},
        {role: family.costs[role] for role in order},
        {role: family.anchors[role].input_shape[0] for role in order},
    )


def _sliding(family: Build) -> Sliding:
    options = family.options
    return Sliding(options.window, options.stride, not options.own and options.train != "separate")


def _windows(family: Build) -> tuple[Window, ...]:
    """All windows that the routes may need."""
    chain, both = _chain(family), family.options.two_stitch
    ways = []
    for small, large in chain.neighbours:
        if both or family.settings.order != "large-small":
            ways.append((small, large))
        if both or family.settings.order != "small-large":
            ways.append((large, small))
    return tuple(w for way in ways for w in chain.windows(*way, _sliding(family)))


def _proposed(family: Build, within: Callable[[Sequence[Plan]], Sequence[Plan]] = tuple) -> tuple[Plan, ...]:
    """All routes; ``within`` rejects those whose files would be over the budget, which takes compiled anchors."""
    settings = family.settings
    proposed = routes.propose(
        _chain(family),
        _sliding(family),
        order=settings.order,
        two_stitch=family.options.two_stitch,
        most=family.options.max_points,
        refuse=lambda macs, params: select.exceeded(settings.budget, macs=macs, params=params),
        within=within,
    )
    if settings.plans is None:
        return proposed
    edited = {p.name: p for p in settings.plans}
    if unknown := sorted(set(edited) - {p.name for p in proposed}):
        raise RestnetError(f"the given plans name {unknown[0]}, which is no route through these anchors and windows")
    return tuple(
        replace(p, status=edited[p.name].status, reason=edited[p.name].reason) for p in proposed if p.name in edited
    )


def _chosen(plans: Sequence[Plan]) -> list[Plan]:
    chosen = sorted((p for p in plans if p.status == "chosen"), key=lambda p: (p.macs, p.name))
    if chosen:
        return chosen
    if not plans:
        raise RestnetError(
            "nothing can be stitched: neighbouring anchors have no cuts at the same share of their input's size"
        )
    reason, count = Counter(p.reason and p.reason.kind for p in plans).most_common(1)[0]
    raise RestnetError(
        f"nothing is left to stitch: of {len(plans)} routes, {count} are out for this: {sentence(reason)}"
    )


def _plans(family: Build, windows: Sequence[Window], starts: Mapping[str, Solution]) -> list[Plan]:
    """The configurations, from the cheapest on; all routes with what became of them are in the run."""
    run = family.run
    if run.done("plans"):
        plans = plans_file.read_plans(run.plans_path)
    else:
        configurations = _configurations(family, _proposed(family, partial(footprints.within, family)), windows)
        plans = tuple(replace(c.plan, r2=min(starts[n].r2 for n in c.windows)) for c in configurations)
        plans_file.write_plans(run.plans_path, plans)
        run.finish("plans")
    chosen = _chosen(plans)
    family.report.say(f"{len(plans)} routes, {len(chosen)} chosen; {run.plans_path} says why")
    return chosen


def _configurations(family: Build, plans: Sequence[Plan], windows: Sequence[Window]) -> list[Configuration]:
    """Plans with the windows that their joints go through."""
    of = {(w.front, i, w.back, j): w.name for w in windows for i, j in w.pairs}
    return [Configuration(p, tuple(of[at] for at in routes.joints(p, family.cut_lists))) for p in plans]


def _starts(family: Build, windows: Sequence[Window]) -> dict[str, Solution]:
    """The closed-form solution of every window, from the run or computed into it."""
    starts = family.run.load_starts()
    if starts is None:
        starts = {}
        for small, large in _chain(family).neighbours:
            starts |= _solved(family, small, large, windows)
        family.run.save_starts(starts)
    return starts


def _stitches(family: Build, windows: Sequence[Window], starts: Mapping[str, Solution]) -> dict[str, Stitch]:
    """Every window's stitch at its closed form."""
    chain, stitches = _chain(family), {}
    for w in windows:
        i, j = w.pairs[0]
        stitches[w.name] = closed_form.closed(starts[w.name], chain.cut(w.front, i), chain.cut(w.back, j))
    return stitches


def _solved(family: Build, small: str, large: str, windows: Sequence[Window]) -> dict[str, Solution]:
    """Solutions of the windows between two neighbours."""
    roles = {small: "small", large: "large"}
    groups = {
        w.name: [(roles[w.front], i, j) for i, j in w.pairs] for w in windows if {w.front, w.back} == {small, large}
    }
    return one_pass.of_windows(family, {"small": small, "large": large}, groups)


def _by_letter(options: Options) -> dict[str, tuple[ModelSource, Anchor]]:
    """The anchors of ``--anchor`` from the cheapest on; raises ``RestnetError`` where two cost the same."""
    count = len(options.anchor)
    if not 2 <= count <= len(ascii_uppercase):
        raise RestnetError(f"{count} anchors were given; give --anchor 2 to {len(ascii_uppercase)} times")
    loaded = [_loaded(options, spec, mode) for spec, mode in zip(options.anchor, _modes(options), strict=False)]
    priced = sorted(((costs.macs(costs.nodes(a.model)), (model, a)) for model, a in loaded), key=lambda pair: pair[0])
    for (macs, (_, one)), (more, (_, other)) in pairwise(priced):
        if macs == more:
            raise RestnetError(
                f"{one.name} and {other.name} cost the same, {macs / 1e6:.1f}M MACs: nothing lies between them; give"
                " anchors of different costs"
            )
    letters = {letter: pair for letter, (_, pair) in zip(ascii_uppercase, priced, strict=False)}
    classes = _classes(options, tuple(letters))
    return {letter: (replace(m, classes=classes.get(letter, "")), a) for letter, (m, a) in letters.items()}


def _specs(options: Options) -> list[str]:
    """What names the anchors, and behind them the teacher where it is none of them."""
    letters = ascii_uppercase[: len(options.anchor)]
    teacher = options.teacher
    return [*options.anchor, *([teacher] if teacher is not None and teacher not in list(letters) else [])]


def _modes(options: Options) -> list[str]:
    """What each of these expects of images."""
    return opening.modes(options.anchor_preprocess, len(_specs(options)))


def _classes(options: Options, letters: Sequence[str]) -> dict[str, str]:
    """The words for the classes of anchors, by letter."""
    told: dict[str, str] = {}
    for text in options.anchor_classes:
        letter, _, names = text.partition("=")
        if letter not in letters or not names or letter in told:
            raise RestnetError(
                f"--anchor-classes {text!r} is not understood; write LETTER=NAMES once an anchor, as in A=cat,dog; the"
                f" letters are {', '.join(letters)}, A for the cheapest anchor"
            )
        told[letter] = names
    return told


def _advice(options: Options, models: Mapping[str, tuple[ModelSource, Anchor]]) -> Remedies:
    """The options that say more of an anchor, by letter."""

    def preprocess(letter: str, mode: str) -> str:
        model = models[letter][0]
        named = [model.spec == applications.divided(spec)[0] for spec in _specs(options)]
        words = [mode if one else other for one, other in zip(named, _modes(options), strict=True)]
        return f"--anchor-preprocess={words[0] if len(set(words)) == 1 else ','.join(words)}"

    return Remedies(preprocess, lambda letter, names: f"--anchor-classes={shlex.quote(f'{letter}={names}')}")


def _loaded(options: Options, spec: str, mode: str) -> tuple[ModelSource, Anchor]:
    """A model by name or file, or a weights file with its architecture: ``FILE@ARCH``."""
    base, arch = applications.divided(spec)
    model = ModelSource(base, options.weights, options.weights_dir, arch, mode)
    return model, model.load()
