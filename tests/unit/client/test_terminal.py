"""What is drawn again and again leaves no trace on the terminal, and is drawn only where that works."""

from __future__ import annotations

import io
from collections.abc import Mapping

import pytest

from rtcrelay.cli.live import Screen, can_redraw


class Terminal(io.StringIO):
    """A terminal that keeps what was written."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


GOOD = {"TERM": "xterm", "LANG": "C.UTF-8"}


@pytest.mark.parametrize(
    ("environ", "columns", "lines", "wanted"),
    [
        (GOOD, 80, 24, True),
        (GOOD, 79, 24, False),
        (GOOD, 60, 24, False),
        (GOOD, 80, 21, False),
        (GOOD | {"NO_COLOR": "1"}, 80, 24, False),
        (GOOD | {"NO_COLOR": ""}, 80, 24, True),
        (GOOD | {"TERM": "dumb"}, 80, 24, False),
        ({}, 80, 24, False),
    ],
)
def test_a_picture_needs_a_terminal_that_can_show_it(
    environ: Mapping[str, str], columns: int, lines: int, wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("LINES", str(lines))
    assert can_redraw(Terminal(), environ, width=80, height=22) is wanted


def test_a_pipe_or_another_alphabet_gets_no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    latin = Terminal()
    latin.encoding = "iso-8859-1"
    assert not can_redraw(io.StringIO(), GOOD, width=80, height=22)
    assert not can_redraw(latin, GOOD, width=80, height=22)


def test_a_second_picture_is_drawn_over_the_first() -> None:
    out = Terminal()
    screen = Screen(out)
    screen.show(["one", "two"])
    out.truncate(0)
    screen.show(["three", "four"])
    assert "\r\x1b[2Athree\x1b[K\r\nfour\x1b[K\r\n" in out.getvalue()


def test_a_line_that_stays_takes_the_pictures_place() -> None:
    out = Terminal()
    screen = Screen(out)
    screen.show(["one", "two"])
    screen.say("stays")
    assert out.getvalue().endswith("\r\x1b[2A\x1b[Jstays\r\n")


def test_closing_removes_the_picture_and_shows_the_cursor() -> None:
    out = Terminal()
    screen = Screen(out)
    screen.show(["one"])
    screen.close()
    assert out.getvalue().endswith("\r\x1b[1A\x1b[J\x1b[?7h\x1b[?25h")
    screen.close()
    assert out.getvalue().endswith("\r\x1b[J\x1b[?7h\x1b[?25h")  # nothing above is touched again
