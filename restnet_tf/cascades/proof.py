"""What is more than noise, image by image on the rank split: leads over networks of fixed cost and over mixtures."""

from __future__ import annotations

import numpy as np

from restnet_tf.cascades.courses import Course

# Of a score: a tenth of a point, the last digit of a table. Small, since the two errors differ in weight: a range that
# ends late offers a dearer setting beside the others, one that ends early withholds what the dear stage is there for.
_LITTLE = 0.001


def leads(hits: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """By how much the share of each ``hits`` ``(s, n)`` is higher than of each of ``others`` ``(m, n)``, ``(s, m)``.

    And the standard error of that on the same images (McNemar), as ``Score.lead`` has it.
    """
    these, those = _words(hits)[:, None], _words(others)[None]
    only_these = np.bitwise_count(these & ~those).sum(axis=2, dtype=np.int64)
    only_those = np.bitwise_count(those & ~these).sum(axis=2, dtype=np.int64)
    n = hits.shape[1]
    return (only_these - only_those) / n, np.sqrt(only_these + only_those) / n


def _words(hits: np.ndarray) -> np.ndarray:
    """A bit an image, in words of 64 ``(s, n / 64)``: a thousand chains are compared in a second."""
    words = np.zeros((len(hits), -(-hits.shape[1] // 64)), np.uint64)
    packed = np.packbits(hits, axis=1)
    words.view(np.uint8)[:, : packed.shape[1]] = packed
    return words


def useful_end(course: Course) -> int:
    """The cheapest setting beyond which nothing is gained, as far as the images can tell.

    Its score is within one standard error of the best one's. Of few images that says little, so besides, what is
    left to gain is less than a tenth of a point: the share of images that the last stage would answer otherwise, at
    the gain that such an answer has brought over all of them, both with a standard error added. Stages differ on more
    images than those of which the labels tell a gain from a loss, so this is the steadier of the two.
    """
    best = int(course.scores.argmax())
    lead, error = leads(course.hits[best : best + 1], course.hits[: best + 1])
    gain, gain_error = (x.item() for x in leads(course.hits[-1:], course.hits[:1]))
    differing, n = course.differing, course.hits.shape[1]
    most = differing + np.sqrt(differing * (1 - differing) / n)
    left = max(0.0, gain + gain_error) * most / max(float(differing[0]), 1 / n)
    return max(int(np.argmax(lead[0] <= error[0])), int(np.argmax(left <= _LITTLE)))


def over_mixtures(hits: np.ndarray, right: np.ndarray, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lead ``(s,)`` of each ``hits`` ``(s, n)`` over a mixture of networks, and its standard error.

    ``right`` ``(k, n)`` are theirs, and ``shares`` ``(s, k)`` how often a coin picks each before anything runs.
    """
    lead = hits.mean(axis=1) - shares @ right.mean(axis=1)
    products = (shares * _both(hits, right)).sum(axis=1)
    squares = ((shares @ _both(right, right)) * shares).sum(axis=1)
    variance = hits.mean(axis=1) - 2 * products + squares - lead**2
    return lead, np.sqrt(np.maximum(variance, 0) / right.shape[1])


def _both(hits: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The share of images that are hits of each of one and each of the other ``(s, m)``."""
    return (hits.astype(np.float32) @ others.astype(np.float32).T).astype(np.float64) / hits.shape[1]


def along_mixtures(hits: np.ndarray, right: np.ndarray, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same ``(1,)`` over all settings together: of an image's mean lead over them."""
    lead = hits.mean(axis=0) - shares.mean(axis=0) @ right
    return lead.mean(keepdims=True), lead.std(keepdims=True) / np.sqrt(hits.shape[1])


def chord(costs: np.ndarray, macs: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The shares ``(s, k)`` of the best mixture of networks at each cost: of the two that it lies between, or the best.

    ``macs`` and ``scores`` ``(k,)`` are those of the networks, in order of cost.
    """
    hull = _hull(macs, scores)
    ends = np.array(hull)
    return np.stack([np.interp(costs, macs[ends], (ends == i).astype(float)) for i in range(len(macs))], axis=1)


def _hull(macs: np.ndarray, scores: np.ndarray) -> list[int]:
    """Of networks in order of cost those that no mixture of others of the same cost beats, up to the best."""
    hull = [0]
    for i in range(1, int(scores.argmax()) + 1):
        if scores[i] > scores[hull[-1]]:
            while len(hull) > 1 and _slope(hull[-2], hull[-1], macs, scores) <= _slope(hull[-1], i, macs, scores):
                hull.pop()
            hull.append(i)
    return hull


def _slope(one: int, other: int, macs: np.ndarray, scores: np.ndarray) -> float:
    return float(scores[other] - scores[one]) / float(macs[other] - macs[one])
