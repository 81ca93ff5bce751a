"""``rtcrelay probe route``: through a relay to a transceiver, of which nothing stays."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rtcrelay.cli.options import Output, parsed, whole
from rtcrelay.cli.probe_stun import BIND, IPV4, IPV6, parse_bind, parse_target
from rtcrelay.cli.probe_ufrag import CLUSTER_ID, ENDPOINT, KEYS, NODE, key_file_for, mint_probe
from rtcrelay.cli.render import note
from rtcrelay.cli.stream import paint, wants_color
from rtcrelay.config.text import duration_between, format_address
from rtcrelay.debug.pinging import PingPlan, PingTally
from rtcrelay.debug.probe_socket import UdpEndpoint
from rtcrelay.debug.route_probe import Hop, Verdict, inner_seconds, judge, plain, probe_hop
from rtcrelay.debug.stun_probe import Probe
from rtcrelay.errors import ExitStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rtcrelay.cli.probe_ufrag import Minted

EXAMPLES = """
    rtcrelay probe route 127.0.0.1 --endpoint 127.0.0.1:7000 --cluster 1
    rtcrelay probe route 127.0.0.1 --endpoint 127.0.0.1:7001 --cluster 1 --json
    rtcrelay probe route 203.0.113.10 --node 17 --cluster 7 --key-file keys.toml"""
"""For the end of the command's help."""

_RELAY = typer.Argument(metavar="RELAY", help="Public address or name of the relay, HOST[:3478].")
_COUNT = typer.Option("-c", "--count", metavar="N", help="Requests to each hop, 1 to 1000. [default: 3]")
_INTERVAL = typer.Option("-i", "--interval", metavar="DURATION", help="Between requests. [default: 200ms]")
_WAIT = typer.Option("-W", "--wait", metavar="DURATION", help="For each answer, 1ms to 1m. [default: 1s]")


def route(
    options: Output,
    relay: Annotated[str, _RELAY],
    endpoint: Annotated[str | None, ENDPOINT] = None,
    node: Annotated[str | None, NODE] = None,
    cluster: Annotated[str | None, CLUSTER_ID] = None,
    key_file: Annotated[str | None, KEYS] = None,
    count: Annotated[str, _COUNT] = "3",
    interval: Annotated[str, _INTERVAL] = "200ms",
    wait: Annotated[str, _WAIT] = "1s",
    bind: Annotated[str | None, BIND] = None,
    only_ipv4: Annotated[bool, IPV4] = False,
    only_ipv6: Annotated[bool, IPV6] = False,
) -> ExitStatus | None:
    """Ask a relay, and through it a transceiver, whether the route works. No session, path or claim comes of it.

    The request carries a probe ufrag that the relay opens and the transceiver answers with a password that only holders
    of the key know: an answer proves the whole way and the key. Exits with 0 if the transceiver answered, else with 1.
    """
    target = parse_target(relay, only_ipv4, only_ipv6)
    minted = mint_probe(endpoint, node, cluster, key_file_for(target, key_file, options), options)
    probe = Probe(username=minted.username, password=minted.password, tie_breaker=secrets.token_bytes(8))
    pace = (
        whole("-c", count, 1, 1000),
        parsed("-i", interval, duration_between(0.001, 3600)),
        parsed("-W", wait, duration_between(0.001, 60)),
    )
    hops = (
        Hop("relay", format_address(target), PingTally()),
        Hop("transceiver", minted.where, PingTally()),
    )
    line = UdpEndpoint(target, parse_bind(bind, target))
    try:
        for hop, sent in zip(hops, (plain(probe), probe), strict=True):
            if not probe_hop(hop, PingPlan(sent, *pace), target, line):
                raise KeyboardInterrupt
    finally:
        line.close()
    return _tell(hops, minted, judge(*hops, minted.key_id), options)


def _tell(hops: tuple[Hop, Hop], minted: Minted, verdict: Verdict, options: Output) -> ExitStatus | None:
    status = None if verdict.works else ExitStatus.PROBLEM
    inner = inner_seconds(*hops)
    if options.form in ("json", "jsonl"):
        row = {
            "kind": "route_probe",
            "v": 1,
            "works": verdict.works,
            "relay": hops[0].where,
            "transceiver": minted.where,
            "cluster": minted.cluster,
            "key_id": minted.key_id,
            "ufrag": minted.ufrag,
            "inner_rtt_ms": None if inner is None else round(1000 * inner, 3),
            "hops": [hop.row() for hop in hops],
            "verdict": verdict.sentence,
            "hints": list(verdict.hints),
        }
        print(json.dumps(row, indent=2 if options.form == "json" else None))
        return status
    colored = wants_color(options.color) and options.form != "plain"
    if options.verbosity >= 0:
        print(paint(_cells("HOP", "WHERE", "ANSWERED", "RTT MIN/AVG/MAX ms", "SEES US AS"), "dim", wanted=colored))
        for hop in hops:
            print(paint(_hop_line(hop.row()), "good" if hop.answers else "bad", wanted=colored))
        if inner is not None:
            print(f"relay to transceiver and back: about {1000 * inner:.3f} ms")
    print(paint(verdict.sentence, "good" if verdict.works else "bad", wanted=colored))
    for hint in verdict.hints:
        note(f"hint: {hint}", options)
    return status


def _hop_line(row: dict[str, Any]) -> str:
    times = [row[f"rtt_{name}_ms"] for name in ("min", "avg", "max")]
    shown = "-" if times[0] is None else "/".join(f"{each:.3f}" for each in times)
    said = row["mapped"] or row["trouble"] or "-"
    return _cells(row["hop"], row["where"], f"{row['received']} of {row['sent']}", shown, said)


def _cells(*cells: str) -> str:
    widths: Sequence[int] = (11, 15, 8, 18, 0)
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
