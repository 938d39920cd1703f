"""Two hundred inputs that are broken in some way: each is refused in one line, or used; none ends in a traceback."""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import networks
import numpy as np
import pytest
from click.testing import CliRunner
from networks import keras, layers
from PIL import Image

from restnet_tf.cli.main import main

Rng = np.random.Generator
CASES = 50  # of each kind


def refused_or_used(*words: object) -> None:
    """Run a command: its exit code is 0, or 1 with one line that says why."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code in (0, 1, 2), result.output
    if result.exit_code:
        assert "Traceback" not in result.output
        assert result.stderr.splitlines()[-1].startswith(("restnet-tf: ", "Error: ")), result.output


def mutated(raw: bytes, rng: Rng) -> bytes:
    """Cut off, with bytes changed, with a piece of it twice, or with one put to zero."""
    content = bytearray(raw)
    at, length = int(rng.integers(len(raw))), int(rng.integers(1, 64))
    way = rng.integers(5)
    if way == 0:
        return raw[:at]
    if way == 1:
        for place in rng.integers(len(raw), size=length):
            content[place] = rng.integers(256)
    elif way == 2:
        content[at:at] = content[at : at + length]
    elif way == 3:
        content[at : at + length] = bytes(min(length, len(raw) - at))
    else:
        del content[at : at + length]
    return bytes(content)


ODD = (None, -1, 0, 1e30, "", "x" * 300, [], {}, True, [[]], "relu", ["a", 1])


def changed(value: object, rng: Rng) -> object:
    """A JSON value with one of its parts replaced, left out or of another kind."""
    if isinstance(value, dict) and value and rng.uniform() < 0.9:
        key = list(value)[rng.integers(len(value))]
        if rng.uniform() < 0.1:
            return {k: v for k, v in value.items() if k != key}
        return {**value, key: changed(value[key], rng)}
    if isinstance(value, list) and value and rng.uniform() < 0.9:
        at = int(rng.integers(len(value)))
        return [*value[:at], changed(value[at], rng), *value[at + 1 :]]
    return ODD[rng.integers(len(ODD))]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A small network as the bytes of an archive and of HDF5."""
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3))
    x = layers.ReLU()(layers.Conv2D(2, 3)(image))
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(layers.Conv2D(3, 3)(x)))
    model = keras.Model(image, layers.Dense(networks.CLASSES, activation="softmax")(x))
    folder = tmp_path_factory.mktemp("models")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in ("model.keras", "model.h5"):
            model.save(folder / name)
    return {path.suffix: path.read_bytes() for path in folder.iterdir()}


def reconfigured(raw: bytes, rng: Rng) -> bytes:
    """An archive whose description of the network is another."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json":
                content = json.dumps(changed(json.loads(content), rng)).encode()
            elif rng.uniform() < 0.1:
                continue
            new.writestr(name, content)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["bytes", "configuration"])
def test_models(models: dict[str, bytes], tmp_path: Path, kind: str) -> None:
    for case in range(CASES):
        rng = np.random.default_rng([1, case])
        suffix = ".keras" if kind == "configuration" or case % 2 else ".h5"
        path = tmp_path / f"{case}{suffix}"
        path.write_bytes((reconfigured if kind == "configuration" else mutated)(models[suffix], rng))
        refused_or_used("inspect", path)


def data(path: Path) -> None:
    """Data are read before models, and where these can be used the missing model is told."""
    refused_or_used("similarity", "--large", "gone.keras", "--small", "gone.keras", "--data", path)


def odd_array(rng: Rng) -> np.ndarray:
    shape = tuple(rng.integers(0, 22, size=rng.integers(0, 6)).tolist())
    kinds = ("uint8", "float32", "int64", "complex64", "U3", "bool", "datetime64[s]", "float16", "S4")
    values = rng.integers(0, 256, shape) * (1e38 if rng.uniform() < 0.1 else 1)
    with np.errstate(all="ignore"):
        return np.asarray(values).astype(kinds[rng.integers(len(kinds))])


def test_arrays(tmp_path: Path) -> None:
    names = ("x", "y", "x_train", "y_train", "x_test", "val_images", "train_labels", "class_names", "odd")
    for case in range(CASES):
        rng = np.random.default_rng([2, case])
        arrays = {"x": rng.integers(0, 256, (20, 4, 4, 3), np.uint8), "y": np.arange(20) % 2}
        arrays |= {names[i]: odd_array(rng) for i in rng.choice(len(names), 2, replace=False)}
        if case % 3 == 0:
            arrays = {"x": arrays["x"], "y": odd_array(rng)}
        path = tmp_path / f"{case}.npz"
        (np.savez if case % 2 else np.savez_compressed)(path, **arrays)
        if case % 5 == 4:
            path.write_bytes(mutated(path.read_bytes(), rng))
        data(path)


NAMES = ("train", "Test", "val", "cat", "dog", "cat.png", "annotations", "__MACOSX", ".hidden", "caf\udce9", "ü", "a b")


def fill(folder: Path, rng: Rng, depth: int) -> None:
    """Folders in folders with images, some broken, and other files."""
    folder.mkdir(exist_ok=True)
    for _ in range(rng.integers(0, 4)):
        inside = folder / NAMES[rng.integers(len(NAMES))]
        if depth and not inside.exists():
            fill(inside, rng, depth - 1)
    for i in range(rng.integers(0, 9)):
        out = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (3, 3, 3), np.uint8)).save(out, "png")
        content = mutated(out.getvalue(), rng) if rng.uniform() < 0.1 else out.getvalue()
        (folder / f"{i}{('.png', '.jpg', '.txt', '.heic')[rng.choice(4, p=(0.8, 0.1, 0.05, 0.05))]}").write_bytes(
            content
        )
    if rng.uniform() < 0.05:
        (folder / "loop").symlink_to(folder)


def table(path: Path, rng: Rng) -> None:
    """Rows that name images, or do not."""
    cells = (
        "cat",
        "dog",
        "1",
        "",
        "train",
        "often",
        "a/b.png",
        '"',
        "\t",
        "path",
        "label",
        "x" * 5000,
        "\0",
        "é",
        "..",
    )
    lines = [",".join(cells[i] for i in rng.integers(len(cells), size=rng.integers(1, 4))) for _ in range(20)]
    path.write_bytes("\n".join(lines).encode("latin-1" if rng.uniform() < 0.2 else "utf-8"))


def make_folder(path: Path, rng: Rng) -> None:
    fill(path, rng, 3)


@pytest.mark.parametrize(("suffix", "make"), [("", make_folder), (".csv", table)], ids=["folders", "tables"])
def test_files(tmp_path: Path, suffix: str, make: Callable[[Path, Rng], None]) -> None:
    for case in range(CASES if not suffix else CASES // 2):
        make(tmp_path / f"{case}{suffix}", np.random.default_rng([3, case]))
        data(tmp_path / f"{case}{suffix}")
