"""A map decided by measuring: each group of operators in sixteen bits in turn, then the best of them together.

A group is worth it by how much nearer the scores come to the float network's (KL), for the CPU time that it takes in
LiteRT; one that alone takes longer than all may is run on a few images only. Groups join in the order of that ratio,
each kept where the whole file gets better and stays within the limit; floats may leave room for those that alone had
none, which join last, the quickest first. CPU time is that of one thread, the least of all
images, so that what else a machine does counts little; a map is decided once and read from then on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tflite_export import link
from tflite_export.chatter import captured
from tflite_export.divergence import between, logarithms
from tflite_export.flatbuffer import only, read
from tflite_export.integers import dequantise, quantise
from tflite_export.mixed import groups
from tflite_export.mixed.groups import OperatorGroup
from tflite_export.mixed.maps import MapGroup, WidthMap, WidthTrial
from tflite_export.mixed.widening import widened
from tflite_export.verify import with_logits

IMAGES = 64
_ROUNDS = 2  # what is not worth it at first may be beside others
RUNS = (1 + _ROUNDS) * groups.MOST + 1  # of all images, at most
LIMIT = 1.3
_FIRST = 4  # images that tell whether a file takes longer than it may
_SURE = 1.0  # standard errors by which a group has to bring the scores nearer
_WORTH = 0.05  # share of the KL of int8 that all of it has to take away
_MARGIN = 0.1  # share of the room within the limit by which times do not add up


@dataclass(frozen=True)
class _Measured:
    """A file's KL image by image, none where it takes longer than it may, and its time."""

    kl: np.ndarray
    latency_ms: float

    @property
    def trial(self) -> WidthTrial:
        """As a map has it."""
        kl = float(f"{self.kl.mean():.4g}") if len(self.kl) else None
        return WidthTrial(kl, float(f"{self.latency_ms:.4g}"))

    def beats(self, other: _Measured) -> bool:
        """Whether it is nearer to float than another, beyond what images differ by."""
        gains = other.kl - self.kl
        error = float(gains.std()) / np.sqrt(len(gains))
        return float(gains.mean()) > _SURE * error


def decide(
    content: bytes,
    images: np.ndarray,
    exact: np.ndarray,
    limit: float = LIMIT,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> WidthMap:
    """The map of an int8 object, by raw images ``(n, h, w, c)`` and the float network's probabilities ``(n, classes)``.

    ``limit`` is how much of int8's time a file may take. At most ``RUNS`` runs of all images.
    """
    whole = link.variant(link.Route(link.Object(content)), precision="int8")
    tried, runs = groups.of(only(read(whole))), 0

    def measured(chosen: Sequence[OperatorGroup], most_ms: float = np.inf) -> _Measured:
        nonlocal runs
        runs += 1
        progress(runs, (1 + _ROUNDS) * len(tried) + 1)
        names = [name for group in chosen for name in group.operators]
        return _measured(widened(whole, names), images, exact, most_ms)

    int8 = measured(())
    most_ms = limit * int8.latency_ms
    alone = {group.name: measured((group,), most_ms) for group in tried}
    chosen, best = _joined(tried, alone, int8, most_ms, measured)
    if float(best.kl.mean()) > (1 - _WORTH) * float(int8.kl.mean()):
        chosen, best = [], int8
    entries = tuple(MapGroup(g.name, g in chosen, g.operators, alone[g.name].trial) for g in tried)
    return WidthMap(entries, limit, len(images), int8.trial, best.trial)


def _joined(
    tried: Sequence[OperatorGroup],
    alone: dict[str, _Measured],
    int8: _Measured,
    most_ms: float,
    measured: Callable[[Sequence[OperatorGroup], float], _Measured],
) -> tuple[list[OperatorGroup], _Measured]:
    """The groups that are worth it together, and the file with them."""

    def cost(group: OperatorGroup) -> float:
        return max(alone[group.name].latency_ms - int8.latency_ms, 1e-3)

    def worth(group: OperatorGroup) -> float:
        return float((int8.kl - alone[group.name].kl).mean()) / cost(group)

    affordable = [group for group in tried if len(alone[group.name].kl)]
    slow = sorted((group for group in tried if group not in affordable), key=cost)
    chosen: list[OperatorGroup] = []
    best = int8
    for group in (*_ROUNDS * sorted(affordable, key=worth, reverse=True), *slow):
        if group in chosen or best.latency_ms + (1 - _MARGIN) * cost(group) > most_ms:
            continue
        more = measured([*chosen, group], most_ms)
        if len(more.kl) and more.beats(best):
            chosen, best = [*chosen, group], more
    return chosen, best


def _measured(content: bytes, images: np.ndarray, exact: np.ndarray, most_ms: float) -> _Measured:
    """A file on all images; on the first few alone, without a KL, where it takes longer than that."""
    from ai_edge_litert.interpreter import Interpreter

    with captured():
        interpreter = Interpreter(model_content=with_logits(content), num_threads=1)
        interpreter.allocate_tensors()
    entry, end = interpreter.get_input_details()[0], interpreter.get_output_details()[-1]
    rows, seconds = [], []
    for image in quantise(images, entry):
        interpreter.set_tensor(entry["index"], image[None])
        start = time.process_time()
        interpreter.invoke()
        seconds.append(time.process_time() - start)
        rows.append(interpreter.get_tensor(end["index"]).reshape(-1))
        if len(rows) in (_FIRST, len(images)) and 1e3 * min(seconds) > most_ms:
            return _Measured(np.empty(0), 1e3 * min(seconds))
    scores = dequantise(np.stack(rows), end)
    answers = logarithms(scores, probabilities=len(interpreter.get_output_details()) == 1)
    return _Measured(between(answers, logarithms(exact, probabilities=True)), 1e3 * min(seconds))
