"""A reporter that remembers the stages of the work that it hears of."""

from __future__ import annotations

from restnet_tf.progress import Silent


class Stages(Silent):
    """Keeps what was said, and the titles of the stages."""

    def __init__(self) -> None:
        super().__init__()
        self.stages: list[str] = []

    def stage(self, title: str) -> None:
        self.stages.append(title)
