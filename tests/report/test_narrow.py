"""Tables fit a hundred columns, whatever they hold, and every row keeps its name."""

from __future__ import annotations

import pytest
from rich.console import Console

from restnet_tf.report import narrow
from restnet_tf.report.narrow import TableColumn


def lines(columns: list[TableColumn]) -> list[str]:
    with (console := Console(width=300)).capture() as captured:
        console.print(narrow.drawn("title", columns))
    return [line.rstrip() for line in captured.get().splitlines()]


@pytest.mark.parametrize("figures", [1, 5, 8, 9, 10, 30])
def test_every_cell_is_shown_in_a_hundred_columns(figures: int) -> None:
    names = TableColumn("point", ("small>large>larger", "large"), words=True, key=True)
    columns = [TableColumn(f"figure {n} KB", (f"{n}.123456", f"{n}.7"), gloss=f"f{n}: so") for n in range(figures)]
    drawn = lines([names, *columns])
    assert max(map(len, drawn)) <= narrow.COLUMNS
    assert drawn[0] == "title"
    rows = [line for line in drawn if line.startswith("│") and "large" in line]
    tables = sum(line.startswith("└") for line in drawn)
    assert len(rows) == 2 * tables
    assert (tables > 1) == (figures > 8)
    cells = {cell.strip() for row in rows for cell in row.split("│")}
    assert {f"{n}.123456" for n in range(figures)} <= cells
    assert not [line for line in drawn if "…" in line]


def test_what_heads_mean_stands_below() -> None:
    columns = [
        TableColumn("first", ("1",), gloss="first: 1"),
        TableColumn("b", ("2",)),
        TableColumn("c", ("3",), gloss="c: three"),
    ]
    assert lines(columns)[-2:] == ["first: 1", "c: three"]
