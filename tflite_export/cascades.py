"""Several networks as one that goes on only where the one before is unsure.

A stage answers where its confidence is at or above its threshold, which is an input of the file: 0 always answers, a
threshold above 1 always goes on. The file of three stages::

    first = stage 1 of the image
    scores, stage = IF(confidence of first >= threshold_1, first and 0,
        second = stage 2 of the image
        IF(confidence of second >= threshold_2, second and 1, stage 3 of the image and 2))

A stage may go on from a tensor of the one before it in place of the image: the front that both have in common is
computed once. What an IF reads is copied into its branch, so each takes what the stages behind it need and no more.
Runs in LiteRT and TensorFlow Lite Micro (the largest of the scores, a comparison and an IF are all that it takes).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from tflite_export import emit, ends, link
from tflite_export.confidence import CONFIDENCES, Confidence
from tflite_export.entries import ALWAYS, NEVER
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Model, Operator, Signature, Subgraph, Tensor, called, write
from tflite_export.precision import INPUT_KEY, OUTPUT_KEY, SIGNATURE

STAGE_KEY = "stage"
# Between the stages of a cascade's name, or their precisions; and what stands for it where a shell reads.
GOES_ON, IN_FILES = ">", "-then-"
# Behind the name of an anchor that another one has taught; and what stands for it where a shell reads.
TAUGHT, TAUGHT_IN_FILES = "*", "-distilled"
# What thresholds are called among the inputs, before their number from 1.
THRESHOLD = "threshold_"
# What an entry point of integers does in floats.
_COMPARING = """
ADD CAST DEQUANTIZE GREATER_EQUAL IF LESS LOG MAXIMUM MUL QUANTIZE REDUCE_MAX SUB SUM
"""
COMPARING = frozenset(_COMPARING.split())
# Thresholds: at or below every confidence, and above every one.
BELOW, ABOVE = NEVER, ALWAYS


@dataclass(frozen=True)
class Stage:
    """A network of one input and one output of class scores ``(1, classes)``.

    ``resumes`` is the tensor of the stage before it that its input is; None where it takes the image. ``made_of`` are
    the files that it comes from.
    """

    graph: Subgraph
    resumes: Tensor | None = None
    made_of: tuple[Model, ...] = ()

    @property
    def scores(self) -> Tensor:
        """What it answers."""
        return self.graph.outputs[0]


@dataclass(frozen=True)
class CascadeEntry:
    """What a file says of a cascade in it: the names of its stages, its confidence and the thresholds chosen."""

    stages: tuple[str, ...]
    confidence: str
    thresholds: tuple[float, ...]


def is_cascade(signature: Signature) -> bool:
    """Whether an entry point is a cascade's."""
    return STAGE_KEY in signature.outputs


def holds_one(model: Model) -> bool:
    """Whether a file is one cascade and nothing else."""
    return len(model.signatures) == 1 and is_cascade(model.signatures[0])


def entry_of(content: bytes, key: str = SIGNATURE) -> CascadeEntry:
    """What a file says of its cascade of that entry point; raises TfliteError where it says nothing."""
    entries = link.points(content).get("points") or ()
    try:
        noted = next(e for e in entries if key in (SIGNATURE, e["name"]) and "cascade" in e)["cascade"]
        chosen = tuple(float(t) for t in noted["thresholds"])
        return CascadeEntry(tuple(map(str, noted["stages"])), str(noted["confidence"]), chosen)
    except (StopIteration, KeyError, TypeError, ValueError):
        raise TfliteError(
            f"the file does not say the stages and thresholds of {key}; link it with restnet-tf"
        ) from None


def thresholds(content: bytes, key: str = SIGNATURE) -> tuple[float, ...]:
    """Those chosen, as a file's metadata have them; raises TfliteError as ``entry_of`` does."""
    return entry_of(content, key).thresholds


def answering(stage: int, stages: int) -> tuple[float, ...]:
    """Thresholds at which that stage of so many answers, whatever the image."""
    return (*(ABOVE,) * stage, *(BELOW,) * (stages - 1 - stage))


def in_files(name: str) -> str:
    """A point's name or precision as files are called."""
    return name.replace(TAUGHT, TAUGHT_IN_FILES).replace(GOES_ON, IN_FILES)


def threshold_key(number: int) -> str:
    """What the threshold behind a stage is called among a file's inputs; the first stage is number 0."""
    return f"{THRESHOLD}{number + 1}"


def signature(stages: Sequence[Stage], confidence: str, key: str = SIGNATURE) -> Signature:
    """Stages, cheapest first, as one entry point; ``flatbuffer.called`` lists all subgraphs of its own.

    Inputs are ``image`` and ``threshold_1`` and so on, outputs ``scores`` and ``stage``, the place of the stage that
    answered. Where the stages' ends differ, its own hold what any of them can, and its image is the largest: the others
    are resized from it. Raises TfliteError for under two stages, images of other channels, scores of several shapes,
    and an unknown confidence.
    """
    if confidence not in CONFIDENCES:
        raise TfliteError(f"unknown confidence {confidence!r}; choose one of {', '.join(CONFIDENCES)}")
    image, scores = image_of(stages), ends.common([stage.scores for stage in stages], OUTPUT_KEY)
    thresholds = [emit.activation((1,), "FLOAT32", threshold_key(n)) for n in range(len(stages) - 1)]
    main = _Chain(stages, CONFIDENCES[confidence], image, scores).first(thresholds, key)
    inputs = {INPUT_KEY: main.inputs[0]} | {threshold_key(n): t for n, t in enumerate(main.inputs[1:])}
    return Signature(key, main, inputs, dict(zip((OUTPUT_KEY, STAGE_KEY), main.outputs, strict=True)))


def file(stages: Sequence[Stage], confidence: str, metadata: Mapping[str, Any] | None = None) -> bytes:
    """A cascade as a file of its own; raises TfliteError as ``signature`` does."""
    entry = signature(stages, confidence)
    model = Model(called([entry.subgraph]), [entry])
    link.finish(model, [source for stage in stages for source in stage.made_of], metadata)
    return write(model)


def elastic(
    whole: Mapping[str, Stage],
    chains: Mapping[str, tuple[Sequence[Stage], str]],
    metadata: Mapping[str, Any] | None = None,
) -> bytes:
    """Networks and cascades of them (stages and their confidence) as signatures of one file, by name.

    Equal weights are there once. Raises TfliteError as ``signature`` does.
    """
    entries = [link.signature(name, one.graph) for name, one in whole.items()]
    entries += [signature(stages, confidence, name) for name, (stages, confidence) in chains.items()]
    every = [*whole.values(), *(stage for stages, _ in chains.values() for stage in stages)]
    model = Model(called(entry.subgraph for entry in entries), entries)
    link.finish(model, [source for stage in every for source in stage.made_of], metadata)
    return write(model, names=False)


def image_of(stages: Sequence[Stage]) -> Tensor:
    """The image that a cascade of these stages takes; raises TfliteError for stages that cannot be joined."""
    if len(stages) < 2:
        raise TfliteError(f"{len(stages)} stages; a cascade takes two or more")
    images = [s.graph.inputs[0] for s in stages if s.resumes is None]
    for name, shapes in (
        ("images of several kinds", {(len(x.shape), x.shape[-1]): x.shape for x in images}.values()),
        ("scores of several shapes", {s.scores.shape for s in stages}),
    ):
        if len(shapes) > 1:
            raise TfliteError(f"the stages have {name}: {', '.join(map(str, sorted(shapes)))}")
    return ends.common(sorted(images, key=lambda x: -prod(x.shape)), INPUT_KEY)


def alone(stage: Stage, image: Tensor) -> Subgraph:
    """A stage that takes the image, as the network that it is in a cascade of such images."""
    taken, lead = _taking(stage, image)
    return Subgraph([*lead, *stage.graph.operators], [taken], [stage.scores])


def alone_file(stage: Stage, image: Tensor) -> bytes:
    """The same as a file of its own, with all that it calls."""
    return link.alone(alone(stage, image), stage.made_of, names=False)


def _taking(stage: Stage, image: Tensor) -> tuple[Tensor, list[Operator]]:
    """An image of a cascade's form as a stage's subgraph is given it, and what makes of it the stage's own."""
    own = stage.graph.inputs[0]
    if ends.same(image, own) and image.shape == own.shape:
        return own, []
    taken = emit.activation(image.shape, image.type, INPUT_KEY, like=image)
    if image.shape == own.shape:
        return taken, ends.converted(taken, own)
    h, w = own.shape[1:3]
    resized = emit.resize_bilinear(taken, (h, w))
    if ends.same(image, own):
        return taken, [emit.with_inputs(resized, resized.inputs, [own])]
    return taken, [resized, *ends.converted(resized.outputs[0], own)]


@dataclass(frozen=True)
class _Chain:
    """Stages being joined, with the form of the image and of the scores that they have in common."""

    stages: Sequence[Stage]
    confidence: Confidence
    image: Tensor
    scores: Tensor

    def first(self, thresholds: Sequence[Tensor], name: str) -> Subgraph:
        """The first stage and, behind an IF, all others."""
        image, lead = self._taken(0)
        numbers = [emit.constant(np.array([n], np.int32), f"cascade/stage_{n}") for n in (0, 1)]
        operators, outputs = self._going_on(0, image, thresholds, numbers)
        return _named(name, Subgraph([*lead, *operators], [image, *thresholds], outputs))

    def _later(self, number: int) -> Subgraph:
        """A stage as the branch of an IF; it takes what ``_going_on`` gives that IF, in this order."""
        image, lead = self._taken(number)
        before, place, own = self._before()
        thresholds = [emit.activation((1,), "FLOAT32", threshold_key(n)) for n in range(number, len(self.stages) - 1)]
        resumed = self.stages[number].resumes is not None
        carried = [self.stages[number].graph.inputs[0]] if resumed else []
        passed = [image] if self._needed(number) else []
        inputs = [*passed, *carried, before, place, own, *thresholds]
        if thresholds:
            following = emit.constant(np.array([number + 1], np.int32), f"cascade/stage_{number + 1}")
            operators, outputs = self._going_on(number, image, thresholds, [own, following])
        else:
            operators, answer = self._answered(number)
            outputs = [answer, own]
        return _named(f"stage_{number + 1}", Subgraph([*lead, *operators], inputs, outputs))

    def _going_on(
        self, number: int, image: Tensor, thresholds: Sequence[Tensor], numbers: Sequence[Tensor]
    ) -> tuple[list[Operator], list[Tensor]]:
        """A stage, its confidence, and the IF that answers or goes on; with the scores and the stage."""
        operators, answer = self._answered(number)
        sure = self.confidence.emit(self.stages[number].scores)
        enough = emit.elementwise("GREATER_EQUAL", [sure[-1].outputs[0], thresholds[0]])
        following = self.stages[number + 1].resumes
        carried = [] if following is None else [following]
        passed = [image] if self._needed(number + 1) else []
        inputs = [*passed, *carried, answer, *numbers, *thresholds[1:]]
        outputs = [self._form(), emit.activation((1,), "INT32", STAGE_KEY)]
        branch = emit.branch(enough.outputs[0], inputs, outputs, self._passing(inputs, answer), self._later(number + 1))
        return [*operators, *sure, enough, branch], outputs

    def _answered(self, number: int) -> tuple[list[Operator], Tensor]:
        """The operators of a stage, with its answer in the form of all."""
        stage, answer = self.stages[number], self._form()
        conversion = ends.converted(stage.scores, answer)
        return [*stage.graph.operators, *conversion], answer if conversion else stage.scores

    def _taken(self, number: int) -> tuple[Tensor, list[Operator]]:
        if self.stages[number].resumes is None:
            return _taking(self.stages[number], self.image)
        return emit.activation(self.image.shape, self.image.type, INPUT_KEY, like=self.image), []

    def _needed(self, number: int) -> bool:
        """Whether a stage or one behind it takes the image."""
        return any(stage.resumes is None for stage in self.stages[number:])

    def _before(self) -> tuple[Tensor, Tensor, Tensor]:
        """The scores of the stage before, that stage's place, and the place of the next."""
        place, following = (emit.activation((1,), "INT32", name) for name in ("place", "next"))
        return self._form("before"), place, following

    def _passing(self, inputs: Sequence[Tensor], answer: Tensor) -> Subgraph:
        """The branch that hands on an answer and its place, which follows it among the inputs."""
        at = next(n for n, tensor in enumerate(inputs) if tensor is answer)
        unread = [emit.activation(t.shape, t.type, t.name, like=t) for t in inputs]
        return _named("answered", Subgraph([], unread, unread[at : at + 2]))

    def _form(self, name: str = OUTPUT_KEY) -> Tensor:
        return emit.activation(self.scores.shape, self.scores.type, name, like=self.scores)


def _named(name: str, graph: Subgraph) -> Subgraph:
    graph.table.name = name
    return graph
