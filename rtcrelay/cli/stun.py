"""``rtcrelay stun``: read and write STUN messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

from rtcrelay.cli.app import new_group, report
from rtcrelay.cli.options import Listing, leaf
from rtcrelay.cli.packets import (
    MESSAGES,
    OPTIONAL_KEY_FILE,
    PASSWORD_FILE,
    READ,
    capture,
    maybe_key_file,
    messages,
    packet_fields,
    passwords_of,
    refuse_both,
    say_tally,
)
from rtcrelay.cli.render import Column, note, show_rows
from rtcrelay.cli.stream import StreamColumn, stream_rows
from rtcrelay.cli.stun_encode import EXAMPLES, encode
from rtcrelay.debug.captures import CaptureTally, Packet
from rtcrelay.debug.stun_report import StunReport, error_row, looks_like_stun, read_report, report_row
from rtcrelay.debug.stun_values import show_value
from rtcrelay.debug.ufrags import ufrag_phrase, username_row
from rtcrelay.errors import DataError, ExitStatus

if TYPE_CHECKING:
    from rtcrelay.keys import KeyFile

app = new_group()
leaf(app, "encode", examples=EXAMPLES)(encode)

ATTRIBUTES = (
    Column("type", "TYPE", unbroken=True),
    Column("name", "NAME", unbroken=True),
    Column("rule", "RULE", unbroken=True),
    Column("length", "BYTES", right=True),
    Column("shown", "VALUE"),
    Column("verdict", "VERDICT"),
)
PACKETS = (
    StreamColumn("frame", "FRAME", right=True, width=5),
    StreamColumn("source", "SOURCE", width=20),
    StreamColumn("destination", "DESTINATION", width=20),
    StreamColumn("message", "MESSAGE", width=15),
    StreamColumn("verdict", "VERDICT", width=9),
    StreamColumn("summary", "SAYS"),
)


@leaf(
    app,
    "decode",
    listing=True,
    examples="""
    rtcrelay stun encode | rtcrelay stun decode
    rtcrelay stun decode @request.bin --password-file password.txt --key-file keys.toml
    tcpdump -i any -U -w - udp port 3478 | rtcrelay stun decode -r - -o jsonl""",
)
def decode(
    options: Listing,
    words: Annotated[list[str] | None, MESSAGES] = None,
    read: Annotated[str | None, READ] = None,
    password_file: Annotated[str | None, PASSWORD_FILE] = None,
    key_file: Annotated[str | None, OPTIONAL_KEY_FILE] = None,
) -> ExitStatus | None:
    """Read STUN messages: every attribute, and whether fingerprint and integrity are right.

    Attributes are named as IANA's registry of 2024-12-20 has them. The parser is the relay's own. Of a capture, one
    line a message is shown; -v shows the attributes. Exits with 0, with 1 if a fingerprint or an integrity is wrong or
    a packet is malformed, with 65 if the input itself is.
    """
    refuse_both(words, read)
    reading = _Reading(options, maybe_key_file(key_file, options), password_file)
    if read is None:
        reading.show(reading.of_messages(words), in_full=True)
        return reading.outcome
    tally = CaptureTally()
    reading.show(reading.of_capture(read, tally), in_full=options.verbosity > 0)
    count = reading.counts
    note(
        f"{count['messages']} STUN messages: {count['wrong']} wrong, {count['malformed']} malformed;"
        f" {count['others']} other packets",
        options,
    )
    say_tally(tally, options)
    return reading.outcome


class _Reading:
    """One run of `decode`: rows, and what they amount to."""

    def __init__(self, options: Listing, key_file: KeyFile | None, password_file: str | None) -> None:
        self._options = options
        self._key_file = key_file
        self._passwords = passwords_of(password_file, key_file)
        self.counts: Counter[str] = Counter()
        self.outcome: ExitStatus | None = None

    def of_messages(self, words: list[str] | None) -> Iterator[dict[str, Any]]:
        for message in messages(words):
            try:
                row = self._row(read_report(message, self._passwords), None)
            except DataError as error:
                self.outcome = ExitStatus(report(str(error), error.hint, error.status))
                continue
            yield row

    def of_capture(self, name: str, tally: CaptureTally) -> Iterator[dict[str, Any]]:
        for packet in capture(name, tally):
            if not looks_like_stun(packet.payload):
                self.counts["others"] += 1
                continue
            try:
                row = self._row(read_report(packet.datagram, self._passwords), packet)
            except DataError as error:
                self.counts["malformed"] += 1
                self.outcome = ExitStatus.PROBLEM
                row = error_row(str(error)) | packet_fields(packet)
                row |= {"ufrag": None, "summary": str(error), "tone": "bad"}
            yield row

    def show(self, rows: Iterator[dict[str, Any]], *, in_full: bool) -> None:
        if in_full and self._options.form in (None, "plain", "table"):
            for number, row in enumerate(rows):
                print("\n" * (number > 0), end="")
                _print_message(row, self._options)
        else:
            stream_rows(rows, PACKETS, self._options)

    def _row(self, found: StunReport, packet: Packet | None) -> dict[str, Any]:
        self.counts["messages"] += 1
        if found.is_wrong:
            self.counts["wrong"] += 1
            self.outcome = self.outcome or ExitStatus.PROBLEM
        ufrag = username_row(self._key_file.ring, found.username) if found.username and self._key_file else None
        row = report_row(found) | packet_fields(packet) | {"ufrag": ufrag, "summary": _summary(found, ufrag)}
        return row | {"tone": "bad" if found.is_wrong else None}


def _summary(found: StunReport, ufrag: dict[str, Any] | None) -> str:
    parts = [":".join(found.username)] if found.username else []
    parts += [f"-> {ufrag_phrase(ufrag)}"] if ufrag else []
    for attribute in found.attributes:
        if attribute.name in ("XOR-MAPPED-ADDRESS", "ERROR-CODE"):
            parts.append(show_value(attribute.value, attribute.raw))
        elif attribute.name == "USE-CANDIDATE":
            parts.append("use-candidate")
    if found.spp is not None:
        parts.append(f"(SPP client {found.spp.client[0]} port {found.spp.client[1]})")
    return " ".join(parts)


def _print_message(row: dict[str, Any], options: Listing) -> None:
    if options.headers:
        if row["frame"] is not None:
            print(f"frame {row['frame']}  {row['time'] or '-'}  {row['source']} -> {row['destination']}")
        if row["spp"] is not None:
            spp = row["spp"]
            print(f"SPP: client {spp['client']}, proxy {spp['proxy']}, ingress {spp['ingress']}")
        what = f"{row['message']}, {row['length']} bytes, transaction {row['transaction']}"
        print(row["error"] or what)
    attributes = [_attribute_cells(attribute, row) for attribute in row["attributes"]]
    if attributes:
        show_rows(attributes, ATTRIBUTES, options)


def _attribute_cells(attribute: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    verdicts = {
        "FINGERPRINT": row["fingerprint"],
        "MESSAGE-INTEGRITY": row["integrity"],
        "GOOG-MESSAGE-INTEGRITY-32": row["integrity"],
        "MESSAGE-INTEGRITY-SHA256": row["integrity_sha256"],
        "USERNAME": ufrag_phrase(row["ufrag"]) if row["ufrag"] else "",
    }
    return attribute | {
        "rule": "required" if attribute["required"] else "optional",
        "shown": show_value(attribute["value"], bytes.fromhex(attribute["hex"])),
        "verdict": verdicts.get(attribute["name"], ""),
    }
