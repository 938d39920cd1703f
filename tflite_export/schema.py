"""Records as JSON and back, by their types: what does not fit is named by its path in the file.

Strict: nothing is converted (a whole number stands for a float as it is), a field that no record has is refused, and
one without a default must be there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin

if TYPE_CHECKING:
    from cattrs import Converter

T = TypeVar("T")


class SchemaError(ValueError):
    """A value does not fit its record; the message is the path to it with what was expected and found there."""


class Schema:
    """How records of one package are read and written; cattrs is imported when it is first needed."""

    def __init__(self, adapt: Callable[[Converter], None] = lambda converter: None) -> None:
        """``adapt`` adds what single records need beside their types."""
        self._adapt = adapt

    def load(self, kind: type[T], path: Path) -> T:
        """A record from a JSON file; raises ``OSError``, ``ValueError`` and, as one of these, ``SchemaError``."""
        return self.read(kind, json.loads(path.read_text(encoding="utf-8")))

    def read(self, kind: type[T], content: Any, at: str = "") -> T:
        """A record of plain JSON values; raises ``SchemaError``. ``at`` is where the content stands in its file."""
        from cattrs.errors import BaseValidationError

        try:
            return self._converter.structure(content, kind)
        except (BaseValidationError, ValueError) as error:
            where, what = _first(error, at)
            raise SchemaError(f"{where}: {what}" if where else what) from None

    def plain(self, record: Any) -> Any:
        """A record, or a container of records, as JSON values."""
        return self._converter.unstructure(record)

    def text(self, record: Any) -> bytes:
        """A record as a file that a person can read."""
        return (json.dumps(self.plain(record), indent=1) + "\n").encode()

    @cached_property
    def _converter(self) -> Converter:
        from cattrs import Converter

        converter = Converter(forbid_extra_keys=True)
        _strict(converter)
        self._adapt(converter)
        return converter


def checked(expected: str, types: type | tuple[type, ...], value: Any) -> Any:
    """The value, if it is of these types; a boolean is no number. Raises ``SchemaError``."""
    if not isinstance(value, types) or (isinstance(value, bool) and types is not bool):
        raise SchemaError(f"expected {expected}, found {_short(value)}")
    return value


def record_hook(converter: Converter, kind: type, **overrides: Any) -> Callable[[Any, Any], Any]:
    """What reads a dataclass; ``overrides`` are those of ``cattrs.gen``, by field."""
    from cattrs.gen import make_dict_structure_fn

    fill: Callable[[Any, Any], Any] = make_dict_structure_fn(kind, converter, **overrides)
    return lambda value, _: fill(checked("an object", Mapping, value), kind)


def _strict(converter: Converter) -> None:
    """Let nothing through that is of another type, as a number in words or a string for a list of letters."""
    converter.register_structure_hook(str, lambda value, _: checked("str", str, value))
    converter.register_structure_hook(int, lambda value, _: checked("int", int, value))
    converter.register_structure_hook(bool, lambda value, _: checked("bool", bool, value))
    converter.register_structure_hook(float, lambda value, _: checked("float", (int, float), value))
    converter.register_structure_hook_factory(is_dataclass, lambda kind: record_hook(converter, kind))
    converter.register_structure_hook_factory(_is(Mapping, dict), lambda kind: _mapping_hook(converter, kind))
    converter.register_structure_hook_factory(_is(tuple), lambda kind: _tuple_hook(converter, kind))


def _is(*origins: Any) -> Callable[[Any], bool]:
    return lambda kind: get_origin(kind) in origins


def _mapping_hook(converter: Converter, kind: Any) -> Callable[[Any, Any], Any]:
    from cattrs.cols import mapping_structure_factory

    fill: Callable[[Any, Any], Any] = mapping_structure_factory(kind, converter, dict)
    return lambda value, _: fill(checked("an object", Mapping, value), kind)


def _tuple_hook(converter: Converter, kind: Any) -> Callable[[Any, Any], Any]:
    types = get_args(kind)
    endless = types[-1] is Ellipsis

    def fill(value: Any, _: Any) -> tuple[Any, ...]:
        values = checked("a list", (list, tuple), value)
        if not endless and len(values) != len(types):
            raise SchemaError(f"expected {len(types)} values, found {_short(values)}")
        return tuple(_item(converter, types[0 if endless else at], one, at) for at, one in enumerate(values))

    return fill


def _item(converter: Converter, kind: Any, value: Any, at: int) -> Any:
    from cattrs.errors import IterableValidationError, IterableValidationNote

    try:
        return converter.structure(value, kind)
    except Exception as error:  # whatever it is, with where it was raised
        error.add_note(IterableValidationNote("", at, kind))
        raise IterableValidationError("", [error], kind) from None


def _first(error: BaseException, at: str) -> tuple[str, str]:
    """The path to the first value that does not fit, and what is wrong with it."""
    from cattrs.errors import BaseValidationError, ForbiddenExtraKeysError

    while isinstance(error, BaseValidationError):
        error = error.exceptions[0]
        at += _step(error, bare=not at)
    if isinstance(error, ForbiddenExtraKeysError):
        return at, f"a field {min(error.extra_fields)!r} that nothing knows"
    return at, "missing" if isinstance(error, KeyError) else str(error)


def _step(error: BaseException, *, bare: bool) -> str:
    """The last step of the path to an error: ``.field`` or ``[index]``; without the dot at the beginning of a path."""
    from cattrs.errors import AttributeValidationNote, IterableValidationNote

    for note in getattr(error, "__notes__", ()):
        if isinstance(note, AttributeValidationNote):
            return note.name if bare else f".{note.name}"
        if isinstance(note, IterableValidationNote):
            return f"[{note.index!r}]"
    return ""


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
