"""Rows that come one by one and may be many: printed as they come, in constant memory.

`rtcrelay.cli.render` lays a table out when it has all rows; a capture of an hour does not fit into that.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from rtcrelay.cli.options import Listing
from rtcrelay.cli.render import Column, Row, note, show_rows

_LEAST_LAST = 36
"""Below so many characters, the last column goes to a line of its own."""
_INDENT = 4
_COLORS = {"good": "32", "bad": "31", "odd": "33", "dim": "2"}


@dataclass(frozen=True, slots=True)
class StreamColumn(Column):
    """A column whose width is known before its values are."""

    width: int = 0
    """At least so many characters; longer values push what follows to the right, and are never cut."""


def stream_rows(rows: Iterable[Row], columns: Sequence[StreamColumn], options: Listing) -> None:
    """Prints rows as they come, as the options say; a row's field ``tone`` (good, bad, odd, dim) colours its line.

    Sorting needs all rows at once.
    """
    if options.sort_by:
        show_rows([_without_tone(row) for row in rows], columns, options)
        return
    shown = _limited(rows, options)
    if options.form == "jsonl":
        for row in shown:
            print(json.dumps(_without_tone(row)), flush=True)
    elif options.form == "json":
        _print_array(shown)
    else:
        _print_lines(shown, columns, options)


def paint(text: str, tone: str | None, *, wanted: bool) -> str:
    """Text in the colour of a tone, if colours are wanted."""
    return f"\x1b[{_COLORS[tone]}m{text}\x1b[0m" if wanted and tone else text


def wants_color(choice: str) -> bool:
    """Whether stdout takes colours: --color first, then NO_COLOR, FORCE_COLOR, TERM and whether it is a terminal."""
    if choice != "auto":
        return choice == "always"
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (sys.stdout.isatty() and os.environ.get("TERM") != "dumb")


def _limited(rows: Iterable[Row], options: Listing) -> Iterator[Row]:
    """Rows up to the limit. The rest is read as well: what a command counts, it counts in the whole capture."""
    rows = iter(rows)
    yield from islice(rows, options.limit)
    rest = sum(1 for _ in rows)
    if rest:
        note(f"{options.limit} of {(options.limit or 0) + rest} rows shown", options)


def _print_array(rows: Iterable[Row]) -> None:
    """The same text as json.dumps of all rows, indented by two; also if reading fails in the middle."""
    count = 0
    try:
        for count, row in enumerate(rows, 1):
            print("[" if count == 1 else ",")
            print(textwrap.indent(json.dumps(_without_tone(row), indent=2), "  "), end="")
    finally:
        if count:
            print("\n]")
    if not count:
        print("[]")


def _print_lines(rows: Iterable[Row], columns: Sequence[StreamColumn], options: Listing) -> None:
    colored = wants_color(options.color) and options.form != "plain"
    fold = shutil.get_terminal_size().columns if sys.stdout.isatty() and options.form != "plain" else 0
    header = _line([column.title for column in columns], columns, fold) if options.headers else None
    for row in rows:
        # With the first row, not before: what cannot be read at all is an error and nothing else.
        if header is not None:
            print(paint(header, "dim", wanted=colored))
            header = None
        line = _line([column.cell(row) for column in columns], columns, fold)
        print(paint(line, row.get("tone"), wanted=colored), flush=True)
    if header is not None:
        print(paint(header, "dim", wanted=colored))


def _line(cells: Sequence[str], columns: Sequence[StreamColumn], fold: int) -> str:
    padded = [
        cell.rjust(column.width) if column.right else cell.ljust(column.width)
        for cell, column in zip(cells, columns, strict=True)
    ]
    head = "  ".join(padded[:-1])
    line = "  ".join(padded).rstrip()
    if not fold or len(line) <= fold:
        return line
    start = len(head) + 2
    if fold - start >= _LEAST_LAST:
        return f"{head}  " + f"\n{' ' * start}".join(_wrapped(cells[-1], fold - start))
    return "\n".join(_broken([*padded[:-1], *_wrapped(cells[-1], fold - _INDENT)], fold))


def _broken(cells: Sequence[str], fold: int) -> Iterator[str]:
    """Lines of a row that is wider than the terminal: broken between cells, the same way as its header."""
    line = ""
    for cell in cells:
        if line.strip() and len(line) + 2 + len(cell) > fold:
            yield line.rstrip()
            line = " " * (_INDENT - 2)
        line = f"{line}  {cell}" if line else cell
    yield line.rstrip()


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_on_hyphens=False) or [text]


def _without_tone(row: Row) -> Row:
    return {name: value for name, value in row.items() if name != "tone"}
