"""Tables for a terminal of a hundred columns: what has no room beside the rest stands below, with the names again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from textwrap import wrap
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

COLUMNS = 100
_LEAST = 5  # columns of a head that is folded
_ROOM = 2  # columns beside a cell, left and right


@dataclass(frozen=True)
class TableColumn:
    """A head of one or more lines and its cells; ``key`` columns name the rows. ``gloss`` says what the head means."""

    head: str
    cells: tuple[str, ...]
    words: bool = False
    key: bool = False
    gloss: str = ""

    @property
    def width(self) -> int:
        """Of its widest line."""
        return max(map(len, (*self.head.split("\n"), *self.cells)))


def drawn(
    title: str, columns: Sequence[TableColumn], styles: Sequence[str | None] = (), *, folds: bool = True
) -> Table | Group:
    """Columns as one table, or as several that are narrow enough, each with the key columns in front.

    Of the room beside cells, and of the width of heads where one ``folds`` them, as much is given up as it takes.
    """
    from rich.console import Group

    folded = [_folded(column) if folds else column for column in columns]
    for one, room in ((columns, _ROOM), (folded, _ROOM), (folded, 1), (folded, 0)):
        if _width(one, room) <= COLUMNS:
            return _table(title, one, styles, room)
    first, *others = _parts(folded)
    return Group(_table(title, first, styles), *(_table("", part, styles) for part in others))


def _parts(columns: Sequence[TableColumn]) -> Iterator[list[TableColumn]]:
    keys = [column for column in columns if column.key]
    part = list(keys)
    for column in columns:
        if column.key:
            continue
        if _width([*part, column]) > COLUMNS and len(part) > len(keys):
            yield part
            part = list(keys)
        part.append(column)
    yield part


def _width(columns: Iterable[TableColumn], room: int = _ROOM) -> int:
    return 1 + sum(column.width + room + 1 for column in columns)


def _folded(column: TableColumn) -> TableColumn:
    """Its head folded to what stands below it."""
    cells, longest = max(map(len, column.cells), default=0), max(map(len, column.head.split()), default=0)
    width = max(cells, longest, _LEAST)
    return replace(column, head="\n".join(part for line in column.head.split("\n") for part in wrap(line, width)))


def _table(title: str, columns: Sequence[TableColumn], styles: Sequence[str | None], room: int = _ROOM) -> Table:
    from rich.markup import escape
    from rich.table import Table

    beside = (0, room // 2, 0, room - room // 2)
    table = Table(title=escape(title) or None, title_justify="left", caption_justify="left", padding=beside)
    table.caption = escape("\n".join(column.gloss for column in columns if column.gloss)) or None
    for column in columns:
        side: Literal["left", "right"] = "left" if column.words else "right"
        table.add_column(escape(column.head), justify=side, no_wrap=True)
    for at, cells in enumerate(zip(*(column.cells for column in columns), strict=True)):
        table.add_row(*map(escape, cells), style=styles[at] if styles else None)
    return table
