"""What a classifier answers to a few labelled images, before anything is built on it.

At chance it was trained on something else. Much better under another preprocessing, or with its classes in another
order, it is asked in the wrong way. Chance is what answers have right that know nothing of the image (Cohen's kappa);
two ways of asking are told apart by the images that only one has right (McNemar's test).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

IMAGES = 256
MOST_IMAGES = 1024  # where there are many classes
_A_CLASS = 4  # images of each class, at least, before an order of classes is looked for
TELLING = 32  # images that tell chance from knowledge
GOOD = 0.9  # the share of right answers above which nothing else is tried
GAIN = 0.1  # of the share, at least, that another way of asking brings
_SURE = 3.0  # standard errors
_CHANCE = 2.0

# What a classifier answers under a preprocessing: a class for each image.
Answers = Callable[[str], np.ndarray]


@dataclass(frozen=True)
class Look:
    """How many of the first images a classifier has right, and how it would have more.

    ``chance`` is the share that it would have right if its answers knew nothing of the images. ``better`` is the share
    under the preprocessing ``mode`` (None: the one it was given) with its classes in ``order``: ``order[k]`` is the
    output for the data's class ``k`` (None: as they are). None where neither helps.
    """

    right: int
    images: int
    chance: float
    better: float | None = None
    mode: str | None = None
    order: tuple[int, ...] | None = None

    @property
    def share(self) -> float:
        """Of right answers."""
        return self.right / self.images

    @property
    def at_chance(self) -> bool:
        """Whether it may know nothing; of a few images nobody can say."""
        error = np.sqrt(max(self.chance * (1 - self.chance), 1e-12) / self.images)
        return self.images >= TELLING and self.share < self.chance + _CHANCE * error


def images_for(classes: int) -> int:
    """How many images are looked at."""
    return min(MOST_IMAGES, max(IMAGES, _A_CLASS * classes))


def look(labels: np.ndarray, answers: Answers, given: str, modes: Sequence[str], classes: int) -> Look:
    """Hold what is answered under ``given`` against labels ``(n,)``; the other modes are asked only where that is poor.

    ``classes`` is how many outputs there are; 0 where these can be in no other order.
    """
    first = answers(given)
    right = first == labels
    plain = Look(int(right.sum()), len(labels), _expected(first, labels))
    if plain.share >= GOOD:
        return plain
    told = {given: first} | {mode: answers(mode) for mode in modes if mode != given}
    # The simplest change first: of those that are as good, the first is taken.
    ways: dict[tuple[str | None, bool], np.ndarray] = {
        (mode if mode != given else None, False): said == labels for mode, said in told.items()
    }
    ways |= _orders(told, labels, given, classes)
    best = max(ways, key=lambda way: int(ways[way].sum()))
    best = next(way for way in ways if not _better(ways[best], ways[way], 0.0))
    if not _better(ways[best], right, GAIN):
        return plain
    mode, ordered = best
    order = _order(told[mode or given], labels, classes) if ordered else None
    return Look(plain.right, plain.images, plain.chance, float(ways[best].mean()), mode, order)


def _orders(
    told: Mapping[str, np.ndarray], labels: np.ndarray, given: str, classes: int
) -> dict[tuple[str | None, bool], np.ndarray]:
    """Which images are right where half of them say what the order is for the other half."""
    if not classes or len(labels) < _A_CLASS * classes:
        return {}
    even = np.arange(len(labels)) % 2 == 0
    ways: dict[tuple[str | None, bool], np.ndarray] = {}
    for mode, said in told.items():
        right = np.zeros(len(labels), bool)
        for half in (even, ~even):
            order = np.asarray(_order(said[~half], labels[~half], classes))
            right[half] = said[half] == order[labels[half]]
        ways[mode if mode != given else None, True] = right
    return ways


def _order(said: np.ndarray, labels: np.ndarray, classes: int) -> tuple[int, ...]:
    """For each class the output that stands for it, each output for one class; as they are where nothing speaks."""
    from scipy.optimize import linear_sum_assignment

    counts = np.zeros((classes, classes))
    np.add.at(counts, (labels, said), 1)
    _, outputs = linear_sum_assignment(counts + 1e-3 * np.eye(classes), maximize=True)
    return tuple(int(output) for output in outputs)


def _expected(said: np.ndarray, labels: np.ndarray) -> float:
    """The share of right answers if labels were dealt out anew."""
    length = 1 + int(max(said.max(initial=0), labels.max(initial=0)))
    shares = [np.bincount(values, minlength=length) / max(1, len(labels)) for values in (said, labels)]
    return float(shares[0] @ shares[1])


def _better(one: np.ndarray, other: np.ndarray, gain: float) -> bool:
    """Whether one way of asking has more images right than another, by more than chance and the gain."""
    won, lost = int((one & ~other).sum()), int((other & ~one).sum())
    return won - lost > gain * len(one) and won - lost >= _SURE * np.sqrt(won + lost)
