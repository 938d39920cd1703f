"""A finished run's points in one file for TensorFlow Lite Micro: behind one entry point, or an entry each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from restnet_tf import runs
from restnet_tf.records import RestnetError
from tflite_export import flash, router

if TYPE_CHECKING:
    from restnet_tf.methods.family import Family


def router_file(family: Family, points: Sequence[str], precision: str) -> bytes:
    """A router of the named points of a run, or of all that it ships by rising MACs.

    Raises ``RestnetError`` where the run has no elastic file of the precision, and ``TfliteError``
    where a router cannot be made of the points.
    """
    return router.of_elastic(_elastic(family, precision), points)


def flash_image(family: Family, points: Sequence[str], precision: str) -> bytes:
    """The same points as an image for flash with an entry each, which takes less RAM; raises as ``router_file``."""
    return flash.of_elastic(_elastic(family, precision), points)


def write(family: Family, points: Sequence[str], precision: str) -> Path:
    """Put a router into the run; where it lies."""
    path = family.run.router_path(precision)
    runs.write_bytes(path, router_file(family, points, precision))
    return path


def _elastic(family: Family, precision: str) -> bytes:
    path = family.run.elastic_path(precision)
    try:
        return path.read_bytes()
    except OSError as error:
        raise RestnetError(
            f"cannot read {path}: {error.strerror}; this needs the elastic file of a run that was built "
            f"with --precision {precision} and not with --converter tf"
        ) from None
