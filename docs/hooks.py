"""What the site has beside the pages: the help of every command, as the command line prints it."""

from __future__ import annotations

from typing import Any

import click

MARK = "<!-- the help of every command: docs/hooks.py -->"
WIDTH = 76  # characters of a line


def on_page_markdown(markdown: str, **_: Any) -> str:
    """A page with the help in place of its mark; mkdocs calls this for each."""
    return markdown.replace(MARK, help_of_commands()) if MARK in markdown else markdown


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
