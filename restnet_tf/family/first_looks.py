"""Before anything is built: how many of a few labelled images each model has right, and what would mend it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from restnet_tf.anchors import applications, class_order, first_look, head, norm_statistics, preprocess, vit_hub
from restnet_tf.anchors.first_look import Answers, Look
from restnet_tf.anchors.head import HeadFit
from restnet_tf.data.splits import Data, Split
from restnet_tf.graph import infer
from restnet_tf.progress import Reporter
from restnet_tf.records import Anchor, RestnetError
from restnet_tf.work.sources import ModelSource

STAGE = "a first look at the models"
_RIDGE = 1e-2  # of a feature's variance
_FOLDS = 2


@dataclass(frozen=True)
class Remedies:
    """The words of a command that say what the model of a role expects of images, and what its classes are.

    ``preprocess`` and ``classes`` make an option of a role and a value. ``otherwise`` is what to do with a model that
    is asked in the right way, where its own classes do not matter.
    """

    preprocess: Callable[[str, str], str]
    classes: Callable[[str, str], str]
    otherwise: str = ""


BY_ROLE = Remedies(
    lambda role, mode: f"--{role}-preprocess={mode}", lambda role, names: f"--{role}-classes={shlex.quote(names)}"
)


@dataclass(frozen=True)
class Impression:
    """A model that was looked at.

    ``modes`` are the preprocessings that a user can give it, ``order`` the words for its classes in the order that was
    found; ``refits`` says whether it can be given a new classifier. ``settled`` is the share that a model at chance
    would have right if its batch norms took the statistics of the batch; None where that is no better.
    """

    role: str
    name: str
    look: Look
    modes: tuple[str, ...]
    order: str
    refits: bool = True
    many: str = "images"  # what inputs are called
    settled: float | None = None


def sample(data: Data, count: int) -> tuple[Split, ...]:
    """The first images of the rank split, and where these are few of the fit split too."""
    rank = data.rank.head(count)
    return (rank, data.fit.head(count - len(rank))) if len(rank) < count else (rank,)


def truths(splits: Sequence[Split]) -> np.ndarray:
    """The labels ``(n,)`` of labelled splits, one behind the other."""
    return np.concatenate([np.asarray(split.labels) for split in splits])


def of_anchor(role: str, model: ModelSource, anchor: Anchor, data: Data) -> Impression:
    """Look at an anchor whose classes are the data's."""
    splits = sample(data, first_look.images_for(anchor.classes))
    run = infer.compiled(anchor.model)

    def answers(mode: str) -> np.ndarray:
        images = _images(splits, anchor, model.preprocess, mode)
        return np.concatenate([np.asarray(run(x)).argmax(1) for x in images])

    modes = _modes(model, anchor, data)
    seen = impression(role, anchor.name, data, splits, answers, model.preprocess, modes, anchor.classes)
    if seen.look.better is not None or not seen.look.at_chance:
        return seen
    images = _images(splits, anchor, model.preprocess, model.preprocess)
    return replace(seen, settled=norm_statistics.better(anchor.model, images, truths(splits), seen.look))


def of_head(role: str, model: ModelSource, anchor: Anchor, fit: HeadFit, data: Data) -> Impression | None:
    """Look at what a new head reads: whether a classifier of these features would know more than chance.

    None where the head that was fitted is good enough.
    """
    import keras

    if fit.rank_accuracy >= first_look.GOOD:
        return None
    splits = sample(data, first_look.images_for(fit.classes))
    labels = truths(splits)
    run = infer.compiled(keras.Model(anchor.model.inputs[0], anchor.features))

    def answers(mode: str) -> np.ndarray:
        images = _images(splits, anchor, model.preprocess, mode)
        return _guessed(np.concatenate([np.asarray(run(x)) for x in images]), labels)

    seen = impression(role, anchor.name, data, splits, answers, model.preprocess, _modes(model, anchor, data), 0)
    if seen.look.better is not None or not seen.look.at_chance or not np.isfinite(fit.rank_accuracy):
        return seen
    # The head itself was fitted on more images.
    right = round(fit.rank_accuracy * fit.rank_images)
    return replace(seen, look=Look(right, fit.rank_images, seen.look.chance))


def impression(
    role: str,
    name: str,
    data: Data,
    splits: Sequence[Split],
    answers: Answers,
    given: str,
    modes: tuple[str, ...],
    classes: int,
) -> Impression:
    """Look at a model by what it answers to the images of splits."""
    look = first_look.look(truths(splits), answers, given, modes, classes)
    order = class_order.spoken(look.order, data) if look.order else ""
    return Impression(role, name, look, modes, order, many=data.kind.many)


def say(impressions: Sequence[Impression], report: Reporter) -> None:
    """How many each has right."""
    for one in impressions:
        share = f"{100 * one.look.share:.1f} % of {one.look.images} labelled {one.many}"
        report.say(f"{one.role}: {one.name} has {share} right")


def judge(impressions: Sequence[Impression], remedies: Remedies, anyway: bool, report: Reporter) -> None:
    """Refuse (``RestnetError``) the first model that is at chance or asked in the wrong way; with ``anyway`` say so."""
    for problem in (text for one in impressions if (text := told(one, remedies))):
        if not anyway:
            raise RestnetError(f"{problem}; --anyway goes on as it is")
        report.say(f"{problem}; going on as it is")


def told(one: Impression, remedies: Remedies) -> str:
    """What is wrong with a model and which options mend it; empty where nothing is."""
    look = one.look
    begin = f"{one.role} ({one.name}) has {100 * look.share:.1f} % of {look.images} labelled {one.many} right"
    if look.better is not None:
        options = [remedies.preprocess(one.role, look.mode)] if look.mode is not None else []
        options += [remedies.classes(one.role, one.order)] if look.order is not None else []
        return f"{begin}, and {100 * look.better:.1f} % with {' '.join(options)}: give that"
    if not look.at_chance:
        return ""
    if one.settled is not None:
        return (
            f"{begin}, and {100 * one.settled:.1f} % by the statistics of the {one.many} at hand: its batch norms have"
            " not settled, as after a short training; train it for longer, or its norms with a lower momentum"
        )
    other = f"if it expects other values, {remedies.preprocess(one.role, '|'.join(one.modes))}" if one.modes else ""
    if remedies.otherwise:
        return f"{begin}, no better than chance: {'; if not, '.join(filter(None, (other, remedies.otherwise)))}"
    new = remedies.classes(one.role, class_order.OTHER) if one.refits else f"give {one.many} of its classes"
    ways = [f"if its classes are others than the data's, {new}", *filter(None, (other,))]
    return f"{begin}, no better than chance: {'; '.join(ways)}"


def _modes(model: ModelSource, anchor: Anchor, data: Data) -> tuple[str, ...]:
    """The preprocessings of photos that a user can give the model: a named architecture brings its own."""
    return preprocess.usable(anchor.input_shape[2]) if data.kind.photos and _is_whole(model) else ()


def _images(splits: Sequence[Split], anchor: Anchor, given: str, mode: str) -> Iterator[np.ndarray]:
    """Batches of raw images, changed so that a model with the given preprocessing sees what another would make."""
    batch = infer.batch_size(anchor.input_shape)
    for split in splits:
        for images in split.batches(anchor.input_shape, batch) if len(split) else ():
            x = np.asarray(images)
            yield x if mode == given else preprocess.translated(x, given, mode)


def _guessed(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """What a ridge classifier of half the images says of the other half, both ways."""
    x = (features - features.mean(0)) / (features.std(0) + 1e-6)
    targets = np.eye(1 + int(labels.max()))[labels]
    said, folds = np.zeros(len(labels), np.int64), np.arange(len(labels)) % _FOLDS
    for fold in range(_FOLDS):
        taught, judged = x[folds != fold], x[folds == fold]
        kernel = taught @ taught.T
        kernel[np.diag_indices_from(kernel)] += _RIDGE * x.shape[1] * len(taught) ** 0.5
        y = targets[folds != fold]
        weights = taught.T @ np.linalg.solve(kernel, y - y.mean(0))
        said[folds == fold] = (judged @ weights + y.mean(0)).argmax(1)
    return said


def of_anchors(models: Mapping[str, tuple[ModelSource, Anchor]], data: Data) -> list[Impression]:
    """Look at the anchors whose classes are the labelled data's, but for those of random weights."""
    if not data.labelled:
        return []
    classes = head.data_classes(data)
    trained = {r: pair for r, pair in models.items() if not _random(pair[0]) and head.agrees(pair[1], *classes)}
    return [of_anchor(role, model, anchor, data) for role, (model, anchor) in trained.items()]


def of_heads(
    models: Mapping[str, tuple[ModelSource, Anchor]], fits: Mapping[str, HeadFit], data: Data
) -> list[Impression]:
    """Look at what the new heads of roles read, but for those of random weights."""
    trained = {role: fit for role, fit in fits.items() if not _random(models[role][0])}
    looks = [of_head(role, *models[role], fit, data) for role, fit in trained.items()]
    return [one for one in looks if one is not None]


def _random(model: ModelSource) -> bool:
    """Whether no weights were asked for."""
    return model.weights == "none" and not _is_whole(model)


def _is_whole(model: ModelSource) -> bool:
    """Whether a file holds the whole model, and not weights alone."""
    named = applications.parse(model.spec).base in applications.constructors()
    return not (named or model.arch or model.spec.startswith(vit_hub.PREFIX))
