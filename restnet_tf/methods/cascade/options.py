"""What a user may ask of a cascade of models as they are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from restnet_tf.family.options import MODEL, PATH_OF_ROLE, BuildOptions

# What the models are called, the cheapest first.
ROLES = ("small", "large", "larger")


@dataclass(frozen=True)
class Options(BuildOptions):
    """Two or three models, the cheapest first, and what ``.tflite`` files among them expect and give.

    ``preprocess`` is one mode for all, or one a model by commas; empty: what a file's own range speaks for.
    ``classes`` are texts ``small=names.txt``: a file that names the classes of that model's outputs, one a line.
    """

    reported: ClassVar[tuple[str, ...]] = ("seed", "budget")

    models: tuple[str, ...] = field(default=(), metadata=MODEL)
    preprocess: str = ""
    logits: bool = False
    classes: tuple[str, ...] = field(default=(), metadata=PATH_OF_ROLE)

    @property
    def incomplete(self) -> str:
        """What has to be given beside."""
        if not 2 <= len(self.models) <= len(ROLES):
            given = "1 model was" if len(self.models) == 1 else f"{len(self.models)} models were"
            return f"{given} given; give two or three, the cheapest first"
        return "" if self.data else "give --data: images to choose thresholds on"
