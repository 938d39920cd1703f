"""Convert a Keras model to the bytes of a .tflite file, in one of the converter's five precisions.

Every file has one signature, ``serving_default``, that takes ``image`` (1, h, w, c), raw 0..255, or a signal or grid
of other values, (1, t, c) or (1, h, w, c). It gives ``scores`` (1, classes), whatever the anchor's own layers are
called.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tflite_export import gradients, lowering, recurrence
from tflite_export.calibration import BEST, Calibrated, check_clipping, eight_bits, sixteen_bits
from tflite_export.chatter import captured
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Buffer, read, write
from tflite_export.inputs import RAW
from tflite_export.integers import check_finite
from tflite_export.precision import EXACT, INPUT_KEY, MIXED, OUTPUT_KEY, RULE, check_file, precision_named
from tflite_export.rewrites.holding import HOLDINGS, Holding, holdings_note
from tflite_export.rewrites.rewritten import rewritten

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


def convert(
    model: keras.Model,
    precision: str,
    calibration: Iterable[np.ndarray] | None = None,
    *,
    input_type: str | None = None,
    limits: tuple[float, float] = RAW,
    lower: Collection[str] = (),
    clipping: str = BEST,
    name: str | None = None,
) -> bytes:
    """Convert a model of one image input and one output to .tflite bytes, with a batch of 1.

    ``calibration`` holds batches (b, h, w, c) of raw images 0..255; int8 and int16x8 need it, the
    others leave it unread. Input and output are float32 for float32, float16 and dynamic, int8
    for int8 (``input_type="uint8"`` makes its input uint8) and int16 for int16x8. ``dynamic``
    leaves weights of under 1,024 values in float, as TensorFlow does. ``clipping`` says how int8's ranges are made of
    what tensors hold on the calibration images (``spreads.CLIPPINGS``; "best" tries all of them). ``lower`` names
    operators (``lowering.LOWERED``) that are to be made of others. ``limits`` are what calibration must lie between:
    a model of signals ``(t, c)`` or grids of other values than photos takes infinite ones. ``name`` is what errors
    call the model, where its user knows it by another than its own. Raises TfliteError for
    what cannot be converted, and for a result that is not wholly of the precision asked for.
    Not for use by several threads at once: it holds back what the process prints meanwhile.
    """
    return _converted(model, {}, precision, calibration, input_type, limits, lower, clipping, name or model.name, {})


def compile_object(
    model: keras.Model,
    cuts: Mapping[str, Any],
    precision: str,
    calibration: Iterable[np.ndarray] | None = None,
    *,
    input_type: str | None = None,
    limits: tuple[float, float] = RAW,
    lower: Collection[str] = (),
    clipping: str = BEST,
    name: str | None = None,
    holdings: Mapping[str, Holding] | None = None,
) -> bytes:
    """Convert an anchor once for all its variants: to a file whose signature also gives its cut tensors.

    ``cuts`` are symbolic tensors of ``model`` by name. The rest is as in ``convert``; a model that is
    the back of an anchor takes features for images, whose ``limits`` are infinite too. ``holdings`` are those in which
    another object holds cuts of these names, and what is given for images, which this one is to hold them in as well.
    """
    called, held = name or model.name, holdings or {}
    return _converted(model, cuts, precision, calibration, input_type, limits, lower, clipping, called, held)


def _converted(
    model: keras.Model,
    cuts: Mapping[str, Any],
    precision: str,
    calibration: Iterable[np.ndarray] | None,
    input_type: str | None,
    limits: tuple[float, float],
    lower: Collection[str],
    clipping: str,
    name: str,
    holdings: Mapping[str, Holding],
) -> bytes:
    recipe = precision_named(precision)
    if precision == MIXED:
        raise TfliteError(f"{MIXED} is made of an int8 file; convert {name!r} to int8, and hand that to mixed.widened")
    lowering.check(lower)
    check_clipping(clipping)
    if input_type is not None and input_type not in recipe.ends:
        raise TfliteError(f"{precision} files take {' or '.join(recipe.ends)} input, not input_type={input_type!r}")
    shape = _input_shape(model, name, features=limits != RAW)
    _check_weights(model, name)
    images = _calibration_images(calibration, shape, precision, limits) if recipe.calibrated else ()
    result = _run(model, name, cuts, precision, input_type or recipe.ends[0], images, lower, clipping, holdings)
    result = lowering.finished(result, lower, precision)
    check_file(result, precision, (OUTPUT_KEY, *cuts), [lowering.LOWERED[name] for name in lower])
    _check_runs(result, precision)
    return result


def _input_shape(model: keras.Model, name: str, *, features: bool) -> tuple[int, ...]:
    """The shape of one image, or where a model takes ``features``, of one grid or one sequence of tokens."""
    inputs: list[Any] = list(model.inputs or ())
    outputs: list[Any] = list(model.outputs or ())
    if len(inputs) != 1 or len(outputs) != 1:
        raise TfliteError(
            f"{name!r} has {len(inputs)} inputs and {len(outputs)} outputs; a functional model "
            "with one of each is needed"
        )
    shape = tuple(inputs[0].shape)
    ranks = (3, 4) if features else (4,)
    if len(shape) not in ranks or None in shape[1:] or shape[0] not in (None, 1):
        raise TfliteError(
            f"{name!r} takes {shape}; an image input (None, height, width, channels) is needed, "
            "with all but the batch fixed"
        )
    if inputs[0].dtype != "float32":
        raise TfliteError(f"{name!r} takes {inputs[0].dtype} images; float32 is needed")
    return shape[1:]


def _check_weights(model: keras.Model, name: str) -> None:
    for weight in model.weights:
        values = np.asarray(weight.numpy())
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            count = int(values.size - np.isfinite(values).sum())
            raise TfliteError(
                f"weight {weight.path!r} of {name!r} has {count} of {values.size} values that are "
                "not finite (NaN or infinite); load the model's weights anew"
            )


def _calibration_images(
    batches: Iterable[np.ndarray] | None,
    shape: tuple[int, ...],
    precision: str,
    limits: tuple[float, float],
) -> tuple[np.ndarray, ...]:
    """Split into images (1, h, w, c); held in memory, since the converter may ask for them twice."""
    if batches is None:
        raise TfliteError(f"{precision} needs calibration images: batches (b, {str(shape)[1:]} of 0..255")
    images: list[np.ndarray] = []
    for number, batch in enumerate(batches):
        values = np.asarray(batch, np.float32)
        if values.shape[1:] != shape:
            raise TfliteError(f"calibration batch {number} is {values.shape}; (b, {str(shape)[1:]} is needed")
        # A NaN fails both comparisons.
        if values.size and not (values.min() >= limits[0] and values.max() <= limits[1]):
            kind = "raw images" if limits == RAW else "values"
            raise TfliteError(
                f"calibration batch {number} runs from {values.min():g} to {values.max():g}; "
                f"{kind} of {limits[0]:g}..{limits[1]:g} are needed"
            )
        check_finite(values, f"calibration batch {number}")
        images.extend(np.split(values, len(values)) if len(values) else ())
    if not images:
        raise TfliteError(f"{precision} needs calibration images, but the batches given hold none")
    return tuple(images)


def _run(
    model: keras.Model,
    name: str,
    cuts: Mapping[str, Any],
    precision: str,
    input_type: str,
    images: tuple[np.ndarray, ...],
    lower: Collection[str],
    clipping: str,
    holdings: Mapping[str, Holding],
) -> bytes:
    with captured() as printed, gradients.dropped():
        try:
            ready = rewritten(_with_cuts(model, cuts), precision, lower, images, holdings)
            converter = _converter(lowering.lowered(ready.model, lower, precision), precision)
            _configure(converter, precision, input_type, ready.images)
            if not precision_named(precision).calibrated:
                return bytes(converter.convert())
            file = _integers(converter, precision, ready.images, input_type, clipping)
            return _noted(file, ready.holdings, keep=bool(cuts))
        # TensorFlow raises errors of any kind here; what a user needs is which model and why.
        except Exception as error:
            log = f"{printed()}\n{error}"
            raise TfliteError(f"cannot convert {name!r} to {precision}: {_reason(str(error))}", log=log) from error


def _integers(
    converter: tf.lite.TFLiteConverter,
    precision: str,
    images: tuple[np.ndarray, ...],
    input_type: str,
    clipping: str,
) -> Calibrated:
    if "INT8" in precision_named(precision).activations:
        return eight_bits(converter, images, input_type, clipping)
    return sixteen_bits(converter, images)


def _noted(file: Calibrated, holdings: Mapping[str, Holding], *, keep: bool) -> bytes:
    """A file whose metadata name the rule of its ranges, and the holdings of its cuts where they have some.

    ``keep``: and hold the float file that it was made of.
    """
    model = read(file.content)
    notes = {RULE: file.rule.encode()} | ({HOLDINGS: holdings_note(holdings)} if holdings else {})
    notes |= {EXACT: file.network} if keep else {}
    model.metadata |= {name: Buffer(np.frombuffer(note, np.uint8)) for name, note in notes.items()}
    return write(model)


def _with_cuts(model: keras.Model, cuts: Mapping[str, Any]) -> keras.Model:
    """The model with outputs by name."""
    import keras

    # Named: an automatic name counts what the process has made before, and goes into every tensor's name.
    return keras.Model(model.inputs[0], {OUTPUT_KEY: model.outputs[0], **cuts}, name=model.name) if cuts else model


def _converter(model: keras.Model, precision: str) -> tf.lite.TFLiteConverter:
    """Trace the model for one image, with its weights as constants.

    Of variables the converter would save and load checkpoints, which takes three quarters of its time; handing it the
    Keras 3 model itself gives a file of uninitialised ones.
    """
    import tensorflow as tf

    weights = [[np.asarray(v) for v in part] for part in (model.trainable_variables, model.non_trainable_variables)]

    def serve(image: tf.Tensor) -> dict[str, tf.Tensor]:
        constants = [[tf.constant(values) for values in part] for part in weights]
        with tf.name_scope(f"{model.name}_1"):  # as a call of the model names its tensors
            outputs, _ = model.stateless_call(*constants, image, training=False)
        return outputs if isinstance(outputs, dict) else {OUTPUT_KEY: outputs}

    entry = tf.TensorSpec((1, *model.inputs[0].shape[1:]), tf.float32, name=INPUT_KEY)
    traced = tf.function(serve, input_signature=[entry], autograph=False).get_concrete_function()
    recurrence.check(traced.graph, model, precision)
    return tf.lite.TFLiteConverter.from_concrete_functions([traced], tf.Module())


def _configure(
    converter: tf.lite.TFLiteConverter, precision: str, input_type: str, images: tuple[np.ndarray, ...]
) -> None:
    import tensorflow as tf

    recipe = precision_named(precision)
    converter.target_spec.supported_ops = [getattr(tf.lite.OpsSet, recipe.operators)]
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if recipe.calibrated:
        # TensorFlow's own pass is three times slower than ours and is needed for its form alone.
        converter.representative_dataset = _feed(images[:1])
        converter.inference_input_type = tf.as_dtype(input_type)
        converter.inference_output_type = tf.as_dtype(recipe.ends[0])


def _feed(images: tuple[np.ndarray, ...]) -> Callable[[], Iterator[dict[str, np.ndarray]]]:
    return lambda: ({INPUT_KEY: image} for image in images)


def _check_runs(result: bytes, precision: str) -> None:
    """Run the file once, on a grey image: some that the converter hands out cannot even be opened."""
    from ai_edge_litert.interpreter import Interpreter

    with captured() as printed:
        try:
            interpreter = Interpreter(model_content=result)
            interpreter.allocate_tensors()
            entry = interpreter.get_input_details()[0]
            interpreter.set_tensor(entry["index"], np.full(entry["shape"], 127, entry["dtype"]))
            interpreter.invoke()
            outputs = [interpreter.get_tensor(end["index"]) for end in interpreter.get_output_details()]
        except (ValueError, RuntimeError) as error:
            raise TfliteError(
                f"the {precision} file was written, but LiteRT cannot run it: {error}; "
                "look for a layer that gives all zeros on the calibration images, and for extreme weights",
                log=printed(),
            ) from error
    if not all(np.isfinite(values).all() for values in outputs):
        raise TfliteError(f"the {precision} file answers a grey image with values that are not finite")


def _reason(text: str) -> str:
    """Find the line that says why among the MLIR that the converter quotes."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    missing = next((line for line in lines if line.startswith(("TF Select ops:", "Custom ops:"))), None)
    if missing:
        return f"TensorFlow Lite has no such operators ({missing}); replace these layers"
    return lines[0] if lines else "the converter gave no reason"
