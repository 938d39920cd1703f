"""Text of other languages from templates, with an escape for each language.

Jinja with undefined names refused. There is no autoescape: it knows HTML alone; what comes from a user stands behind
``kotlin`` or ``shell``, which make a literal of it.
"""

from __future__ import annotations

import shlex
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

# Beside the printable, these would end a string, begin an escape or (two question marks) a trigraph.
_ESCAPED = '"\\?'

if TYPE_CHECKING:
    import jinja2


def text(template: str, **values: Any) -> str:
    """A template filled in; lines that hold a ``{% %}`` alone leave no line behind."""
    return _environment().from_string(template).render(values)


def kotlin(value: str) -> str:
    """A Kotlin string literal: a dollar sign would begin a template."""
    plain = (f"\\u{ord(c):04x}" if ord(c) < 32 else f"\\{c}" if c in '"\\$' else c for c in value)
    return f'"{"".join(plain)}"'


def c_string(value: str) -> str:
    """A C or C++ string literal. Octal escapes end after three digits; hexadecimal ones would take in what follows."""
    plain = (chr(v) if 32 <= v < 127 and chr(v) not in _ESCAPED else f"\\{v:03o}" for v in value.encode())
    return f'"{"".join(plain)}"'


def float32(value: float) -> str:
    """A number as a Kotlin or C++ float, to its last bit."""
    return f"{float(np.float32(value))!r}f"


@cache
def _environment() -> jinja2.Environment:
    import jinja2

    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"kotlin": kotlin, "c_string": c_string, "float32": float32, "shell": shlex.quote}
    return environment
