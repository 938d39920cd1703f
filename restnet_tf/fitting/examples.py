"""What a fit reads of cached images: features of a front, and what the anchors say to the same images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from restnet_tf.fitting import cache
from restnet_tf.graph import finite

if TYPE_CHECKING:
    from restnet_tf.fitting.cache import Cache


@dataclass(frozen=True)
class Examples:
    """What a fit reads of one set of images, row by row.

    ``x`` are features at the front's cut, ``teacher`` the large anchor's logits, ``match`` the
    penultimate features of the anchor that the back comes from, ``labels`` mixtures or None. ``names`` is what
    errors call the first three.
    """

    x: np.ndarray
    teacher: np.ndarray
    match: np.ndarray
    labels: np.ndarray | None
    names: tuple[str, str, str] = ("the features of the front", "the logits of the teacher", "the features of the back")

    @classmethod
    def of(cls, features: Cache, answers: Cache, front: tuple[str, str], back: str | None, teacher: str) -> Examples:
        """Features at the ``front``'s role and cut, of no more images than the ``answers`` are of; two roles' answers.

        Both caches are the same one but behind another front than the anchor's own. A back that is an exit has no
        features, and is matched to the logits.
        """
        logits = answers.logits(teacher)
        matched = finite.logits(teacher) if back is None else finite.features(back, "its classifier")
        match = logits if back is None else answers.penultimate(back)
        x = features.features(*front)[: len(logits)]
        return cls(x, logits, match, answers.labels(), (finite.features(*front), finite.logits(teacher), matched))

    @property
    def classes(self) -> int:
        """How many classes the labels mix; 0 without labels."""
        return 0 if self.labels is None else self.labels.shape[1]

    def spread(self, count: int) -> Examples:
        """So many of the rows, evenly spread."""
        rows = np.linspace(0, len(self.x) - 1, count).astype(int)
        labels = None if self.labels is None else self.labels[rows]
        return replace(self, x=self.x[rows], teacher=self.teacher[rows], match=self.match[rows], labels=labels)

    def arrays(self, rows: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """``x``, ``teacher`` and ``match`` of some rows, float32; raises ``RestnetError`` where one is not finite."""
        parts = [cache.read(a, rows) for a in (self.x, self.teacher, self.match)]
        for values, name in zip(parts, self.names, strict=True):
            finite.check(values, name)
        return parts[0], parts[1], parts[2]

    def tensors(self, rows: np.ndarray) -> list[Any]:
        """The arrays of some rows and their labels ``(n, classes)`` or ``(n, 0)``, as float32 tensors."""
        import tensorflow as tf

        labels = np.zeros((len(rows), 0)) if self.labels is None else cache.read(self.labels, rows)
        return [tf.constant(np.asarray(a, dtype=np.float32)) for a in (*self.arrays(rows), labels)]


def orders(rng: np.random.Generator, n: int, steps: int, size: int) -> Iterator[np.ndarray]:
    """Which of ``n`` rows each step sees: all of them once before any again."""
    order = np.empty(0, dtype=int)
    for _ in range(steps):
        if len(order) < size:
            order = np.concatenate([order, rng.permutation(n)])
        # Sorted rows read the memory-mapped file forwards.
        yield np.sort(order[:size])
        order = order[size:]
