"""Text is UTF-8 whatever the locale: what is read and written, and what a terminal of ASCII is shown."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator

import paths

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
PACKAGES = ("restnet_tf", "tflite_export", "benchmarks")
MODES = set("rwaxbt+")
# A word of every call that is looked for, so that files without one need not be parsed.
OPENING = re.compile("open|read_text|write_text|text=|universal_newlines=")


def guessing(source: str) -> list[str]:
    """The calls of a program that read or write text in whatever encoding the locale says."""
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return [ast.unparse(call) for call in calls if "encoding" not in keywords(call) and takes_text(call)]


def keywords(call: ast.Call) -> set[str | None]:
    return {keyword.arg for keyword in call.keywords}


def takes_text(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name in ("read_text", "write_text"):
        return len(call.args) < (2 if name == "write_text" else 1)
    if keywords(call) & {"text", "universal_newlines"}:
        return name in ("run", "Popen", "check_output", "check_call")
    return name in ("open", "fdopen") and any("b" not in mode for mode in modes(call))


def modes(call: ast.Call) -> Iterator[str]:
    """The mode of a call that opens a file, as far as it is written there; ``r`` of the builtin without one."""
    words = [a.value for a in [*call.args, *(k.value for k in call.keywords)] if isinstance(a, ast.Constant)]
    spoken = [word for word in words if isinstance(word, str) and word and set(word) <= MODES]
    yield from spoken or (["r"] if isinstance(call.func, ast.Name) else [])


def test_calls_that_guess_are_found():
    assert guessing("a.read_text(); b.write_text(x); open(p); p.open('w'); run(c, text=True); os.fdopen(1, 'a')") != []
    assert len(guessing("a.read_text(); b.write_text(x); open(p); p.open('w'); run(c, text=True)")) == 5
    sure = "a.read_text(encoding='utf-8'); open(p, 'rb'); p.open('wb'); run(c, encoding='utf-8'); os.open(p, 1)"
    assert guessing(sure) == []


def test_no_text_is_read_or_written_in_the_encoding_of_the_locale():
    files = [path for name in PACKAGES for path in (paths.ROOT / name).rglob("*.py")]
    assert len(files) > 100
    sources = {str(p): p.read_text(encoding="utf-8") for p in files}
    found = {path: calls for path, source in sources.items() if OPENING.search(source) and (calls := guessing(source))}
    assert found == {}


def in_ascii(code: str, *words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", code, *words], env=os.environ | ASCII, capture_output=True, timeout=300
    )


def test_the_page_is_the_same_in_a_locale_of_ascii():
    """The style sheet and the script hold characters of UTF-8."""
    code = (
        "import locale, sys\n"
        "from restnet_tf.report import webpage\n"
        "assert locale.getpreferredencoding(False) != 'UTF-8', locale.getpreferredencoding(False)\n"
        "pages = [webpage._own(p.name) for p in sorted(webpage._PAGE.iterdir()) if p.is_file()]\n"
        "sys.stdout.buffer.write(''.join(pages).encode())\n"
    )
    run = in_ascii(code)
    assert run.returncode == 0, run.stderr
    page = paths.ROOT / "restnet_tf" / "report" / "page"
    whole = b"".join(p.read_bytes() for p in sorted(page.iterdir()) if p.is_file())
    assert run.stdout == whole
    assert not whole.isascii()


def test_a_terminal_of_ascii_is_shown_what_it_can_show():
    code = (
        "import click, sys\n"
        "from restnet_tf.cli import screen\n"
        "@click.group(cls=screen.Group)\n"
        "def main(): pass\n"
        "@main.command()\n"
        "def say():\n"
        "    click.echo('\\u2264 3 \\u2026 a')\n"
        "    screen.console().print('\\u2264 4 \\udcfc')\n"
        "main()\n"
    )
    run = in_ascii(code, "say")
    assert (run.returncode, run.stderr) == (0, b"")
    assert run.stdout.splitlines()[1] == b"? 4 ?"
    assert b" 3 " in run.stdout
