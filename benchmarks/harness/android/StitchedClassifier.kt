// Made by restnet-tf for {{ file }}. It follows LiteRT's documentation and has not been compiled.
// build.gradle: implementation("com.google.ai.edge.litert:litert:VERSION"). Put {{ file }} into
// src/main/assets and keep it uncompressed: androidResources { noCompress += "tflite" }
{% if package %}
package {{ package }}

{% endif %}
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
        val LABELS: List<String> = listOf({{ labels | map("kotlin") | join(", ") }})
    }
}
