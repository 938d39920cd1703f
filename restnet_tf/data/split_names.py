"""Which split a name speaks of: ``Training``, ``seg_test``, ``valid``, ``train_images``; told of names side by side."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

# Both words are used for what is kept back to the end, and for what decides before it.
_EITHER = ("evaluation", "eval")
_WORDS = {
    "fit": ("training", "train", "trn"),
    "rank": ("validation", "validate", "valid", "val", "development", "devel", "dev"),
    "test": ("testing", "tests", "test", "tst", "holdout", *_EITHER),
}
# What a name says beside it without meaning anything else.
_NEUTRAL = {"set", "data", "dataset", "split", "folder", "files", "images", "image", "imgs", "img", "photos", "samples"}


def splits_of(names: Iterable[str]) -> dict[str, str]:
    """Name -> split, for those of the names that are of splits; the others are left out.

    What they say beside the split must be the same: ``seg_train`` and ``seg_test`` are splits, ``train_station``
    and ``test_tube`` are not.
    """
    spoken = {name: spoken for name in names if (spoken := split_and_rest(name)) is not None}
    counts = Counter(rest for _, rest in spoken.values())
    if not counts:
        return {}
    rest = max(sorted(counts), key=lambda r: counts[r])
    named = {name: split for name, (split, other) in spoken.items() if other == rest}
    return _evaluation(named)


def split_and_rest(name: str) -> tuple[str, tuple[str, ...]] | None:
    """The split that a single name speaks of, and what else it says; None for no split, and for several."""
    words = [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+|[^\W\d_]+", name)]
    places = [(i, split) for i, word in enumerate(words) if (split := _split(word))]
    if len(places) != 1:
        return None
    at, split = places[0]
    return split, tuple(word for i, word in enumerate(words) if i != at and word not in _NEUTRAL)


def _split(word: str) -> str | None:
    """The split of one word, which may have a neutral one grown to it, as in ``trainset``."""
    for split, names in _WORDS.items():
        for name in names:
            before, sign, behind = word.partition(name)
            if sign and {before, behind} - {""} <= _NEUTRAL:
                return split
    return None


def _evaluation(named: dict[str, str]) -> dict[str, str]:
    """The same, where "evaluation" stands for the validation beside a test."""
    tests = [name for name, split in named.items() if split == "test"]
    either = [name for name in tests if any(word in name.lower() for word in _EITHER)]
    if len(tests) == 2 and len(either) == 1 and "rank" not in named.values():
        return named | {either[0]: "rank"}
    return named
