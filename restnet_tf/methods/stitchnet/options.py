"""What a user may ask of StitchNet."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from restnet_tf.family import options
from restnet_tf.family.options import MODEL, PATH


@dataclass(frozen=True)
class Options(options.Options):
    """A pool, the few images to compose on, and the limits of the search."""

    reported: ClassVar[tuple[str, ...]] = ("seed", "rank_by", "budget")

    pool: tuple[str, ...] = field(default=(), metadata=MODEL)
    classes: str = ""
    images: int | None = None
    preprocess: str = ""
    pool_dir: Path = field(default=Path("pool"), metadata=PATH)
    precision: str = "float32"
    fragments: int = 6  # of a member, at most
    score: str = "cka"
    rank_by: str = "score"
    top: int = 2
    least: float = 0.0
    least_overall: float = 0.5
    depth: int = 16
    nets: int = 20
    max_points: int = 6
    anyway: bool = False  # though a member knows no more than chance

    @property
    def incomplete(self) -> str:
        """What has to be given beside."""
        return "" if self.pool and self.data else "give --pool once for each member, and --data"
