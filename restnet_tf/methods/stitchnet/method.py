"""StitchNet: nets composed of a pool's fragments for one user's few images (Teerapittayanon et al. 2023).

The search finds nets, cross-validation on the few images ranks them, those on the front of MACs and log loss become
files. Nothing is trained by back-propagation. Every step keeps its result in the run directory, and a run that
finds it there goes on behind it.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from math import inf, nan
from typing import TYPE_CHECKING

import numpy as np

from restnet_tf import atomic, records
from restnet_tf.data.splits import Data
from restnet_tf.fitting.ladder import CLOSED_FORM, Fitted
from restnet_tf.methods.stitchnet import fewshot, findings, fragments, search
from restnet_tf.methods.stitchnet.activations import PoolActivations
from restnet_tf.methods.stitchnet.budgets import Budget
from restnet_tf.methods.stitchnet.fragments import Fragment
from restnet_tf.methods.stitchnet.pool import Entry
from restnet_tf.methods.stitchnet.search import HEAD, Found, Limits, Link, Net, Task
from restnet_tf.progress import Reporter
from restnet_tf.records import Layout, Plan, RestnetError, Stitch
from restnet_tf.run import plans_file
from restnet_tf.run.directory import Run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tflite_export.budget import Term
    from tflite_export.link import Object


@dataclass(frozen=True)
class Settings:
    """What a composition was asked for; all of it is part of the run's identity."""

    fragments: int
    score: str
    rank_by: str
    limits: Limits
    max_points: int
    precisions: tuple[str, ...]
    budget: tuple[Term, ...]
    seed: int


@dataclass(frozen=True)
class Composition:
    """A pool's members by role, from A, the cheapest, on; the few images (``data.fit``), and where results go."""

    run: Run
    members: Mapping[str, Entry]
    data: Data
    settings: Settings
    report: Reporter

    @cached_property
    def pool(self) -> dict[str, tuple[Fragment, ...]]:
        """Fragments by member."""
        return {role: fragments.split(role, e.member, self.settings.fragments) for role, e in self.members.items()}

    @cached_property
    def names(self) -> dict[str, str]:
        """What members are called, by role."""
        return {role: entry.member.name for role, entry in self.members.items()} | {HEAD: "head"}

    @cached_property
    def labels(self) -> np.ndarray:
        """Of the few images."""
        return np.asarray(self.data.fit.labels)

    @cached_property
    def classes(self) -> int:
        """How many the head tells apart."""
        return 1 + int(self.labels.max())

    @cached_property
    def folds(self) -> tuple[np.ndarray, ...]:
        """Of the few images, for stitches and heads alike."""
        return fewshot.folds(self.labels, self.settings.seed)

    def object(self, role: str, precision: str) -> Object:
        """A member compiled."""
        return self.members[role].object(precision, lambda: self.images(role))

    def images(self, role: str) -> np.ndarray:
        """The few images as a member takes them, uint8 ``(n, h, w, c)``."""
        return self._pixels(self.members[role].member.input_shape, "fit")

    def tests(self, role: str) -> np.ndarray:
        """The test images as a member takes them."""
        return self._pixels(self.members[role].member.input_shape, "test")

    def _pixels(self, shape: tuple[int, int, int], split: str) -> np.ndarray:
        known = self._read
        if (shape, split) not in known:
            known[shape, split] = fewshot.pixels(getattr(self.data, split), shape)
        return known[shape, split]

    @cached_property
    def _read(self) -> dict[tuple[tuple[int, int, int], str], np.ndarray]:
        return {}

    @cached_property
    def activations(self) -> PoolActivations:
        """The pool on the few images, filled."""
        folder = self.run.cache_path("native")
        objects = {role: self.object(role, "float32") for role in self.members}
        found = PoolActivations(objects, folder, debiased=self.settings.score == "cka")
        self.report.stage(f"activations of {len(self.members)} pool members on {len(self.labels)} images")
        found.fill(self.pool, {role: self.images(role) for role in self.members}, self.report)
        return found

    @cached_property
    def task(self) -> Task:
        """What is searched for."""
        chosen = self.settings
        return Task(
            self.pool,
            self.activations,
            self.folds,
            self.classes,
            self.judged,
            Budget(self.settings.budget, self.settings.precisions, self.object).refuse,
            chosen.score,
            chosen.rank_by,
            chosen.limits,
        )

    def judged(self, features: np.ndarray) -> tuple[float, float, float, tuple[bool, ...]]:
        """Log loss, accuracy, the neighbours' accuracy and the right images of a head in cross-validation."""
        found = fewshot.validated(features, self.labels, self.folds)
        return found.loss, found.accuracy, found.knn, tuple(bool(r) for r in found.right)

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Add to the seconds that a part of the work has taken in this run."""
        start = time.perf_counter()
        yield
        known = self.seconds
        known[what] = round(known.get(what, 0.0) + time.perf_counter() - start, 1)
        self.run.write_json(self.run.seconds_path, known)

    @property
    def seconds(self) -> dict[str, float]:
        """What the parts of the work took, by the clock."""
        path = self.run.seconds_path
        return json.loads(path.read_text()) if path.exists() else {}


@dataclass(frozen=True)
class Chosen:
    """Networks that become files, by name, with their plans and stitches; members with a head among them."""

    nets: Mapping[str, Net]
    plans: Mapping[str, Plan]
    fitted: Mapping[str, Fitted]


def found(composition: Composition) -> Found:
    """All nets of the search, from the run or found into it, start by start."""
    whole = Found()
    run, starts = composition.run, len(composition.pool)
    for done, role in enumerate(composition.pool):
        path = run.search_path(role)
        if not path.exists():
            task = composition.task
            composition.report.stage(f"searching, start {done + 1} of {starts}: {composition.names[role]}")
            with composition.timed("search"):
                part = search.search(task, composition.pool[role][0])
            atomic.write_bytes(path, (json.dumps(findings.as_json(part), indent=1) + "\n").encode())
        part = findings.from_json(json.loads(path.read_text()), composition.pool)
        whole.nets += part.nets
        whole.refused += part.refused
        whole.ended += part.ended
    return whole


def members(composition: Composition) -> dict[str, Net]:
    """Every pool member as it is, with a head, by role."""
    path = composition.run.search_path("members")
    if not path.exists():
        nets = []
        for role, parts in composition.pool.items():
            end = parts[-1]
            native = composition.activations.native(role, end.stop)
            judged = composition.judged(np.asarray(native).reshape(len(native), -1))
            more = composition.task.head(end)
            cost = (sum(p.macs for p in parts) + more[0], sum(p.params for p in parts) + more[1])
            loss, accuracy, knn, right = judged
            links = tuple(Link(p) for p in parts)
            nets.append(Net(links, 1.0, *cost, loss, accuracy, knn, right))
        atomic.write_bytes(path, (json.dumps(findings.as_json(Found(nets)), indent=1) + "\n").encode())
    nets = findings.from_json(json.loads(path.read_text()), composition.pool).nets
    return {net.name: net for net in nets}


def composed(whole: Found, known: Mapping[str, Net]) -> list[Net]:
    """The nets with a stitch in them."""
    return [net for net in whole.nets if net.name not in known]


def check(composition: Composition, whole: Found, known: Mapping[str, Net]) -> None:
    """Refuse a search that found no net: says which limit to move."""
    if composed(whole, known):
        return
    over = {reason: n for reason, n in whole.ended.items() if reason.startswith("over the budget")}
    if over and sum(over.values()) == sum(whole.ended.values()):
        least = min(known.values(), key=lambda net: net.macs)
        raise RestnetError(
            f"no net of this pool is within the budget: the cheapest member, {composition.names[least.name]},"
            f" has {least.macs / 1e6:.4g}M MACs and {least.params:,} parameters, and {max(over, key=over.__getitem__)}"
        )
    reasons = Counter({r: n for r, n in whole.ended.items() if "enough" not in r})
    if not reasons:
        raise RestnetError("no net was found: no cut of these members can be stitched to another; give another --pool")
    first, count = reasons.most_common(1)[0]
    names = "--least-overall" if "overall" in first else "--least" if "--least" in first else "the limit"
    raise RestnetError(
        f"no net was found: of {sum(reasons.values())} paths, {count} ended for {first}; lower {names}, raise --top, or"
        " give other members"
    )


def chosen(composition: Composition, whole: Found, known: Mapping[str, Net]) -> list[Net]:
    """The nets that become files, cheapest first; every plan is written with what became of it."""
    run = composition.run
    nets = composed(whole, known)
    front = _front([*nets, *known.values()])
    best = [net for net in front if net.name not in known]
    kept = _spread(best, composition.settings.max_points)
    if not run.done("plans"):
        reasons = {net.name: f"more than {composition.settings.max_points} nets on the front" for net in best}
        reasons |= {net.name: "" for net in kept}
        for net in nets:
            if net.name not in reasons:
                rival = next(r for r in reversed(front) if r.macs <= net.macs and _key(r) != _key(net))
                reasons[net.name] = f"dominated: {rival.name} costs no more and has no higher loss"
        plans = [_plan(net, reasons[net.name]) for net in nets] + [_plan(net, net.refused) for net in whole.refused]
        plans_file.write_plans(run.plans_path, plans)
        run.finish("plans")
    composition.report.say(
        f"{len(nets)} nets, {len(best)} of them on the front of MACs and log loss, {len(kept)} chosen;"
        f" {run.plans_path} says why"
    )
    return kept


def fitted(composition: Composition, nets: Sequence[Net]) -> Chosen:
    """The stitches and heads of nets, from the run or fitted into it."""
    plans = {net.name: _plan(net, "") for net in nets}
    made: dict[str, Fitted] = {}
    for net in nets:
        known = composition.run.load_fitted(net.name)
        if known is None:
            known = _fitted(composition, net)
            composition.run.save_fitted(net.name, known)
        made[net.name] = known
    return Chosen({net.name: net for net in nets}, plans, made)


def correlation(nets: Sequence[Net]) -> dict[str, tuple[float, float]]:
    """Pearson's and Spearman's correlation of the overall score with validation accuracy and log loss."""
    from scipy import stats

    if len(nets) < 3:
        return {}
    overall = [net.overall for net in nets]
    found = {}
    for name in ("accuracy", "loss", "knn"):
        values = [getattr(net, name) for net in nets]
        if np.ptp(overall) > 0 and np.ptp(values) > 0:
            pair = stats.pearsonr(overall, values), stats.spearmanr(overall, values)
            found[name] = float(pair[0].statistic), float(pair[1].statistic)
    return found


def title(composition: Composition, net: Net) -> str:
    """A net's route in words."""
    pieces = search.route([link.fragment for link in net.links])[:-1]
    if len(pieces) == 1:
        return composition.names[pieces[0].anchor]
    worded = [replace(p, stop=None if p is pieces[-1] else p.stop) for p in pieces]
    return records.title(Plan("", tuple(worded), 0, 0, nan, nan), composition.names)


def _fitted(composition: Composition, net: Net) -> Fitted:
    stitches, features = search.refitted(composition.task, net)
    penalty = fewshot.validated(features, composition.labels, composition.folds).penalty
    kernel, bias = fewshot.head(features, composition.labels, penalty)
    end = Layout((1, 1, composition.classes))
    last = Stitch(kernel, bias, net.links[-1].fragment.stop.layout, end, (None, None))
    return Fitted(last, CLOSED_FORM, net.loss, net.loss, (), before=stitches)


def _key(net: Net) -> tuple[float, int, str]:
    return net.loss, net.macs, net.name


def _front(nets: Sequence[Net]) -> list[Net]:
    """Nets that lose less than all that cost no more, cheapest first."""
    front: list[Net] = []
    for net in sorted(nets, key=lambda n: (n.macs, n.loss, n.name)):
        if not front or net.loss < front[-1].loss:
            front.append(net)
    return front


def _spread(nets: list[Net], count: int) -> list[Net]:
    """At most so many of a front, evenly; the one of least loss is among them."""
    if len(nets) <= count:
        return nets
    return [nets[i] for i in sorted({round(x) for x in np.linspace(len(nets) - 1, 0, count)})]


def _plan(net: Net, reason: str) -> Plan:
    """A net as a plan; its KL is that of its head's answers from the labels, which is the log loss."""
    parts = [link.fragment for link in net.links]
    r2 = [link.r2 for link in net.links if link.r2 is not None]
    loss = None if net.loss == inf else net.loss
    status = "rejected" if reason else "chosen"
    pieces = search.route(parts)
    return Plan(net.name, pieces, net.macs, net.params, net.overall, min(r2, default=nan), loss, status, reason)
