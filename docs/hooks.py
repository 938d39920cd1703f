"""What the site has beside the pages: the help of every command, as the command line prints it, and the notebooks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

MARK = "<!-- the help of every command: docs/hooks.py -->"
NOTEBOOKS = "<!-- the notebooks: docs/hooks.py -->"
FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
ORDER = ("family", "cascade", "surgery")
WIDTH = 76  # characters of a line


def on_page_markdown(markdown: str, **_: Any) -> str:
    """A page with the help, or the notebooks, in place of the mark; mkdocs calls this for each."""
    for mark, text in ((MARK, help_of_commands), (NOTEBOOKS, notebooks)):
        markdown = markdown.replace(mark, text()) if mark in markdown else markdown
    return markdown


def notebooks() -> str:
    """All notebooks as Markdown, their headings one level down, with what their cells gave."""
    return "\n\n".join(part for name in ORDER for part in _notebook(json.loads((FOLDER / f"{name}.ipynb").read_text())))


def _notebook(book: dict[str, Any]) -> Iterator[str]:
    for cell in book["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            lines = (f"#{line}" if line.startswith("#") else line for line in source.splitlines())
            yield "\n".join(lines).replace("](../docs/", "](")
        else:
            yield f"```python\n{source}\n```"
            yield from map(_output, cell["outputs"])


def _output(output: dict[str, Any]) -> str:
    if output["output_type"] == "stream":
        return "```text\n" + "".join(output["text"]).rstrip() + "\n```"
    picture = "".join(output["data"]["image/png"]).replace("\n", "")
    return f"![what the cell draws](data:image/png;base64,{picture})"


def help_of_commands() -> str:
    """A heading and the text of ``--help`` for each command, as Markdown."""
    from restnet_tf.cli.main import main

    return "\n".join(
        f"## restnet-tf {name}\n\n```text\n{_help(name, main.commands[name])}\n```\n" for name in main.commands
    )


def _help(name: str, command: click.Command) -> str:
    above = click.Context(click.Group("restnet-tf"), info_name="restnet-tf")
    context = click.Context(
        command,
        info_name=name,
        parent=above,
        terminal_width=WIDTH,
        max_content_width=WIDTH,
        help_option_names=["-h", "--help"],
    )
    return command.get_help(context)
