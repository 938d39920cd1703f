"""Stand-ins for what the exported app uses of Android and LiteRT, as Java that a Kotlin compiler can check against.

Package registries have neither. The signatures follow their documentation; nothing here runs.
"""

from __future__ import annotations

from pathlib import Path

SOURCES = {
    "android/app/Activity.java": """
package android.app;
import android.content.*; import android.content.res.AssetManager; import android.os.Bundle; import android.view.View;
public class Activity extends Context {
  public static final int RESULT_OK = -1;
  protected void onCreate(Bundle state) {}
  protected void onActivityResult(int requestCode, int resultCode, Intent data) {}
  public void setContentView(View view) {}
  public void startActivityForResult(Intent intent, int code) {}
}
""",
    "android/content/Context.java": """
package android.content;
public class Context {
  public android.content.res.AssetManager getAssets() { return null; }
  public ContentResolver getContentResolver() { return null; }
}
""",
    "android/content/ContentResolver.java": """
package android.content;
public class ContentResolver {
  public final java.io.InputStream openInputStream(android.net.Uri uri)
    throws java.io.FileNotFoundException { return null; }
}
""",
    "android/net/Uri.java": "package android.net;\npublic class Uri {}\n",
    "android/content/ActivityNotFoundException.java": """
package android.content;
public class ActivityNotFoundException extends RuntimeException {}
""",
    "android/content/Intent.java": """
package android.content;
public class Intent {
  public static final String ACTION_GET_CONTENT = "";
  public Intent(String action) {}
  public Intent setType(String type) { return this; }
  public android.net.Uri getData() { return null; }
  @Deprecated public <T extends android.os.Parcelable> T getParcelableExtra(String name) { return null; }
}
""",
    "android/content/res/AssetManager.java": """
package android.content.res;
public class AssetManager { public AssetFileDescriptor openFd(String name) throws java.io.IOException { return null; } }
""",
    "android/content/res/AssetFileDescriptor.java": """
package android.content.res;
public class AssetFileDescriptor implements java.io.Closeable {
  public java.io.FileDescriptor getFileDescriptor() { return null; }
  public long getStartOffset() { return 0; }
  public long getDeclaredLength() { return 0; }
  public void close() throws java.io.IOException {}
}
""",
    "android/os/Bundle.java": "package android.os;\npublic class Bundle {}\n",
    "android/os/Parcelable.java": "package android.os;\npublic interface Parcelable {}\n",
    "android/provider/MediaStore.java": """
package android.provider;
public class MediaStore { public static final String ACTION_IMAGE_CAPTURE = ""; }
""",
    "android/graphics/Bitmap.java": """
package android.graphics;
public class Bitmap implements android.os.Parcelable {
  public static Bitmap createBitmap(Bitmap source, int x, int y, int width, int height) { return source; }
  public static Bitmap createScaledBitmap(Bitmap source, int width, int height, boolean filter) { return source; }
  public int getWidth() { return 0; }
  public int getHeight() { return 0; }
  public void getPixels(int[] pixels, int offset, int stride, int x, int y, int width, int height) {}
}
""",
    "android/graphics/BitmapFactory.java": """
package android.graphics;
public class BitmapFactory { public static Bitmap decodeStream(java.io.InputStream stream) { return null; } }
""",
    "android/view/View.java": """
package android.view;
public class View {
  public static final int VISIBLE = 0, GONE = 8;
  public interface OnClickListener { void onClick(View view); }
  public View(android.content.Context context) {}
  public void setOnClickListener(OnClickListener listener) {}
  public int getVisibility() { return 0; }
  public void setVisibility(int visibility) {}
  public void setPadding(int left, int top, int right, int bottom) {}
}
""",
    "android/view/ViewGroup.java": """
package android.view;
public class ViewGroup extends View {
  public ViewGroup(android.content.Context context) { super(context); }
  public void addView(View child) {}
}
""",
    "android/widget/TextView.java": """
package android.widget;
public class TextView extends android.view.View {
  public TextView(android.content.Context context) { super(context); }
  public CharSequence getText() { return ""; }
  public final void setText(CharSequence text) {}
}
""",
    "android/widget/Button.java": """
package android.widget;
public class Button extends TextView { public Button(android.content.Context context) { super(context); } }
""",
    "android/widget/ImageView.java": """
package android.widget;
public class ImageView extends android.view.View {
  public ImageView(android.content.Context context) { super(context); }
  public boolean getAdjustViewBounds() { return false; }
  public void setAdjustViewBounds(boolean adjust) {}
  public void setImageBitmap(android.graphics.Bitmap image) {}
}
""",
    "android/widget/LinearLayout.java": """
package android.widget;
public class LinearLayout extends android.view.ViewGroup {
  public static final int VERTICAL = 1;
  public LinearLayout(android.content.Context context) { super(context); }
  public int getOrientation() { return 0; }
  public void setOrientation(int orientation) {}
}
""",
    "android/widget/ScrollView.java": """
package android.widget;
public class ScrollView extends android.view.ViewGroup {
  public ScrollView(android.content.Context context) { super(context); }
}
""",
    "android/widget/SeekBar.java": """
package android.widget;
public class SeekBar extends android.view.View {
  public interface OnSeekBarChangeListener {
    void onProgressChanged(SeekBar bar, int progress, boolean fromUser);
    void onStartTrackingTouch(SeekBar bar);
    void onStopTrackingTouch(SeekBar bar);
  }
  public SeekBar(android.content.Context context) { super(context); }
  public void setOnSeekBarChangeListener(OnSeekBarChangeListener listener) {}
  public int getMax() { return 0; }
  public void setMax(int max) {}
  public int getProgress() { return 0; }
  public void setProgress(int progress) {}
}
""",
    "org/tensorflow/lite/Interpreter.java": """
package org.tensorflow.lite;
public final class Interpreter {
  public static class Options { public Options setNumThreads(int threads) { return this; } }
  public Interpreter(java.nio.ByteBuffer model, Options options) {}
  public void runSignature(java.util.Map<String, Object> inputs, java.util.Map<String, Object> outputs, String key) {}
}
""",
}


def written(folder: Path) -> list[Path]:
    """The sources below a folder."""
    for name, text in SOURCES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return [folder / name for name in SOURCES]
