"""Run .tflite files by LiteRT on this host: how long they take and what they answer."""

from __future__ import annotations

import hashlib
import importlib.metadata
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from tflite_export import cascades
from tflite_export.chatter import captured
from tflite_export.devices.device import Device
from tflite_export.devices.records import Latency
from tflite_export.devices.subjects import DeviceOptions, Findings, Subject, opened, smooth_images, tried
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import read
from tflite_export.integers import dequantise, quantise
from tflite_export.precision import EVERY

# What is timed in turns: a file, or a file at one of its settings.
Turn = TypeVar("Turn")


def measure(subjects: Sequence[Subject], options: DeviceOptions) -> Iterator[Findings]:
    """Latency of the files that LiteRT can run, in turns, every repeat kept; the image is seeded and random.

    That of a cascade is its worst case, where the last stage answers. A file that LiteRT cannot run is a failure of
    that file. Raises ``TfliteError`` for counts below one.
    """
    images: dict[str, np.ndarray] = {}
    worst: dict[str, tuple[float, ...]] = {}

    def look(subject: Subject) -> Findings:
        opened(subject)
        entry, *dial = _open(subject.content, options.threads, options.xnnpack, subject.name).get_input_details()
        images[subject.name] = smooth_images(tuple(entry["shape"][1:]), 1, kind=subject.kind)[0]
        worst[subject.name] = cascades.answering(len(dial), len(dial) + 1)
        return Findings()

    for subject in subjects:
        findings = tried(subject, look)
        if findings.failures:
            yield findings
    running = [subject for subject in subjects if subject.name in images]
    if not running:
        return
    timed = latencies(
        {subject.name: subject.content for subject in running},
        images,
        threads=options.threads,
        repeats=options.repeats,
        xnnpack=options.xnnpack,
        thresholds=worst,
    )
    for subject in running:
        took = timed[subject.name]
        tool = f"{took.tool}, {took.threads} thread{'s' if took.threads > 1 else ''}"
        repeats = {"latency": took.repeats_us}
        yield Findings(subject.measured("host", {"latency": took.median_us}, kind="device", tool=tool, repeats=repeats))


def latency(
    model: bytes,
    image: np.ndarray,
    *,
    threads: int = 1,
    warmup: int = 10,
    repeats: int = 100,
    xnnpack: bool = True,
) -> Latency:
    """Time one model's inference on one raw image (h, w, c) or (1, h, w, c) of 0..255.

    Raises TfliteError as ``latencies`` does, of which this is the case of one model.
    """
    timed = latencies({"model": model}, image, threads=threads, warmup=warmup, repeats=repeats, xnnpack=xnnpack)
    return timed["model"]


def latencies(
    models: Mapping[str, bytes],
    image: np.ndarray | Mapping[str, np.ndarray],
    *,
    threads: int = 1,
    warmup: int = 10,
    repeats: int = 100,
    xnnpack: bool = True,
    thresholds: Mapping[str, Sequence[float]] | None = None,
) -> dict[str, Latency]:
    """Time several models in turns, so that what else the host does meets all of them alike.

    ``image`` is one raw image for all, or one a name where the models' inputs differ. Each round
    runs every model once, beginning with another one each time. Only the inference is timed, not
    the writing of its input. ``thresholds`` of cascades, by name, are those that a file says where none are given.
    Raises TfliteError for files that LiteRT cannot run, images that do not fit or hold values that are not finite,
    thresholds of another count, and counts below one.
    """
    dials = {name: [(thresholds or {}).get(name)] for name in models}
    timed = _timed(models, image, dials, (threads, warmup, repeats, xnnpack))
    return {name: took for name, (took,) in timed.items()}


def stage_latencies(
    models: Mapping[str, bytes],
    image: np.ndarray | Mapping[str, np.ndarray],
    *,
    threads: int = 1,
    warmup: int = 10,
    repeats: int = 100,
    xnnpack: bool = True,
) -> dict[str, tuple[Latency, ...]]:
    """Time several models in turns, cascades once a round with each stage answering, the first one first.

    So the last entry is a cascade's worst case; other models have one entry. Raises TfliteError as ``latencies`` does.
    """
    counts = {name: _stage_count(model) for name, model in models.items()}
    dials = {name: [cascades.answering(n, count) for n in range(count)] for name, count in counts.items()}
    return _timed(models, image, dials, (threads, warmup, repeats, xnnpack))


def scores(
    model: bytes, batches: Iterable[np.ndarray], threads: int = 2, thresholds: Sequence[float] | None = None
) -> np.ndarray:
    """Run a model on raw images and return its outputs, float32 (n, classes); raises as ``answers`` does."""
    return answers(model, batches, threads, thresholds)[0]


def stages(
    model: bytes, batches: Iterable[np.ndarray], threads: int = 2, thresholds: Sequence[float] | None = None
) -> np.ndarray:
    """Run a model on raw images and return which stage answered, int32 (n,); raises as ``answers`` does."""
    return answers(model, batches, threads, thresholds)[1]


def answers(
    model: bytes, batches: Iterable[np.ndarray], threads: int = 2, thresholds: Sequence[float] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Run a model on raw images: its scores float32 (n, classes), and int32 (n,) which stage of a cascade answered.

    ``batches`` hold images (b, h, w, c) of 0..255, fed one at a time; integer inputs and outputs are
    converted by the file's own scale and zero point. ``thresholds`` of a cascade are those that the file says where
    none are given; what is no cascade has one stage, 0. Raises TfliteError for files that LiteRT cannot run, batches
    that do not fit or hold values that are not finite, thresholds of another count, and no images at all.
    """
    interpreter = _open(model, threads, True, "model")
    entry, (exit_, *stage) = interpreter.get_input_details()[0], interpreter.get_output_details()
    dial = _dial(interpreter, model, thresholds, "model")
    rows: list[np.ndarray] = []
    places: list[int] = []
    for batch in batches:
        for image in quantise(_fitting(entry, batch, "model"), entry):
            _feed(interpreter, [image[None], *dial])
            interpreter.invoke()
            rows.append(interpreter.get_tensor(exit_["index"]).reshape(-1))
            places.append(int(interpreter.get_tensor(stage[0]["index"])[0]) if stage else 0)
    if not rows:
        raise TfliteError("no images to score; the batches given hold none")
    return dequantise(np.stack(rows), exit_), np.array(places, np.int32)


def _open(model: bytes, threads: int, xnnpack: bool, name: str) -> Any:
    """Open a model with one image input of batch 1 and one output, or a cascade, ready to run."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    if threads < 1:
        raise TfliteError(f"threads={threads}; at least 1 is needed")
    kind = OpResolverType.AUTO if xnnpack else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    with captured():
        try:
            interpreter = Interpreter(
                model_content=bytes(model), num_threads=threads, experimental_op_resolver_type=kind
            )
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise TfliteError(f"LiteRT cannot run {name!r} ({len(model)} bytes): {error}") from error
    ends = (interpreter.get_input_details(), interpreter.get_output_details())
    single = all(len(side) == 1 and side[0]["shape"][0] == 1 for side in ends)
    if not single and not cascades.holds_one(read(model)):
        shapes = [[tuple(map(int, end["shape"])) for end in side] for side in ends]
        raise TfliteError(f"{name!r} has inputs {shapes[0]} and outputs {shapes[1]}; one each, of batch 1, is needed")
    return interpreter


def _fitting(entry: Mapping[str, Any], batch: np.ndarray, name: str) -> np.ndarray:
    values, shape = np.asarray(batch), tuple(int(size) for size in entry["shape"][1:])
    if values.shape[1:] != shape:
        raise TfliteError(f"images are {values.shape}; {name!r} needs (b, {str(shape)[1:]}")
    return values


def _single(interpreter: Any, image: np.ndarray, name: str) -> np.ndarray:
    entry = interpreter.get_input_details()[0]
    values = image[None] if image.ndim == len(entry["shape"]) - 1 else image
    if len(values) != 1:
        raise TfliteError(f"{len(values)} images given; {name!r} is timed on one")
    return quantise(_fitting(entry, values, name), entry)


def _stage_count(model: bytes) -> int:
    """How many stages a file has; 1 where it is no cascade."""
    whole = read(model)
    return len(whole.signatures[0].inputs) if cascades.holds_one(whole) else 1


def _dial(interpreter: Any, model: bytes, thresholds: Sequence[float] | None, name: str) -> list[np.ndarray]:
    """What is given behind the image: nothing but to a cascade."""
    count = len(interpreter.get_input_details()) - 1
    chosen = cascades.thresholds(model) if thresholds is None and count else thresholds or ()
    if len(chosen) != count:
        raise TfliteError(f"{len(chosen)} thresholds given; {name!r} takes {count}")
    return [np.array([value], np.float32) for value in chosen]


def _feed(interpreter: Any, values: Sequence[np.ndarray]) -> None:
    for details, value in zip(interpreter.get_input_details(), values, strict=True):
        interpreter.set_tensor(details["index"], value)


def _timed(
    models: Mapping[str, bytes],
    image: np.ndarray | Mapping[str, np.ndarray],
    dials: Mapping[str, Sequence[Sequence[float] | None]],
    options: tuple[int, int, int, bool],
) -> dict[str, tuple[Latency, ...]]:
    """Every model at each of its settings, in turns; None stands for what a file says."""
    threads, warmup, repeats, xnnpack = options
    if not models:
        raise TfliteError("no models to time; give at least one")
    if repeats < 1 or warmup < 0:
        raise TfliteError(f"repeats={repeats} and warmup={warmup}; at least 1 and 0 are needed")
    images = image if isinstance(image, Mapping) else dict.fromkeys(models, image)
    missing = next((name for name in models if name not in images), None)
    if missing is not None:
        raise TfliteError(f"no image for {missing!r}; there are images for {', '.join(images)}")
    opened = {name: _open(model, threads, xnnpack, name) for name, model in models.items()}
    fed = {name: _single(interpreter, images[name], name) for name, interpreter in opened.items()}
    turns = [(name, number) for name in models for number in range(len(dials[name]))]
    given = {(name, n): _dial(opened[name], models[name], dials[name][n], name) for name, n in turns}
    rounds = _rounds(
        {turn: opened[turn[0]] for turn in turns}, {turn: fed[turn[0]] for turn in turns}, warmup + repeats, given
    )
    return {
        name: tuple(
            _record(rounds[name, n][warmup:], opened[name], threads, models[name]) for n in range(len(dials[name]))
        )
        for name in models
    }


def _rounds(
    opened: Mapping[Turn, Any],
    fed: Mapping[Turn, np.ndarray],
    count: int,
    dials: Mapping[Turn, Sequence[np.ndarray]] | None = None,
) -> dict[Turn, list[float]]:
    """Take every turn once a round and return the microseconds that each took; ``dials`` is given behind images."""
    names = list(opened)
    took: dict[Turn, list[float]] = {name: [] for name in names}
    values = {name: [fed[name], *(dials or {}).get(name, ())] for name in names}
    for number in range(count):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            # The arena lends the inputs' places to later tensors, so they are written anew each time.
            _feed(opened[name], values[name])
            start = time.perf_counter_ns()
            opened[name].invoke()
            took[name].append((time.perf_counter_ns() - start) / 1000)
    return took


def _record(repeats: list[float], interpreter: Any, threads: int, model: bytes) -> Latency:
    return Latency(
        repeats_us=tuple(repeats),
        median_us=float(np.median(repeats)),
        p90_us=float(np.percentile(repeats, 90)),
        threads=threads,
        tool=_tool(interpreter),
        sha256=hashlib.sha256(model).hexdigest(),
    )


def _tool(interpreter: Any) -> str:
    version = importlib.metadata.version("ai-edge-litert")
    # The option proves nothing: the delegate leaves out what it has no kernel for.
    taken = any(operator["op_name"] == "DELEGATE" for operator in interpreter._get_ops_details())
    return f"ai-edge-litert {version} ({'XNNPACK' if taken else 'no XNNPACK'})"


DEVICE = Device("host", measure, EVERY, options=("threads", "xnnpack", "repeats"))
