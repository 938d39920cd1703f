"""What a user may ask of ReStNet."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from restnet_tf.family.options import MODEL, BuildOptions
from restnet_tf.fitting.rungs import AUTO

ROLES = ("large", "small")


@dataclass(frozen=True)
class Options(BuildOptions):
    """Two anchors, and how stitches between them are chosen and fitted."""

    reported: ClassVar[tuple[str, ...]] = ("seed", "effort", "order", "rank_by", "fine_tune", "converter", "budget")

    large: str | None = field(default=None, metadata=MODEL)
    small: str | None = field(default=None, metadata=MODEL)
    large_arch: str | None = None
    small_arch: str | None = None
    large_preprocess: str = "none"
    small_preprocess: str = "none"
    rank_by: str = "cka"
    fine_tune: str = AUTO

    @property
    def demo(self) -> bool:
        """Whether no anchor was named: then two are trained."""
        return self.large is None and self.small is None

    @property
    def models(self) -> tuple[str, ...]:
        """What the anchors are named by."""
        return tuple(spec for spec in (self.large, self.small) if spec)

    @property
    def incomplete(self) -> str:
        """What has to be given beside."""
        if len(self.models) == 1 or (self.models and not self.data):
            return "give --large, --small and --data together, or none of them for the embedded default"
        return ""
