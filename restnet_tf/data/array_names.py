"""What arrays of a file are called here: ``train_images`` (MedMNIST), ``X_train`` and the like -> ``x_train``."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from restnet_tf.data import split_names
from restnet_tf.data.listing import ALIASES

_ROLES = {
    "x": ("x", "images", "image", "imgs", "data"),
    "y": ("y", "labels", "label", "targets", "target"),
}


def canonical(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays by the names that are looked for, where theirs say the same; no name is given twice."""
    named = {name: canonical_name(name) for name in arrays}
    kept = {name: new if list(named.values()).count(new) == 1 else name for name, new in named.items()}
    return {kept[name]: array for name, array in arrays.items()}


def canonical_name(name: str) -> str:
    """``x_train`` for ``train_images``; the name as it is where it does not say a split and images or labels."""
    words = re.findall(r"[^\W_]+", name.lower())
    if len(words) != 2:
        return name.lower() if name in ("X", "Y") else name
    for word, other in (words, words[::-1]):
        role = next((role for role, names in _ROLES.items() if word in names), None)
        split = split_names.split_and_rest(other)
        if role and split and not split[1]:
            return f"{role}_{other if other in ALIASES[split[0]] else ALIASES[split[0]][0]}"
    return name
