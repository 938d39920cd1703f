// Made by restnet-tf: an image of the camera or of a file, the dial, the answer and its time.
package {{ package }}

import android.app.Activity
import android.content.ActivityNotFoundException
import android.content.Intent
import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.os.Bundle
import android.provider.MediaStore
import android.view.View
import android.widget.Button
import android.widget.ImageView
import android.widget.LinearLayout
import android.widget.ScrollView
import android.widget.SeekBar
import android.widget.TextView
import java.io.FileInputStream
import java.nio.channels.FileChannel

class MainActivity : Activity() {
    private lateinit var family: StitchedClassifier
    private lateinit var picture: ImageView
    private lateinit var answer: TextView
    private lateinit var about: TextView
    private lateinit var dial: SeekBar
    private var image: Bitmap? = null
    private var place = POINTS.size - 1

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        family = assets.openFd({{ file | kotlin }}).use {
            val channel = FileInputStream(it.fileDescriptor).channel
            StitchedClassifier(channel.map(FileChannel.MapMode.READ_ONLY, it.startOffset, it.declaredLength))
        }
        setContentView(layout())
        turn(place)
    }

    private fun layout(): View {
        val column = LinearLayout(this)
        column.orientation = LinearLayout.VERTICAL
        column.setPadding(48, 48, 48, 48)
        column.addView(button("Camera") { ask(Intent(MediaStore.ACTION_IMAGE_CAPTURE), CAMERA) })
        column.addView(button("Choose an image") { ask(Intent(Intent.ACTION_GET_CONTENT).setType("image/*"), IMAGE) })
        picture = ImageView(this)
        picture.adjustViewBounds = true
        answer = TextView(this)
        answer.text = "Choose an image."
        about = TextView(this)
        dial = slider { turned(it) }
        val points = slider { turn(it) }
        points.max = POINTS.size - 1
        points.progress = place
        for (view in listOf(picture, answer, about, points, dial)) column.addView(view)
        val whole = ScrollView(this)
        whole.addView(column)
        return whole
    }

    private fun button(words: String, pressed: () -> Unit): Button {
        val button = Button(this)
        button.text = words
        button.setOnClickListener { pressed() }
        return button
    }

    private fun slider(moved: (Int) -> Unit): SeekBar {
        val slider = SeekBar(this)
        slider.setOnSeekBarChangeListener(object : SeekBar.OnSeekBarChangeListener {
            override fun onProgressChanged(bar: SeekBar, value: Int, fromUser: Boolean) {
                if (fromUser) moved(value)
            }

            override fun onStartTrackingTouch(bar: SeekBar) = Unit

            override fun onStopTrackingTouch(bar: SeekBar) = Unit
        })
        return slider
    }

    private fun ask(intent: Intent, code: Int) {
        try {
            startActivityForResult(intent, code)
        } catch (missing: ActivityNotFoundException) {
            answer.text = "This device has no app for that."
        }
    }

    override fun onActivityResult(requestCode: Int, resultCode: Int, data: Intent?) {
        super.onActivityResult(requestCode, resultCode, data)
        if (resultCode != RESULT_OK || data == null) return
        val chosen = if (requestCode == CAMERA) photo(data) else read(data)
        if (chosen == null) {
            answer.text = "That is no image that this device reads."
            return
        }
        image = chosen
        picture.setImageBitmap(chosen)
        classify()
    }

    @Suppress("DEPRECATION") // what follows it needs a newer Android
    private fun photo(data: Intent): Bitmap? = data.getParcelableExtra("data")

    private fun read(data: Intent): Bitmap? =
        data.data?.let { contentResolver.openInputStream(it) }?.use { BitmapFactory.decodeStream(it) }

    /** To another point of the family, from the cheapest on. */
    private fun turn(to: Int) {
        place = to
        val marks = MARKS[POINTS[place]].orEmpty()
        dial.visibility = if (marks.size > 1) View.VISIBLE else View.GONE
        dial.max = maxOf(0, marks.size - 1)
{% if cascades %}
        dial.progress = marks.indexOfFirst { it.contentEquals(family.dials[POINTS[place]]) }.coerceAtLeast(0)
{% endif %}
        classify()
    }

    /** To another mark of a cascade's dial. */
    private fun turned(mark: Int) {
{% if cascades %}
        MARKS[POINTS[place]]?.get(mark)?.copyInto(family.dials.getValue(POINTS[place]))
{% endif %}
        classify()
    }

    private fun classify() {
        val name = POINTS[place]
        about.text = name
        val chosen = image ?: return
{% if points and cascades %}
        val cascade = StitchedClassifier.CASCADES[name]
        val pixels = pixels(chosen, cascade?.shape ?: StitchedClassifier.POINTS.getValue(name))
{% elif cascades %}
        val pixels = pixels(chosen, StitchedClassifier.CASCADES.getValue(name).shape)
{% else %}
        val pixels = pixels(chosen, StitchedClassifier.POINTS.getValue(name))
{% endif %}
        var stage = ""
        val run = {
{% if points and cascades %}
            if (cascade == null) {
                family.classify(pixels, name)
            } else {
                val reply = family.answer(pixels, name)
                stage = ", answered by " + cascade.stages[reply.stage]
                reply.scores
            }
{% elif cascades %}
            val reply = family.answer(pixels, name)
            stage = ", answered by " + StitchedClassifier.CASCADES.getValue(name).stages[reply.stage]
            reply.scores
{% else %}
            family.classify(pixels, name)
{% endif %}
        }
        val scores = run() // the first run of a point packs its weights
        val took = List(RUNS) {
            val start = System.nanoTime()
            run()
            (System.nanoTime() - start) / 1e6
        }.sorted()[RUNS / 2]
        val best = scores.indices.sortedByDescending { scores[it] }.take(SHOWN)
        val lines = best.map { "${StitchedClassifier.LABELS.getOrElse(it) { n -> "class $n" }}  %.1f %%".format(100 * scores[it]) }
        answer.text = (lines + "%.2f ms%s".format(took, stage)).joinToString("\n")
    }

    /** The largest centred box of the shape's aspect, resized; RGB or grey, 0..255, row by row. */
    private fun pixels(image: Bitmap, shape: IntArray): FloatArray {
        val (height, width, channels) = shape
        val w = minOf(image.width, maxOf(1, image.height * width / height))
        val h = minOf(image.height, maxOf(1, image.width * height / width))
        val box = Bitmap.createBitmap(image, (image.width - w) / 2, (image.height - h) / 2, w, h)
        val colours = IntArray(width * height)
        Bitmap.createScaledBitmap(box, width, height, true).getPixels(colours, 0, width, 0, 0, width, height)
        val values = FloatArray(colours.size * channels)
        colours.forEachIndexed { place, colour ->
            val (r, g, b) = listOf(colour shr 16 and 255, colour shr 8 and 255, colour and 255)
            if (channels == 1) {
                values[place] = ((19595 * r + 38470 * g + 7471 * b + 32768) shr 16).toFloat()
            } else {
                listOf(r, g, b).forEachIndexed { channel, value -> values[channels * place + channel] = value.toFloat() }
            }
        }
        return values
    }

    private companion object {
        const val CAMERA = 1
        const val IMAGE = 2
        const val RUNS = 5
        const val SHOWN = 5

        /** All that the file holds, the cheapest first. */
        val POINTS = listOf({{ order | map("kotlin") | join(", ") }})

        /** The marks of each cascade's dial: its thresholds, from never going on to always. */
        val MARKS = mapOf<String, List<FloatArray>>(
{% for name, marks in marks %}
            {{ name | kotlin }} to listOf(
{% for mark in marks %}
                floatArrayOf({{ mark | map("float32") | join(", ") }}),
{% endfor %}
            ),
{% endfor %}
        )
    }
}
