"""What a user may ask of SN-Net."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from restnet_tf.family.options import MODEL, PATH_OF_ROLE, BuildOptions


@dataclass(frozen=True)
class Options(BuildOptions):
    """Anchors, the windows and routes between them, and how their stitches are trained together."""

    reported: ClassVar[tuple[str, ...]] = (
        "seed",
        "method",
        "effort",
        "order",
        "train",
        "window",
        "stride",
        "sampling",
        "converter",
        "budget",
    )

    anchor: tuple[str, ...] = field(default=(), metadata=MODEL)
    anchor_preprocess: str = "none"  # one for all, or one an anchor by commas
    anchor_classes: tuple[str, ...] = field(default=(), metadata=PATH_OF_ROLE)
    window: int = 2
    stride: int = 1
    own: bool = False
    two_stitch: bool = False
    train: str = "stitches"
    sampling: str = "uniform"
    rank: int | None = None  # of the part that is trained beside the ridge stitch; None: all of the stitch
    teacher: str | None = field(default=None, metadata=MODEL)  # a letter or a model; None: the costliest anchor

    @property
    def models(self) -> tuple[str, ...]:
        """What the anchors are named by."""
        return self.anchor

    @property
    def incomplete(self) -> str:
        """What has to be given beside."""
        if len(self.anchor) < 2:
            return f"--method snnet stitches two anchors or more; --anchor was given {len(self.anchor)} times"
        return "" if self.data else "give --data: the images that the stitches are trained on"
