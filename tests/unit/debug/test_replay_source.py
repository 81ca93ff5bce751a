"""Which packets are replayed: each client's, once, without SPP, with another ufrag if that is wanted."""

from __future__ import annotations

from pathlib import Path

import pytest
from aioice import stun as judge

from rtcrelay._dataplane import SppHeader, pack_spp, read_stun
from rtcrelay.debug.captures import CaptureTally, Packet, open_input, read_packets
from rtcrelay.debug.replay_source import Replayed, Selection, with_username
from rtcrelay.rtc import stun

CAPTURES = Path(__file__).parents[2] / "vectors" / "captures"
CLIENT, OTHER = ("198.51.100.7", 51234), ("198.51.100.8", 40000)
VIP, INTERNAL, TRANSCEIVER, PEER = ("203.0.113.10", 3478), ("10.0.0.5", 3479), ("10.0.3.7", 7000), ("10.1.0.5", 3479)
RTP, DTLS = b"\x80\x60" + bytes(30), b"\x16\xfe\xfd" + bytes(30)
REQUEST = stun.write_message(1, bytes(12), [(6, b"server:client")], password="p")
HEADER = pack_spp(SppHeader(CLIENT, INTERNAL))

Way = tuple[tuple[str, int], tuple[str, int], bytes]


def selected(*packets: Way, selection: Selection | None = None) -> list[Replayed]:
    chosen = selection or Selection()
    return list(chosen.select(Packet(n, n * 1000, *packet) for n, packet in enumerate(packets, 1)))


def test_what_goes_to_clients_is_left_out() -> None:
    selection = Selection()
    found = selected((CLIENT, VIP, REQUEST), (VIP, CLIENT, RTP), (CLIENT, VIP, RTP), selection=selection)
    assert [(packet.source, packet.name, packet.time_ns) for packet in found] == [
        (CLIENT, "stun", 1000),
        (CLIENT, "rtp", 3000),
    ]
    assert selection.tally.backwards == 1


def test_a_packet_that_was_captured_before_and_behind_the_relay_is_sent_once() -> None:
    selection = Selection()
    ways = (
        (CLIENT, VIP, REQUEST),
        (INTERNAL, TRANSCEIVER, HEADER + REQUEST),
        (TRANSCEIVER, INTERNAL, HEADER + DTLS),
        (VIP, CLIENT, DTLS),
    )
    assert [packet.payload for packet in selected(*ways, selection=selection)] == [REQUEST]
    assert (selection.tally.twice, selection.tally.backwards) == (1, 2)


def test_a_capture_behind_the_relay_alone_gives_the_clients_without_spp() -> None:
    other = pack_spp(SppHeader(OTHER, INTERNAL))
    found = selected(
        (INTERNAL, TRANSCEIVER, HEADER + REQUEST),
        (TRANSCEIVER, INTERNAL, HEADER + RTP),
        (INTERNAL, TRANSCEIVER, other + RTP),
        (TRANSCEIVER, INTERNAL, HEADER),
    )
    assert [(packet.source, packet.payload) for packet in found] == [(CLIENT, REQUEST), (OTHER, RTP)]


def test_between_two_relays_the_first_packet_says_the_way() -> None:
    """A cluster's relay copies the header, so that the proxy is neither end of its own leg."""
    ways = (
        (PEER, TRANSCEIVER, HEADER + REQUEST),
        (TRANSCEIVER, PEER, HEADER + DTLS),
        (PEER, TRANSCEIVER, HEADER + RTP),
    )
    assert [packet.payload for packet in selected(*ways)] == [REQUEST, RTP]


def test_the_port_of_a_relay_says_the_way_in_a_capture_that_begins_in_mid_call() -> None:
    ways = ((VIP, CLIENT, RTP), (CLIENT, VIP, DTLS))
    assert [packet.payload for packet in selected(*ways)] == [RTP]
    assert [packet.payload for packet in selected(*ways, selection=Selection(server_port=3478))] == [DTLS]


@pytest.mark.parametrize(("only", "names"), [("stun", ["stun"]), ("dtls", ["dtls"]), ("rtp", ["rtp", "rtp"])])
def test_one_class_alone(only: str, names: list[str]) -> None:
    rtcp = b"\x80\xc8" + bytes(26)
    ways = [(CLIENT, VIP, payload) for payload in (REQUEST, DTLS, RTP, rtcp, b"\xff", b"")]
    selection = Selection(only)  # type: ignore[arg-type]  # one of them
    assert [packet.name for packet in selected(*ways, selection=selection)] == names
    assert selection.tally.unwanted == 6 - len(names)


def test_a_rewritten_request_is_right_in_the_eyes_of_a_stranger() -> None:
    before = stun.write_binding_request(bytes(12), "old:client", "old", stun.IceCheck(1, True, bytes(8), True))
    message = read_stun(before)
    assert message is not None
    after = with_username(before, message, b"a-much-longer-ufrag:client", b"new password")
    read = judge.parse_message(after)
    assert read.check_message_integrity(b"new password")
    assert read.attributes["USERNAME"] == "a-much-longer-ufrag:client"
    assert {"PRIORITY", "USE-CANDIDATE", "ICE-CONTROLLING", "MESSAGE-INTEGRITY", "FINGERPRINT"} <= set(read.attributes)
    assert read.transaction_id == bytes(12)


def test_only_requests_with_a_ufrag_are_rewritten() -> None:
    plain, answer = stun.write_message(1, bytes(12), []), stun.write_binding_success(bytes(12), VIP, "p")
    selection = Selection(rewrite=lambda payload, message: b"rewritten")
    ways = [(CLIENT, VIP, payload) for payload in (REQUEST, plain, answer, RTP)]
    assert [packet.payload for packet in selected(*ways, selection=selection)] == [b"rewritten", plain, answer, RTP]
    assert (selection.tally.rewritten, selection.tally.without_ufrag) == (1, 1)


@pytest.mark.parametrize(("name", "count"), [("call.pcap", 30), ("chromium.pcap", 75)])
def test_a_recorded_call_gives_what_its_client_sent(name: str, count: int) -> None:
    selection = Selection()
    with open_input(str(CAPTURES / name)) as stream:
        found = list(selection.select(read_packets(stream, CaptureTally())))
    assert len(found) == count
    assert len({packet.source for packet in found}) == 1
    assert selection.tally.twice == count
