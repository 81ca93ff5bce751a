"""``rtcrelay stun encode``: write a STUN message."""

from __future__ import annotations

import secrets
import sys
import time
from typing import Annotated

import typer

from rtcrelay.cli.options import Common, parsed, whole
from rtcrelay.cli.packets import first_line, output_file
from rtcrelay.config.text import address, one_of
from rtcrelay.debug.capture_writer import CaptureWriter
from rtcrelay.debug.hexdump import parse_hex
from rtcrelay.debug.stun_writing import KINDS, MessagePlan, write_planned
from rtcrelay.errors import DataError, UsageError

EXAMPLES = """
    rtcrelay stun encode --username "$(rtcrelay ufrag encode --node 17):F7gI" --use-candidate
    rtcrelay stun encode success --mapped 198.51.100.7:51234 | rtcrelay stun decode
    rtcrelay stun encode | rtcrelay explain --from 198.51.100.7:51234 --key-file keys.toml
    rtcrelay stun encode -w request.pcap && tshark -r request.pcap -V"""
"""For the end of the command's help."""

_KIND = typer.Argument(metavar="CLASS", help=f"Class of the binding message: {', '.join(KINDS)}. [default: request]")
_FORM = typer.Option(
    "-f", "--format", metavar="hex|binary", help="How the message is printed. [default: hex; -w writes captures]"
)
_WRITE = typer.Option("-w", "--write", metavar="FILE", help="Write a capture: pcap if FILE ends so, else pcapng.")
_FROM = typer.Option("--from", metavar="ADDR", help="Source in the capture. [default: 192.0.2.1:50000]")
_TO = typer.Option("--to", metavar="ADDR", help="Destination in the capture. [default: 192.0.2.2:3478]")


def encode(
    common: Common,
    kind: Annotated[str, _KIND] = "request",
    username: Annotated[
        str | None, typer.Option("--username", metavar="TEXT", help="USERNAME, in ICE RECEIVER:SENDER.")
    ] = None,
    password_file: Annotated[
        str | None,
        typer.Option("--password-file", metavar="FILE", help="First line: the password to sign with. - is stdin."),
    ] = None,
    priority: Annotated[str | None, typer.Option("--priority", metavar="N", help="PRIORITY, 1 to 2147483647.")] = None,
    role: Annotated[
        str | None,
        typer.Option("--role", metavar="controlling|controlled", help="ICE role, with a random tie-breaker."),
    ] = None,
    tie_breaker: Annotated[
        str | None, typer.Option("--tie-breaker", metavar="HEX", help="8 bytes for --role. [default: random]")
    ] = None,
    use_candidate: Annotated[bool, typer.Option("--use-candidate", help="Add USE-CANDIDATE.")] = False,
    software: Annotated[str | None, typer.Option("--software", metavar="TEXT", help="SOFTWARE.")] = None,
    mapped: Annotated[str | None, typer.Option("--mapped", metavar="ADDR", help="XOR-MAPPED-ADDRESS, IP:PORT.")] = None,
    error: Annotated[
        str | None, typer.Option("--error", metavar="CODE[:REASON]", help="ERROR-CODE, 300 to 699.")
    ] = None,
    attribute: Annotated[
        list[str] | None,
        typer.Option("--attribute", metavar="TYPE=HEX", help="Any attribute, for example 0xc057=00010005; repeatable."),
    ] = None,
    transaction: Annotated[
        str | None, typer.Option("--transaction", metavar="HEX", help="Transaction id, 12 bytes. [default: random]")
    ] = None,
    no_fingerprint: Annotated[bool, typer.Option("--no-fingerprint", help="Leave FINGERPRINT out.")] = False,
    form: Annotated[str, _FORM] = "hex",
    write: Annotated[str | None, _WRITE] = None,
    source: Annotated[str, _FROM] = "192.0.2.1:50000",
    destination: Annotated[str, _TO] = "192.0.2.2:3478",
) -> None:
    """Write a STUN binding message: as hex, as bytes, or as a capture.

    MESSAGE-INTEGRITY comes with a password, FINGERPRINT always unless it is unwanted.
    """
    if tie_breaker is not None and role is None:
        raise UsageError("--tie-breaker needs --role")
    plan = MessagePlan(
        kind=parsed("CLASS", kind, one_of(*KINDS)),
        transaction=secrets.token_bytes(12) if transaction is None else _bytes("--transaction", transaction, 12),
        username=username,
        password=None if password_file is None else first_line(password_file),
        priority=None if priority is None else whole("--priority", priority, 1, 2**31 - 1),
        role=None if role is None else parsed("--role", role, one_of("controlling", "controlled")),  # type: ignore[arg-type]  # one of the two
        tie_breaker=secrets.token_bytes(8) if tie_breaker is None else _bytes("--tie-breaker", tie_breaker, 8),
        use_candidate=use_candidate,
        software=software,
        mapped=None if mapped is None else parsed("--mapped", mapped, address()),
        error=None if error is None else _error(error),
        others=tuple(_attribute(word) for word in attribute or ()),
        fingerprint=not no_fingerprint,
    )
    message = write_planned(plan)
    if write is not None:
        with output_file(write) as stream:
            writer = CaptureWriter(stream, "pcap" if write.endswith(".pcap") else "pcapng")
            _write_packet(writer, source, destination, message)
    elif parsed("-f", form, one_of("hex", "binary")) == "binary":
        sys.stdout.buffer.write(message)
        sys.stdout.buffer.flush()
    else:
        print(message.hex())


def _write_packet(writer: CaptureWriter, source: str, destination: str, message: bytes) -> None:
    where = parsed("--from", source, address()), parsed("--to", destination, address())
    try:
        writer.write(time.time_ns(), *where, message)
    except ValueError as error:
        raise UsageError(f"--from and --to: {error}") from error


def _bytes(option: str, text: str, size: int) -> bytes:
    try:
        data = parse_hex(text)
    except DataError as error:
        raise UsageError(f"{option}: {error}") from error
    if len(data) != size:
        raise UsageError(f"{option}: {text!r} has {len(data)} bytes, expected {size}")
    return data


def _error(text: str) -> tuple[int, str]:
    code, _, reason = text.partition(":")
    if len(reason) > 127:
        raise UsageError(f"--error: the reason has {len(reason)} characters, expected at most 127")
    return whole("--error", code, 300, 699), reason


def _attribute(text: str) -> tuple[int, bytes]:
    number, equals, value = text.partition("=")
    try:
        kind = int(number, 0)
    except ValueError:
        kind = -1
    if not equals or not 0 <= kind <= 0xFFFF:
        raise UsageError(f"--attribute: {text!r} is not TYPE=HEX, expected for example 0xc057=00010005")
    try:
        return kind, parse_hex(value) if value else b""
    except DataError as error:
        raise UsageError(f"--attribute: {error}") from error
