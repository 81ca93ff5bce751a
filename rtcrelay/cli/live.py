"""A part of the terminal that is drawn again and again, below lines that stay. Plain ANSI: no library, no mouse."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from typing import TextIO


def can_redraw(out: TextIO, environ: Mapping[str, str], *, width: int, height: int) -> bool:
    """Whether a terminal of at least this size takes pictures: not a pipe, not dumb, colours wanted, UTF-8."""
    if not out.isatty() or environ.get("TERM", "dumb") == "dumb" or environ.get("NO_COLOR"):
        return False
    if not (out.encoding or "").lower().replace("-", "").startswith("utf8"):
        return False
    size = shutil.get_terminal_size()
    return size.columns >= width and size.lines >= height


class Screen:
    """The part that is drawn again. Call `close` in any case: it gives the terminal back as it was."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._height = 0

    @property
    def width(self) -> int:
        """Columns of the terminal now."""
        return shutil.get_terminal_size().columns

    def show(self, lines: Sequence[str]) -> None:
        """Draws over what was shown before."""
        # No wrapping: after the window was made narrower, a long line would break the count of lines.
        text = "".join(f"{line}\x1b[K\r\n" for line in lines)
        self._write(f"\x1b[?25l\x1b[?7l{self._home()}{text}\x1b[J\x1b[?7h")
        self._height = len(lines)

    def say(self, line: str) -> None:
        """Prints a line that stays, above the picture; the next `show` draws that again."""
        self._write(f"{self._home()}\x1b[J{line}\r\n")
        self._height = 0

    def close(self) -> None:
        """Removes the picture and shows the cursor. Does nothing the second time."""
        self._write(f"{self._home()}\x1b[J\x1b[?7h\x1b[?25h")
        self._height = 0

    def _home(self) -> str:
        return f"\r\x1b[{self._height}A" if self._height else "\r"

    def _write(self, text: str) -> None:
        try:
            self._out.write(text)
            self._out.flush()
        except OSError:  # the terminal is gone: the demo ends by SIGHUP
            self._out = open(os.devnull, "w")  # noqa: SIM115  # for the rest of the process
