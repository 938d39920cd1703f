"""Builds and compositions called from Python: the options of the commands as keywords, with the same defaults."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from restnet_tf import methods
from restnet_tf.commands import build as building
from restnet_tf.commands import log as logging
from restnet_tf.commands.build import Done
from restnet_tf.family.options import Options
from restnet_tf.progress import Reporter, Silent
from restnet_tf.records import RestnetError
from restnet_tf.work.places import Cluster


def build(
    *,
    method: str = methods.FIRST,
    report: Reporter | None = None,
    jobs: int | None = 0,
    cluster: str | None = None,
    ship: bool = False,
    log: str | Sequence[str] = (),
    **options: Any,
) -> Done:
    """Build the family between two anchors (``restnet``) or more of them (``snnet``), or finish such a build.

    ``options`` are those of ``restnet-tf build`` with an underscore for a dash: ``large``, ``small`` and ``data``, or
    none of them for two small anchors that are trained on cluttered digits; ``out`` is by default
    ``runs/LARGE-SMALL-DATA``. Files and folders may be strings or ``Path``. ``report`` hears how it goes. ``jobs`` is
    how many processes the work is shared out to: 0 is none beside this one, None as many as help here; a script that
    starts processes keeps what it does under ``if __name__ == "__main__"``. ``cluster`` is the address of a Dask
    scheduler whose workers do the work, or "local"; with ``ship`` files travel to them. ``log`` names experiment
    trackers that keep the run too, as ``mlflow:URI`` or ``tensorboard:DIR``. Returns the ``path`` of the run, which
    ``open_run`` takes, all points with their scores and files, ``metric`` (what the scores count), a ``summary`` in
    words, and the ``shortfall``: why no point meets the budget, if none does. Raises ``RestnetError`` or
    ``TfliteError`` for what cannot be used, TypeError for an option that is none.
    """
    own, machines = _record("build", method, options), Cluster.of(cluster, ship=ship)
    return _logged(log, lambda: building.build(method, own, report or Silent(), jobs=jobs, cluster=machines))


def cascade(
    *models: str | Path,
    report: Reporter | None = None,
    jobs: int | None = 0,
    cluster: str | None = None,
    ship: bool = False,
    log: str | Sequence[str] = (),
    **options: Any,
) -> Done:
    """Join two or three models as they are, the cheapest first: the next runs only where the one before is unsure.

    ``models`` are names, files of Keras models, or ``.tflite`` files; ``options`` are those of ``restnet-tf cascade``
    with an underscore for a dash: ``data`` names the images that choose the thresholds. Nothing is trained. ``report``
    hears how it goes; ``jobs``, ``cluster``, ``ship`` and ``log`` as for ``build``. Returns what ``build`` returns.
    Raises ``RestnetError`` or ``TfliteError`` for what cannot be used, TypeError for an option that is none.
    """
    method = methods.of("cascade")[0]
    named = {"models": list(models)} if models else {}
    own, machines = _record("cascade", method, named | options), Cluster.of(cluster, ship=ship)
    return _logged(log, lambda: building.build(method, own, report or Silent(), jobs, machines))


def compose(
    *,
    report: Reporter | None = None,
    jobs: int | None = 0,
    cluster: str | None = None,
    ship: bool = False,
    log: str | Sequence[str] = (),
    **options: Any,
) -> Done:
    """Compose nets of the fragments of a pool for a few labelled images, without training.

    ``options`` are those of ``restnet-tf compose`` with an underscore for a dash: ``pool`` lists names and files, also
    ``.tflite`` files, ``data`` names the labelled images. Files and folders may be strings or ``Path``. ``report``
    hears how it goes; ``jobs``, ``cluster``, ``ship`` and ``log`` as for ``build``. Returns what ``build`` returns,
    with the mean log loss in place of the KL. Raises ``RestnetError`` or ``TfliteError`` for what cannot be used,
    TypeError for an option that is none.
    """
    method = methods.of("compose")[0]
    own, machines = _record("compose", method, options), Cluster.of(cluster, ship=ship)
    return _logged(log, lambda: building.build(method, own, report or Silent(), jobs, machines))


def _logged(words: str | Sequence[str], work: Callable[[], Done]) -> Done:
    """What the work comes to, told to trackers; these are looked at before it."""
    places = logging.logs([words] if isinstance(words, str) else words)
    for place in places:
        place.check()
    done = work()
    return replace(done, summary="\n".join((done.summary, *(place.write(done.path) for place in places))))


def _record(call: str, method: str, options: Mapping[str, Any]) -> Options:
    """Options as the record of the method: folders may come as text, models as paths, tuples as lists."""
    if method not in methods.METHODS:
        raise RestnetError(f"there is no method {method!r}; there are {', '.join(methods.METHODS)}")
    usual = methods.options(method)()
    names = [field.name for field in fields(usual)]
    for option in options:
        if option not in names:
            raise TypeError(f"{call}() has no option {option!r}; its options are {', '.join(names)}")
    return usual.replaced({option: _plain(value) for option, value in options.items()})


def _plain(value: Any) -> Any:
    """A value as a file keeps it: the record makes paths and tuples of it where it wants these."""
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, Path) else value
