"""What a composition is read from: a user's options, the few images, the pool. Any process reads the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from restnet_tf import atomic
from restnet_tf.data import splits
from restnet_tf.family import opening
from restnet_tf.methods.stitchnet import fewshot, pool
from restnet_tf.methods.stitchnet.composition import Composition, CompositionSettings
from restnet_tf.methods.stitchnet.fragments import FLOAT
from restnet_tf.methods.stitchnet.options import Options
from restnet_tf.methods.stitchnet.pool import PoolMember
from restnet_tf.methods.stitchnet.search import Limits
from restnet_tf.progress import Reporter
from restnet_tf.records import RestnetError
from restnet_tf.run.directory import Run
from restnet_tf.work import tasks
from restnet_tf.work.tasks import Executor


def composition(options: Options, report: Reporter, execute: Executor = tasks.serially) -> Composition:
    """The few images and the pool; raises the domain error for images and members that cannot be used."""
    settings = _settings(options)
    report.stage("reading the data")
    whole = splits.load(str(options.data), seed=options.seed)
    few = fewshot.choose(whole, options.images, _words(options.classes), options.seed)
    count = len(set(np.asarray(few.fit.labels).tolist()))
    report.say(
        f"{few.name}: {len(few.fit)} {few.kind.many} of {count} classes to compose and validate on,"
        f" {len(few.test)} test {few.kind.many} that only report"
    )
    modes = opening.modes(options.preprocess, len(options.pool))
    sources = [
        pool.source_of(text, options.weights, options.weights_dir, mode)
        for text, mode in zip(options.pool, modes, strict=True)
    ]
    entries = pool.opened(options.pool_dir, sources, report, few.kind)
    members = pool.by_role(entries)
    roles = {entry.key: role for role, entry in members.items()}
    if len(members) == 1:
        report.say("one pool member alone: its nets are the member with fragments left out")
    run = Run(out(options))
    atomic.check_writable(run.path)
    if FLOAT in settings.precisions:
        _say_integers(members, report)
    order = tuple(roles[entry.key] for entry in entries)
    return Composition(run, members, order, few, options, settings, report, execute=execute)


def out(options: Options) -> Path:
    """The run directory: the user's, or the one of these images."""
    return options.out or _default_out(options)


def _say_integers(members: Mapping[str, PoolMember], report: Reporter) -> None:
    """What float32 files are that have members of integers in them."""
    for entry in members.values():
        if precision := entry.integers:
            alone = all(other.takes(precision) for other in members.values())
            advice = f"; --precision {precision} makes nets of integers alone" if alone else ""
            name = entry.member.name
            report.say(
                f"{name} is {precision} and stays so: float32 files with it in them are both, which LiteRT runs{advice}"
            )


def _settings(options: Options) -> CompositionSettings:
    precisions = opening.precisions(options)
    if "uint8" in precisions:
        raise RestnetError("files of composed nets take float32 or int8 inputs")
    limits = Limits(options.top, options.least, options.least_overall, options.depth, options.nets)
    terms = opening.terms(options)
    return CompositionSettings(
        options.fragments, options.score, options.rank_by, limits, options.max_points, precisions, terms, options.seed
    )


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _default_out(options: Options) -> Path:
    return Path("runs") / f"composed-{opening.run_word(str(options.data))}"
