"""The one layer that token networks need and Keras lacks: a learned value for every position.

Imported where it is used only, since it imports Keras.
"""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable("restnet_tf")
class PositionBias(keras.layers.Layer):
    """Adds a table ``(t, c)`` to tokens ``(n, t, c)``.

    A class token needs nothing more: it is a token of zeros in front, to which its row is added.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the table, of zeros: to a fresh network, positions are alike."""
        self.table = self.add_weight(name="table", shape=input_shape[1:], initializer="zeros")

    def call(self, inputs: Any) -> Any:
        """Tokens with what their positions add."""
        return inputs + self.table
