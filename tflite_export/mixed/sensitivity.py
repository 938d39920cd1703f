"""A map decided by measuring: each group of operators in sixteen bits in turn, then the best of them together.

A group is worth it by how much nearer the scores come to the float network's (KL), for the CPU time that it takes in
LiteRT; one that alone takes longer than all may is run on a few images only. Groups join in the order of that ratio,
each kept where the whole file gets better and stays within the limit; floats may leave room for those that alone had
none, which join last, the quickest first. KL falls with each that joins, the answers that are float's need not rise: of
the files on the way the one that keeps most of them is taken, on more images than the search needs. CPU time is that of
one thread, the least of all images, so that what else a machine does counts little; a map is decided once and read from
then on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

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

IMAGES, SEARCHED = 150, 64  # to choose by answers, and the last of them for every group
_ROUNDS = 2  # what is not worth it at first may be beside others
RUNS = (1 + _ROUNDS) * groups.MOST + 1  # in search, at most
LIMIT = 1.3
_FIRST = 4  # images that tell whether a file takes longer than it may
_SURE = 1.0  # standard errors by which a group has to bring the scores nearer
_WORTH = 0.05  # share of the KL of int8 that all of it has to take away
_MARGIN = 0.1  # share of the room within the limit by which times do not add up


@dataclass(frozen=True)
class _Measured:
    """A file's KL image by image, none where it takes longer than it may, its time, and how many answers it keeps."""

    kl: np.ndarray
    latency_ms: float
    kept: int = 0

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


_Step = tuple[list[OperatorGroup], _Measured]


def decide(
    content: bytes,
    images: np.ndarray,
    exact: np.ndarray,
    limit: float = LIMIT,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> WidthMap:
    """The map of an int8 object, by raw images ``(n, h, w, c)`` and the float network's probabilities ``(n, classes)``.

    ``limit`` is how much of int8's time a file may take. At most ``RUNS`` runs of the last ``SEARCHED`` images and
    one of the others for each group that joins.
    """
    whole = link.variant(link.Route(link.Object(content)), precision="int8")
    tried, runs = groups.of(only(read(whole))), 0

    def measured(chosen: Sequence[OperatorGroup], most_ms: float = np.inf) -> _Measured:
        nonlocal runs
        runs += 1
        progress(runs, (1 + _ROUNDS) * len(tried) + 1)
        return _measured(_with(whole, chosen), images[-SEARCHED:], exact[-SEARCHED:], most_ms)

    int8 = measured(())
    most_ms = limit * int8.latency_ms
    alone = {group.name: measured((group,), most_ms) for group in tried}
    steps = _joined(tried, alone, int8, most_ms, measured)
    rest = images[:-SEARCHED], exact[:-SEARCHED]
    steps = [(g, _more(one, _with(whole, g), *rest)) for g, one in steps] if len(rest[0]) else steps
    chosen, best = _best(steps)
    entries = tuple(MapGroup(g.name, g in chosen, g.operators, alone[g.name].trial) for g in tried)
    return WidthMap(entries, limit, len(images), steps[0][1].trial, best.trial)


def _with(whole: bytes, chosen: Sequence[OperatorGroup]) -> bytes:
    return widened(whole, [name for group in chosen for name in group.operators])


def _more(one: _Measured, content: bytes, images: np.ndarray, exact: np.ndarray) -> _Measured:
    """The same file on more images; its time stays what it was taken by."""
    more = _measured(content, images, exact, np.inf)
    return replace(one, kl=np.concatenate([one.kl, more.kl]), kept=one.kept + more.kept)


def _best(steps: Sequence[_Step]) -> _Step:
    """Of what is noticeably nearer to float than int8, the first, what keeps most answers, then of the least KL."""
    int8 = steps[0][1]
    nearer = [step for step in steps[1:] if step[1].kl.mean() <= (1 - _WORTH) * int8.kl.mean()]
    return max(nearer, key=lambda step: (step[1].kept, -float(step[1].kl.mean())), default=steps[0])


def _joined(
    tried: Sequence[OperatorGroup],
    alone: dict[str, _Measured],
    int8: _Measured,
    most_ms: float,
    measured: Callable[[Sequence[OperatorGroup], float], _Measured],
) -> list[_Step]:
    """Groups that are worth it together, from none on one more at a time, each with its file."""

    def cost(group: OperatorGroup) -> float:
        return max(alone[group.name].latency_ms - int8.latency_ms, 1e-3)

    def worth(group: OperatorGroup) -> float:
        return float((int8.kl - alone[group.name].kl).mean()) / cost(group)

    affordable = [group for group in tried if len(alone[group.name].kl)]
    slow = sorted((group for group in tried if group not in affordable), key=cost)
    steps: list[_Step] = [([], int8)]
    for group in (*_ROUNDS * sorted(affordable, key=worth, reverse=True), *slow):
        chosen, best = steps[-1]
        if group in chosen or best.latency_ms + (1 - _MARGIN) * cost(group) > most_ms:
            continue
        more = measured([*chosen, group], most_ms)
        if len(more.kl) and more.beats(best):
            steps.append(([*chosen, group], more))
    return steps


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
    reference = logarithms(exact, probabilities=True)
    kept = int(np.sum(answers.argmax(1) == reference.argmax(1)))
    return _Measured(between(answers, reference), 1e3 * min(seconds), kept)
