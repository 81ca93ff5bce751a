"""``rtcrelay explain``: where would this packet go, and why?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from rtcrelay import config
from rtcrelay.cli.app import new_group
from rtcrelay.cli.options import Flags, Listing, leaf, parsed
from rtcrelay.cli.packets import MESSAGES, READ, capture, messages, packet_fields, refuse_both, say_tally
from rtcrelay.cli.render import note
from rtcrelay.cli.stream import StreamColumn, stream_rows
from rtcrelay.config.options import PUBLIC_PORT, RELAY
from rtcrelay.config.text import Address, address, format_address
from rtcrelay.debug.captures import CaptureTally, Packet, open_input
from rtcrelay.debug.explanation import Explained, Explainer, Side, Sides, explained_row
from rtcrelay.debug.flow_map import Ways, read_flow_map
from rtcrelay.errors import ExitStatus, UsageError
from rtcrelay.relay.policy import load_policy, relay_config

if TYPE_CHECKING:
    from rtcrelay.config import RelaySettings

app = new_group()

_NOT_FOR_DECISIONS = ("workers", "admin", "metrics", "log_format", "log_addresses")
SETTINGS = tuple(setting for setting in RELAY if setting.name not in _NOT_FOR_DECISIONS)
"""Those of a relay's settings that decide about packets."""

COLUMNS = (
    StreamColumn("frame", "FRAME", right=True, width=5),
    StreamColumn("time_s", "SECONDS", right=True, width=10, pick=lambda row: f"{row['time_s']:.6f}"),
    StreamColumn("side", "SIDE", width=8),
    StreamColumn("source", "FROM", width=21),
    StreamColumn("class", "CLASS", width=8),
    StreamColumn("sentence", "VERDICT", pick=lambda row: "; ".join((row["sentence"], *row["claims"]))),
)
_TONES = {"drop": "bad", "hold": "odd", "consumed": "dim"}

_SOURCE = typer.Option("--from", metavar="ADDR", help="Who sent the packets given as hex, IP:PORT.")
_TO = typer.Option(
    "--to",
    metavar="public|internal|ADDR",
    help="Where they come to: the first listener, the internal socket, or one of the relay's addresses."
    " [default: public]",
)
_VIP = typer.Option(
    "--vip",
    metavar="ADDR",
    help="Public address in a capture that was taken elsewhere, IP[:3478]: the first stands for the first --listen,"
    " the second for the second.",
)
_FLOWS = typer.Option(
    "--flows",
    metavar="FILE",
    help="What the relay knew before the first packet: the lines of 'rtcrelay flows list -o jsonl'; - is stdin."
    " [default: nothing]",
)
_DROPPED = typer.Option("--dropped", help="Show dropped packets only; all are judged.")


@leaf(
    app,
    "explain",
    listing=True,
    settings=SETTINGS,
    examples="""
    rtcrelay explain -r call.pcapng --config relay.toml
    rtcrelay explain -r call.pcapng -l 203.0.113.10:3478 --internal 10.0.0.5:3479 --transceivers 10.0.3.0/24:7000 \\
        --key-file keys.toml --dropped
    rtcrelay stun encode --username "$(rtcrelay ufrag encode --endpoint 127.0.0.1:7000):F7gI" \\
        | rtcrelay explain --from 198.51.100.7:51234 --config relay.toml""",
)
def explain(
    options: Listing,
    flags: Flags,
    words: Annotated[list[str] | None, MESSAGES] = None,
    read: Annotated[str | None, READ] = None,
    source: Annotated[str | None, _SOURCE] = None,
    to: Annotated[str | None, _TO] = None,
    vip: Annotated[list[str] | None, _VIP] = None,
    flows: Annotated[str | None, _FLOWS] = None,
    dropped: Annotated[bool, _DROPPED] = False,
) -> ExitStatus | None:
    """Say what a relay with these settings would do with packets, and why: the relay's own core decides.

    Options and configuration file are those of 'serve relay'. The core starts empty, or with --flows, and learns from
    packet to packet; the time is the capture's. Packets as hex: exits with 1 if one is dropped. A capture: exits with 1
    if no packet in it was sent to the relay.
    """
    refuse_both(words, read)
    settings = config.relay_settings(flags, options.config)
    vips = [parsed("--vip", word, address(PUBLIC_PORT, concrete=True)) for word in vip or ()]
    if len(vips) > len(settings.listeners):
        raise UsageError(
            f"{len(vips)} times --vip and {len(settings.listeners)} listeners, expected at most one for each"
        )
    sides = Sides(settings.listeners, vips)
    key_file, policy = load_policy(settings)
    explainer = Explainer(relay_config(settings, policy), sides)
    if flows is not None:
        _learn(explainer, flows, read, Ways(key_file.ring, settings.cluster, settings.nodes or {}), options)
    tally = CaptureTally()
    if read is not None:
        if source is not None or to is not None:
            raise UsageError("--from and --to are for packets given as hex; a capture says it itself")
        explained = explainer.explain(capture(read, tally, fill=True))
    else:
        side, destination = _destination(to or "public", sides)
        packets = _packets(words, _source(source), destination)
        explained = explainer.explain(packets, side=side)
    rows = (_row(one, explainer) for one in explained if not dropped or one.verdict.action == "drop")
    stream_rows(rows, COLUMNS, options)
    _conclude(explainer, settings, options)
    say_tally(tally, options)
    judged = sum(explainer.tally.outcomes.values())
    failed = not judged if read is not None else explainer.tally.dropped > 0
    return ExitStatus.PROBLEM if failed else None


def _learn(explainer: Explainer, name: str, read: str | None, ways: Ways, options: Listing) -> None:
    if name == "-" and read == "-":
        raise UsageError("--flows - and -r - exclude each other: there is one stdin")
    with open_input(name) as stream:
        known = read_flow_map(stream, "stdin" if name == "-" else name)
    taken = explainer.learn(known, ways)
    left = len(known.claims) - taken
    why = f"; {left} are of other ingresses, or these settings do not allow them" if left else ""
    note(f"{taken} claims of {known.paths} paths taken over{why}", options)


def _source(text: str | None) -> Address:
    if text is None:
        raise UsageError(
            "expected --from ADDR with packets as hex", hint="-r FILE reads a capture, which says it itself"
        )
    return parsed("--from", text, address(concrete=True))


def _destination(text: str, sides: Sides) -> tuple[Side | None, Address]:
    public, internal = sides.listeners[0]
    if text in ("public", "internal"):
        return cast("Side", text), public if text == "public" else internal
    where = parsed("--to", text, address(PUBLIC_PORT))
    if sides.side_of(where) is None:
        raise UsageError(f"--to: {text!r} is none of the relay's addresses: {_addresses(sides)}")
    return None, where


def _packets(words: list[str] | None, source: Address, destination: Address) -> Iterator[Packet]:
    for number, message in enumerate(messages(words)):
        yield Packet(number + 1, number * 1_000_000, source, destination, message)


def _row(explained: Explained, explainer: Explainer) -> dict[str, Any]:
    row = explained_row(explained) | {"time_s": explainer.elapsed_seconds(explained.packet)}
    row |= {"time": packet_fields(explained.packet)["time"]}
    row["tone"] = _TONES.get(explained.verdict.action, "good")
    return row


def _conclude(explainer: Explainer, settings: RelaySettings, options: Listing) -> None:
    for sentence in explainer.tally.sentences():
        note(sentence, options)
    if explainer.tally.outcomes["cluster_unknown"] and (settings.redis or settings.sites):
        note(
            "heartbeats are not read here: --clusters ID=ADDR has what 'clusters' of the relay's /v1/stats says",
            options,
        )
    if not explainer.tally.outcomes and explainer.tally.elsewhere:
        pairs = ", ".join(f"{format_address(p)} and {format_address(i)}" for p, i in settings.listeners)
        note(f"no packet was sent to {pairs}: --vip and --internal say what the relay's addresses are there", options)


def _addresses(sides: Sides) -> str:
    return ", ".join(format_address(where) for pair in sides.listeners for where in pair)
