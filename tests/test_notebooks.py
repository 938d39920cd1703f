"""The notebooks run on small data, and what they show is what somebody who reads them without running them may see."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import nbformat
import paths
import pytest
import reader
from nbclient import NotebookClient
from test_links import script

FOLDER = paths.ROOT / "notebooks"
# What stands for the first cell of settings, so that a notebook takes seconds.
SMALL = {
    "family": (
        'options = {"large": "large.keras", "small": "small.keras", "data": "photos/", "precision": "int8"}\n'
        'options |= {"max_points": 1, "effort": 0.001, "controls": False}'
    ),
    "cascade": 'small, large, data = "small.tflite", "large.tflite", "photos/"',
    "surgery": "images, epochs = 40, 1",
}
LARGEST = 150_000  # bytes of a notebook


def notebook(name: str) -> Any:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def code(cells: Any) -> list[Any]:
    return [cell for cell in cells if cell.cell_type == "code"]


def outputs(name: str) -> list[Any]:
    return [output for cell in code(notebook(name).cells) for output in cell.outputs]


def test_all_are_tried() -> None:
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(SMALL)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_a_notebook_runs_to_its_end(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(paths.ROOT))
    if name != "surgery":
        reader.belongings(tmp_path)
    book = notebook(name)
    (settings,) = [cell for cell in book.cells if "parameters" in cell.metadata.get("tags", [])]
    settings.source += f"\n{SMALL[name]}"
    place = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(book, timeout=600, kernel_name="python3", resources=place).execute()
    kinds = [kind for cell in code(book.cells) for output in cell.outputs for kind in output.get("data", ())]
    assert "image/png" in kinds


@pytest.mark.parametrize("name", SMALL)
def test_a_notebook_shows_its_results_and_nothing_of_the_machine(name: str) -> None:
    path = FOLDER / f"{name}.ipynb"
    nbformat.validate(notebook(name))
    assert path.stat().st_size < LARGEST
    assert [cell.source for cell in code(notebook(name).cells) if cell.execution_count is None] == []
    assert {output.output_type for output in outputs(name)} == {"stream", "display_data"}
    assert {output.name for output in outputs(name) if output.output_type == "stream"} == {"stdout"}
    text = path.read_text()
    assert [word for word in ("/home/", "/tmp/", "/root/", "/work/") if word in text] == []


def test_the_site_shows_them() -> None:
    hooks = script("hooks.py")
    page = hooks.on_page_markdown((paths.ROOT / "docs" / "notebooks.md").read_text(), page=None)
    for name in SMALL:
        title = notebook(name).cells[0].source.splitlines()[0]
        assert f"\n#{title}\n" in page
    assert page.count("data:image/png;base64,") == sum(
        output.output_type == "display_data" for n in SMALL for output in outputs(n)
    )
    assert "](../docs/" not in page
    assert "](methods/cascades.md)" in page


def test_the_family_is_the_demo_of_the_results() -> None:
    figures = json.loads((paths.ROOT / "docs" / "results" / "runs" / "demo.json").read_text())["figures"]
    printed = "".join(output.text for output in outputs("family") if output.output_type == "stream")
    scores = dict(re.findall(r"^(\S+) +(?:shipped|dominated) +([\d.]+)%", printed, re.M))
    known = {name: figures.get(f"{name} score", figures.get(f"{name}@1 score")) for name in scores}
    assert len(scores) > 4
    assert {name: float(score) for name, score in scores.items()} == known
