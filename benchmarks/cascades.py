"""What cascades take on this host: ``python -m benchmarks.cascades RUN [--precision float32,int8]``.

1. Mean latency. Every image of the test split runs through a cascade's file at its thresholds, and through what one
   would use in its place: an interpreter a stage with an ``if`` in Python, each stage alone, the dearest point of the
   run that costs no more. LiteRT, one thread, all in turns; of an image the median of its repeats, then the mean of
   all images. Writing the image and reading the scores are in it.
2. What a stage behind an IF adds: a cascade's file with each stage answering, over the files of the stages that ran.
3. The same of int8 files in TensorFlow Lite Micro, in instructions, where its wheel and valgrind are installed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks import instructions
from restnet_tf.commands import build
from restnet_tf.data import splits
from restnet_tf.data.splits import Split
from restnet_tf.points import points
from restnet_tf.points.points import ANCHOR, CASCADE, SHIPPED, STITCHED, OperatingPoint, Score, Share
from restnet_tf.records import RestnetError
from tflite_export import cascades
from tflite_export.confidence import CONFIDENCES
from tflite_export.devices import host
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import read
from tflite_export.integers import dequantise, quantise

_BATCH = 64


@dataclass(frozen=True)
class Answer:
    """The class that an image is given, and the stage that gave it."""

    label: int
    stage: int


@dataclass(frozen=True)
class CascadeFiles:
    """A cascade's file, those of its stages, cheapest first, and that of a point of fixed cost, in one precision."""

    point: OperatingPoint
    precision: str
    content: bytes
    stages: Mapping[str, bytes]
    static: tuple[str, bytes]
    thresholds: tuple[float, ...]

    @property
    def confidence(self) -> str:
        """What it compares with its thresholds."""
        assert self.point.cascade is not None
        return self.point.cascade.confidence


@dataclass(frozen=True)
class WalkTiming:
    """Microseconds ``(n, repeats)`` of n images, and what each was answered."""

    took: np.ndarray
    answers: tuple[Answer, ...]

    @property
    def mean_us(self) -> float:
        """Of an image."""
        return float(np.median(self.took, axis=1).mean())


class Network:
    """A file in an interpreter of its own, with all images in its own type."""

    def __init__(self, content: bytes, split: Split, thresholds: Sequence[float] = ()) -> None:
        """``thresholds`` are a cascade's."""
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(model_content=content, num_threads=1)
        self._interpreter.allocate_tensors()
        (image, *dial), ends = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        self._ends, self._image = ends, image["index"]
        self._dial = [(d["index"], np.array([t], np.float32)) for d, t in zip(dial, thresholds, strict=True)]
        _, h, w, c = map(int, image["shape"])
        self.images = np.concatenate([quantise(np.asarray(x), image) for x in split.batches((h, w, c), _BATCH)])

    def scores(self, place: int) -> np.ndarray:
        """Of one image, as the file gives them."""
        self._interpreter.set_tensor(self._image, self.images[place : place + 1])
        for index, value in self._dial:
            self._interpreter.set_tensor(index, value)
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._ends[0]["index"])

    def probabilities(self, place: int) -> np.ndarray:
        """Of one image, in float32."""
        return dequantise(self.scores(place), self._ends[0])

    def answer(self, place: int) -> Answer:
        """To one image."""
        label = int(self.scores(place).argmax())
        return Answer(label, int(self._interpreter.get_tensor(self._ends[1]["index"])[0]) if self._dial else 0)


@dataclass(frozen=True)
class ByHand:
    """Stages in interpreters of their own, and an ``if`` in Python."""

    stages: Sequence[Network]
    confidence: str
    thresholds: tuple[float, ...]

    def answer(self, place: int) -> Answer:
        """To one image."""
        measure = CONFIDENCES[self.confidence].of
        for number, (stage, threshold) in enumerate(zip(self.stages, self.thresholds, strict=False)):
            scores = stage.probabilities(place)
            if measure(scores)[0] >= np.float32(threshold):
                return Answer(int(scores.argmax()), number)
        return Answer(int(self.stages[-1].scores(place).argmax()), len(self.stages) - 1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--precision", default="", help="by commas; all that the run has where none is given")
    parser.add_argument("--cascade", default="", help="its name; the best on the rank split where none is given")
    parser.add_argument("--thresholds", default="", help="by commas; those that the file says where none are given")
    parser.add_argument("--images", type=int, default=10_000, help="of the test split, at most")
    parser.add_argument("--repeats", type=int, default=5, help="of an image; a hundred times as many rounds of one")
    parser.add_argument("--no-tflm", action="store_true", help="count no instructions")
    options = parser.parse_args(arguments)
    try:
        measure(options)
    except (RestnetError, TfliteError, OSError, ValueError) as error:
        raise SystemExit(str(error)) from None


def measure(options: argparse.Namespace) -> None:
    """Print the figures of one cascade of a run in each precision."""
    _, listed = points.read(options.run / "points.json")
    point = chosen(listed, options.cascade)
    split = _test(options.run).head(options.images)
    wanted = [name for name in options.precision.split(",") if name]
    if missing := sorted(set(wanted) - set(point.files)):
        raise RestnetError(f"{point.name} has no file in {missing[0]}; it has {', '.join(point.files)}")
    thresholds = tuple(float(text) for text in options.thresholds.split(",") if text)
    for precision in wanted or point.files:
        files = gathered(options.run, listed, point, precision, thresholds)
        _say_means(files, split, options.repeats)
        _say_stages(files, split, 100 * options.repeats)
        if precision == "int8" and not options.no_tflm:
            _say_instructions(files, split)


def chosen(listed: Sequence[OperatingPoint], name: str) -> OperatingPoint:
    """The cascade of that name, or the best on the rank split; raises RestnetError where there is none."""
    there = {p.name: p for p in listed if p.kind == CASCADE and p.status == SHIPPED}
    if not there or (name and name not in there):
        raise RestnetError(f"no cascade {name} in the run; it has {', '.join(there) or 'none'}".replace("  ", " "))
    return there[name] if name else max(there.values(), key=lambda p: (p.rank.value, -p.mean_macs))


def gathered(
    run: Path, listed: Sequence[OperatingPoint], point: OperatingPoint, precision: str, thresholds: tuple[float, ...]
) -> CascadeFiles:
    """A cascade's file and its peers'; raises RestnetError for files that are gone, and thresholds of another count."""
    cascade, dial = point.cascade, point.files[precision].dial
    assert cascade is not None
    assert dial is not None
    given = thresholds or dial.thresholds
    if len(given) != len(cascade.stages) - 1:
        raise RestnetError(f"{len(given)} thresholds given; {point.name} takes {len(cascade.stages) - 1}")
    named = {p.name: p for p in listed}
    parts = precision.split(cascades.GOES_ON)
    stages = {name: _content(run, named[name], parts[min(i, len(parts) - 1)]) for i, name in enumerate(cascade.stages)}
    static = _static(listed, point)
    return CascadeFiles(
        point,
        precision,
        points.content(run, point.files[precision]),
        stages,
        (static.name, _content(run, static, parts[-1])),
        given,
    )


def walked(contestants: Mapping[str, Network | ByHand], images: int, repeats: int) -> dict[str, WalkTiming]:
    """Every image through every contestant, in turns that begin with another one each time."""
    names = list(contestants)
    took = {name: np.zeros((images, repeats)) for name in names}
    answers = {name: [Answer(0, 0)] * images for name in names}
    for repeat in range(-1, repeats):  # the first one warms up
        for place in range(images):
            turn = (place + repeat) % len(names)
            for name in names[turn:] + names[:turn]:
                start = time.perf_counter_ns()
                answers[name][place] = contestants[name].answer(place)
                took[name][place, repeat] = (time.perf_counter_ns() - start) / 1000
    return {name: WalkTiming(took[name], tuple(answers[name])) for name in names}


def added(files: CascadeFiles, image: Mapping[str, np.ndarray], repeats: int) -> list[float]:
    """By the stage that answers: what a cascade's file takes over the files of the stages that ran.

    The median of the ratios within each round: what else the host does meets both alike.
    """
    everyone = {**files.stages, files.point.name: files.content}
    took = host.stage_latencies(everyone, image, repeats=repeats)
    alone = np.array([took[name][0].repeats_us for name in files.stages]).cumsum(axis=0)
    joined = np.array([one.repeats_us for one in took[files.point.name]])
    return [median(ratios) for ratios in (joined / alone).tolist()]


def counts(files: CascadeFiles, images: Mapping[str, np.ndarray]) -> list[tuple[int, int]]:
    """Instructions by the stage that answers: of a cascade's file, and of the files of the stages that ran."""
    number, image = len(files.stages), images[files.point.name]
    stages = [instructions.Counting(content, images[name]) for name, content in files.stages.items()]
    joined = [instructions.Counting(files.content, image, cascades.answering(at, number)) for at in range(number)]
    counted = instructions.counted([*stages, *joined])
    return list(zip(counted[number:], np.cumsum(counted[:number]).tolist(), strict=True))


def _static(listed: Sequence[OperatingPoint], point: OperatingPoint) -> OperatingPoint:
    """The point of fixed cost that is the dearest of no more MACs than a cascade's mean."""
    within = [
        p
        for p in listed
        if p.kind in (ANCHOR, STITCHED) and p.status == SHIPPED and p.files and p.macs <= point.test_mean_macs
    ]
    return max(within, key=lambda p: p.macs)


def _content(run: Path, point: OperatingPoint, precision: str) -> bytes:
    """Of a point's file in a precision, or in the one that it has."""
    only = next(iter(point.files)) if len(point.files) == 1 else precision
    if precision not in point.files and only not in point.files:
        raise RestnetError(f"{point.name} has no file in {precision}; it has {', '.join(point.files)}")
    return points.content(run, point.files.get(precision) or point.files[only])


def _test(run: Path) -> Split:
    _, options = build.finished_options(run)
    return splits.load(options.data or "digits", seed=options.seed).test


def _say_means(files: CascadeFiles, split: Split, repeats: int) -> None:
    first, *_, last = files.stages
    by_hand = f"{len(files.stages)} interpreters"
    timings = walked(_contestants(files, by_hand, split), len(split), repeats)
    truth = [a.label for a in timings[last].answers] if split.labels is None else split.labels.tolist()
    scores = {name: Score.of(np.equal([a.label for a in t.answers], truth)) for name, t in timings.items()}
    shown, one = ", ".join(f"{t:.4g}" for t in files.thresholds), timings[files.point.name]
    print(
        f"{files.point.name}, {files.precision}, thresholds {shown}: {len(split)} test images, {repeats} repeats each"
    )
    for name, timing in timings.items():
        ratio = "" if timing is one else f"  the cascade takes {one.mean_us / timing.mean_us:.3f} of it"
        print(f"  {name:<16}{timing.mean_us / 1000:9.4f} ms {_share(scores[name])}{ratio}")
    print(f"  goes on {_deferral(one, len(files.stages))}; {_unlike(one, timings[by_hand])}")
    print(f"  image by image it takes {_ratio(one, timings[by_hand]):.3f} of the {by_hand} (median)")
    costs, values = [timings[n].mean_us for n in (first, last)], [scores[n].value for n in (first, last)]
    chord = 100 * float(np.interp(one.mean_us, costs, values))
    print(f"  the chord between {first} and {last} has {chord:.1f} % at the cascade's mean latency")


def _contestants(files: CascadeFiles, by_hand: str, split: Split) -> dict[str, Network | ByHand]:
    """What every image runs through, each with interpreters of its own."""
    static, content = files.static
    single = {static: content} | dict(files.stages)  # a stage in its own precision
    apart = [Network(content, split) for content in files.stages.values()]
    return {
        files.point.name: Network(files.content, split, files.thresholds),
        by_hand: ByHand(apart, files.confidence, files.thresholds),
        **{name: Network(content, split) for name, content in single.items()},
    }


def _say_stages(files: CascadeFiles, split: Split, repeats: int) -> None:
    images = {name: _first(content, split) for name, content in _everyone(files).items()}
    ratios = ", ".join(f"{ratio:.3f}" for ratio in added(files, images, repeats))
    print(f"  over its stages' own files, by the stage that answers: {ratios} times as long ({repeats} rounds)")


def _say_instructions(files: CascadeFiles, split: Split) -> None:
    if why := instructions.missing():
        print(f"  SKIPPED: instructions in TensorFlow Lite Micro; {why}")
        return
    images = {name: _raw(content, split) for name, content in _everyone(files).items()}
    for stage, (joined, alone) in enumerate(counts(files, images)):
        print(
            f"  TensorFlow Lite Micro, {list(files.stages)[stage]} answers: {joined / 1e6:.2f}M instructions,"
            f" {joined / alone:.4f} times those of its stages' own files"
        )


def _everyone(files: CascadeFiles) -> dict[str, bytes]:
    return {**files.stages, files.point.name: files.content}


def _first(content: bytes, split: Split) -> np.ndarray:
    """The first image ``(h, w, c)`` of 0..255, as a file takes it."""
    shape = read(content).subgraphs[0].inputs[0].shape
    return next(np.asarray(x)[0] for x in split.head(1).batches((shape[1], shape[2], shape[3]), 1))


def _raw(content: bytes, split: Split) -> np.ndarray:
    """The first image in a file's own type."""
    dial = cascades.thresholds(content) if cascades.holds_one(read(content)) else ()
    return Network(content, split.head(1), dial).images[0]


def _share(score: Score | Share) -> str:
    low, high = score.interval
    return f"{100 * score.value:5.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def _deferral(one: WalkTiming, stages: int) -> str:
    place = np.array([a.stage for a in one.answers])
    return ", ".join(_share(Share(float(np.mean(place >= stage)), len(place))).strip() for stage in range(1, stages))


def _ratio(one: WalkTiming, other: WalkTiming) -> float:
    """Of two that run the same stages on every image; what else the host did meanwhile hardly moves a median."""
    return float(np.median(np.median(one.took, axis=1) / np.median(other.took, axis=1)))


def _unlike(one: WalkTiming, other: WalkTiming) -> str:
    unlike = sum(a != b for a, b in zip(one.answers, other.answers, strict=True))
    return f"{unlike} of {len(one.answers)} answered otherwise than by the interpreters"


if __name__ == "__main__":
    main()
