"""Eight bits for a float network: the ranges of its tensors, chosen by how far the whole network's answers move.

The candidates (``spreads.CLIPPINGS``) share one pass over the images. Each is quantised and answers the same few
images; what counts is the Kullback-Leibler divergence of its answers from the float network's (KL, in nats).
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tflite_export import spreads, verify
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Buffer, only, read, write
from tflite_export.precision import OUTPUT_KEY
from tflite_export.probabilities import is_probabilities
from tflite_export.spreads import CLIPPINGS, MIN_MAX

if TYPE_CHECKING:
    import tensorflow as tf

BEST = "best"
# What the file's metadata names the rule under.
KEY = "calibration"
_JUDGES = 48
# What TensorFlow's converter stops for before it quantises.
_SWITCH = "_experimental_calibrate_only"
_LEAST_PROBABILITY = 1e-6
USUAL = "p99.999"
# What another rule has to gain to be taken: so many standard errors of the mean gain, and this share of the loss.
_SURE, _WORTH = 1.0, 0.1


def check_clipping(clipping: str) -> None:
    """Refuse (``TfliteError``) a rule that is not there."""
    if clipping != BEST and clipping not in CLIPPINGS:
        raise TfliteError(f"unknown clipping {clipping!r}; choose of {', '.join((BEST, *CLIPPINGS))}")


def quantised(
    converter: tf.lite.TFLiteConverter, images: Sequence[np.ndarray], input_type: str, clipping: str
) -> bytes:
    """Convert to int8, the ranges by the rule ``clipping``, or by the best for these images.

    ``images`` are ``(1, h, w, c)``. The file's metadata name the rule (``calibration``).
    """
    network = _float(converter)
    seen = spreads.observed(network, images)
    files: dict[bytes, bytes] = {}
    keys: dict[str, bytes] = {}
    for rule in CLIPPINGS if clipping == BEST else (clipping,):
        ranged = spreads.ranged(network, seen, CLIPPINGS[rule])
        keys[rule] = key = hashlib.sha256(ranged).digest()
        if key not in files:  # of small networks most rules leave out nothing, and are one
            files[key] = _eight_bits(ranged, input_type)
    rule = clipping
    if clipping == BEST:
        kl = divergences(network, files, images[:: -(-len(images) // _JUDGES)])
        by_rule = {rule: kl[key] for rule, key in keys.items() if key in kl}
        rule = chosen(by_rule) if MIN_MAX in by_rule else MIN_MAX
    return _signed(files[keys[rule]], rule)


def divergences(network: bytes, files: Mapping[Any, bytes], images: Sequence[np.ndarray]) -> dict[Any, np.ndarray]:
    """KL ``(n,)`` of each file's answers on images ``(1, h, w, c)`` from those of a float file, by the files' keys.

    Files that LiteRT cannot run, as those of a layer that gave zeros alone, are left out.
    """
    answers = _answers(network, images)
    kl = {}
    for name, content in files.items():
        with contextlib.suppress(TfliteError):
            kl[name] = divergence(_answers(content, images), answers)
    return kl


def divergence(answers: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """KL ``(n,)`` in nats of logits, or probabilities, ``(n, classes)`` from a float network's."""
    probabilities = is_probabilities(reference)
    of, expected = (_logarithms(values, probabilities) for values in (answers, reference))
    return np.asarray((np.exp(expected) * (expected - of)).sum(1))


def chosen(kl: Mapping[str, np.ndarray]) -> str:
    """The rule of the least KL ``(n,)``; ``USUAL`` (or ``min-max``) where none is surely and noticeably better.

    Images that were observed flatter ``min-max``, which clips nothing of them. On others ``USUAL`` was the better on
    each of the networks that this was measured on (``docs/results/quantisers.md``).
    """
    usual = USUAL if USUAL in kl else MIN_MAX
    best = min(kl, key=lambda rule: float(kl[rule].mean()))
    gain = kl[usual] - kl[best]
    noise = gain.std() / np.sqrt(max(len(gain) - 1, 1))
    worth = gain.mean() > max(_SURE * noise, _WORTH * kl[usual].mean())
    return best if worth else usual


def _answers(content: bytes, images: Sequence[np.ndarray]) -> np.ndarray:
    """What a file's scores are made of ``(n, classes)``; other outputs, its cuts, are left out."""
    model = read(content)
    signature = model.signatures[0]
    scores = signature.outputs[OUTPUT_KEY]
    only(model).outputs, signature.outputs = [scores], {OUTPUT_KEY: scores}
    return verify.run(write(model), images, threads=1).logits


def _logarithms(values: np.ndarray, probabilities: bool) -> np.ndarray:
    """Logarithms of the probabilities that logits, or probabilities, ``(n, classes)`` are."""
    real = values.astype(np.float64)
    logits = np.log(real.clip(_LEAST_PROBABILITY)) if probabilities else real - real.max(1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


def _signed(content: bytes, rule: str) -> bytes:
    """The file with the name of the rule in its metadata, and each constant once."""
    model = read(content)
    model.metadata[KEY] = Buffer(np.frombuffer(rule.encode(), np.uint8))
    return write(model)


def _float(converter: tf.lite.TFLiteConverter) -> bytes:
    """The float network as TensorFlow would quantise it, ranges noted of one image."""
    if not hasattr(converter, _SWITCH):
        raise TfliteError(_moved(f"TFLiteConverter.{_SWITCH}"))
    setattr(converter, _SWITCH, True)
    return bytes(converter.convert())


def _eight_bits(network: bytes, input_type: str) -> bytes:
    """Quantise a float file by the ranges noted in it, as TensorFlow's QuantizationDebugger does."""
    import tensorflow as tf

    try:
        from tensorflow.lite.python.convert import mlir_quantize
    except ImportError as error:
        raise TfliteError(_moved("tensorflow.lite.python.convert.mlir_quantize")) from error
    ends = tf.as_dtype(input_type), tf.int8
    return bytes(mlir_quantize(network, False, input_data_type=ends[0], output_data_type=ends[1]))


def _moved(name: str) -> str:
    import tensorflow as tf

    return f"TensorFlow {tf.__version__} has no {name}, by which int8 is calibrated; install TensorFlow 2.21"
