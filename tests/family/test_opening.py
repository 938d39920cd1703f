"""Options as a run keeps them."""

from __future__ import annotations

from pathlib import Path

import pytest

from restnet_tf.family import mixing, opening
from restnet_tf.family.mixing import Mixing
from restnet_tf.family.options import BuildOptions, Options
from restnet_tf.records import RestnetError


def test_a_file_of_values_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "iq.npz").touch()
    assert opening.kept("restnet", Options(data="values:iq.npz"))["data"] == f"values:{tmp_path / 'iq.npz'}"
    assert opening.default_out(["small.keras"], "values:iq.npz") == Path("runs/small-iq")


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        ("mobilenet_v2_1.0_224.weights.h5@MobileNetV2", "mobilenet_v2_1.0_224"),
        ("models/mobilenet_v1_0.25.tflite", "mobilenet_v1_0.25"),
        ("runs/demo/tflite/small.int8.tflite", "small"),
        ("MobileNetV2:alpha=0.35,input=96", "MobileNetV2"),
        ("hub:vit_tiny", "vit_tiny"),
        ("photos.v2/", "photos.v2"),
        ("keras:cifar10", "cifar10"),
        ("values:iq.NPZ", "iq"),
    ],
)
def test_a_run_is_called_after_the_whole_name(spec: str, word: str) -> None:
    assert opening.run_word(spec) == word


def test_a_run_of_the_folder_that_one_is_in_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path / "photos")
    assert opening.default_out(["a.b.tflite"], ".") == Path("runs/a.b-photos")


def test_what_mixed_means(tmp_path: Path) -> None:
    assert mixing.parse("") == Mixing()
    assert mixing.parse("1.5x") == Mixing(1.5)
    assert mixing.parse("1.5").word == "within 1.5"
    for words, refusal in (("0.5", "0.5 is out of range"), (str(tmp_path), "neither a multiple of int8's latency")):
        with pytest.raises(RestnetError, match=refusal):
            mixing.parse(words)
    (tmp_path / "large.json").write_text("{}")
    maps = mixing.parse(str(tmp_path))
    assert maps.given("large") == tmp_path / "large.json"
    assert maps.given("small") is None
    before = maps.word
    (tmp_path / "large.json").write_text("{ }")
    assert maps.word != before  # files are made anew by an edited map


def test_where_no_mixed_files_are_made_it_is_said_what_would_work() -> None:
    assert opening.precisions(BuildOptions(precision="mixed")) == ("mixed",)
    with pytest.raises(RestnetError, match="mixed files are linked of anchors compiled once; leave out --converter tf"):
        opening.precisions(BuildOptions(precision="mixed>float32", converter="tf"))
    with pytest.raises(RestnetError, match="compose makes no mixed files; take int8 or int16x8"):
        opening.precisions(Options(precision="float32,mixed"))
