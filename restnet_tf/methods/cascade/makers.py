"""Files of models as they are, Keras models and ``.tflite`` files alike, and of their cascades, in one precision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from restnet_tf.family import anchor_pieces, linker
from restnet_tf.family.anchor_pieces import Members
from restnet_tf.records import RestnetError
from tflite_export import cascades
from tflite_export.cascades import Stage

if TYPE_CHECKING:
    from restnet_tf.family.linker import Maker
    from restnet_tf.methods.cascade.stages import FileStage, Stages
    from restnet_tf.points.points import Cascade


def of(stages: Stages) -> dict[str, Maker]:
    """By precision, what makes the files: those of Keras models in all that were asked for, others in their own."""
    anchors = {} if stages.family is None else anchor_pieces.makers(Members(stages.family, {}, {}))
    own = {stage.precision for stage in stages.files.values()}
    return {p: StageMaker(stages.files, anchors.get(p)) for p in (*anchors, *sorted(own - set(anchors)))}


class StageMaker:
    """Files of stages; ``anchors`` makes those of Keras models, None where there are none in this precision."""

    def __init__(self, files: Mapping[str, FileStage], anchors: Maker | None) -> None:
        self._files, self._anchors = files, anchors

    def variant(self, point: str) -> bytes:
        """A model's own file: it takes raw images and gives probabilities."""
        return self._files[point].content if point in self._files else self._keras(point).variant(point)

    def stage(self, point: str) -> Stage:
        """A model as a stage."""
        if point not in self._files:
            return self._keras(point).stage(point)
        one = self._files[point]
        return Stage(one.graph, made_of=(one.classifier.model,))

    def rest(self, first: str, last: str) -> Stage:
        """Refused: models as they are have no front in common."""
        raise RestnetError(f"{last} has no front in common with {first}; restnet-tf build stitches models")

    def elastic(
        self, points: Sequence[str], metadata: Mapping[str, Any], chains: Mapping[str, Cascade]
    ) -> bytes | None:
        """One file with an entry for each model and cascade; None where there is nothing to hold together."""
        if not points:
            return None
        whole = {point: self.stage(point) for point in points}
        joined = {name: linker.stages(one, self.stage, self.rest) for name, one in chains.items()}
        return cascades.elastic(whole, {n: (stages, chains[n].confidence) for n, stages in joined.items()}, metadata)

    def _keras(self, point: str) -> Maker:
        if self._anchors is None:
            raise RestnetError(f"{point} is not made in this precision")
        return self._anchors
