"""Networks in Keras that answer the images that judge, as tasks: any process assembles one of what names it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from restnet_tf.family.answers import SPLITS
from restnet_tf.graph import cuts, infer
from restnet_tf.records import Plan, RestnetError
from restnet_tf.run.directory import Run
from restnet_tf.stitches import variant
from restnet_tf.work import sources
from restnet_tf.work.sources import AnchorSource, DataSource
from restnet_tf.work.tasks import SCORINGS, Executor, Progress, Task

if TYPE_CHECKING:
    import keras

    from restnet_tf.data.splits import Data, Split
    from restnet_tf.progress import Reporter
    from restnet_tf.records import Anchor


class Assembly(Protocol):
    """What names a network, so that any process can assemble it."""

    @property
    def fits(self) -> tuple[Path, ...]:
        """Files of the run that hold weights of it."""

    def model(self) -> keras.Model:
        """From raw images to logits."""


@dataclass(frozen=True)
class WholeAnchor:
    """An anchor as it is."""

    source: AnchorSource

    @property
    def fits(self) -> tuple[Path, ...]:
        """None: its source names its weights."""
        return ()

    def model(self) -> keras.Model:
        """From raw images to logits."""
        return to_logits(sources.anchor(self.source))


@dataclass(frozen=True)
class FittedVariant:
    """A variant: its plan, and the stitches that the run has for it by the name of its plan."""

    run: Path
    plan: Plan
    anchors: Mapping[str, AnchorSource]

    @property
    def fits(self) -> tuple[Path, ...]:
        """Its stitches."""
        return (Run(self.run).stitch_path(self.plan.name),)

    def model(self) -> keras.Model:
        """From raw images to logits; raises ``RestnetError`` where the run has no stitches."""
        fitted = Run(self.run).load_fitted(self.plan.name)
        if fitted is None:
            raise RestnetError(f"{self.run} has no fitted point {self.plan.name}; run its build again")
        anchors = {piece.anchor: sources.anchor(self.anchors[piece.anchor]) for piece in self.plan.route}
        return variant.assemble(self.plan, anchors, *fitted.stitches, logits=True)


@dataclass(frozen=True)
class Question:
    """A network whose answers are wanted, and the images."""

    network: Assembly
    images: DataSource


def answers(question: Question, progress: Progress) -> dict[str, np.ndarray]:
    """The logits ``(n, classes)`` of a network on the rank and the test split, by name; a task."""
    return logits(question.network.model(), splits(sources.data(question.images)))


def of_all(
    networks: Sequence[Assembly], source: DataSource, title: str, execute: Executor, report: Reporter
) -> Iterator[dict[str, np.ndarray]]:
    """The logits of networks by split, in their order."""
    work = [Task(title, answers, Question(network, source), kind=SCORINGS) for network in networks]
    yield from execute(work, report)


def to_logits(anchor: Anchor) -> keras.Model:
    """An anchor from raw images to logits."""
    return cuts.between(anchor.model, anchor.model.inputs[0], anchor.logits)


def splits(data: Data) -> dict[str, Split]:
    """Those that judge, by name."""
    return {name: getattr(data, name) for name in SPLITS}


def images(split: Split, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """A split in batches, as a network of that input takes it."""
    for batch in split.batches(shape, infer.batch_size(shape)):
        yield np.asarray(batch)


def logits(model: keras.Model, splits: Mapping[str, Split]) -> dict[str, np.ndarray]:
    """Compiled once: tracing a network takes longer than running a small one over all images."""
    run, shape = infer.compiled(model), model.input_shape[1:]
    return {name: np.concatenate([np.asarray(run(x)) for x in images(split, shape)]) for name, split in splits.items()}
