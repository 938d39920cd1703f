"""Kotlin that runs a file on Android, filled in with its points, shapes and labels.

It follows the documentation of LiteRT's interpreter API and has not been compiled: package registries have no Android
SDK.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tflite_export import cascades, template
from tflite_export.errors import TfliteError
from tflite_export.flatbuffer import Signature, Tensor, read
from tflite_export.inputs import PHOTOS, InputKind
from tflite_export.precision import INPUT_KEY, OUTPUT_KEY

# By type: bytes a value, how a Float becomes one in the buffer, the array that the scores come in.
_WRITES = {
    "FLOAT32": (4, "putFloat(value)", "FloatArray"),
    "INT8": (1, "put(quantised(value, {low}, {high}).toByte())", "ByteArray"),
    "UINT8": (1, "put(quantised(value, {low}, {high}).toByte())", "ByteArray"),
    "INT16": (2, "putShort(quantised(value, {low}, {high}).toShort())", "ShortArray"),
}
_TEMPLATE = """\
// Made by restnet-tf for {{ file }}. It follows LiteRT's documentation and has not been compiled.
// build.gradle: implementation("com.google.ai.edge.litert:litert:VERSION"). Put {{ file }} into
// src/main/assets and keep it uncompressed: androidResources { noCompress += "tflite" }
import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.roundToInt
import org.tensorflow.lite.Interpreter

/** One interpreter for all points; [model] is the mapped file. Not for several threads at once. */
class StitchedClassifier(model: ByteBuffer, threads: Int = 2) {
    private val litert = Interpreter(model, Interpreter.Options().setNumThreads(threads))

{% if cascades %}
    /** A cascade's stages, the shape of its {{ many }}, and the thresholds that were chosen for its [confidence]. */
    class Cascade(val stages: List<String>, val shape: IntArray, val confidence: String, val thresholds: FloatArray)

    /** What a cascade answers: scores in the order of [LABELS], and the stage that gave them, from 0. */
    class Answer(val scores: FloatArray, val stage: Int)

    /**
     * The thresholds of each cascade, one behind every stage but the last; change them to turn the dial.
     * A stage answers where its confidence is at or above its threshold; else the next one runs, and the last one
     * always answers. 0: always answers; above 1: never does.
     */
    val dials: Map<String, FloatArray> = CASCADES.mapValues { (_, cascade) -> cascade.thresholds.copyOf() }

    /** What a cascade answers for {{ values }}, row by row; every call may take other thresholds. */
    fun answer(
        {{ numbers }}: FloatArray,
        cascade: String,
        thresholds: FloatArray = dials.getValue(cascade),
    ): Answer {
        val about = CASCADES.getValue(cascade)
        require(thresholds.size == about.thresholds.size) { "$cascade takes ${about.thresholds.size} thresholds" }
        val inputs = mutableMapOf<String, Any>({{ input | kotlin }} to {{ one }}({{ numbers }}, about.shape, cascade))
        thresholds.forEachIndexed { number, value -> inputs["{{ threshold }}${number + 1}"] = floatArrayOf(value) }
        val scores = Array(1) { {{ array }}(CLASSES) }
        val stage = IntArray(1)
        litert.runSignature(inputs, mapOf({{ output | kotlin }} to scores, {{ stage | kotlin }} to stage), cascade)
        return Answer({{ read }}, stage[0])
    }

{% endif %}
{% if points %}
    /** Scores in the order of [LABELS] of {{ values }}, row by row; every call may take another point. */
    fun classify({{ numbers }}: FloatArray, point: String): FloatArray {
        val scores = Array(1) { {{ array }}(CLASSES) }
        val inputs = mapOf({{ input | kotlin }} to {{ one }}({{ numbers }}, POINTS.getValue(point), point))
        litert.runSignature(inputs, mapOf({{ output | kotlin }} to scores), point)
        return {{ read }}
    }

{% endif %}
    /** The first run of a point packs its weights: run each once before it matters. */
    fun warm() {
{% if points %}
        POINTS.forEach { (point, shape) -> classify(FloatArray(shape.reduce(Int::times)), point) }
{% endif %}
{% if cascades %}
        CASCADES.forEach { (name, about) ->
            val {{ numbers }} = FloatArray(about.shape.reduce(Int::times))
            answer({{ numbers }}, name, FloatArray(about.thresholds.size) { {{ above | float32 }} })
        }
{% endif %}
    }

    private fun {{ one }}({{ numbers }}: FloatArray, shape: IntArray, point: String): ByteBuffer {
        require({{ numbers }}.size == shape.reduce(Int::times)) { "$point takes ${shape.joinToString("x")} values" }
        val buffer = ByteBuffer.allocateDirect({{ bytes }} * {{ numbers }}.size).order(ByteOrder.nativeOrder())
        for (value in {{ numbers }}) buffer.{{ write }}
        buffer.rewind()
        return buffer
    }
{% if quantisation %}

    private fun quantised(value: Float, low: Int, high: Int) =
        ((value / {{ quantisation[0] }}f).roundToInt() + {{ quantisation[1] }}).coerceIn(low, high)
{% endif %}

    companion object {
        const val CLASSES = {{ classes }}
{% if points %}
        /** {{ sides }} of the {{ many }} that each point takes. */
        val POINTS = mapOf(
{% for name, shape in points %}
            {{ name | kotlin }} to intArrayOf({{ shape | join(", ") }}),
{% endfor %}
        )
{% endif %}
{% if cascades %}
        val CASCADES = mapOf(
{% for name, shape, entry in cascades %}
            {{ name | kotlin }} to Cascade(
                listOf({{ entry.stages | map("kotlin") | join(", ") }}),
                intArrayOf({{ shape | join(", ") }}),
                {{ entry.confidence | kotlin }},
                floatArrayOf({{ entry.thresholds | map("float32") | join(", ") }}),
            ),
{% endfor %}
        )
{% endif %}
        val LABELS = listOf({{ labels | map("kotlin") | join(", ") }})
    }
}
"""


def snippet(content: bytes, file: str, labels: Sequence[str], kind: InputKind = PHOTOS) -> str:
    """A class that runs every signature of a file on inputs of a kind, cascades with their thresholds as they are set.

    Raises TfliteError where their ends are not all alike, and for a cascade of which the file says no thresholds.
    """
    signatures = read(content).signatures
    if not signatures:
        raise TfliteError(f"{file} has no signature that a program could call")
    starts = [_end(s, s.inputs, INPUT_KEY) for s in signatures]
    ends = [_end(s, s.outputs, OUTPUT_KEY) for s in signatures]
    start, end = starts[0], ends[0]
    if len({(t.type, t.scales, t.zero_points) for t in starts}) > 1 or len({_kind(t) for t in ends}) > 1:
        raise TfliteError(f"the points of {file} take or give different kinds of numbers; export them one by one")
    shapes = list(zip(signatures, starts, strict=True))
    size, write, _ = _WRITES[start.type]
    whole = start.type != "FLOAT32"
    low, high = (np.iinfo(start.type.lower()).min, np.iinfo(start.type.lower()).max) if whole else (0, 0)
    return template.text(
        _TEMPLATE,
        file=file,
        bytes=size,
        write=write.format(low=low, high=high),
        array=_WRITES[end.type][2],
        input=INPUT_KEY,
        output=OUTPUT_KEY,
        read=_read(end),
        quantisation=(start.scales[0], start.zero_points[0]) if whole else None,
        classes=end.shape[-1],
        points=[(s.key, t.shape[1:]) for s, t in shapes if not cascades.is_cascade(s)],
        cascades=[(s.key, t.shape[1:], cascades.entry_of(content, s.key)) for s, t in shapes if cascades.is_cascade(s)],
        stage=cascades.STAGE_KEY,
        threshold=cascades.THRESHOLD,
        above=cascades.ABOVE,
        labels=labels,
        one=kind.one,
        many=kind.many,
        numbers=kind.numbers,
        values="raw RGB values 0..255" if kind.photos else f"values {kind.told}",
        sides="Height, width and channels" if kind.photos else "The sides",
    )


def _end(signature: Signature, tensors: dict[str, Tensor], key: str) -> Tensor:
    tensor = tensors.get(key)
    if tensor is None or tensor.type not in _WRITES:
        raise TfliteError(f"point {signature.key} has no {key!r} of {', '.join(_WRITES)}")
    return tensor


def _kind(tensor: Tensor) -> tuple[object, ...]:
    return tensor.type, tensor.shape, tensor.scales, tensor.zero_points


def _read(tensor: Tensor) -> str:
    if tensor.type == "FLOAT32":
        return "scores[0]"
    number = "(scores[0][it].toInt() and 0xff)" if tensor.type == "UINT8" else "scores[0][it]"
    return f"FloatArray(CLASSES) {{ ({number} - ({tensor.zero_points[0]})) * {tensor.scales[0]}f }}"
