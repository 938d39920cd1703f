"""The documents hold together: links lead somewhere, commands and messages are those of the program."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import tomllib
from functools import cache
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import click
import paths
import pytest

import restnet_tf
from restnet_tf.cli.main import main

DOCS = paths.ROOT / "docs"
README = paths.ROOT / "README.md"
PAGES = (*sorted(paths.ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md")))
LINK = re.compile(r"\]\(([^)\s]+)\)")
# An item right behind a paragraph within the one before it: the site takes it for more of that paragraph.
SWALLOWED = re.compile(r"\n\n {2,4}\S[^\n]*(?:\n {2,4}\S[^\n]*)*\n(?:\d+\.|-) ")
LONGEST = 150  # lines of the README
# A command of a document with what follows it, over lines that end in a backslash, up to a comment.
TYPED = re.compile(r"restnet-tf ([a-z]+)((?:\\\n|[^\n`#])*)")


def prose(text: str) -> str:
    """A document without its programs and without what stands in code."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S))


def anchors(page: Path) -> set[str]:
    """What a heading of a page is called in a link."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
    heads = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


def broken(page: Path, text: str) -> list[str]:
    """Links of a page that lead to no file or to no heading."""
    wrong = []
    for link in LINK.findall(prose(text)):
        if re.match(r"\w+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            wrong.append(link)
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=[p.relative_to(paths.ROOT).as_posix() for p in PAGES])
def test_every_link_leads_somewhere(page: Path) -> None:
    assert broken(page, page.read_text()) == []


def test_a_link_that_leads_nowhere_is_found() -> None:
    text = "[a](nowhere.md) [b](faq.md#nothing) [c](#nothing) ![d](pictures/no.png) `[e](no.md)` [f](faq.md)"
    assert broken(DOCS / "start.md", text) == ["nowhere.md", "faq.md#nothing", "#nothing", "pictures/no.png"]


@pytest.mark.parametrize("page", PAGES, ids=[p.relative_to(paths.ROOT).as_posix() for p in PAGES])
def test_items_of_lists_stand_apart_from_paragraphs_before_them(page: Path) -> None:
    assert not SWALLOWED.search(prose(page.read_text()))


def test_an_item_that_is_swallowed_is_found() -> None:
    assert SWALLOWED.search("1. One:\n\n    more\n    of it.\n2. Two")
    assert not SWALLOWED.search("1. One:\n\n    more\n    of it.\n\n2. Two\n3. Three\n    of it\n4. Four")


def test_every_page_is_in_the_navigation() -> None:
    """By its name in the settings of the site; what is there is a page."""
    listed = set(re.findall(r"[\w/-]+\.md", (paths.ROOT / "mkdocs.yml").read_text()))
    assert listed == {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}


def test_the_readme_is_short_and_says_how_to_test() -> None:
    text = README.read_text()
    assert len(text.splitlines()) <= LONGEST
    assert re.search(r"^    make test  ", text, re.M)
    assert re.search(r"^    make demo  ", text, re.M)


def test_the_citation_is_of_this_version() -> None:
    version = tomllib.loads((paths.ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"\nversion: {version}\n" in (paths.ROOT / "CITATION.cff").read_text()


def test_the_page_of_commands_has_every_command() -> None:
    rows = re.findall(r"^\| `restnet-tf (\w+)", (DOCS / "commands.md").read_text(), re.M)
    assert set(rows) == set(main.commands)


def test_the_page_of_functions_has_every_public_one() -> None:
    listed = re.findall(r"^::: ([\w.]+)$", (DOCS / "api.md").read_text(), re.M)
    ours = {name for name in listed if name.startswith("restnet_tf.")}
    assert ours == {f"{getattr(restnet_tf, name).__module__}.{name}" for name in restnet_tf.__all__}
    for name in set(listed) - ours:
        assert hasattr(importlib.import_module(name.rpartition(".")[0]), name.rpartition(".")[2])


@pytest.mark.parametrize("page", PAGES, ids=[p.relative_to(paths.ROOT).as_posix() for p in PAGES])
def test_programs_of_a_page_are_python(page: Path) -> None:
    for program in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S):
        compile(program, page.name, "exec")


def unknown(text: str) -> set[tuple[str, str]]:
    """Commands of a document that there are not, and options that a command has not."""
    wrong = set()
    for name, rest in TYPED.findall(text):
        command = main.commands.get(name)
        if command is None:
            wrong.add((name, ""))
            continue
        declared = [p for p in command.params if isinstance(p, click.Option)]
        options = {option for p in declared for option in (*p.opts, *p.secondary_opts)} | {"--help"}
        wrong |= {(name, option) for option in re.findall(r"(--[a-z][\w-]*)", rest)} - {(name, o) for o in options}
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=[p.relative_to(paths.ROOT).as_posix() for p in PAGES])
def test_commands_and_options_are_those_of_the_program(page: Path) -> None:
    assert unknown(page.read_text()) == set()


def test_a_command_and_an_option_that_there_are_not_are_found() -> None:
    assert unknown("restnet-tf bild\nrestnet-tf build --lage A \\\n  --smal B --large C") == {
        ("bild", ""),
        ("build", "--lage"),
        ("build", "--smal"),
    }


def script(path: str) -> ModuleType:
    """A program that lies beside the pages."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, DOCS / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_drawings_are_what_their_script_draws() -> None:
    drawings = script("pictures/drawings.py").DRAWINGS
    assert {p.stem: p.read_text() for p in (DOCS / "pictures").glob("*.svg")} == drawings
    for text in drawings.values():
        ElementTree.fromstring(text)


def test_the_site_has_the_help_of_every_command() -> None:
    hooks = script("hooks.py")
    page = hooks.on_page_markdown((DOCS / "commands.md").read_text(), page=None)
    assert hooks.on_page_markdown("other") == "other"
    for name, command in main.commands.items():
        part = page.split(f"## restnet-tf {name}\n")[1].split("\n## ")[0]
        assert f"Usage: restnet-tf {name} " in part
        options = [p for p in command.params if isinstance(p, click.Option)]
        assert [o for p in options for o in p.opts if o not in part] == []
        told = "".join(part.split())
        texts = [command.help, *(p.help for p in options)]
        assert [text for text in texts if text and "".join(text.replace("\b", "").split()) not in told] == []


@cache
def spoken() -> str:
    """Every text that the packages hold, values left out, a line each."""
    lines = []
    for path in sorted(p for package in ("restnet_tf", "tflite_export") for p in (paths.ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr | ast.Constant):
                parts = node.values if isinstance(node, ast.JoinedStr) else [node]
                lines.append(
                    "…".join(p.value for p in parts if isinstance(p, ast.Constant) and isinstance(p.value, str))
                )
    return "\n".join(lines)


def messages() -> list[str]:
    of_clusters = (DOCS / "cluster.md").read_text().partition("## When something breaks")[2]
    return re.findall(r"^\| `([^`]+)` \|", (DOCS / "troubleshooting.md").read_text() + of_clusters, re.M)


@pytest.mark.parametrize("message", messages())
def test_messages_that_are_explained_are_said(message: str) -> None:
    """Their fixed words, between what each case puts in."""
    parts = [part.strip() for part in message.split("…") if part.strip()]
    assert parts
    assert [part for part in parts if part not in spoken()] == []


def test_many_messages_are_explained() -> None:
    assert len(messages()) > 30
