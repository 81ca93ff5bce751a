"""``rtcrelay probe replay``: send the clients' packets of a capture again."""

from __future__ import annotations

import json
import secrets
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rtcrelay._dataplane import Route, mint_ufrag
from rtcrelay.cli.options import Output, parsed, whole
from rtcrelay.cli.packets import capture, passwords_of, say_tally
from rtcrelay.cli.probe_stun import IPV4, IPV6, parse_target
from rtcrelay.cli.probe_ufrag import CLUSTER_ID, ENDPOINT, KEYS, NODE, key_file_for, probe_route
from rtcrelay.cli.render import note
from rtcrelay.cli.stream import paint, wants_color
from rtcrelay.config.text import address, duration_between, format_address, one_of
from rtcrelay.debug.captures import CaptureTally
from rtcrelay.debug.probe_socket import source_towards
from rtcrelay.debug.replay_source import CLASSES, Replayed, Selection, SelectionTally, with_username
from rtcrelay.debug.replaying import Limits, Pace, Replay, ReplayTally, Sockets, again
from rtcrelay.errors import ExitStatus, UsageError
from rtcrelay.rtc.stun import split_username

if TYPE_CHECKING:
    from rtcrelay._dataplane import Address, StunMessage
    from rtcrelay.debug.replay_source import Rewrite

EXAMPLES = """
    rtcrelay probe replay call.pcap --to 127.0.0.1
    rtcrelay probe replay call.pcap --to 127.0.0.1 --only stun --rewrite-ufrag --probe --endpoint 127.0.0.1:7000 \\
        --cluster 1 --expect 100%
    tcpdump -r all.pcap -w - host 198.51.100.7 | rtcrelay probe replay - --to 127.0.0.1 -t -l 10"""
"""For the end of the command's help."""

_SHOWN_SOURCES = 20
_MAX_UFRAGS = 65_536

_FILE = typer.Argument(metavar="FILE|-", help="Capture: pcap or pcapng, also with gzip; - is stdin.")
_TO = typer.Option("--to", metavar="TARGET", help="Where everything is sent, HOST[:3478].")
_SPEED = typer.Option("-x", "--speed", metavar="MULT", help="Times the recorded speed, 0.001 to 1000. [default: 1]")
_RATE = typer.Option("-p", "--pps", metavar="PPS", help="Packets per second, 1 to 1000000, instead of the recorded.")
_TOP = typer.Option("-t", "--topspeed", help="As fast as it goes.")
_LOOP = typer.Option("-l", "--loop", metavar="N", help="Send it so many times; 0: until Ctrl-C. [default: 1]")
_LIMIT = typer.Option("-L", "--limit", metavar="N", help="Packets to send at most.")
_DURATION = typer.Option("--duration", metavar="DURATION", help="Stop after this time.")
_ONLY = typer.Option(
    "--only",
    metavar="stun|dtls|rtp|all",
    autocompletion=lambda: ["stun", "dtls", "rtp", "all"],
    help="Packets of one class; rtp is RTP and RTCP. [default: all]",
)
_MAP = typer.Option(
    "--map", metavar="SRC=LOCAL", help="Local address, IP[:PORT], for a captured source, IP[:PORT]; repeatable."
)
_REWRITE = typer.Option(
    "--rewrite-ufrag",
    help="Make binding requests routable: each captured server ufrag becomes a new one, to --endpoint or --node, and"
    " requests are signed anew.",
)
_PROBE = typer.Option(
    "--probe", help="With --rewrite-ufrag: probe ufrags, which a transceiver answers without a session."
)
_PASSWORDS = typer.Option(
    "--password-file",
    metavar="FILE",
    help="With --rewrite-ufrag, to sign: lines with PASSWORD, or UFRAG PASSWORD (of the captured server ufrag)."
    " [default: random; those of probes]",
)
_EXPECT = typer.Option("--expect", metavar="N%", help="Exit with 1 if fewer binding requests are answered.")
_WAIT = typer.Option("-W", "--wait", metavar="DURATION", help="For the last answers, 0s to 1m. [default: 1s]")
_DRY = typer.Option("--dry-run", help="Say what would be sent, and send nothing.")


def replay(
    options: Output,
    file: Annotated[str, _FILE],
    to: Annotated[str | None, _TO] = None,
    speed: Annotated[str | None, _SPEED] = None,
    pps: Annotated[str | None, _RATE] = None,
    topspeed: Annotated[bool, _TOP] = False,
    loop: Annotated[str, _LOOP] = "1",
    limit: Annotated[str | None, _LIMIT] = None,
    duration: Annotated[str | None, _DURATION] = None,
    only: Annotated[str, _ONLY] = "all",
    mapped: Annotated[list[str] | None, _MAP] = None,
    rewrite_ufrag: Annotated[bool, _REWRITE] = False,
    probe: Annotated[bool, _PROBE] = False,
    endpoint: Annotated[str | None, ENDPOINT] = None,
    node: Annotated[str | None, NODE] = None,
    cluster: Annotated[str | None, CLUSTER_ID] = None,
    key_file: Annotated[str | None, KEYS] = None,
    password_file: Annotated[str | None, _PASSWORDS] = None,
    expect: Annotated[str | None, _EXPECT] = None,
    wait: Annotated[str, _WAIT] = "1s",
    dry_run: Annotated[bool, _DRY] = False,
    only_ipv4: Annotated[bool, IPV4] = False,
    only_ipv6: Annotated[bool, IPV6] = False,
) -> ExitStatus | None:
    """Send what clients sent in a capture to a relay, each client from a socket of its own.

    Packets to clients are left out (clients are those who send to the target's port, else who sends first), SPP headers
    taken off, and what a capture shows before and behind a relay is sent once. Exits with 1 if there was nothing to
    send, or with --expect if too few binding requests were answered; with 65 if the capture is malformed.
    """
    if to is None:
        raise UsageError("expected --to TARGET: where the packets go", hint="a relay of 'rtcrelay demo' is 127.0.0.1")
    target = parse_target(to, only_ipv4, only_ipv6)
    pace = _pace(speed, pps, topspeed)
    many = whole("-l", loop, 0, 10**9) or None
    limits = Limits(
        None if limit is None else whole("-L", limit, 1, 10**12),
        None if duration is None else parsed("--duration", duration, duration_between(0.001, 86_400)),
        many,
    )
    wanted = None if expect is None else _percent(expect)
    minting = (endpoint, node, cluster, key_file)
    rewrite = _rewrite(target, rewrite_ufrag, probe, minting, password_file, options)
    classes: Any = parsed("--only", only, one_of("stun", "dtls", "rtp", "all"))
    run = _Run(file, Selection(classes, rewrite, server_port=target[1]))
    local_of = _mapping(mapped or (), target)
    if dry_run:
        return _dry_run(run, local_of, limits, options)
    tally = ReplayTally()
    sockets = Sockets(target, local_of, tally)
    try:
        read = again(run.read) if file == "-" and many != 1 else run.read
        sending = Replay(read, sockets, tally)
        waits = parsed("-W", wait, duration_between(0, 60))
        try:
            sending.run(pace, limits)
            sending.wait(waits if tally.requests else 0.0)
        except KeyboardInterrupt:
            note("", options)
    finally:
        sockets.close()
    return _tell(run, tally, target, wanted, options)


class _Run:
    """A capture that may be read several times; what is said of it is of the first time."""

    def __init__(self, name: str, selection: Selection) -> None:
        self.name = name
        self._selection = selection
        self.capture = CaptureTally()
        self.left_out: SelectionTally = selection.tally
        self._is_first = True

    def read(self) -> Iterator[Replayed]:
        first, self._is_first = self._is_first, False
        selection = self._selection
        if not first:
            selection = Selection(selection.only, selection.rewrite, selection.server_port)
        return selection.select(capture(self.name, self.capture if first else CaptureTally()))


def _pace(speed: str | None, pps: str | None, topspeed: bool) -> Pace:
    if (speed is not None) + (pps is not None) + topspeed > 1:
        raise UsageError("-x, -p and -t exclude each other: each is a speed")
    if pps is not None:
        return Pace(packets_per_second=whole("-p", pps, 1, 1_000_000))
    return Pace(top_speed=True) if topspeed else Pace(multiplier=1.0 if speed is None else parsed("-x", speed, _factor))


def _factor(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.001 <= value <= 1000 or not text.replace(".", "", 1).isdecimal():
        raise ValueError("is not a number from 0.001 to 1000")
    return value


def _percent(text: str) -> float:
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise UsageError(f"--expect: {text!r} is not a percentage, expected for example 95%")
    return value


def _mapping(words: Any, target: Address) -> Callable[[Address], Address]:
    """Where each captured source is bound."""
    exact: dict[Address, Address] = {}
    by_ip: dict[str, Address] = {}
    for word in words:
        captured, equals, local = word.partition("=")
        if not equals:
            raise UsageError(f"--map: {word!r} is not SRC=LOCAL, expected for example 198.51.100.7=127.0.0.7")
        source = parsed("--map", captured, address(0))
        where = parsed("--map", local, address(0))
        if (":" in where[0]) != (":" in target[0]):
            raise UsageError(f"--map: {local!r} and the target {target[0]} are of different IP versions")
        if source[1]:
            exact[source] = where
        else:
            by_ip[source[0]] = where
    usual = (source_towards(target), 0)
    return lambda source: exact.get(source) or by_ip.get(source[0]) or usual


def _rewrite(
    target: Address,
    wanted: bool,
    probe: bool,
    minting: tuple[str | None, str | None, str | None, str | None],
    password_file: str | None,
    options: Output,
) -> Rewrite | None:
    endpoint, node, cluster, named = minting
    if not wanted:
        if probe or password_file or any(minting):
            raise UsageError(
                "--probe, --endpoint, --node, --cluster, --key-file and --password-file go with --rewrite-ufrag"
            )
        return None
    ring = key_file_for(target, named, options)
    passwords = passwords_of(password_file, None)
    if not passwords.named and not passwords.others:
        passwords.others.append(secrets.token_hex(12).encode())
    known: OrderedDict[bytes, tuple[bytes, bytes]] = OrderedDict()

    def credentials(ufrag: bytes) -> tuple[bytes, bytes]:
        if ufrag not in known:
            route: Route = probe_route(endpoint, node, cluster, ring, options, is_probe=probe)
            new = mint_ufrag(ring.ring, route)
            own = ring.probe_password(new) if probe else None
            password = own.encode() if own else passwords.named.get(ufrag) or (passwords.others or [b"unknown"])[0]
            known[ufrag] = new.encode(), password
            if len(known) > _MAX_UFRAGS:
                known.popitem(last=False)
        return known[ufrag]

    def rewrite(payload: bytes, message: StunMessage) -> bytes:
        receiver, sender = split_username(message) or (b"", b"")
        new, password = credentials(receiver)
        return with_username(payload, message, new + b":" + sender, password)

    credentials(b"")  # what cannot be minted is an error now, not in the middle
    return rewrite


def _dry_run(run: _Run, local_of: Callable[[Address], Address], limits: Limits, options: Output) -> ExitStatus | None:
    sources: dict[Address, Counter[str]] = {}
    packets = size = 0
    for packet in run.read():
        if limits.packets is not None and packets >= limits.packets:
            break
        packets += 1
        size += len(packet.payload)
        sources.setdefault(packet.source, Counter())[packet.name] += 1
    rows = [
        {
            "source": format_address(source),
            "local": format_address(local_of(source)),
            "packets": sum(counts.values()),
            **{name: counts[name] for name in CLASSES},
        }
        for source, counts in sources.items()
    ]
    if options.form in ("json", "jsonl"):
        row = {"kind": "replay_plan", "v": 1, "packets": packets, "bytes": size, "sources": rows}
        print(json.dumps(row | _left_out_row(run), indent=2 if options.form == "json" else None))
    elif options.verbosity >= 0:
        _print_sources(rows)
        print(f"{packets} packets, {size} bytes would be sent" + ("" if limits.loops == 1 else " each time"))
    _say_left_out(run, options)
    return None if packets else ExitStatus.PROBLEM


def _tell(run: _Run, tally: ReplayTally, target: Address, wanted: float | None, options: Output) -> ExitStatus | None:
    answered = 100 * tally.answered / tally.requests if tally.requests else None
    short = wanted is not None and (answered is None or answered < wanted)
    rows = [
        {
            "source": format_address(source),
            "local": format_address(mine.local),
            "packets": mine.packets,
            "bytes": mine.bytes,
            **{name: mine.classes[name] for name in CLASSES},
            "replies": mine.replies,
        }
        for source, mine in tally.sources.items()
    ]
    if options.form in ("json", "jsonl"):
        print(
            json.dumps(
                _result_row(tally, target, answered, rows) | _left_out_row(run),
                indent=2 if options.form == "json" else None,
            )
        )
    else:
        colored = wants_color(options.color) and options.form != "plain"
        if options.verbosity >= 0:
            _print_sources(rows)
            print(
                f"{tally.packets} packets, {tally.bytes} bytes to {format_address(target)} in {tally.seconds:.3f} s:"
                f" {tally.rate:.0f} packets/s"
            )
            if tally.latest_seconds:
                print(f"the latest was sent {1000 * tally.latest_seconds:.1f} ms after its time")
        for words, count in tally.troubles.items():
            print(paint(f"{count} times: {words}", "odd", wanted=colored))
        line = f"{tally.replies} packets came back"
        if answered is not None:
            line += f"; {tally.answered} of {tally.requests} binding requests answered ({answered:.4g} %)"
        elif wanted is not None:
            line += "; no binding request was sent, so none was answered"
        print(paint(line, "bad" if short else None, wanted=colored))
    _say_left_out(run, options)
    return ExitStatus.PROBLEM if short or not tally.packets else None


def _result_row(
    tally: ReplayTally, target: Address, answered: float | None, rows: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "kind": "replay",
        "v": 1,
        "target": format_address(target),
        "packets": tally.packets,
        "bytes": tally.bytes,
        "refused": tally.refused,
        "seconds": round(tally.seconds, 6),
        "packets_per_second": round(tally.rate, 1),
        "latest_ms": round(1000 * tally.latest_seconds, 3),
        "loops": tally.loops,
        "replies": tally.replies,
        "reply_bytes": tally.reply_bytes,
        "requests": tally.requests,
        "answered": tally.answered,
        "answered_percent": None if answered is None else round(answered, 3),
        "troubles": [{"words": words, "count": count} for words, count in tally.troubles.items()],
        "sources": rows,
    }


def _left_out_row(run: _Run) -> dict[str, Any]:
    left = run.left_out
    return {
        "left_out": {"to_clients": left.backwards, "seen_twice": left.twice, "other_classes": left.unwanted},
        "rewritten": left.rewritten,
        "without_ufrag": left.without_ufrag,
    }


def _say_left_out(run: _Run, options: Output) -> None:
    for sentence in run.left_out.sentences():
        note(sentence, options)
    say_tally(run.capture, options)


def _print_sources(rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    names = [name for name in ("packets", *CLASSES, "replies") if any(row.get(name) for row in rows)]
    print("  ".join([f"{'SOURCE':<21}", f"{'FROM HERE':<21}", *(f"{name.upper():>7}" for name in names)]).rstrip())
    for row in rows[:_SHOWN_SOURCES]:
        cells = [f"{row['source']:<21}", f"{row['local']:<21}", *(f"{row[name]:>7}" for name in names)]
        print("  ".join(cells))
    if len(rows) > _SHOWN_SOURCES:
        print(f"and {len(rows) - _SHOWN_SOURCES} more sources")
