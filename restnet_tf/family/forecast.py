"""What a family will take here, counted before any work: minutes, memory and disk.

Work is counted as fits count theirs (``ladder.work``): MACs, with what moving values takes beside them. One timed batch
of the largest anchor says how much of it this machine does in a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from restnet_tf import atomic
from restnet_tf.family import compute, controls
from restnet_tf.family.family import Family, Prospect
from restnet_tf.fitting import cache, ladder, stints
from restnet_tf.graph import infer
from restnet_tf.progress import Reporter
from restnet_tf.similarity import features, pair_sums
from tflite_export.precision import MIXED, precision_named

# Two server cores do so much work in a second, and there take so many seconds beside it: at the start, for each fit,
# for each anchor that is compiled to a precision and for each file.
_PACE = 6e10
START_S, _FIT_S, _COMPILE_S, _FILE_S = 8.0, 1.5, 2.0, 0.5
_SLOWEST = 3.0
# What the interpreter does in a second, and takes for a call beside.
_INTERPRETED, _CALL_S = 5e10, 1e-4
# Of the points that are fitted, so many come so far as to be held against twins, and have files.
SHIPPED = 0.5
# The work that is trained in one go at effort 1, at most: of all configurations of an SN-Net. More, larger batches.
_TOGETHER = 44e12
_TRIED = 6  # plans of which the closed form is tried, for each point
# Bytes that Python and TensorFlow hold whatever the anchors, and those of a value that is summed up.
PROGRAM, _SUMMED = 9e8, 12


@dataclass(frozen=True)
class Forecast:
    """Seconds here, and bytes: of a process's memory at the peak, of disk while the family is built."""

    seconds: float
    memory: float
    disk: float

    def told(self, path: Path) -> str:
        """In a line for people."""
        return (
            f"about {_duration(self.seconds)} here, {atomic.spoken(self.memory)} of memory a process,"
            f" {atomic.spoken(self.disk)} of disk in {path}"
        )

    def lacking(self, path: Path) -> str:
        """What this machine has less of than it takes, in a line for people; empty where nothing."""
        free, there = atomic.room(path)
        memory = atomic.free_memory()
        lines = [f"{atomic.spoken(free)} of disk are free at {there}"] if self.disk > free else []
        lines += [f"{atomic.spoken(memory)} of memory are free"] if memory is not None and self.memory > memory else []
        return f"only {' and '.join(lines)}" if lines else ""


@dataclass(frozen=True)
class Fitting:
    """What a method fits: its work, how many fits, networks that are judged in Keras, those that have files.

    ``features`` are the bytes that are kept of an example while it does. Stitches in closed form are not ``trained``.
    """

    work: float
    fits: float
    networks: float
    files: float
    features: float
    trained: bool = True


def say(whole: Forecast, path: Path, report: Reporter) -> None:
    """What a run in ``path`` takes, and what is lacking."""
    report.say(whole.told(path))
    if lacking := whole.lacking(path):
        report.say(lacking)


def of(family: Prospect, share: int, done: float | None = None) -> Forecast:
    """What it takes to fit a family's points, each with a ``share`` of work, and to ship them.

    ``done`` is the work that this machine does in a second, where that is known: see ``pace``.
    """
    return whole(family, _each(family, share), done)


def slowness(family: Prospect) -> float:
    """How many times as long as two server cores this machine takes for the same."""
    return _PACE / pace(family)


def answering(macs: float, examples: int) -> float:
    """Seconds that the interpreter takes for so many examples, on two server cores."""
    return examples * (macs / _INTERPRETED + _CALL_S)


def waiting(slowness: float, seconds: float) -> float:
    """Seconds that no network computes in, on a machine so slow; networks too small to keep one busy tell little."""
    return min(_SLOWEST, slowness) * seconds


def making(files: float, compiled: int = 0) -> float:
    """Seconds that files take, and the networks that are compiled for them, on two server cores."""
    return _COMPILE_S * compiled + _FILE_S * files


def whole(family: Prospect, fitting: Fitting, done: float | None = None) -> Forecast:
    """What it takes to fit and ship whatever a method makes of a family."""
    slower = _PACE / done if done else slowness(family)
    seconds = slower * _work(family, fitting) / _PACE + waiting(slower, _waits(family, fitting))
    return Forecast(seconds, memory(family, fitting.trained), _disk(family, fitting))


def check_room(family: Family) -> None:
    """Refuse (``RestnetError``) a disk that lacks the room for what any family of these anchors keeps of its images."""
    count = compute.views(family) + len(family.data.rank)
    atomic.check_room(family.run.path, count * cache.bytes_per_image(family.anchors, _always(family)))


def kept(family: Prospect, features: float) -> int:
    """Bytes of the views and rank images while a family is built, of so many each."""
    count = min(compute.views(family), int(compute.CACHE_BYTES / features))
    return int((max(compute.VIEW_BATCH, count) + len(family.data.rank)) * features)


def pace(family: Prospect) -> float:
    """Work that the largest anchor does in a second, in a batch after the first."""
    anchor = family.anchors[family.largest]
    return ladder.work(anchor.model) / infer.seconds(anchor.model, anchor.input_shape)


def work(family: Prospect, share: int) -> float:
    """All that is counted where each point has its ``share``."""
    return _work(family, _each(family, share))


def _work(family: Prospect, fitting: Fitting) -> float:
    """Statistics, features, fits, and the answers of all networks."""
    data, anchors = family.data, sum(_works(family))
    judged = len(data.rank) + len(data.test)
    passes = min(compute.STATISTICS_IMAGES, len(data.fit)) + compute.views(family) + judged
    # In Keras and then, by one thread, in files.
    answers = 2 * judged * _mean(family) * fitting.networks * (1 + len(family.settings.precisions))
    return passes * anchors + _sums(family) + fitting.work + answers


def _each(family: Prospect, share: int) -> Fitting:
    """Trials, fits of points on their own, and their twins."""
    points, mean, twins = family.settings.max_points, _mean(family), _twins(family, share)
    tried = _TRIED * points
    trials = compute.trial_images(family, int(tried * mean)) * (sum(_works(family)) + tried * mean)
    behind = twins * (share + compute.views(family) * mean / 2)
    shapes = [prod(cut.shape) for cut_list in family.cut_lists.values() for cut in cut_list]
    fronts = min(len(shapes), stints.CANDIDATES * points) + twins
    return Fitting(
        work=trials + fits(family, share) + behind,
        fits=stints.CANDIDATES * points + 1 + twins,
        networks=points,
        files=SHIPPED * points,
        features=cache.bytes_per_image(family.anchors, _always(family)) + 2 * fronts * float(np.mean(shapes)),
        trained=share > 0,
    )


def _works(family: Prospect) -> list[int]:
    return [ladder.work(anchor.model) for anchor in family.anchors.values()]


def _mean(family: Prospect) -> float:
    return float(np.mean(_works(family)))


def fits(family: Prospect, share: int) -> int:
    """Of the points, candidates that are dropped among them, and of the taught small anchor."""
    return (family.settings.max_points + 1) * share


def memory(family: Prospect, trained: bool = True) -> float:
    """A process's own at the peak, of the pass over the images or of the training of a back.

    Files that are mapped are not counted: where memory is short the system takes their pages back.
    """
    lists = family.cut_lists.values()
    batch = features.batch_size(family.anchors.values(), lists)
    values = batch * sum(prod(cut.shape) for cut_list in lists for cut in cut_list)
    budget = family.settings.effort * _TOGETHER
    room = max(ladder.room(anchor.model, budget) for anchor in family.anchors.values()) if trained else 0
    return PROGRAM + max(_SUMMED * values + 8 * _products(family), room)


def _disk(family: Prospect, fitting: Fitting) -> float:
    """Features of all views and rank images, and the files."""
    values = sum(c.params for c in family.costs.values())
    # In float32 and in int8; once more the floats that objects of integers were made of.
    objects = {"int8" if p == MIXED else p for p in family.settings.precisions if precision_named(p).calibrated}
    return kept(family, fitting.features) + 5 * values * (2 + fitting.files) + 4 * values * len(objects)


def _always(family: Prospect) -> dict[str, list[str]]:
    """What is cached of each anchor whatever the points."""
    names: dict[str, list[str]] = {role: [cache.LOGITS, cache.PENULTIMATE] for role in family.anchors}
    names[family.smallest].append(cache.INPUT)
    return names


def _twins(family: Prospect, share: int) -> int:
    """How many random fronts are fitted, about."""
    if not family.settings.controls or len(family.anchors) < 2:
        return 0
    return int(SHIPPED * family.settings.max_points * controls.seeds(share))


def _waits(family: Prospect, fitting: Fitting) -> float:
    """Seconds that no count tells of, on two server cores."""
    settings = family.settings
    files = len(family.anchors) + fitting.files + settings.cascades
    return START_S + _FIT_S * fitting.fits + len(settings.precisions) * making(files, len(family.anchors))


def _sums(family: Prospect) -> float:
    """Work of the ridge sums and of CKA over the images of the statistics."""
    lists = family.cut_lists
    images = min(compute.STATISTICS_IMAGES, len(family.data.fit))
    batch = features.batch_size(family.anchors.values(), lists.values())
    grams = batch * sum(prod(cut.shape) for cut_list in lists.values() for cut in cut_list)
    return images * (pair_sums.POSITIONS * _products(family) + grams)


def _products(family: Prospect) -> int:
    """Products of channels of all pairs of cuts, both ways."""
    widths: Mapping[str, int] = {role: sum(c.shape[-1] for c in cuts) for role, cuts in family.cut_lists.items()}
    return 2 * prod(widths.values()) if len(widths) == 2 else sum(w * w for w in widths.values())


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    if minutes < 1.5:
        return f"{max(10, round(seconds, -1)):.0f} seconds"
    return f"{minutes:.0f} minutes" if minutes < 90 else f"{minutes / 60:.1f} hours"
