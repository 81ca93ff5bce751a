"""Rows for people and programs: a table on a terminal, padded columns in a pipe, JSON on request.

The one module that imports rich, and only for a table: below it, a row costs 0.5 ms, and its cells are cut when
piped. Text from the wire never passes as markup.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rtcrelay.cli.options import Listing
from rtcrelay.errors import UsageError

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """A column that people see."""

    field: str
    """The key in a row."""
    title: str
    """Its header, in capitals."""
    right: bool = False
    """Whether values stand at the right edge, as numbers do."""
    unbroken: bool = False
    """Whether a narrow table must not break its values over lines: they are there to be copied."""
    pick: Callable[[Row], Any] | None = None
    """Makes the value of a row, if that is not the field."""

    def cell(self, row: Row) -> str:
        """A row's value as one line of printable text: the wire's control characters must not reach a terminal."""
        value = self.pick(row) if self.pick else row.get(self.field)
        text = "-" if value is None else value if isinstance(value, str) else json.dumps(value)
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def show_rows(rows: Sequence[Row], columns: Sequence[Column], options: Listing) -> None:
    """Prints rows as the options say. JSON has every field of a row, the others have the columns."""
    rows = _select(rows, options)
    form = options.form or ("table" if sys.stdout.isatty() else "plain")
    if form == "jsonl":
        for row in rows:
            print(json.dumps(row))
    elif form == "json":
        print(json.dumps(rows, indent=2))
    elif form == "plain":
        _print_plain(rows, columns, headers=options.headers)
    else:
        _print_table(rows, columns, options)


def show_fields(row: Row, columns: Sequence[Column], options: Listing) -> None:
    """Prints one row as a list of fields and values; its JSON is the row."""
    form = options.form or ("table" if sys.stdout.isatty() else "plain")
    if form in ("json", "jsonl"):
        print(json.dumps(row, indent=2 if form == "json" else None))
        return
    pairs = [{"field": c.title.lower(), "value": c.cell(row)} for c in columns if c.cell(row) != "-"]
    shown = (Column("field", "FIELD"), Column("value", "VALUE"))
    if form == "plain":
        _print_plain(pairs, shown, headers=options.headers)
    else:
        _print_table(pairs, shown, options)


def note(message: str, options: Any) -> None:
    """Says something beside the output, on stderr, unless --quiet."""
    if options.verbosity >= 0:
        print(message, file=sys.stderr)


def _select(rows: Sequence[Row], options: Listing) -> Sequence[Row]:
    if options.sort_by and rows:
        field, backwards = options.sort_by.removeprefix("-"), options.sort_by.startswith("-")
        if field not in rows[0]:
            raise UsageError(f"--sort-by: no field {field!r}, expected one of {', '.join(rows[0])}")
        rows = sorted(rows, key=lambda row: _order(row.get(field)), reverse=backwards)
    if options.limit is not None and len(rows) > options.limit:
        note(f"{options.limit} of {len(rows)} rows shown", options)
        rows = rows[: options.limit]
    return rows


def _order(value: Any) -> tuple[int, Any]:
    """A key under which numbers come before text, and nothing before both."""
    if value is None:
        return (0, 0)
    return (1, value) if isinstance(value, int | float) else (2, str(value))


def _print_plain(rows: Iterable[Row], columns: Sequence[Column], *, headers: bool) -> None:
    lines = [[column.title for column in columns]] if headers else []
    lines += [[column.cell(row) for column in columns] for row in rows]
    widths = [max((len(line[i]) for line in lines), default=0) for i in range(len(columns))]
    for line in lines:
        cells = [
            cell.rjust(width) if column.right else cell.ljust(width)
            for cell, width, column in zip(line, widths, columns, strict=True)
        ]
        print("  ".join(cells).rstrip())


def _print_table(rows: Iterable[Row], columns: Sequence[Column], options: Listing) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    class _Console(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # rich would exit with 1

    table = Table(box=box.SIMPLE_HEAD, show_header=options.headers, header_style="bold", padding=0, pad_edge=False)
    for column in columns:
        # Folded, never cut: an address that ends in an ellipsis cannot be copied.
        table.add_column(
            column.title,
            justify="right" if column.right else "left",
            overflow="fold",
            no_wrap=column.unbroken,
            min_width=len(column.title),
        )
    for row in rows:
        table.add_row(*(Text(column.cell(row)) for column in columns))
    force = {"auto": None, "always": True, "never": None}[options.color]
    console = _Console(markup=False, highlight=False, emoji=False, force_terminal=force)
    console.no_color = options.color == "never" or console.no_color
    console.print(table)
