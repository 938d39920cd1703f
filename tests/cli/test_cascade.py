"""`restnet-tf cascade` at the command line: what is refused, in one line and without a trace, and what it says."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import classifiers
import colours as colour
import keras
import numpy as np
import pytest
from console import Answer, ask, refused

from tflite_export import emit
from tflite_export.flatbuffer import Subgraph

pytestmark = pytest.mark.slow

layers = keras.layers
RASTER = (colour.SIDE, colour.SIDE, 3)
SMALL, LARGE = "small.int8.tflite", "large.int8.tflite"


@pytest.fixture
def here(colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with the models in it."""
    shutil.copytree(colours, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def cascade(*words: Any, data: str = "data.npz", out: str = "out/run") -> list[Any]:
    return ["cascade", *words, "--data", data, "--out", out]


def written(name: str, content: bytes) -> str:
    Path(name).write_bytes(content)
    return name


def saved(name: str, model: keras.Model) -> str:
    model.save(name)
    return name


def other(name: str, classes: int = 3, channels: int = 3) -> str:
    """A Keras model of another number of classes or channels, cheap."""
    image = keras.Input((8, 8, channels))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(1, 1, strides=8)(image))
    return saved(name, keras.Model(image, layers.Dense(classes, activation="softmax")(x)))


def two_images(graph: Subgraph) -> None:
    first = graph.inputs[0]
    graph.inputs = [first, emit.activation(first.shape, first.type, "second")]


def with_state(graph: Subgraph) -> None:
    graph.operators[0].outputs[0].table.isVariable = True


def changed(change: Callable[[Subgraph], None]) -> bytes:
    return classifiers.changed(change, kind="FLOAT32", image=RASTER)


def few(path: str, n: int) -> str:
    x, truth = colour.images(n)
    np.savez(path, x=x, y=truth)
    return path


def names(*lines: str) -> str:
    Path("names.txt").write_text("\n".join(lines))
    return "small=names.txt"


# By what is wrong: what makes the words of the command, and what the one line says.
BAD: dict[str, tuple[Callable[[], Sequence[Any]], str]] = {
    "other classes": (
        lambda: [SMALL, written("four.tflite", classifiers.file("FLOAT32", image=RASTER))],
        r"different numbers of classes apart \(small 3, large 4\); give --classes ROLE=FILE .*or models of the same",
    ),
    "other classes than the images": (
        lambda: [written(f"{n}.tflite", classifiers.file("FLOAT32", image=RASTER, seed=n)) for n in (1, 2)],
        r"1\.tflite has 4 classes and data 3; give images of its classes, or images without labels",
    ),
    "other channels": (
        lambda: [other("grey.keras", channels=1), LARGE],
        r"images of different channels: small grey 1, large .*; give|images of different channels: grey 1, large",
    ),
    "logits": (
        lambda: [SMALL, written("logits.tflite", colour.file("large", softmax=False))],
        r"logits\.tflite gives no probabilities: .*FULLY_CONNECTED, no softmax; give --logits to append one",
    ),
    "logits of Keras": (
        lambda: ["small.keras", saved("logits.keras", colour.model("large", softmax=False))],
        r"logits ends in no softmax, .*; save it with one: keras\.Model\(model\.inputs, keras\.layers\.Softmax",
    ),
    "several signatures": (
        lambda: [
            SMALL,
            written("ways.tflite", classifiers.of_graph(classifiers.graph("FLOAT32", image=RASTER), signatures=2)),
        ],
        r"ways\.tflite has 2 signatures \(way0, way1\), and a stage is a network of one; export one of them",
    ),
    "variables": (
        lambda: [SMALL, written("state.tflite", changed(with_state))],
        r"state\.tflite keeps the variable 'x' from one image to the next; export it without state",
    ),
    "two images": (
        lambda: [SMALL, written("two.tflite", changed(two_images))],
        r"two\.tflite has 2 inputs \('picture' .*'second'.*\); export it with one, an image",
    ),
    "truncated": (
        lambda: [written("half.tflite", Path(SMALL).read_bytes()[:900]), LARGE],
        r"half\.tflite: not a whole \.tflite file \(900 bytes\)",
    ),
    "no tflite inside": (
        lambda: [written("text.TFLITE", b"no model\n"), LARGE],
        r"text\.TFLITE: not a \.tflite file: 9 bytes that begin b'no model'",
    ),
    "nothing inside": (lambda: [written("empty.tflite", b""), LARGE], r"empty\.tflite: not a \.tflite file: 0 bytes"),
    "a file that is gone": (lambda: ["gone.tflite", LARGE], r"cannot read gone\.tflite: No such file"),
    "a Keras file that is gone": (lambda: ["gone.keras", LARGE], r"no file gone\.keras"),
    "the same model": (lambda: [SMALL, SMALL], r"small and large are the same model, small\.int8\.tflite; a cascade"),
    "the same model of Keras": (lambda: ["small.keras", "small.keras"], r"small and large are the same model, small;"),
    "one model": (lambda: [SMALL], r"1 model was given; give two or three, the cheapest first"),
    "four models": (lambda: [SMALL, LARGE, SMALL, LARGE], r"4 models were given; give two or three, the cheapest"),
    "few images": (
        lambda: [SMALL, LARGE, "--data", few("few.npz", 60)],
        r"9 images in the rank split; the thresholds of a cascade need 50 or more, so give more images",
    ),
    "hardly any images": (
        lambda: [SMALL, LARGE, "--data", few("few.npz", 12)],
        r"few\.npz: 12 images; at least 16",
    ),
    "no images": (lambda: [SMALL, LARGE, "--data", "gone.npz"], r"gone\.npz: no such file or folder; give a folder"),
    **{
        f"precision {word}": (
            lambda word=word: ["small.keras", "large.keras", "--precision", word],  # type: ignore[misc]
            r"the precision '.*' is not understood; write one for all, .* as in int8>float32",
        )
        for word in ("int8>", ">int8", "int8>>int8", "int8>int8>int8>float32", "float32,int8>")
    },
    "a stage of no precision": (
        lambda: ["small.keras", "large.keras", "--precision", "int8>foo"],
        r"unknown precision 'foo'; choose one of float32",
    ),
    "no precision": (lambda: ["small.keras", LARGE, "--precision", ""], r"unknown precision ''; choose one of float32"),
    "unknown preprocessing": (
        lambda: [SMALL, LARGE, "--preprocess", "foo"],
        r"unknown preprocessing 'foo'; it is one of none, 0to1",
    ),
    "unknown preprocessing of Keras": (
        lambda: ["small.keras", LARGE, "--preprocess", "foo,none"],
        r"unknown preprocessing 'foo'; it is one of none, 0to1",
    ),
    "modes of three": (
        lambda: [SMALL, LARGE, "--preprocess", "none,none,none"],
        r"--preprocess names 3 modes for 2 models; give one for all, or one a model",
    ),
    "few names": (
        lambda: [SMALL, LARGE, "--classes", names("red", "green")],
        r"small\.int8\.tflite has 3 classes and its list names 2; give one a line",
    ),
    "other names": (
        lambda: [SMALL, LARGE, "--classes", names("red", "green", "pink")],
        r"small\.int8\.tflite has no class 'blue' of data; its list has red, green, pink",
    ),
    "names that are gone": (
        lambda: [SMALL, LARGE, "--classes", "small=gone.txt"],
        r"cannot read the class names in gone\.txt: No such file or directory$",
    ),
    "names that are no text": (
        lambda: [SMALL, LARGE, "--classes", f"small={written('names.bin', bytes([255, 254, 0]))}"],
        r"names\.bin is no text of class names; give a file with one a line",
    ),
    "names of no model": (
        lambda: [SMALL, LARGE, "--classes", "middle=names.txt"],
        r"--classes 'middle=names\.txt' is not understood; write ROLE=FILE once for a model",
    ),
    "names twice": (
        lambda: [SMALL, LARGE, "--classes", names(*colour.NAMES), "--classes", names(*colour.NAMES)],
        r"--classes 'small=names\.txt' is not understood; write ROLE=FILE once for a model",
    ),
    "an unknown limit": (lambda: [SMALL, LARGE, "--budget", "mean.foo<=3"], r"unknown budget term 'mean\.foo'"),
}


@pytest.mark.parametrize(("words", "said"), BAD.values(), ids=BAD)
def test_bad_input_is_one_line_and_leaves_nothing(here: Path, words: Callable[[], Sequence[Any]], said: str) -> None:
    given = list(words())
    command = ["cascade", *given, "--out", "out/run"] if "--data" in given else cascade(*given)
    assert re.search(said, refused(*command))
    assert not (here / "out").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([SMALL, LARGE], r"Missing option '--data'"),
        (["--data", "data.npz"], r"Missing argument 'SMALL LARGE \[LARGER\]'"),
        ([SMALL, LARGE, "--data", "data.npz", "--cascades", "17"], r"'--cascades': 17 is not in the range 0<=x<=16"),
        ([SMALL, LARGE, "--data", "data.npz", "--cascades", "-1"], r"'--cascades': -1 is not in the range"),
    ],
)
def test_a_command_that_cannot_be_read_shows_how_to_write_it(here: Path, words: list[str], said: str) -> None:
    answer = ask("cascade", *words)
    assert answer.code == 2
    assert re.search(said, answer.err)


ORDERS = {
    "two": ([LARGE, SMALL], []),
    "three, of both kinds": (["larger.float32.tflite", SMALL, LARGE], []),
    "with what each expects": ([LARGE, "a small one.tflite"], ["--preprocess", "none,0to1"]),
    "with names": ([LARGE, SMALL], ["--classes", "small=names.txt"]),
}


@pytest.mark.parametrize(("models", "more"), ORDERS.values(), ids=ORDERS)
def test_a_dearer_first_stage_is_told_the_order_that_works(here: Path, models: list[str], more: list[str]) -> None:
    written("a small one.tflite", colour.file("small", largest=1.0))
    names(*colour.NAMES)
    said = refused(*cascade(*models, *more))
    assert re.search(rf"a cascade begins with its cheapest model, and these cost {models[0]} [\d,]+, ", said)
    assert not (here / "out").exists()
    answer = ask(*cascade(*shlex.split(said.partition("give them as ")[2])))
    assert (answer.code, "cascade is shipped" in answer.out or "cascades are shipped" in answer.out) == (0, True)


def test_a_file_may_be_called_in_capitals(here: Path) -> None:
    shutil.copy(SMALL, "SMALL.TFLITE")
    assert shipped(ask(*cascade("SMALL.TFLITE", LARGE))) == ["small>large"]


def shipped(answer: Answer) -> list[str]:
    """The cascades that the closing words name."""
    assert answer.code == 0, answer
    (named,) = re.findall(r"cascades? (?:is|are) shipped.*: (.*)", answer.out)
    return str(named).split(", ")


def test_models_that_know_the_images_by_heart_are_warned_of(here: Path) -> None:
    x, truth = colour.images(600)
    right = colour.model("larger").predict(x, verbose=0).argmax(1) == truth
    val = np.flatnonzero(right[120:400]) + 120
    splits = {"train": np.arange(120), "val": val, "test": np.arange(400, 600)}
    arrays = {f"{k}_{name}": v[rows] for name, rows in splits.items() for k, v in (("x", x), ("y", truth))}
    np.savez("heart.npz", **arrays)
    answer = ask(*cascade(LARGE, "larger.int8.tflite", data="heart.npz"))
    assert answer.code == 0
    assert re.search(r"large is right on \d+\.\d% of the rank images .*: if it was trained on", answer.err)


def test_another_model_is_not_mixed_into_a_run(here: Path) -> None:
    assert ask(*cascade(SMALL, LARGE)).code == 0
    before = (here / "out/run/points.json").read_bytes()
    said = refused(*cascade(SMALL, "larger.int8.tflite"))
    assert re.search(r"holds a run with another large model: large\.int8\.tflite, sha256 .*give another --out", said)
    for more in (["--logits"], ["--preprocess", "0to1"], ["--seed", "1"]):
        assert re.search("holds a run with another", refused(*cascade(SMALL, LARGE, *more))), more
    assert (here / "out/run/points.json").read_bytes() == before
