"""Commands of restnet-tf as a person types them, and inputs for them, good and bad; for the tests to share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import networks
import numpy as np
from click.testing import CliRunner
from PIL import Image

from restnet_tf.cli.main import main
from restnet_tf.family import first_looks
from restnet_tf.records import Anchor

keras = networks.keras
layers = keras.layers


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The one line that an error leaves; the lines before it tell the stages, if anything."""
        *before, last = self.err.splitlines()
        assert last.startswith("restnet-tf: "), self.err
        assert "Traceback" not in self.err
        assert "Error" not in last.split(":")[0]
        stages = ("reading the data", "loading the anchors", "loading the models", first_looks.STAGE)
        told = ("images to fit", "labelled images right")
        assert all(line in stages or any(words in line for words in told) for line in before)
        assert len(last) < 600
        return last


def ask(*words: Any) -> Answer:
    result = CliRunner().invoke(main, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Answer(result.exit_code, result.stdout, result.stderr)


def refused(*words: Any) -> str:
    """The complaint of a command that has to end in exit code 1 without a result."""
    answer = ask(*words)
    assert answer.code == 1, answer
    assert answer.out == ""
    return answer.complaint


def refused_late(*words: Any) -> str:
    answer = ask(*words)
    assert answer.code == 1, answer
    assert "Traceback" not in answer.err
    last = answer.err.splitlines()[-1]
    assert last.startswith("restnet-tf: ")
    return last


# ---- inputs, good and bad --------------------------------------------------------------------


@cache
def anchors() -> dict[str, Anchor]:
    """Those of the inputs by role; nobody changes them."""
    return networks.pair(2, convolutions=1)[0]


def build(inputs: Path, out: Path, *words: Any, **changes: Any) -> list[Any]:
    usual = {"large": inputs / "large.keras", "small": inputs / "small.keras", "data": inputs / "data.npz"}
    options = [word for name, value in {**usual, **changes}.items() for word in (f"--{name}", value)]
    # The networks are of random weights, and know nothing of the labels.
    return ["build", *options, "--anyway", "--out", out, *words]


def saved(model: Any, path: Path) -> Path:
    model.save(path)
    return path


def two_inputs(path: Path) -> Path:
    a, b = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(layers.Add()([a, b])))
    return saved(keras.Model([a, b], layers.Dense(3, activation="softmax")(x)), path)


def uncuttable(path: Path) -> Path:
    image = keras.Input((8, 8, 3))
    x = layers.Dense(3, activation="softmax")(layers.Flatten()(image))
    return saved(keras.Model(image, x, name="one_layer"), path)


def with_nan(path: Path) -> Path:
    model = networks.anchor((6, 10), 2, convolutions=1, seed=1, name="large").model
    kernel = model.get_layer("0.1.conv1").kernel
    value = np.array(kernel)
    value[0, 0, 0, 0] = np.nan
    kernel.assign(value)
    return saved(model, path)


def other_weights(path: Path) -> Path:
    anchors()["large"].model.save_weights(path)
    return path


def text_file(path: Path) -> Path:
    path.write_text("no model\n")
    return path


def images_in(folder: Path, classes: int, each: int) -> Path:
    for c in range(classes):
        (folder / f"class{c}").mkdir(parents=True)
        for i, pixels in enumerate(networks.images(each, seed=c)):
            Image.fromarray(pixels).save(folder / f"class{c}" / f"{i}.png")
    return folder


def corrupt(folder: Path) -> Path:
    images_in(folder, 2, 10)
    for path in folder.rglob("*.png"):
        path.write_bytes(path.read_bytes()[:40])
    return folder


def empty(folder: Path) -> Path:
    folder.mkdir()
    return folder


def same_label(path: Path) -> Path:
    np.savez(path, x=networks.images(60), y=np.zeros(60, int))
    return path


def few(path: Path) -> Path:
    np.savez(path, x=networks.images(15), y=np.arange(15) % 3)
    return path


BAD = {
    "missing model": ("large", lambda t: t / "gone.keras", r"gone\.keras"),
    "missing data": ("data", lambda t: t / "gone.npz", r"gone\.npz.*(folder|\.npz)"),
    "no model": ("large", lambda t: text_file(t / "notes.keras"), r"notes\.keras is not a Keras model; expected a \."),
    "no model, small": ("small", lambda t: text_file(t / "notes.h5"), r"notes\.h5 is not a Keras model; expected"),
    "weights alone": (
        "large",
        lambda t: other_weights(t / "net.weights.h5"),
        r"no architecture; name it.*--large-arch",
    ),
    "two inputs": ("small", lambda t: two_inputs(t / "two.keras"), r"two has 2 inputs; an anchor takes one image"),
    "no cut": ("small", lambda t: uncuttable(t / "flat.keras"), r"cannot be cut: .*(block|live)"),
    "a NaN weight": ("large", lambda t: with_nan(t / "nan.keras"), r"nan: weight 0\.1\.conv1/kernel holds 1 NaN"),
    "empty folder": ("data", lambda t: empty(t / "none"), r"none: no images in it .*\.png.*; give"),
    "one class folder": ("data", lambda t: images_in(t / "one", 1, 20), r"one: one class only \(class0\); give two"),
    "one label": ("data", lambda t: same_label(t / "one.npz"), r"one\.npz: .*one class only; give two"),
    "all corrupt": ("data", lambda t: corrupt(t / "bad"), r"bad: none of its 20 images can be decoded, such as .*png"),
    "too few": ("data", lambda t: few(t / "few.npz"), r"few\.npz: 15 images; at least 16 are needed"),
}
