"""What the commands that look at packets share: hex, files and captures as input, and the options for them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import typer

from rtcrelay import config, keys
from rtcrelay.cli.key_options import KEY_FILE_HELP
from rtcrelay.cli.options import Common
from rtcrelay.cli.render import note
from rtcrelay.config.options import KEY_FILE
from rtcrelay.config.sources import load_files, resolve
from rtcrelay.config.text import format_address
from rtcrelay.debug.captures import CaptureTally, Packet, open_input, read_packets
from rtcrelay.debug.hexdump import MAX_INPUT_BYTES, parse_hex, read_messages, unwrap
from rtcrelay.debug.stun_integrity import Passwords, read_passwords
from rtcrelay.errors import DataError, UsageError

if TYPE_CHECKING:
    from rtcrelay.keys import KeyFile

READ = typer.Option(
    "-r",
    "--read",
    metavar="FILE",
    help="Capture to read: pcap or pcapng, also with gzip; - is stdin. Ethernet (also VLAN), Linux cooked, raw IP and"
    " loopback; SPP headers are taken off.",
)
MESSAGES = typer.Argument(
    metavar="HEX|-|@FILE",
    help="Hex in any usual form, also dumps of tcpdump -x, xxd and hexdump -C; @FILE and - (stdin) hold hex or the"
    " bytes themselves.",
)
OPTIONAL_KEY_FILE = typer.Option(
    "--key-file", metavar="FILE", help=KEY_FILE_HELP.replace("Key ring", "To decode ufrags: the key ring")
)
PASSWORD_FILE = typer.Option(
    "--password-file",
    metavar="FILE",
    help="To check integrity: lines with PASSWORD, or UFRAG PASSWORD (whose it is). - is stdin.",
)

_HEADER_DIGITS = 40
_MAX_SECRET_BYTES = 4096


def messages(words: Sequence[str] | None) -> Iterator[bytes]:
    """The messages of arguments: each HEX one, any number in stdin and files. Without any, stdin is read.

    Hex that the shell has split at its spaces is put together again. Raises DataError.
    """
    if not words and sys.stdin.isatty():
        raise UsageError("expected a message in hex, @FILE or - (stdin)", hint="-r FILE reads a capture")
    split: list[str] = []
    for word in words or ("-",):
        if word != "-" and not word.startswith("@"):
            # Shorter than any message: a group of digits, of which more follow.
            split.append(word)
            if len(word) >= _HEADER_DIGITS and len(split) == 1:
                yield unwrap(parse_hex(split.pop()))
            continue
        if split:
            yield unwrap(parse_hex(" ".join(split)))
            split = []
        with open_input(word.removeprefix("@") if word != "-" else "-") as stream:
            for message in read_messages(stream.read(MAX_INPUT_BYTES + 1)):
                yield unwrap(message)
    if split:
        yield unwrap(parse_hex(" ".join(split)))


def capture(name: str, tally: CaptureTally, *, fill: bool = False) -> Iterator[Packet]:
    """The packets of the capture that -r names; ``fill`` as in `read_packets`."""
    with open_input(name) as stream:
        _refuse_terminal(name, stream)
        yield from read_packets(stream, tally, fill=fill)


def first_line(name: str) -> str:
    """The first line of a file or of stdin: a secret that must not stand among the arguments. Raises DataError."""
    with open_input(name) as stream:
        line = stream.readline(_MAX_SECRET_BYTES + 1).rstrip(b"\r\n")
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: the first line is not UTF-8 text") from error
    if not text or len(line) > _MAX_SECRET_BYTES or not text.isprintable():
        what = "is empty" if not text else "is too long" if text.isprintable() else "is not printable text"
        raise DataError(f"{name}: the first line {what}, expected a secret of at most {_MAX_SECRET_BYTES} bytes")
    return text


def say_tally(tally: CaptureTally, options: Common) -> None:
    """Says on stderr what else the capture held."""
    for sentence in tally.sentences():
        note(sentence, options)


def refuse_both(words: Sequence[str] | None, read: str | None) -> None:
    """Raises UsageError if messages and a capture are named."""
    if words and read is not None:
        raise UsageError("messages as arguments and -r exclude each other")


def maybe_key_file(named: str | None, options: Common) -> KeyFile | None:
    """The key ring that is configured; None if none is. One that is configured and wrong raises ConfigError."""
    import os

    flags = {"key_file": named}
    value = resolve(None, KEY_FILE, flags, load_files(options.config, os.environ), os.environ)
    if value.parsed is None and not os.environ.get("CREDENTIALS_DIRECTORY"):
        return None
    return keys.load_key_file(config.find_key_file(flags, options.config))


def passwords_of(name: str | None, key_file: KeyFile | None) -> Passwords:
    """What integrity is checked with: the password file, and the key ring for probes."""
    found = Passwords()
    if name is not None:
        with open_input(name) as stream:
            found = read_passwords(stream.read(MAX_INPUT_BYTES), "stdin" if name == "-" else name)
    found.probes = key_file
    return found


def packet_fields(packet: Packet | None) -> dict[str, Any]:
    """Where a packet stood in its capture, as JSON has it; nothing for a message that came without one."""
    if packet is None:
        return {"frame": None, "time": None, "source": None, "destination": None}
    return {
        "frame": packet.frame,
        "time": format_time_ns(packet.time_ns),
        "source": format_address(packet.source),
        "destination": format_address(packet.destination),
    }


def format_time_ns(time_ns: int) -> str | None:
    """RFC 3339 in UTC with nanoseconds; None for a time that no clock shows, or that was never written."""
    if time_ns < 1_000_000_000:
        return None
    seconds, fraction = divmod(time_ns, 1_000_000_000)
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{fraction:09d}Z"
    except (ValueError, OverflowError, OSError):
        return None


@contextmanager
def output_file(name: str) -> Iterator[IO[bytes]]:
    """A file to write bytes to, or stdout for ``-``."""
    if name == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    else:
        with Path(name).open("wb") as stream:
            yield stream


def _refuse_terminal(name: str, stream: IO[bytes]) -> None:
    if name == "-" and stream.isatty():
        raise UsageError("-r - reads a capture from stdin, which is a terminal", hint="tcpdump -w - | rtcrelay …")
