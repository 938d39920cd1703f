"""Layers that change images in training only: at inference they hand on what they get.

Told by class name, so that Keras need not be imported, and so that those of Keras 2 are among them.
"""

from __future__ import annotations

from typing import Any

_OF_BATCHES = frozenset({"AugMix", "CutMix", "MixUp", "RandAugment"})
# Crops at inference too.
_NOT_IDLE = frozenset({"RandomCrop"})


def is_idle(class_name: str) -> bool:
    """Whether a layer of this class is one of augmentation that does nothing at inference."""
    return class_name in _OF_BATCHES or (class_name.startswith("Random") and class_name not in _NOT_IDLE)


def drops(op: Any) -> bool:
    """Whether an operation can be left out of what is deployed; a class of the user's own may do anything."""
    return type(op).__module__.startswith("keras.") and is_idle(type(op).__name__)
