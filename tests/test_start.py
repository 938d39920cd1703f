"""The page for beginners works to its end: every command as printed, in a fresh folder, with a reader's own models."""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path

import paths
import pytest
import reader
from console import ask
from test_documents import examples

PAGE = (paths.ROOT / "docs" / "start.md").read_text()
# What sets up the machine; ``make release`` does it in an environment of its own.
SET_UP = ("make demo", ". .venv/bin/activate")


@dataclass(frozen=True)
class Typed:
    """A command of the page, and the lines that the page shows of what it prints."""

    command: str
    shown: tuple[str, ...]


def typed(text: str) -> list[Typed]:
    """The commands of all indented blocks of a page, in order; ``$`` marks them where their output is shown too."""
    commands: list[tuple[str, list[str]]] = []
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    for block in re.findall(r"(?:^    .*\n)+", prose, re.M):
        lines = [line[4:] for line in block.splitlines()]
        marked = lines[0].startswith("$ ")
        for line in lines:
            if not marked or line.startswith("$ "):
                commands.append((line.removeprefix("$ "), []))
            else:
                commands[-1][1].append(line.strip())
    return [Typed(command, tuple(shown)) for command, shown in commands]


def fixed(line: str) -> str:
    """A line without what the models decide: its numbers."""
    return re.sub(r"\d+(\.\d+)?", "N", line.removesuffix("...")).strip()


def missing(shown: tuple[str, ...], printed: str) -> list[str]:
    """Lines of the page that nothing printed is like. Those that tell a result in words begin with its name."""
    lines = [fixed(line) for line in printed.splitlines()]
    results = ("small>large with", "and 107 %", "accuracy", "N %")
    return [
        line
        for line in map(fixed, shown)
        if line and not line.startswith(results) and not any(line in other for other in lines)
    ]


def test_commands_are_found_with_what_is_shown_of_them() -> None:
    page = "    a --b\n    c\n\ntext\n\n    $ d 1\n    ...\n    wrote 12 files\n    $ e\n\n```python\n    no = 1\n```\n"
    assert typed(page) == [Typed("a --b", ()), Typed("c", ()), Typed("d 1", ("...", "wrote 12 files")), Typed("e", ())]
    assert missing(("...", "wrote 12 files", "sent 3"), "wrote 7 files\n") == ["sent N"]


def test_the_demo_is_what_the_page_says() -> None:
    """It runs a build without options, which leaves its files in runs/demo."""
    planned = subprocess.run(
        ["make", "--no-print-directory", "-n", "demo"], cwd=paths.ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert planned.splitlines()[-1] == ".venv/bin/restnet-tf build"
    assert [one.command for one in typed(PAGE)[:2]] == list(SET_UP)


@pytest.mark.slow
def test_every_command_runs_as_printed_to_a_cascade_of_the_readers_own_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The demo's two files are stood in for by others of its digits, which take seconds."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    reader.belongings(tmp_path)
    reader.digits(tmp_path / "runs" / "demo" / "tflite")
    commands = [one for one in typed(PAGE) if one.command not in SET_UP]
    names = [shlex.split(one.command)[1] for one in commands]
    assert names == ["cascade", "select", "doctor", "cascade", "select", "build", "report"]
    for one in commands:
        program, *words = shlex.split(one.command)
        assert program == "restnet-tf"
        answer = ask(*words)
        assert answer.code == 0, (one.command, answer.err)
        assert missing(one.shown, answer.out) == [], one.command
    exec(compile(examples(PAGE), "docs/start.md", "exec"), {})
    assert (tmp_path / "runs/small-large-photos/tflite/small-then-large.float32.tflite").is_file()
    assert (tmp_path / "runs/large-small-photos/report.html").is_file()


def test_every_extra_is_on_the_page() -> None:
    extras = tomllib.loads((paths.ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    rows = re.findall(r"^\| (`[\w`, ]+`) \|", PAGE, re.M)
    assert {name for row in rows for name in re.findall(r"\w+", row)} == set(extras) - {"dev", "release"}
