"""What the relay's own core says to packets, and in which words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rtcrelay._dataplane import KeyRing, Policy, RelayConfig, Route, SppHeader, mint_ufrag, pack_spp
from rtcrelay.debug.captures import CaptureTally, Packet, open_input, read_packets
from rtcrelay.debug.explanation import Explained, Explainer, Sides, explained_row
from rtcrelay.keys import DEMO_SECRET
from rtcrelay.rtc import stun

CALL = Path(__file__).parents[2] / "vectors" / "captures" / "call.pcap"
PUBLIC, INTERNAL = ("203.0.113.10", 3478), ("10.0.0.5", 3479)
CLIENT, TRANSCEIVER, PEER = ("198.51.100.7", 51234), ("10.0.3.7", 7000), ("10.1.0.5", 3479)
RING = KeyRing([(2, bytes(16), "active")])
RTP = b"\x80\x60" + bytes(30)
DTLS = b"\x16\xfe\xfd" + bytes(30)


def config(public: tuple[str, int] = PUBLIC) -> RelayConfig:
    policy = Policy(RING, cluster=7, transceivers=["10.0.3.0/24:7000"], peers=["10.1.0.0/24"])
    return RelayConfig([(public, INTERNAL)], policy)


def check(route: Route, transaction: int = 0) -> bytes:
    username = mint_ufrag(RING, route) + ":abcd"
    return stun.write_message(1, transaction.to_bytes(12, "big"), [(6, username.encode())], password="p")


OURS = check(Route("endpoint", 7, ip=TRANSCEIVER[0], port=TRANSCEIVER[1], key_id=2))
HEADER = pack_spp(SppHeader(CLIENT, INTERNAL))
SUCCESS = HEADER + stun.write_binding_success(bytes(12), CLIENT, "p")


def explained(*packets: tuple[tuple[str, int], tuple[str, int], bytes], sides: Sides | None = None) -> list[Explained]:
    explainer = Explainer(config(), sides or Sides([(PUBLIC, INTERNAL)]))
    return list(explainer.explain(Packet(n, n * 1_000_000, *packet) for n, packet in enumerate(packets, 1)))


def said(*packets: tuple[tuple[str, int], tuple[str, int], bytes]) -> list[str]:
    return ["; ".join((one.sentence, *one.claims)) for one in explained(*packets)]


def test_a_call_is_told_from_its_first_packet_on() -> None:
    assert said(
        (CLIENT, PUBLIC, OURS),
        (TRANSCEIVER, INTERNAL, SUCCESS),
        (TRANSCEIVER, INTERNAL, HEADER + DTLS),
        (CLIENT, PUBLIC, DTLS),
        (TRANSCEIVER, INTERNAL, HEADER),
    ) == [
        "routed to 10.0.3.7:7000 by ufrag (key 2, cluster 7); claim of 10.0.3.7:7000 opened",
        "returned to 198.51.100.7:51234 from listener 0; claim of 10.0.3.7:7000 confirmed weakly",
        "returned to 198.51.100.7:51234 from listener 0; claim of 10.0.3.7:7000 confirmed",
        "forwarded to 10.0.3.7:7000 by its path",
        "noted",
    ]


def test_a_relay_of_another_cluster_is_named_with_its_cluster() -> None:
    relay = ("10.8.0.1", 3479)
    policy = Policy(RING, clusters={8: [relay]})
    explainer = Explainer(RelayConfig([(PUBLIC, INTERNAL)], policy), Sides([(PUBLIC, INTERNAL)]))
    there = check(Route("endpoint", 8, ip=TRANSCEIVER[0], port=TRANSCEIVER[1], key_id=2))
    packets = [(CLIENT, PUBLIC, there), (relay, INTERNAL, HEADER + DTLS), (CLIENT, PUBLIC, DTLS)]
    told = list(explainer.explain(Packet(n, n * 1_000_000, *packet) for n, packet in enumerate(packets, 1)))
    assert told[0].sentence == "routed to 10.8.0.1:3479, a relay of cluster 8, by ufrag (key 2, cluster 8)"
    assert told[2].sentence == "forwarded to 10.8.0.1:3479, a relay of cluster 8, by its path"
    assert (explained_row(told[0])["via_cluster"], explained_row(told[1])["via_cluster"]) == (8, None)


def test_a_relay_that_knows_nothing_learns_from_what_comes_back() -> None:
    assert said((TRANSCEIVER, INTERNAL, HEADER + DTLS), (CLIENT, PUBLIC, RTP)) == [
        "returned to 198.51.100.7:51234 from listener 0; claim of 10.0.3.7:7000 learned (strong)",
        "forwarded to 10.0.3.7:7000 by its path",
    ]


@pytest.mark.parametrize(
    ("packet", "sentence"),
    [
        ((CLIENT, PUBLIC, RTP), "dropped: no_route: not a binding request, and the path has no confirmed claim"),
        ((CLIENT, PUBLIC, b"\x50" + RTP), "dropped: quic: the first byte says QUIC, which is not relayed"),
        (
            (CLIENT, PUBLIC, check(Route("endpoint", 6, ip="10.0.3.7", port=7000, key_id=2))),
            "dropped: cluster_unknown: the ufrag names a cluster this relay does not know"
            " (the ufrag names 10.0.3.7:7000, key 2, cluster 6)",
        ),
        (
            (CLIENT, PUBLIC, check(Route("node", 7, node=9, key_id=2))),
            "dropped: node_unknown: the ufrag names a node that is not in the node table"
            " (the ufrag names node 9, key 2, cluster 7)",
        ),
        (
            (CLIENT, PUBLIC, stun.write_message(1, bytes(12), [])),
            "answered by the relay itself (40 bytes): a binding request without USERNAME",
        ),
        (
            (TRANSCEIVER, INTERNAL, pack_spp(SppHeader(CLIENT, PEER)) + DTLS),
            "passed on unchanged to relay 10.1.0.5:3479",
        ),
        (
            (CLIENT, INTERNAL, RTP),
            "dropped: spp_short: a datagram on the internal socket is shorter than the 38-byte SPP header",
        ),
    ],
)
def test_each_verdict_has_its_sentence(packet: tuple[tuple[str, int], tuple[str, int], bytes], sentence: str) -> None:
    assert explained(packet)[0].sentence == sentence


def test_what_the_relay_sent_and_what_goes_elsewhere_is_counted_and_left_out() -> None:
    explainer = Explainer(config(), Sides([(PUBLIC, INTERNAL)]))
    packets = [
        (INTERNAL, TRANSCEIVER, HEADER + DTLS),
        (PUBLIC, CLIENT, DTLS),
        (CLIENT, ("203.0.113.99", 3478), DTLS),
        (CLIENT, PUBLIC, RTP),
        (CLIENT, PUBLIC, OURS),
    ]
    shown = list(explainer.explain(Packet(n, 0, *packet) for n, packet in enumerate(packets, 1)))
    assert [one.packet.frame for one in shown] == [4, 5]
    assert list(explainer.tally.sentences()) == [
        "2 packets judged: 1 forwarded, 1 dropped (no_route 1)",
        "2 sent by the relay itself and 1 to other addresses were left out",
    ]


@pytest.mark.parametrize(
    ("public", "vips", "destination", "expected"),
    [
        (PUBLIC, (), PUBLIC, ("public", 0)),
        (PUBLIC, (), ("203.0.113.10", 3479), None),
        (PUBLIC, (), INTERNAL, ("internal", 0)),
        (("0.0.0.0", 3478), (), ("192.0.2.9", 3478), ("public", 0)),
        (("0.0.0.0", 3478), (), ("2001:db8::9", 3478), None),
        (("::", 3478), (), ("2001:db8::9", 3478), ("public", 0)),
        (("::", 3478), (), ("192.0.2.9", 3478), ("public", 0)),
        (("0.0.0.0", 3478), (("192.0.2.1", 443),), ("192.0.2.1", 443), ("public", 0)),
        (("0.0.0.0", 3478), (("192.0.2.1", 443),), ("192.0.2.9", 3478), None),
    ],
)
def test_the_destination_says_the_side(
    public: tuple[str, int], vips: tuple[tuple[str, int], ...], destination: tuple[str, int], expected: object
) -> None:
    assert Sides([(public, INTERNAL)], vips).side_of(destination) == expected


def test_a_source_with_the_port_of_a_wildcard_is_not_the_relay() -> None:
    assert not Sides([(("0.0.0.0", 3478), INTERNAL)]).is_ours(("198.51.100.7", 3478))


def test_time_is_the_captures_and_never_goes_back() -> None:
    packets = [(0, OURS), (2_000_000_000, RTP), (1_000_000_000, RTP)]
    explainer = Explainer(config(), Sides([(PUBLIC, INTERNAL)]))
    stream: Iterator[Packet] = (Packet(1, time, CLIENT, PUBLIC, data) for time, data in packets)
    assert [one.verdict.action for one in explainer.explain(stream)] == ["forward", "drop", "drop"]
    assert len(explainer.flows()) == 1


def test_a_row_holds_what_programs_ask_for() -> None:
    row = explained_row(explained((CLIENT, PUBLIC, OURS))[0])
    assert (row["kind"], row["action"], row["next_hops"]) == ("explanation", "forward", ["10.0.3.7:7000"])
    assert (row["key_id"], row["cluster"], row["claims"]) == (2, 7, ["claim of 10.0.3.7:7000 opened"])


def test_a_recorded_call_is_judged_as_the_relay_did() -> None:
    listeners = [(("127.0.0.1", 3478), ("127.0.0.1", 3479))]
    policy = Policy(KeyRing([(0, DEMO_SECRET, "active")]), cluster=7, transceivers=["127.0.0.1/32:7000"])
    explainer = Explainer(RelayConfig(listeners, policy), Sides(listeners))
    with open_input(str(CALL)) as stream:
        shown = list(explainer.explain(read_packets(stream, CaptureTally())))
    assert len(shown) == explainer.tally.sent_by_relay == 60
    assert explainer.tally.outcomes == {"forward": 30, "to_client": 30}
    assert [one.claims for one in shown if one.claims] == [
        ("claim of 127.0.0.1:7000 opened",),
        ("claim of 127.0.0.1:7000 confirmed weakly",),
        ("claim of 127.0.0.1:7000 confirmed",),
    ]


def test_changes_of_claims_are_told_for_any_number_of_paths() -> None:
    def packets(paths: int) -> Iterator[Packet]:
        for number in range(paths):
            client = (f"198.51.{number >> 8}.{number & 255}", 5)
            header = pack_spp(SppHeader(client, INTERNAL))
            ours = check(Route("endpoint", 7, ip=TRANSCEIVER[0], port=TRANSCEIVER[1], key_id=2, nonce=number), number)
            yield Packet(1, number * 1000, client, PUBLIC, ours)
            yield Packet(2, number * 1000, TRANSCEIVER, INTERNAL, header)

    explainer = Explainer(config(), Sides([(PUBLIC, INTERNAL)]))
    told = [one.claims for one in explainer.explain(packets(5000))]
    assert told == [("claim of 10.0.3.7:7000 opened",), ("claim of 10.0.3.7:7000 confirmed",)] * 5000
