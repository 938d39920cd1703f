"""What a user may ask of ReStNet."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from restnet_tf.family.options import MODEL, PATH, BuildOptions
from restnet_tf.fitting.rungs import AUTO

ROLES = ("large", "small")


@dataclass(frozen=True)
class Options(BuildOptions):
    """Two anchors, or a large one alone, and how stitches between or inside them are chosen and fitted."""

    reported: ClassVar[tuple[str, ...]] = ("seed", "effort", "order", "rank_by", "fine_tune", "converter", "budget")

    large: str | None = field(default=None, metadata=MODEL)
    small: str | None = field(default=None, metadata=MODEL)
    large_arch: str | None = None
    small_arch: str | None = None
    large_preprocess: str = "none"
    small_preprocess: str = "none"
    large_classes: str = field(default="", metadata=PATH)
    small_classes: str = field(default="", metadata=PATH)
    rank_by: str = "r2"  # what measurement says: docs/results/rankings.md
    fine_tune: str = AUTO
    jumps: bool = False

    @property
    def demo(self) -> bool:
        """Whether no anchor was named: then two are trained."""
        return self.large is None and self.small is None

    @property
    def without_images(self) -> bool:
        """Whether anchors were named and no images: then some photographs have to do."""
        return self.large is not None and self.data is None

    @property
    def alone(self) -> bool:
        """Whether the large anchor is all that there is."""
        return self.large is not None and self.small is None

    @property
    def models(self) -> tuple[str, ...]:
        """What the anchors are named by."""
        return tuple(spec for spec in (self.large, self.small) if spec)

    @property
    def incomplete(self) -> str:
        """What has to be given beside."""
        if (self.small and not self.large) or (self.alone and not self.data):
            return (
                "give --large, --small and --data together, or none of them for the embedded default; without --small"
                " blocks of the large anchor are left out, without --data crops of photographs have to do"
            )
        return ""
