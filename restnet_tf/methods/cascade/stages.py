"""The models of a cascade, opened: Keras models as a family, ``.tflite`` files as classifiers, all with one image."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from restnet_tf.anchors import class_order, first_look, head, preprocess
from restnet_tf.family import first_looks, opening
from restnet_tf.family.family import Family, Settings
from restnet_tf.family.first_looks import Impression, Remedies
from restnet_tf.methods.cascade.options import ROLES, Options
from restnet_tf.records import RestnetError
from restnet_tf.work import tasks
from restnet_tf.work.tasks import Executor
from tflite_export import adapter, classifier, probabilities
from tflite_export.classifier import Classifier
from tflite_export.devices import host
from tflite_export.flatbuffer import Subgraph
from tflite_export.inputs import PHOTOS, InputKind
from tflite_export.original import Original

if TYPE_CHECKING:
    from restnet_tf.anchors.head import HeadFit
    from restnet_tf.data.splits import Data
    from restnet_tf.progress import Reporter
    from restnet_tf.run.directory import Run
    from tflite_export.budget import Term

_TRIED_IMAGES = 32
# By what a classifier computes in: what images its file takes here. Bytes are signed, as the targets' kernels are.
_KINDS = {"int8": "int8", "uint8": "int8", "int16x8": "int16"}


@dataclass(frozen=True)
class FileStage:
    """A ``.tflite`` file as a stage: what it is, what it expects, and the order that its classes are wanted in."""

    classifier: Classifier
    source: bytes
    preprocess: str
    logits: bool
    classes: tuple[int, ...] | None
    kind: InputKind = PHOTOS

    @property
    def sha256(self) -> str:
        """Of the file."""
        return hashlib.sha256(self.source).hexdigest()

    @property
    def original(self) -> Original:
        """What it answers without operators of this tool."""
        first = self.classifier.channels_first
        return Original(self.source, first, self.preprocess, self.logits, self.classes)

    @property
    def precision(self) -> str:
        """What it is called by among the files of a run."""
        return "int8" if self.classifier.precision == "uint8" else self.classifier.precision

    @property
    def graph(self) -> Subgraph:
        """From a raw image of its own size to class probabilities."""
        one = self.classifier
        kind = _KINDS.get(one.precision, "float32")
        return adapter.adapted(
            one,
            image=one.image,
            kind=kind,
            preprocess=self.preprocess,
            logits=self.logits,
            classes=self.classes,
            steps=None if self.kind.photos else self._steps(kind),
            scores=kind,
        )

    def _steps(self, kind: str) -> tuple[float, int] | None:
        """Scale and zero point of values that are no photos: the file's own, else such as hold the data's range."""
        own = self.classifier.input
        if own.type == kind.upper() and own.scales:
            return float(own.scales[0]), int(own.zero_points[0])
        return None if kind == "float32" else self.kind.steps(kind)

    @property
    def content(self) -> bytes:
        """The same as a file of its own."""
        return adapter.alone(self.graph, self.classifier)


@dataclass(frozen=True)
class Stages:
    """The inputs of a cascade: ``files`` and the anchors of ``family`` by role; no family where all are files."""

    run: Run
    data: Data
    options: Options
    settings: Settings
    report: Reporter
    files: Mapping[str, FileStage]
    family: Family[Options] | None
    execute: Executor = tasks.serially

    @property
    def roles(self) -> tuple[str, ...]:
        """What the models are called, in the order in which they were given."""
        return ROLES[: len(self.options.models)]

    @property
    def heads(self) -> tuple[HeadFit, ...]:
        """Classifiers that were fitted for the Keras models among them."""
        return () if self.family is None else self.family.heads

    @property
    def budget(self) -> tuple[Term, ...]:
        """The user's limits."""
        return self.settings.budget

    @property
    def names(self) -> dict[str, str]:
        """What each model is called where it comes from."""
        anchors = {} if self.family is None else {role: a.name for role, a in self.family.anchors.items()}
        files = {role: stage.classifier.name for role, stage in self.files.items()}
        return {role: (anchors | files)[role] for role in self.roles}

    @property
    def hashes(self) -> dict[str, str]:
        """What each model is, to the bit."""
        anchors = {} if self.family is None else {role: a.sha256 for role, a in self.family.anchors.items()}
        return anchors | {role: stage.sha256 for role, stage in self.files.items()}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """``(h, w, c)`` of the images that each takes."""
        anchors = {} if self.family is None else {role: a.input_shape for role, a in self.family.anchors.items()}
        return anchors | {role: stage.classifier.image for role, stage in self.files.items()}

    @property
    def costs(self) -> dict[str, tuple[int, int]]:
        """MACs and weights of each."""
        anchors = {} if self.family is None else {role: (c.macs, c.params) for role, c in self.family.costs.items()}
        files = {role: (s.classifier.macs, s.classifier.parameters) for role, s in self.files.items()}
        return anchors | files

    @property
    def own(self) -> dict[str, str]:
        """The precision of those that have just one."""
        return {role: stage.precision for role, stage in self.files.items()}

    @property
    def labelled(self) -> bool:
        """Whether answers are held against labels, and not against the largest model's."""
        return self.data.labelled


def opened(options: Options, data: Data) -> dict[str, FileStage]:
    """The ``.tflite`` files among the models, by role; raises the domain error for one that cannot be a stage."""
    names = class_words(options)
    files = {}
    for role, spec, mode in zip(ROLES, options.models, modes(options), strict=False):
        if classifier.is_file(spec):
            named = class_order.listed(names[role]) if role in names else None
            files[role] = _file_stage(Path(spec), mode, options.logits, named, data)
    return files


def looked_at(options: Options, files: Mapping[str, FileStage], data: Data) -> list[Impression]:
    """How many of a few labelled images each file has right; only of files whose classes are the data's."""
    if not data.labelled:
        return []
    count, _ = head.data_classes(data)
    return [_look(role, stage, data) for role, stage in files.items() if _classes(stage) == count]


def _look(role: str, stage: FileStage, data: Data) -> Impression:
    one = stage.classifier
    splits = first_looks.sample(data, first_look.images_for(one.classes))

    def answers(mode: str) -> np.ndarray:
        images = (np.asarray(x) for split in splits if len(split) for x in split.batches(one.image, _TRIED_IMAGES))
        return host.scores(replace(stage, preprocess=mode).content, images).argmax(1)

    modes = preprocess.usable(one.image[2]) if data.kind.photos else ()
    ordered = 0 if stage.classes is not None else one.classes
    seen = first_looks.impression(role, one.name, data, splits, answers, stage.preprocess, modes, ordered)
    return replace(seen, refits=False)


def remedies(options: Options, files: Mapping[str, FileStage]) -> Remedies:
    """The options that say more of a model, by role."""

    def preprocess(role: str, mode: str) -> str:
        roles = ROLES[: len(options.models)]
        given = dict(zip(roles, modes(options), strict=True))
        words = {r: given[r] or (files[r].preprocess if r in files else "none") for r in roles} | {role: mode}
        return f"--preprocess={','.join(words.values()) if len(set(words.values())) > 1 else mode}"

    return Remedies(preprocess, lambda role, names: f"--classes={shlex.quote(f'{role}={names}')}")


def _classes(stage: FileStage) -> int:
    return stage.classifier.classes if stage.classes is None else len(stage.classes)


def check(stages: Stages) -> None:
    """Refuse (``RestnetError``) models that are one, that answer to other questions, or that are in another order."""
    _check_twice(stages)
    _check_classes(stages)
    _check_order(stages)
    for role in stages.roles:
        if role in stages.files:
            _check_probabilities(stages, stages.files[role])
        else:
            _check_softmax(stages, role)


def _check_twice(stages: Stages) -> None:
    for one, other in combinations(stages.roles, 2):
        if stages.hashes[one] == stages.hashes[other]:
            raise RestnetError(
                f"{one} and {other} are the same model, {stages.names[one]}; a cascade goes on to a better one"
            )


def _check_classes(stages: Stages) -> None:
    counts = {role: _count(stages, role) for role in stages.roles}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{role} {counts[role]}" for role in stages.roles)
        raise RestnetError(
            f"the models tell different numbers of classes apart ({told}); give --classes ROLE=FILE with the names of"
            " a .tflite file's classes, one a line, or models of the same classes"
        )
    if not stages.labelled:
        return
    (count, names), many = head.data_classes(stages.data), stages.data.kind.many
    for role in stages.files:
        if counts[role] < count or (names is not None and counts[role] > count):
            raise RestnetError(
                f"{stages.names[role]} has {counts[role]} classes and {stages.data.name} {count}; give"
                f" {many} of its classes, or {many} without labels"
            )


def _check_order(stages: Stages) -> None:
    macs = {role: stages.costs[role][0] for role in stages.roles}
    ordered = sorted(stages.roles, key=lambda role: macs[role])
    if ordered != list(stages.roles):
        costs = ", ".join(f"{stages.names[role]} {macs[role]:,}" for role in stages.roles)
        raise RestnetError(
            f"a cascade begins with its cheapest model, and these cost {costs} MACs; give them as"
            f" {' '.join(_in_order(stages.options, ordered))}"
        )


def _in_order(options: Options, ordered: Sequence[str]) -> list[str]:
    """The words of a command that gives the models in this order, with what is said of each of them."""
    specs, places = dict(zip(ROLES, options.models, strict=False)), dict(zip(ordered, ROLES, strict=False))
    words = [shlex.quote(specs[role]) for role in ordered]
    expected = dict(zip(ROLES, modes(options), strict=False))
    if len(set(expected.values())) > 1:
        words += ["--preprocess", shlex.quote(",".join(expected[role] for role in ordered))]
    for role, path in class_words(options).items():
        words += ["--classes", shlex.quote(f"{places[role]}={path}")]
    return words


def modes(options: Options) -> list[str]:
    """What each model expects of images, empty where nobody said; raises ``RestnetError`` for another count."""
    return opening.modes(options.preprocess, len(options.models))


def class_words(options: Options) -> dict[str, str]:
    """The user's words for the classes of outputs, by role: a file with a name a line, or names by commas."""
    paths: dict[str, str] = {}
    for text in options.classes:
        role, _, path = text.partition("=")
        if role not in ROLES[: len(options.models)] or not path or role in paths:
            raise RestnetError(
                f"--classes {text!r} is not understood; write ROLE=FILE once for a model, as in small=labels.txt"
            )
        paths[role] = path
    return paths


def _file_stage(path: Path, mode: str, logits: bool, names: Sequence[str] | None, data: Data) -> FileStage:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RestnetError(f"cannot read {path}: {error.strerror}") from None
    one = classifier.of_file(content, path.name)
    order = None if names is None else class_order.outputs(one.name, one.classes, names, data)
    preprocess = mode or (one.expects if data.kind.photos else None) or "none"
    return FileStage(one, content, preprocess, logits and one.ending != "SOFTMAX", order, data.kind)


def _count(stages: Stages, role: str) -> int:
    if role in stages.files:
        return _classes(stages.files[role])
    assert stages.family is not None
    return stages.family.anchors[role].classes


def _check_softmax(stages: Stages, role: str) -> None:
    """Refuse a Keras model of logits."""
    assert stages.family is not None
    if stages.family.anchors[role].ends_in_logits:
        raise RestnetError(
            f"{stages.names[role]} ends in no softmax, and a cascade compares probabilities; save it with one:"
            " keras.Model(model.inputs, keras.layers.Softmax()(model.output))"
        )


def _check_probabilities(stages: Stages, stage: FileStage) -> None:
    """Refuse (``TfliteError``) a file whose scores are no probabilities: nothing tells how sure those are."""
    split = stages.data.rank.head(_TRIED_IMAGES)
    batches = (np.asarray(batch) for batch in split.batches(stage.classifier.image, _TRIED_IMAGES))
    whole = replace(stage, classes=None)  # of some classes the sum is less
    probabilities.check(stage.classifier, host.scores(whole.content, batches))


def image_of(stages: Stages) -> tuple[int, ...]:
    """``(h, w, c)`` of the largest image that a stage takes, which is the cascade's."""
    return max(stages.shapes.values(), key=lambda shape: prod(shape[:-1]))


def check_channels(shapes: Mapping[str, tuple[int, ...]], many: str) -> None:
    """Refuse (``RestnetError``) models, by name, that take images of unlike channels."""
    if len({shape[-1] for shape in shapes.values()}) > 1:
        told = ", ".join(f"{name} {shape[-1]}" for name, shape in shapes.items())
        raise RestnetError(
            f"the models take {many} of different channels: {told}; give models of the same kind of {many}"
        )
