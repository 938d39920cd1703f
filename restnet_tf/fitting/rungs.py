"""The rungs of the ladder, from the lowest on: to add one is to add one entry to ``RUNGS``, and its test.

Each trains the stitch, and beside it what it says of the back. Training compute is counted in MACs and work
(``results.RungResult``), not seconds, so that the same build gives the same result on any machine; two server cores do
about 6e10 a second.

The command line reads its choices here, so that even NumPy is imported in functions alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

# The ``--fine-tune`` word for all rungs that leave the weights shared, the costly ones where a point needs them. What
# ``last_resort`` gives beside is held against twins that know less.
AUTO = "auto"


def _nothing(back: keras.Model) -> list[Any]:
    return []


def _norms(back: keras.Model) -> list[Any]:
    from restnet_tf.graph import norms

    return norms.variables(back)


def _weights(back: keras.Model) -> list[Any]:
    return list(back.trainable_variables)


@dataclass(frozen=True)
class Rung:
    """What a rung trains, how, and what it may take.

    ``work`` is its share at effort 1. ``tunes`` gives the variables of a back (a copy) that are trained beside the
    stitch; ``widens`` gives the map ReLU features to read before. A pass over an image takes as long as ``passes``
    forwards. ``costly`` is what a point has to pay for: at run time, or by weights that it cannot share. Where
    ``work`` is for fewer than ``least_images``, the rung takes some from its ``lender``.
    """

    name: str
    work: float
    rate: float
    tunes: Callable[[keras.Model], list[Any]] = _nothing
    # Backward costs one more forward for the activations, and one where convolutions are trained.
    passes: int = 2
    widens: bool = False
    costly: bool = False
    # Whether the point has the weights of its back to itself; what it then gains it mostly owes to being trained anew.
    unshares: bool = False
    # XLA fuses the frozen norms into their neighbours: 1.3 to 1.8 times as fast. Its gradients of convolution
    # kernels are slower on a CPU than TensorFlow's own.
    fuses: bool = True
    least_images: int = 0
    lender: str = ""


RUNGS = (
    Rung("stitch", work=0.7e12, rate=3e-3, least_images=1_000, lender="norm"),
    Rung("norm", work=4.8e12, rate=3e-3, tunes=_norms),
    Rung("relu", work=0.7e12, rate=3e-3, tunes=_norms, widens=True, costly=True),
    Rung("back", work=2.7e12, rate=1e-3, tunes=_weights, passes=3, costly=True, unshares=True, fuses=False),
)


def _ladder(top: Rung) -> tuple[str, ...]:
    """The rungs up to one: no costly one is climbed for the sake of another."""
    below = RUNGS[: RUNGS.index(top)]
    return (*(rung.name for rung in below if not rung.costly), top.name)


# Which rungs each word of ``--fine-tune`` allows.
FINE_TUNES: dict[str, tuple[str, ...]] = {
    AUTO: tuple(rung.name for rung in RUNGS if not rung.unshares),
    **{rung.name: _ladder(rung) for rung in RUNGS},
}


def rung_named(name: str) -> Rung:
    """A rung by its name; raises ``RestnetError`` where there is none."""
    for rung in RUNGS:
        if rung.name == name:
            return rung
    from restnet_tf.records import RestnetError

    raise RestnetError(f"no rung of the ladder is called {name}; there are {', '.join(r.name for r in RUNGS)}")


def budgets(fine_tune: str, effort: float, pass_work: int) -> dict[str, int]:
    """The rungs that a word of ``--fine-tune`` allows, with the work of each.

    ``pass_work`` is that of one image through the back (``ladder.work``). Large backs would leave the stitch too few
    images of its small share: it gets some of the norms', up to where both have as much.
    """
    rungs = [rung_named(name) for name in FINE_TUNES[fine_tune]]
    shares = {rung.name: rung.work * effort for rung in rungs}
    for rung in rungs:
        if rung.lender in shares:
            even = (shares[rung.name] + shares[rung.lender]) / 2
            loan = max(0.0, min(rung.passes * rung.least_images * pass_work, even) - shares[rung.name])
            shares[rung.name] += loan
            shares[rung.lender] -= loan
    return {name: int(share) for name, share in shares.items()}


def last_resort(effort: float) -> dict[str, int]:
    """The rung that a point behind its rival may climb after those of ``auto``, and its work: it shares no weights."""
    return {rung.name: int(rung.work * effort) for rung in RUNGS if rung.unshares}


def onward(fine_tune: str, kls: Mapping[str, float], climbed: Mapping[str, int], small_kl: float) -> tuple[str, ...]:
    """The points that take another rung, of those whose cheap rungs are done; none of them waits for another of them.

    ``kls`` are where the points stand, from the cheapest on, ``climbed`` how many rungs each has tried; ``small_kl`` is
    the KL of the small anchor. ``auto`` goes on only where a point is no nearer to the large anchor than the small one
    or a point that costs less: it could not ship, so there is nothing to lose by what it pays. Any other
    word goes on with every point, as far as it allows.

    Asked again after each round until it names none, it comes to the same as fitting from the cheapest point on, each
    to its end: the KLs of cheaper points only fall, so what goes on now would go on then.
    """
    names: list[str] = []
    nearest = small_kl
    for name, kl in kls.items():
        if climbed[name] < len(FINE_TUNES[fine_tune]) and (fine_tune != AUTO or kl > nearest):
            names.append(name)
        nearest = min(nearest, kl)
    return tuple(names)
