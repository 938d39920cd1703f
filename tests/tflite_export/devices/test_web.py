"""The exported page in a real browser with the real LiteRT.js: it answers as the host does, and asks nobody else."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import cascade_files
import needs
import npm
import numpy as np
import pytest
import web_family
from chromium import Page
from web_family import CASCADE, LABELS, begun, complaints, give, png, served, turned, until

from tflite_export.devices import host, web, web_modules
from tflite_export.devices.exports import Parcel, PointFile
from tflite_export.flatbuffer import read
from tflite_export.inputs import InputKind

pytestmark = pytest.mark.slow
browser = needs.BROWSER.mark
NUMBERS = InputKind(False, -2.0, 2.0)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The page of the family."""
    out = web_family.exported(tmp_path_factory.mktemp("web"))
    (out / "node_modules").symlink_to(npm.folder(web_modules.REQUIREMENT) / "node_modules")
    with served(out) as url, Page(url) as opened:
        begun(opened)
        yield opened
        assert complaints(opened) == []
        assert [u for u in opened.asked if not u.startswith((url, "data:", "blob:"))] == []


def answers(page: Page, point: str) -> dict[str, float]:
    """Scores by label, once that point has answered."""
    until(page, f'document.getElementById("took").textContent.startsWith("{point}:")')
    pairs = page.evaluate(
        '[...document.querySelectorAll("#answers li")].map((line) => [line.children[0].textContent,'
        " parseFloat(line.children[2].textContent) / 100])"
    )
    return dict(pairs)


def hosts(name: str, image: np.ndarray) -> dict[str, float]:
    (scores,) = host.scores(cascade_files.stage(name, "int8"), [image[None].astype(np.float32)])
    return dict(zip(LABELS, map(float, scores), strict=True))


def test_the_folder_says_what_the_page_needs(tmp_path: Path):
    out = web_family.exported(tmp_path)
    family = json.loads((out / "family.json").read_text())
    assert [point["name"] for point in family["points"]] == ["small", "large", CASCADE]
    assert family["integers"]
    assert {(p["file"], *p["shape"]) for p in family["points"]} == {("elastic.int8.tflite", 8, 8, 3)}
    assert family["points"][2]["cascade"]["stages"] == ["small", "large"]
    assert json.loads((out / "package.json").read_text())["dependencies"].keys() == {"@litertjs/core"}
    entries = read((out / "elastic.int8.tflite").read_bytes()).signatures
    assert {end.type for entry in entries for end in entry.inputs.values()} == {"FLOAT32"}


def test_points_without_a_file_of_all_come_one_by_one():
    point = PointFile("small*", "int8", cascade_files.stage("small", "int8"))
    files = web.export(Parcel("demo", (point,), LABELS)).files
    (entry,) = json.loads(files["family.json"])["points"]
    assert (entry["name"], entry["file"]) == ("small*", "small-distilled.int8.tflite")
    assert entry["file"] in files


@browser
def test_an_image_is_answered_as_on_the_host(page: Page):
    image = np.round(cascade_files.PIXELS[3])
    turned(page, "place", 0)
    give(page, "one.png", png(image))
    expected = hosts("small", image)
    shown = answers(page, "small")
    assert {*shown} == {*LABELS}
    assert all(abs(shown[label] - expected[label]) < 0.005 for label in LABELS)
    turned(page, "place", 2)  # the costliest: the large network, behind the cascade
    expected = hosts("large", image)
    shown = answers(page, "large")
    assert all(abs(shown[label] - expected[label]) < 0.005 for label in LABELS)


@browser
def test_the_dial_of_a_cascade_says_which_stage_answers(page: Page):
    give(page, "one.png", png(np.round(cascade_files.PIXELS[3])))
    turned(page, "place", 1)
    for mark, words in ((0, "stage 1, small"), (2, "stage 2, large")):
        turned(page, "mark", mark)
        until(page, f'document.getElementById("took").textContent.endsWith("answered by {words}")')


@browser
def test_a_budget_chooses_the_best_that_fits_and_says_where_none_does(page: Page):
    verdict = 'document.getElementById("verdict").textContent'
    turned(page, "macs", 0.35)
    assert page.evaluate(verdict) == f"Of what fits, {CASCADE} scores best."
    assert page.evaluate('document.getElementById("point").textContent') == CASCADE
    turned(page, "macs", 0.05)
    assert "No point fits. The cheapest, small, takes" in page.evaluate(verdict)
    turned(page, "macs", "")
    turned(page, "ms", 0.000001)
    assert page.evaluate(verdict) == "Time every point here first."
    turned(page, "ms", "")


@browser
def test_every_point_is_timed(page: Page):
    page.evaluate('document.getElementById("time").click()')
    until(page, '!document.getElementById("time").disabled')
    times = page.evaluate('[...document.querySelectorAll("#points tr")].map((row) => row.cells[3].textContent)')
    assert len(times) == 3
    assert all(float(time.split("\xa0")[0]) > 0 for time in times)


@browser
def test_a_label_is_text(page: Page):
    give(page, "one.png", png(np.round(cascade_files.PIXELS[3])))
    until(page, 'document.querySelectorAll("#answers li").length')
    assert page.evaluate('document.querySelectorAll("#answers b").length') == 0


@browser
def test_what_is_no_image_is_told(page: Page):
    give(page, "notes.txt", b"hello")
    until(page, 'document.getElementById("took").textContent === "notes.txt is no image that this browser reads"')


@browser
def test_signals_and_grids_come_as_files_of_numbers(tmp_path: Path):
    out = web_family.exported(tmp_path, NUMBERS)
    (out / "node_modules").symlink_to(npm.folder(web_modules.REQUIREMENT) / "node_modules")
    values = np.round(np.random.default_rng(1).uniform(-2, 2, (8, 8, 3)), 3).astype(np.float32)
    npy = io.BytesIO()
    np.save(npy, values)
    rows = "\n".join(",".join(map(str, row)) for row in values.reshape(-1, 3))
    with served(out) as url, Page(url) as page:
        begun(page)
        assert page.evaluate('document.getElementById("camera").hidden')
        turned(page, "place", 0)
        expected = hosts("small", values)
        for name, content in (("x.csv", f"a,b,c\n{rows}\n".encode()), ("x.npy", npy.getvalue())):
            page.evaluate('document.getElementById("took").textContent = ""')
            give(page, name, content)
            shown = answers(page, "small")
            assert all(abs(shown[label] - expected[label]) < 0.005 for label in LABELS)
        give(page, "short.csv", b"1,2,3\n")
        told = until(page, '(document.getElementById("took").textContent.match(/short.*/) || [""])[0]')
        assert told == "short.csv has 3 numbers; this network takes 8 x 8 x 3"


@browser
def test_a_page_without_litert_js_says_what_to_do(tmp_path: Path):
    with served(web_family.exported(tmp_path)) as url, Page(url) as page:
        until(page, 'document.getElementById("about").textContent.includes("run npm install in its folder")')
