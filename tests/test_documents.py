"""What the documents show is true: their examples run, their tables name what there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import paths
import pytest

import restnet_tf

PYTHON = (paths.ROOT / "docs" / "python.md").read_text()


def examples(text: str) -> str:
    """The Python of a document as one program, every line where it stands in the document."""
    lines, inside = [], False
    for line in text.splitlines():
        fence = line.startswith("```")
        lines.append(line if inside and not fence else "")
        inside = line == "```python" if fence and not inside else inside and not fence
    return "\n".join(lines)


@pytest.mark.slow
def test_the_examples_of_the_python_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(examples(PYTHON), "docs/python.md", "exec"), names)
    printed = capsys.readouterr().out
    shown = re.findall(r"```text\n(.*?)```", PYTHON, re.S)
    assert len(shown) == 1
    assert all(output in printed for output in shown)
    for result, folder in (("family", "photos"), ("joined", "joined"), ("nets", "composed")):
        assert names[result].path == Path("runs") / folder
        assert (tmp_path / "runs" / folder / "points.json").is_file()


def test_the_python_page_shows_every_public_name() -> None:
    program, table = examples(PYTHON), re.findall(r"^\| \[`(\w+)`\]\(#([\w-]+)\)", PYTHON, re.M)
    assert sorted(name for name, _ in table) == sorted(restnet_tf.__all__)
    assert [name for name in restnet_tf.__all__ if f"restnet_tf.{name}(" not in program] == []
    headings = [line[3:].lower().replace(" ", "-") for line in PYTHON.splitlines() if line.startswith("## ")]
    assert {anchor for _, anchor in table} <= set(headings)
