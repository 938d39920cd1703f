"""What the files of a finished run are held against: networks in Keras, files as they came, stages one by one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from restnet_tf.family import additions, anchor_pieces
from restnet_tf.family.anchor_pieces import Members

if TYPE_CHECKING:
    from restnet_tf.family.answers import Shape
    from restnet_tf.family.family import Family
    from restnet_tf.family.linker import Maker
    from tflite_export.original import Original


@dataclass(frozen=True)
class References:
    """By point what it can be held against; ``makers`` make the stages of cascades, by precision.

    ``members`` are networks in Keras, None where there are none; ``originals`` came as files. ``shapes`` are
    ``(h, w, c)`` of the images that all of them take.
    """

    members: Members | None
    originals: Mapping[str, Original]
    shapes: Mapping[str, Shape]
    makers: Mapping[str, Maker]


def of_family(family: Family) -> References:
    """Of a family's points, all of which are there in Keras."""
    members = additions.members(family)
    shapes = {name: members.input_shape(name) for name in (*family.anchors, *members.taught, *members.plans)}
    return References(members, {}, shapes, anchor_pieces.makers(members))
