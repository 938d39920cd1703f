"""Integers for a float network: the ranges of its tensors, of eight bits chosen by how far the answers move.

The candidates (``spreads.CLIPPINGS``) share one pass over the images. Each is quantised and answers the same few
images; what counts is the Kullback-Leibler divergence of its answers from the float network's (KL, in nats).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tflite_export import biases, observation, spreads, verify
from tflite_export.divergence import divergence
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Buffer, Model, only, read, write
from tflite_export.spreads import CLIPPINGS, MIN_MAX

if TYPE_CHECKING:
    import tensorflow as tf

BEST = "best"
_JUDGES = 48
_SLOW_JUDGES = 16  # of sixteen bits, whose convolutions LiteRT computes tens of times slower
# What TensorFlow's converter stops for before it quantises.
_SWITCH = "_experimental_calibrate_only"
USUAL = "p99.999"
_TRIES, _SPLITS = 20, ("SPLIT", "SPLIT_V")
_ROOMY = "2 x min-max"  # of sixteen bits
# What another rule, or other biases, have to gain: so many standard errors of the mean gain, and this share of all.
_SURE, _WORTH = 1.0, 0.1
# Nats, below which no answers change (of a thousand images one or two, at most).
LEAST_GAIN = 0.002
# Sixteen bits are taken for what is nearer than that.
_LEAST_GAINS = {"int16x8": LEAST_GAIN / 10}


Measure = Callable[[np.ndarray, np.ndarray], np.ndarray]


def check_clipping(clipping: str) -> None:
    """Refuse (``TfliteError``) a rule that is not there."""
    if clipping != BEST and clipping not in CLIPPINGS:
        raise TfliteError(f"unknown clipping {clipping!r}; choose of {', '.join((BEST, *CLIPPINGS))}")


@dataclass(frozen=True)
class Calibrated:
    """A file of integers, the rule by which the ranges of its tensors were made, and the float file it was made of."""

    content: bytes
    rule: str
    network: bytes


def sixteen_bits(converter: tf.lite.TFLiteConverter, images: Sequence[np.ndarray]) -> Calibrated:
    """Convert to int16x8, the ranges twice as wide as what tensors hold on images ``(1, h, w, c)``.

    Of 65,535 steps half are enough, and what other images hold beyond would be clipped. Biases are corrected as those
    of ``eight_bits`` are, the weights are the same; by ``errors``, as so few images do not tell such KLs apart.
    """
    network = _float(converter)
    seen, noted = observation.observed(network, images, counting=False), read(network)
    spreads.note(noted, seen.spreads, spreads.roomy, floors=False)
    plain = _sixteen_bits(noted)
    few = images[judges(len(images), "int16x8")]
    answers = _answers(network, few)
    before = divergences({_ROOMY: plain}, few, answers, errors).get(_ROOMY)
    corrected = biases.corrected(plain, noted, seen.means)
    return Calibrated(_nearer(plain, before, corrected, few, answers, errors), _ROOMY, network)


def eight_bits(
    converter: tf.lite.TFLiteConverter, images: Sequence[np.ndarray], input_type: str, clipping: str
) -> Calibrated:
    """Convert to int8, the ranges by the rule ``clipping``, or by the best for these images ``(1, h, w, c)``.

    Biases are corrected (``biases``) where that brings the answers surely and noticeably nearer.
    """
    network = _float(converter)
    seen = observation.observed(network, images, counting=clipping != MIN_MAX)
    files: dict[bytes, bytes] = {}
    keys: dict[str, bytes] = {}
    noted = read(network)
    for rule in CLIPPINGS if clipping == BEST else (clipping,):
        spreads.note(noted, seen.spreads, CLIPPINGS[rule])
        keys[rule] = key = spreads.noted_ranges(noted)
        if key not in files:  # of small networks most rules leave out nothing, and are one
            files[key] = _eight_bits(write(noted), noted, input_type)
    few = images[:: -(-len(images) // _JUDGES)]
    answers = _answers(network, few)
    kl = divergences(files, few, answers)
    by_rule = {rule: kl[key] for rule, key in keys.items() if key in kl}
    rule = clipping if clipping != BEST else chosen(by_rule) if MIN_MAX in by_rule else MIN_MAX
    plain = files[keys[rule]]
    corrected = biases.corrected(plain, noted, seen.means)
    return Calibrated(_nearer(plain, by_rule.get(rule), corrected, few, answers), rule, network)


def errors(answers: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """The mean squared error ``(n,)`` of logits ``(n, classes)``."""
    return np.asarray(np.square(answers - exact, dtype=np.float64).mean(1))


def divergences(
    files: Mapping[Any, bytes], images: Sequence[np.ndarray], answers: np.ndarray, measure: Measure = divergence
) -> dict[Any, np.ndarray]:
    """KL ``(n,)`` of each file's answers on images ``(1, h, w, c)`` from the float network's, by the files' keys.

    Or another measure of the two. Files that LiteRT cannot run, as those of a layer that gave zeros alone, are left
    out.
    """
    kl = {}
    for name, content in files.items():
        with contextlib.suppress(TfliteError):
            kl[name] = measure(_answers(content, images), answers)
    return kl


def chosen(kl: Mapping[str, np.ndarray]) -> str:
    """The rule of the least KL ``(n,)``; ``USUAL`` (or ``min-max``) where none is surely and noticeably better.

    Images that were observed flatter ``min-max``, which clips nothing of them. On others ``USUAL`` was the better on
    each of the networks that this was measured on (``docs/results/quantisers.md``).
    """
    usual = USUAL if USUAL in kl else MIN_MAX
    best = min(kl, key=lambda rule: float(kl[rule].mean()))
    return best if gains(kl[usual], kl[best]) else usual


def gains(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether a KL ``(n,)`` is less than another, surely and noticeably."""
    gain = before - after
    noise = gain.std() / np.sqrt(max(len(gain) - 1, 1))
    return bool(gain.mean() > max(_SURE * noise, _WORTH * before.mean()))


def least_gain(precision: str) -> float:
    """Nats, below which nothing is worth bytes in a file of this precision."""
    return _LEAST_GAINS.get(precision, LEAST_GAIN)


def judges(count: int, precision: str) -> slice:
    """Of so many images those that answers are compared on: all, or few where the kernels are slow."""
    return slice(None, None, -(-count // _SLOW_JUDGES) if precision == "int16x8" else 1)


def worth_own(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether what a file alone has besides what it shares is worth its bytes, by KL ``(n,)`` without and with it."""
    return gains(before, after) and float((before - after).mean()) > LEAST_GAIN


def _nearer(
    plain: bytes,
    before: np.ndarray | None,
    other: bytes,
    images: Sequence[np.ndarray],
    answers: np.ndarray,
    measure: Measure = divergence,
) -> bytes:
    """A file that is ``before`` ``(n,)`` away, or the other where that gains; the first where LiteRT runs neither."""
    after = divergences({"other": other}, images, answers, measure)
    return other if before is not None and "other" in after and gains(before, after["other"]) else plain


def _answers(content: bytes, images: Sequence[np.ndarray]) -> np.ndarray:
    """What a file's scores are made of ``(n, classes)``; other outputs, its cuts, are left out."""
    return verify.run(content, images, threads=1, alone=True).logits


def _float(converter: tf.lite.TFLiteConverter) -> bytes:
    """The float network as TensorFlow would quantise it, ranges noted of one image."""
    import tensorflow as tf

    if not hasattr(converter, _SWITCH):
        raise TfliteError(_moved(f"TFLiteConverter.{_SWITCH}"))
    converter.inference_input_type = converter.inference_output_type = tf.float32
    setattr(converter, _SWITCH, True)
    return bytes(converter.convert())


def _eight_bits(network: bytes, noted: Model, input_type: str) -> bytes:
    """Quantise a float file, also given as it reads, by its noted ranges, as TensorFlow's QuantizationDebugger does."""
    import tensorflow as tf

    try:
        from tensorflow.lite.python.convert import mlir_quantize
    except ImportError as error:
        raise TfliteError(_moved("tensorflow.lite.python.convert.mlir_quantize")) from error
    ends = tf.as_dtype(input_type), tf.int8
    for _ in range(_TRIES):
        content = bytes(mlir_quantize(network, False, input_data_type=ends[0], output_data_type=ends[1]))
        model = read(content)
        if not _splits_floats(model):
            break
    return write(model) if spreads.note_own(model, noted, ("L2_NORMALIZATION",)) else content


def _splits_floats(model: Model) -> bool:
    """Whether TensorFlow left a SPLIT in floats, which has integers: it goes by addresses, so another try differs."""
    every = (op for graph in model.subgraphs for op in graph.operators if op.name in _SPLITS)
    return any(result.type == "FLOAT32" for op in every for result in op.outputs)


def _sixteen_bits(noted: Model) -> bytes:
    """Quantise a float network by the ranges noted in it.

    TensorFlow's newer quantiser makes none of sixteen bits; the older one keeps the ranges where it is fed no image.
    """
    try:
        from tensorflow.lite.python.optimize.calibrator import Calibrator

        apart = _unshared(noted)  # has to outlive the calibrator, which reads these bytes where they are
        job = Calibrator(apart)._calibrator
        prepare, quantise = job.Prepare, job.QuantizeModel
    except (ImportError, AttributeError) as error:
        raise TfliteError(_moved("Calibrator._calibrator.QuantizeModel")) from error
    activations, bias = (np.dtype(kind).num for kind in (np.int16, np.int64))
    prepare()
    return bytes(quantise(activations, activations, False, activations, bias, False, False))


def _unshared(model: Model) -> bytes:
    """A file in which each constant has bytes of its own: one that becomes wider takes along all that share them."""
    for number, tensor in enumerate(only(model).tensors, start=1):
        if tensor.constant:
            tensor.buffer = Buffer(tensor.buffer.data, number)
    return write(model)


def _moved(name: str) -> str:
    import tensorflow as tf

    return f"TensorFlow {tf.__version__} has no {name}, by which integers are calibrated; install TensorFlow 2.21"
