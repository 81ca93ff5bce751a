"""On a terminal the demo draws the packets' path, and gives the terminal back whatever happens."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import signal
import struct
import sys
import termios
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import pytest

from rtcrelay.client.demo.story import STEPS

from .waiting import until

HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


@dataclass(slots=True)
class TerminalDemo:
    """A demo on a pseudo-terminal, and all it has written."""

    process: asyncio.subprocess.Process
    written: bytearray = field(default_factory=bytearray)
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def text(self) -> str:
        return self.written.decode(errors="replace")

    async def until_written(self, words: str) -> None:
        async def read() -> bool:
            return words in re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", self.text)

        await until(read, bool, f"{words!r} on the terminal")

    async def end(self) -> int:
        status = await self.process.wait()
        await self.closed.wait()  # what it wrote last may still be in the terminal
        return status


@asynccontextmanager
async def demo_on_terminal(
    directory: Path, *arguments: str, columns: int = 80, environment: Mapping[str, str] = MappingProxyType({})
) -> AsyncIterator[TerminalDemo]:
    """Runs `rtcrelay demo` on a terminal of a size; ended with the block."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    inherited = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "rtcrelay", "demo", *arguments),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=inherited
        | {"TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8", "TMPDIR": str(directory)}
        | dict(environment),
        # A shell's background job ignores Ctrl-C, and so would what the tests start from it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    os.close(theirs)
    demo = TerminalDemo(process)
    loop = asyncio.get_running_loop()

    def read() -> None:
        try:
            demo.written.extend(os.read(ours, 65536))
        except OSError:  # the last process with the terminal has ended
            loop.remove_reader(ours)
            demo.closed.set()

    loop.add_reader(ours, read)
    try:
        yield demo
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        loop.remove_reader(ours)
        os.close(ours)


def screen_of(text: str) -> list[str]:
    """What a terminal without end shows of it: only the sequences that the demo uses."""
    rows, row, column = [""], 0, 0
    for token in re.findall(r"\x1b\[[\d;?]*[a-zA-Z]|\r|\n|[^\x1b\r\n]+", text):
        if token == "\r":
            column = 0
        elif token == "\n":
            row += 1
            rows.extend([""] * (row + 1 - len(rows)))
        elif token.startswith("\x1b"):
            number, what = re.fullmatch(r"\x1b\[\??([\d;]*)(.)", token).groups()  # type: ignore[union-attr]  # matched above
            if what == "A":
                row -= int(number)
            elif what in "KJ":
                rows[row] = rows[row][:column]
                if what == "J":
                    del rows[row + 1 :]
            else:
                assert what in "mhl", token
        else:
            rows[row] = rows[row].ljust(column)[:column] + token + rows[row][column + len(token) :]
            column += len(token)
    return rows


async def test_the_picture_shows_the_path_and_the_crash_and_leaves_the_table(tmp_path: Path) -> None:
    async with demo_on_terminal(tmp_path, "--seconds", "2") as demo:
        assert await demo.end() == 0
    seen = re.sub(r"\x1b\[[\d;]*m", "", demo.text)
    for words in ("ONE PUBLIC ADDRESS", "▶", "opens to cluster 1", "relay: DEAD", "·x·", "kill -9 ┘", "was dead"):
        assert words in seen, words
    assert re.search(r"paths learned +2", seen)
    assert re.search(r"announces +[1-9]", seen)
    left = screen_of(demo.text)
    assert left[-1] == ""
    assert re.fullmatch(rf"All {len(STEPS)} steps passed in [\d.]+ s\.", left[-2])
    assert sum(line.startswith(("relay ready", "gap that was heard", "hung up")) for line in left) == 4
    assert "┌" not in "".join(left)
    assert max(map(len, left)) <= 80
    assert demo.text.rindex(SHOW) > demo.text.rindex(HIDE)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_whatever_ends_it_the_terminal_is_given_back(number: int, tmp_path: Path) -> None:
    async with demo_on_terminal(tmp_path, "--seconds", "60") as demo:
        await demo.until_written("opens to cluster 1")
        demo.process.send_signal(number)
        assert await demo.end() == 130
    assert demo.text.rindex(SHOW) > demo.text.rindex(HIDE)
    assert demo.text.rindex("\x1b[?7h") > demo.text.rindex("\x1b[?7l")
    assert "┌" not in "".join(screen_of(demo.text))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "environment", "columns"),
    [
        ((), {"NO_COLOR": "1"}, 80),
        ((), {"TERM": "dumb"}, 80),
        ((), {}, 60),
        (("--color", "never"), {}, 80),
    ],
    ids=["NO_COLOR", "TERM=dumb", "60 columns", "--color never"],
)
async def test_where_a_picture_is_not_wanted_the_lines_are_as_ever(
    arguments: tuple[str, ...], environment: dict[str, str], columns: int, tmp_path: Path
) -> None:
    async with demo_on_terminal(
        tmp_path, "--seconds", "2", *arguments, columns=columns, environment=environment
    ) as demo:
        assert await demo.end() == 0
    assert "┌" not in demo.text
    assert HIDE not in demo.text
    assert re.search(r"All \d+ steps passed", demo.text)
    if environment.get("TERM") == "dumb":
        assert "\x1b" not in demo.text
