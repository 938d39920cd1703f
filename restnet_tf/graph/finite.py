"""What networks put out, told where it is not finite.

It has to be looked at where it is read: on processors that fuse a convolution with its bias and ReLU, NaN comes out
as 0, and the loss behind it looks sound.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from restnet_tf.records import RestnetError


def check(values: Any, content: str) -> None:
    """Raise ``RestnetError`` where values, called by their ``content`` ("the logits of resnet20"), are not finite."""
    if not np.isfinite(np.asarray(values)).all():
        raise RestnetError(
            f"{content} hold NaN or infinity: its weights are broken, or its inputs are in another range than it takes;"
            " nothing can be fitted to them"
        )


def features(anchor: str, cut: str) -> str:
    """What the values at a cut of an anchor are called."""
    return f"the features of {anchor} at {cut}"


def logits(anchor: str) -> str:
    """What the logits of an anchor are called."""
    return f"the logits of {anchor}"
