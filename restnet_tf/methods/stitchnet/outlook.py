"""What composing nets of a pool will take, as it is known before the first network is run."""

from __future__ import annotations

from math import prod

from restnet_tf.family import forecast as forecasts
from restnet_tf.family.forecast import Forecast
from restnet_tf.methods.stitchnet.composition import Composition
from restnet_tf.methods.stitchnet.fragments import FLOAT

# Seconds of a member that is compiled into the pool, and of each of its weights; of a step of the search beside what
# it runs: a stitch and, behind the last one, a head in cross-validation.
_MEMBER_S, _WEIGHT_S, _STEP_S = 5.0, 1.5e-6, 0.5
# Half of the paths end before they are nets; each fragment is a step of two nets, about.
_STEPS = 1.0
# What the interpreters and the files at hand hold of a weight, and a path of the values at a cut.
_HELD, _VALUES = 12, 24
_BARE = 3e8  # bytes that a search over a pool that is compiled holds whatever the members


def forecast(composition: Composition) -> Forecast:
    """Members that are new, the search, and what the files answer."""
    seconds = forecasts.START_S + _compiling(composition) + _searching(composition) + _answering(composition)
    return Forecast(seconds, _memory(composition), _disk(composition))


def steps(composition: Composition) -> int:
    """How many fragments the search tries behind others, at most, about."""
    return int(_STEPS * composition.settings.limits.nets * len(composition.members))


def new(composition: Composition) -> list[tuple[str, str]]:
    """The members that have to be compiled, by role, with the precision."""
    precisions = dict.fromkeys((FLOAT, *composition.settings.precisions))
    return [(role, p) for role, entry in composition.members.items() for p in precisions if not entry.compiled(p)]


def _compiling(composition: Composition) -> float:
    return sum(_MEMBER_S + _WEIGHT_S * _params(composition)[role] for role, _ in new(composition))


def _searching(composition: Composition) -> float:
    examples, macs = len(composition.labels), _macs(composition)
    fragment = sum(macs.values()) / sum(map(len, composition.pool.values()))
    native = sum(forecasts.answering(one, examples) for one in macs.values())
    return native + steps(composition) * (_STEP_S + forecasts.answering(fragment, examples))


def _answering(composition: Composition) -> float:
    """Of nets and members on the test split, and their files."""
    macs, tests = _macs(composition), len(composition.data.test)
    networks, words = _networks(composition), len(composition.settings.precisions)
    mean = sum(macs.values()) / len(macs)
    return words * (networks * forecasts.answering(mean, tests) + forecasts.making(networks))


def _networks(composition: Composition) -> int:
    """The nets and members that have files, and cascades of them."""
    return composition.settings.max_points + len(composition.members) + composition.options.cascades


def _memory(composition: Composition) -> float:
    program = forecasts.PROGRAM if new(composition) else _BARE
    widest = max(prod(f.stop.shape) for parts in composition.pool.values() for f in parts)
    values = _VALUES * len(composition.labels) * widest
    return program + _HELD * sum(_params(composition).values()) + values


def _disk(composition: Composition) -> float:
    """The members' activations, files, and what the pool gains."""
    kept = sum(prod(f.stop.shape) for parts in composition.pool.values() for f in parts)
    params = _params(composition)
    mean = sum(params.values()) / len(params)
    precisions = composition.settings.precisions
    files = sum(_networks(composition) * _bytes(p) * mean for p in precisions)
    return 4 * len(composition.labels) * kept + files + sum(_bytes(p) * params[role] for role, p in new(composition))


def _bytes(precision: str) -> int:
    """Of a weight in a file."""
    return 4 if precision == FLOAT else 1


def _macs(composition: Composition) -> dict[str, int]:
    return {role: entry.member.features.macs_before for role, entry in composition.members.items()}


def _params(composition: Composition) -> dict[str, int]:
    return {role: entry.member.features.params_before for role, entry in composition.members.items()}
