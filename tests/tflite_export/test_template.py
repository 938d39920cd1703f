"""Text from templates: what stands in it as a literal stays one, whatever it holds."""

from __future__ import annotations

import subprocess

import jinja2
import pytest

from tflite_export import template

NASTY = 'it\'s $HOME; "a" `b` \\ \n${x} {{ y }}'


def test_a_shell_takes_an_argument_as_it_was() -> None:
    command = template.text("printf %s {{ name | shell }}", name=NASTY)
    assert subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout == NASTY


def test_a_kotlin_string_holds_no_template_and_ends_where_it_should() -> None:
    literal = template.text("{{ name | kotlin }}", name=NASTY)
    assert literal == r'"it' r"'s \$HOME; \"a\" `b` \\ \u000a\${x} {{ y }}" '"'
    assert template.kotlin("é\t") == '"é\\u0009"'


def test_a_name_that_is_not_given_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError, match="'name' is undefined"):
        template.text("{{ name }}")


def test_lines_of_blocks_leave_none_behind() -> None:
    assert template.text("a\n{% for x in xs %}\n{{ x }}\n{% endfor %}\nb\n", xs=[1, 2]) == "a\n1\n2\nb\n"
