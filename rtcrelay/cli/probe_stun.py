"""``rtcrelay probe stun``: ping with STUN binding requests."""

from __future__ import annotations

import json
import math
import secrets
import socket
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rtcrelay.cli.options import Output, parsed, whole
from rtcrelay.cli.packets import first_line, output_file
from rtcrelay.cli.probe_ufrag import CLUSTER_ID, ENDPOINT, KEYS, NODE, key_file_for, mint_probe
from rtcrelay.cli.stream import paint, wants_color
from rtcrelay.config.text import address, duration_between, format_address, one_of
from rtcrelay.debug.capture_writer import CaptureWriter
from rtcrelay.debug.pinging import Pinger, PingPlan, PingTally, Reply
from rtcrelay.debug.probe_socket import Endpoint, UdpEndpoint, refuse_mixed, resolve
from rtcrelay.debug.probing import Watch, run_pings
from rtcrelay.debug.stun_probe import BAD, Probe, write_probe
from rtcrelay.errors import ExitStatus, UsageError

if TYPE_CHECKING:
    from rtcrelay._dataplane import Address

EXAMPLES = """
    rtcrelay probe stun 127.0.0.1
    rtcrelay probe stun 127.0.0.1 --endpoint 127.0.0.1:7000 --cluster 1 -c 2 -i 200ms -o jsonl
    rtcrelay probe stun 127.0.0.1 --bad cookie -c 1; echo no answer is right here: $?"""
"""For the end of the command's help."""

PORT = 3478
MAX_PACKETS_PER_SECOND = 20_000
"""What `--flood` allows: it finds limits, it is no weapon. Chosen; one Python process reaches about that."""
_KEPT_REPLIES = 10_000

TARGET = typer.Argument(
    metavar="TARGET", help="HOST[:3478], an address or a name; [IP6]:PORT; stun:HOST[:PORT] as in a browser."
)
BIND = typer.Option("-b", "--bind", metavar="IP[:PORT]", help="Local address to send from. [default: the kernel's]")
IPV4 = typer.Option("-4", help="Look a name up as IPv4 only.")
IPV6 = typer.Option("-6", help="Look a name up as IPv6 only.")


def stun(
    options: Output,
    target: Annotated[str, TARGET],
    count: Annotated[
        str | None,
        typer.Option("-c", "--count", metavar="N", help="Requests, 0: until Ctrl-C. [default: 4; --flood: a second's]"),
    ] = None,
    interval: Annotated[
        str, typer.Option("-i", "--interval", metavar="DURATION", help="Between requests, 1ms to 1h. [default: 1s]")
    ] = "1s",
    wait: Annotated[
        str, typer.Option("-W", "--wait", metavar="DURATION", help="For each answer, 1ms to 1m. [default: 1s]")
    ] = "1s",
    rfc_timers: Annotated[
        bool,
        typer.Option("--rfc-timers", help="Repeat each request as RFC 8489 says: after 500 ms, doubling, 7 in all."),
    ] = False,
    flood: Annotated[
        str | None,
        typer.Option(
            "--flood", metavar="PPS", help=f"So many requests a second, to {MAX_PACKETS_PER_SECOND}; no lines."
        ),
    ] = None,
    ufrag: Annotated[
        str | None,
        typer.Option(
            "--ufrag", metavar="S[:C]", help="The server's ufrag and, if it matters, ours; with --password-file."
        ),
    ] = None,
    endpoint: Annotated[str | None, ENDPOINT] = None,
    node: Annotated[str | None, NODE] = None,
    cluster: Annotated[str | None, CLUSTER_ID] = None,
    key_file: Annotated[str | None, KEYS] = None,
    password_file: Annotated[
        str | None,
        typer.Option("--password-file", metavar="FILE", help="First line: the server's ice-pwd, to sign. - is stdin."),
    ] = None,
    use_candidate: Annotated[bool, typer.Option("--use-candidate", help="Add USE-CANDIDATE.")] = False,
    software: Annotated[str | None, typer.Option("--software", metavar="TEXT", help="Add SOFTWARE.")] = None,
    no_fingerprint: Annotated[bool, typer.Option("--no-fingerprint", help="Leave FINGERPRINT out.")] = False,
    bad: Annotated[
        str | None,
        typer.Option(
            "--bad",
            metavar="|".join(BAD),
            autocompletion=lambda: list(BAD),
            help="Send what is wrong in one way: " + "; ".join(f"{name}, {what}" for name, what in BAD.items()) + ".",
        ),
    ] = None,
    bind: Annotated[str | None, BIND] = None,
    raw: Annotated[
        bool,
        typer.Option("--raw", help="Send by a raw socket from -b, whosever address that is. Needs scapy, CAP_NET_RAW."),
    ] = False,
    only_ipv4: Annotated[bool, IPV4] = False,
    only_ipv6: Annotated[bool, IPV6] = False,
    write: Annotated[
        str | None,
        typer.Option(
            "-w", "--write", metavar="FILE", help="Write every packet to a capture (pcapng; FILE.pcap: pcap)."
        ),
    ] = None,
) -> ExitStatus | None:
    """Ask a relay or any STUN server with binding requests, as ping does, and say what is answered.

    A relay answers plain requests itself. With --endpoint or --node it passes them to that transceiver, which answers
    without making a session; with --ufrag they belong to a session. An answer that an ICE agent would not believe is
    shown and does not count. Exits with 0 if any answer came, else with 1. Ctrl-C ends with the summary.
    """
    where = parse_target(target, only_ipv4, only_ipv6)
    probe = Probe(
        bad=None if bad is None else parsed("--bad", bad, one_of(*BAD)),
        use_candidate=use_candidate,
        software=software,
        fingerprint=not no_fingerprint,
        tie_breaker=secrets.token_bytes(8),
        **_credentials(where, (ufrag, password_file), (endpoint, node, cluster, key_file), options),
    )
    pace = _pace(count, interval, flood)
    plan = PingPlan(probe, *pace, parsed("-W", wait, duration_between(0.001, 60)), rfc_timers)
    size = len(write_probe(probe, bytes(12)))
    with ExitStack() as stack:
        line = _endpoint(where, parse_bind(bind, where), raw=raw)
        stack.callback(line.close)
        capture = None
        if write is not None:
            stream = stack.enter_context(output_file(write))
            capture = CaptureWriter(stream, "pcap" if write.endswith(".pcap") else "pcapng")
        hears = getattr(line, "hears", True)
        teller = _Teller(where, options, quiet=flood is not None or not hears)
        teller.begin(size, line.local, probe)
        pinger = Pinger(plan, where)
        finished = run_pings(pinger, line, Watch(teller.reply, teller.trouble, capture))
        return teller.finish(pinger.tally, finished=finished, hears=hears)


def parse_target(text: str, only_ipv4: bool, only_ipv6: bool) -> Address:
    """A target with its port, looked up. Raises UsageError, BackendError."""
    if only_ipv4 and only_ipv6:
        raise UsageError("-4 and -6 exclude each other")
    bare = text.removeprefix("stun:")
    try:
        found = address(PORT, concrete=True)(bare)
        family = socket.AF_INET6 if ":" in found[0] else socket.AF_INET
        if (only_ipv4 and family == socket.AF_INET6) or (only_ipv6 and family == socket.AF_INET):
            raise UsageError(f"TARGET: {found[0]} is not IPv{4 if only_ipv4 else 6}")
    except ValueError as error:
        host, _, port = bare.partition(":")
        if bare.count(":") > 1 or not host or host.startswith("[") or host[-1].isdigit():
            raise UsageError(f"TARGET: {text!r} {error}") from None
        family = socket.AF_INET if only_ipv4 else socket.AF_INET6 if only_ipv6 else socket.AF_UNSPEC
        found = resolve(host, whole("TARGET", port, 1, 65535) if port else PORT, family)
    if found[1] == 0:
        raise UsageError(f"TARGET: {text!r} has port 0, expected 1 to 65535")
    return found


def parse_bind(text: str | None, target: Address) -> Address | None:
    """The local address that was named; its port is 0 if none was. Raises UsageError."""
    if text is None:
        return None
    found = parsed("-b", text, address(0))
    refuse_mixed(target, found)
    return found


def _pace(count: str | None, interval: str, flood: str | None) -> tuple[int | None, float]:
    many = None if count is None else whole("-c", count, 0, 10**12)
    if flood is not None:
        if interval != "1s":
            raise UsageError("--flood and -i exclude each other")
        rate = whole("--flood", flood, 1, MAX_PACKETS_PER_SECOND)
        return (rate if many is None else many or None), 1 / rate
    return (4 if many is None else many or None), parsed("-i", interval, duration_between(0.001, 3600))


def _credentials(
    target: Address,
    given: tuple[str | None, str | None],
    minted: tuple[str | None, str | None, str | None, str | None],
    options: Output,
) -> dict[str, str | None]:
    ufrag, password_file = given
    endpoint, node, cluster, key_file = minted
    if endpoint is None and node is None:
        if cluster is not None or key_file is not None:
            raise UsageError("--cluster and --key-file go with --endpoint or --node")
        if ufrag is None and password_file is not None:
            raise UsageError("--password-file goes with --ufrag")
        password = None if password_file is None else first_line(password_file)
        if ufrag is not None and ":" not in ufrag:
            ufrag += f":{secrets.token_hex(4)}"
        return {"username": ufrag, "password": password}
    if ufrag is not None or password_file is not None:
        raise UsageError("--ufrag and --password-file do not go with --endpoint and --node: these make a probe ufrag")
    found = mint_probe(endpoint, node, cluster, key_file_for(target, key_file, options), options)
    return {"username": found.username, "password": found.password}


def _endpoint(target: Address, local: Address | None, *, raw: bool) -> Endpoint:
    if not raw:
        return UdpEndpoint(target, local)
    from rtcrelay.debug.raw_socket import RawEndpoint

    return RawEndpoint(target, local)


@dataclass(slots=True)
class _Teller:
    """Tells what happens, to a person line by line or to a program."""

    target: Address
    options: Output
    quiet: bool
    """Whether replies have no lines of their own."""
    _rows: list[dict[str, Any]] = field(default_factory=list)
    _troubles: dict[str, int] = field(default_factory=dict)
    _paint: Callable[[str, str | None], str] = lambda text, _: text

    def begin(self, size: int, local: Address, probe: Probe) -> None:
        colored = wants_color(self.options.color) and self.options.form != "plain"
        self._paint = lambda text, tone: paint(text, tone, wanted=colored)
        if self._is_human and self.options.verbosity >= 0:
            kind = "checks" if probe.username else "plain requests"
            print(f"STUN {format_address(local)} -> {format_address(self.target)}: {kind}, {size} bytes", flush=True)
            if probe.username:
                print(f"USERNAME {_printable(probe.username)}", flush=True)
            if probe.bad:
                print(f"wrong on purpose: {BAD[probe.bad]}", flush=True)

    def reply(self, reply: Reply) -> None:
        if self.quiet:
            return
        row = _reply_row(reply)
        if self.options.form == "jsonl":
            print(json.dumps(row), flush=True)
        elif self.options.form == "json":
            if len(self._rows) < _KEPT_REPLIES:
                self._rows.append(row)
        elif self.options.verbosity >= 0:
            tone = None if reply.is_good else "odd" if reply.duplicate else "bad"
            print(self._paint(_reply_line(reply), tone), flush=True)

    def trouble(self, words: str) -> None:
        self._troubles[words] = self._troubles.get(words, 0) + 1
        if self._troubles[words] == 1 and self._is_human:
            print(self._paint(words, "bad"), flush=True)

    def finish(self, tally: PingTally, *, finished: bool, hears: bool) -> ExitStatus | None:
        summary = _summary_row(tally, self.target, self._troubles)
        if self.options.form == "jsonl":
            print(json.dumps(summary), flush=True)
        elif self.options.form == "json":
            print(json.dumps({**summary, "replies": self._rows}, indent=2))
        else:
            print("\n".join(self._summary(tally, finished=finished, hears=hears)))
        return None if tally.received or (not hears and tally.sent) else ExitStatus.PROBLEM

    def _summary(self, tally: PingTally, *, finished: bool, hears: bool) -> list[str]:
        also = [
            f"{number} {what}"
            for number, what in (
                (tally.sent_again, "sent again"),
                (tally.refused, "refused"),
                (tally.duplicates, "double"),
            )
            if number
        ]
        lines = ["" if finished else "\n", f"--- {format_address(self.target)} ---"]
        if not hears:
            return [*lines, f"{tally.sent} sent; answers go to the source address, which is not of this machine"]
        loss = f"{tally.loss_percent:.3g} % lost"
        tone = "bad" if tally.sent and not tally.received else "odd" if tally.received < tally.sent else "good"
        lines.append(self._paint(", ".join([f"{tally.sent} sent", f"{tally.received} received", loss, *also]), tone))
        if tally.received:
            times = (tally.min_seconds, tally.avg_seconds, tally.max_seconds, tally.mdev_seconds)
            lines.append("rtt min/avg/max/mdev = " + "/".join(f"{1000 * each:.3f}" for each in times) + " ms")
        return lines[1:] if lines[0] == "" and self.options.verbosity < 0 else lines

    @property
    def _is_human(self) -> bool:
        return self.options.form in (None, "table", "plain")


def _reply_line(reply: Reply) -> str:
    answer = reply.answer
    if answer is None or reply.source is None or reply.rtt_seconds is None:
        return f"no answer to txid={_short(reply)}"
    words = [f"{answer.size} bytes from {format_address(reply.source)}: txid={_short(reply)}"]
    words.append(f"rtt={1000 * reply.rtt_seconds:.3f} ms")
    words += [f"mapped={format_address(answer.mapped)}"] if answer.mapped else []
    words += [f"error={answer.error[0]} {_printable(answer.error[1])}"] if answer.error else []
    words += [f"software={_printable(answer.software)}"] if answer.software else []
    words += ["(again)"] if reply.duplicate else []
    words += [f"(refused: {answer.refused})"] if answer.refused else []
    return " ".join(words)


def _short(reply: Reply) -> str:
    """The beginning of the transaction id, as a person needs it; JSON has all of it."""
    return reply.transaction.hex()[:8]


def _reply_row(reply: Reply) -> dict[str, Any]:
    answer = reply.answer
    return {
        "kind": "stun_reply",
        "v": 1,
        "number": reply.number,
        "transaction": reply.transaction.hex(),
        "source": None if reply.source is None else format_address(reply.source),
        "rtt_ms": _milliseconds(reply.rtt_seconds),
        "bytes": None if answer is None else answer.size,
        "mapped": None if answer is None or answer.mapped is None else format_address(answer.mapped),
        "error": None
        if answer is None or answer.error is None
        else dict(zip(("code", "reason"), answer.error, strict=True)),
        "software": None if answer is None else answer.software,
        "refused": None if answer is None else answer.refused,
        "duplicate": reply.duplicate,
        "answered": answer is not None,
    }


def _summary_row(tally: PingTally, target: Address, troubles: dict[str, int]) -> dict[str, Any]:
    known = tally.received > 0
    return {
        "kind": "stun_summary",
        "v": 1,
        "target": format_address(target),
        "sent": tally.sent,
        "sent_again": tally.sent_again,
        "received": tally.received,
        "refused": tally.refused,
        "duplicates": tally.duplicates,
        "unanswered": tally.unanswered,
        "loss_percent": round(tally.loss_percent, 3),
        "rtt_min_ms": _milliseconds(tally.min_seconds if known else None),
        "rtt_avg_ms": _milliseconds(tally.avg_seconds if known else None),
        "rtt_max_ms": _milliseconds(tally.max_seconds if known else None),
        "rtt_mdev_ms": _milliseconds(tally.mdev_seconds if known else None),
        "troubles": [{"words": words, "count": count} for words, count in troubles.items()],
    }


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None or math.isinf(seconds) else round(seconds * 1000, 3)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
