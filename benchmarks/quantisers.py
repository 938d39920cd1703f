"""Ways to eight bits side by side: ours, TensorFlow's converter and ai-edge-quantizer's static recipes.

``python -m benchmarks.quantisers SHARED`` quantises the same networks by each, on the same images, in one run, and
prints a table a network: agreement with the float network and its 95 % interval, accuracy, KL, SQNR, size, latency,
and what it took to quantise. ``SHARED`` holds ``anchors/`` and ``data/``; networks and data that are not there are
named and left out.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import labelled
from tflite_export import convert, spreads, verify
from tflite_export.chatter import captured
from tflite_export.devices import host
from tflite_export.divergence import divergence
from tflite_export.flatbuffer import read
from tflite_export.mixed import sensitivity
from tflite_export.mixed.widening import widened
from tflite_export.precision import INPUT_KEY, OUTPUT_KEY, RULE, SIGNATURE

if TYPE_CHECKING:
    from restnet_tf.records import Anchor

_FLOAT, _OURS = "float32", "ours: int8"
_REPEATS, _WARMUP = 40, 5
_HEAD = "| | agreement, % | right, % | KL | SQNR, dB | KB | latency, us (of ours) | CPU s to quantise |"


@dataclass(frozen=True)
class Origin:
    """A network and its images by their places, and the architecture of a file of weights."""

    anchor: str
    data: str
    arch: str | None = None


SUBJECTS = {
    "DeiT-Tiny": Origin("deit_tiny_patch16_224.npz", "imagenet_sample", "DeiTTiny"),
    "MobileNetV2": Origin("mobilenet_v2_1.0_224.weights.h5", "imagenet_sample", "MobileNetV2"),
    "ResNet-56": Origin("resnet56_cifar10.keras", "cifar10_subset.npz"),
    "EfficientNetB4": Origin("efficientnetb4_notop.weights.h5", "clothing", "EfficientNetB4:input=128"),
}


@dataclass(frozen=True, eq=False)
class Case:
    """A network with images to calibrate, to decide what is wider, and to answer ``(n, h, w, c)``, and labels of these.

    No image is among two of the three.
    """

    anchor: Anchor
    calibrating: np.ndarray
    deciding: np.ndarray
    images: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Quantised:
    """A file, and the processor seconds that it took."""

    content: bytes
    seconds: float


Recipe = Callable[[Case, bytes], bytes]


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path)
    parser.add_argument("--model", action="append", choices=SUBJECTS, help="one of the networks; all of them else")
    parser.add_argument("--images", type=int, default=400, help="to answer; others than those that calibrate")
    parser.add_argument("--calibrating", type=int, default=32, help="images to calibrate on")
    parser.add_argument("--deciding", type=int, default=sensitivity.IMAGES, help="more images, which decide mixed")
    parser.add_argument(
        "--mixed", action="store_true", help="also int8 with 16 bits where that pays: many runs to decide"
    )
    parser.add_argument("--recipe", action="append", help="a row's name, or a part such as ai8; all rows else")
    options = parser.parse_args(arguments)
    recipes = _chosen(_recipes(options.mixed), options.recipe or [""])
    for name in options.model or SUBJECTS:
        subject = SUBJECTS[name]
        missing = [p for p in _places(subject, options.shared) if not p.exists()]
        if missing:
            print(f"\n{name}: left out, as {' and '.join(map(str, missing))} is not there", flush=True)
            continue
        deciding = options.deciding if options.mixed else 0
        case = _case(subject, options.shared, options.calibrating, deciding, options.images)
        print(f"\n{name}, {len(case.images)} images of {subject.data}, {_others(case)}", flush=True)
        measure(case, recipes)
    print(f"\n{_machine()}")


def measure(case: Case, recipes: Mapping[str, Recipe]) -> None:
    """Quantise a network by each recipe and print its table."""
    start = time.process_time()
    network = convert.convert(case.anchor.model, _FLOAT)
    files = {_FLOAT: Quantised(network, time.process_time() - start)}
    for name, recipe in recipes.items():
        start = time.process_time()
        try:
            with captured():
                content = recipe(case, network)
        # Of peers, which raise errors of any kind; a row that is missing has its reason on the screen.
        except Exception as error:
            print(f"{name}: left out: {str(error).splitlines()[0][:200]}", flush=True)
            continue
        files[name] = Quantised(content, time.process_time() - start)
    took = host.latencies(
        {name: file.content for name, file in files.items()}, case.images[0], warmup=_WARMUP, repeats=_REPEATS
    )
    medians = {name: one.median_us for name, one in took.items()}
    reference = verify.run(network, case.images[:, None], threads=1)
    print(f"{_HEAD}\n|{'---|' * _HEAD.count(' |')}")
    for name, file in files.items():
        latency = f"{medians[name]:.0f} ({medians[name] / medians.get(_OURS, np.nan):.2f})"
        row = f"{name}{_rule(file.content)} | {_answers(case, file, reference)} | {latency} | {file.seconds:.1f}"
        print(f"| {row} |", flush=True)


def _chosen(recipes: Mapping[str, Recipe], rows: Sequence[str]) -> dict[str, Recipe]:
    """Those of these names; what is no name is a part of some."""

    def taken(name: str) -> bool:
        return any(name == row if row in recipes else row in name for row in rows)

    return {name: way for name, way in recipes.items() if taken(name)}


def _others(case: Case) -> str:
    decide = f", {len(case.deciding)} to decide what is wider" if len(case.deciding) else ""
    return f"{len(case.calibrating)} others to calibrate{decide}"


def _places(subject: Origin, shared: Path) -> list[Path]:
    return [shared / "anchors" / subject.anchor, shared / "data" / subject.data]


def _case(subject: Origin, shared: Path, calibrating: int, deciding: int, count: int) -> Case:
    from restnet_tf.anchors import head, zoo
    from restnet_tf.data import splits

    path, place = _places(subject, shared)
    anchor = zoo.load(path, arch=subject.arch)
    if labelled.named(place):
        x, y = labelled.images(place, anchor.input_shape, calibrating + count + deciding)
        x, end = x.astype(np.float32), len(x) - deciding
        return Case(anchor, x[:calibrating], x[end:], x[calibrating:end], y[calibrating:end])
    data = splits.load(str(place))
    (anchor,), _ = head.match_labels([anchor], data, seed=0)
    shape = anchor.input_shape
    fit = np.concatenate([np.asarray(x) for x in data.fit.head(calibrating + deciding).batches(shape, calibrating)])
    others = [np.asarray(x) for split in (data.test, data.rank) for x in split.batches(shape, 64)]
    labels = np.concatenate([np.asarray(split.labels) for split in (data.test, data.rank)])
    return Case(anchor, fit[:calibrating], fit[calibrating:], np.concatenate(others)[:count], labels[:count])


def _answers(case: Case, file: Quantised, reference: verify.Outputs) -> str:
    """The cells of a row that are about what a file answers, and its size."""
    from restnet_tf.points.points import Share

    outputs = verify.run(file.content, case.images[:, None], threads=1)
    compared = verify.compare(outputs, reference)
    low, high = Share(compared.top1, compared.n).interval
    right = float(np.mean(outputs.scores.argmax(1) == case.labels))
    kl = divergence(outputs.logits, reference.logits).mean()
    agreement = f"{100 * compared.top1:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
    return f"{agreement} | {100 * right:.1f} | {kl:.4f} | {compared.sqnr_db:.1f} | {len(file.content) / 1e3:.0f}"


def _rule(content: bytes) -> str:
    named = read(content).metadata.get(RULE)
    return f" ({named.data.tobytes().decode()})" if named else ""


def _recipes(mixed: bool = False) -> dict[str, Recipe]:
    """Every way to a file of integers, by the name of its row; ``mixed`` takes long to decide."""
    recipes: dict[str, Recipe] = {
        "TensorFlow: int8": _by_tensorflow,
        "ours: int8, norms as they were": partial(_by_us, "int8", lower=("l2_normalization",)),
        "ours: int8, whole ranges": partial(_by_us, "int8", clipping=spreads.MIN_MAX),
        _OURS: partial(_by_us, "int8"),
    }
    recipes |= {"ours: mixed": _mixed_by_us} if mixed else {}
    recipes |= {"ours: int16x8": partial(_by_us, "int16x8")}
    if importlib.util.find_spec("ai_edge_quantizer") is None:
        print("ai-edge-quantizer is left out; pip install -e '.[quant]' brings it", flush=True)
        return recipes
    return recipes | {f"ai-edge-quantizer: {n}": partial(_by_peer, n) for n in ("static_wi8_ai8", "static_wi8_ai16")}


def _by_us(precision: str, case: Case, network: bytes, **options: Any) -> bytes:
    return convert.convert(case.anchor.model, precision, [case.calibrating], **options)


def _mixed_by_us(case: Case, network: bytes) -> bytes:
    content = _by_us("int8", case, network)
    exact = verify.run(network, case.deciding[:, None], threads=1).scores
    return widened(content, sensitivity.decide(content, case.deciding, exact).wide)


def _by_tensorflow(case: Case, network: bytes) -> bytes:
    """As TensorFlow's documentation shows it: the model as Keras writes it, integers alone."""
    import tensorflow as tf

    model = case.anchor.model
    holder = tf.Module()
    holder.held = [weight.value for weight in model.weights]
    entry = tf.TensorSpec((1, *case.anchor.input_shape), tf.float32, name=INPUT_KEY)
    serve = tf.function(lambda image: {OUTPUT_KEY: model(image, training=False)}, input_signature=[entry])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([serve.get_concrete_function()], holder)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.representative_dataset = lambda: ({INPUT_KEY: image[None]} for image in case.calibrating)
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return bytes(converter.convert())


def _by_peer(recipe: str, case: Case, network: bytes) -> bytes:
    """A static recipe of ai-edge-quantizer on the float file, which it does not make itself."""
    from ai_edge_quantizer import quantizer
    from ai_edge_quantizer import recipe as recipes

    job = quantizer.Quantizer(network, getattr(recipes, recipe)())
    data = {SIGNATURE: [{INPUT_KEY: image[None]} for image in case.calibrating]}
    return bytes(job.quantize(job.calibrate(data, num_threads=1), enable_progress_report=False).quantized_model)


def _machine() -> str:
    versions = [
        f"{name} {importlib.metadata.version(name)}"
        for name in ("tensorflow", "ai-edge-litert", "ai-edge-quantizer")
        if importlib.util.find_spec(name.replace("-", "_"))
    ]
    return f"{platform.machine()}, {os.cpu_count()} cores, latency on one; {', '.join(versions)}; {date.today()}"


if __name__ == "__main__":
    main()
