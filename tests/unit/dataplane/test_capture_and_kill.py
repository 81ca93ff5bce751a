"""Captures and killed paths, with the relay's worker threads and real sockets."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator

import pytest

from rtcrelay import _dataplane as dataplane
from rtcrelay._dataplane import CAPTURE_HEADER, SPP_HEADER, Capture

from .test_relay_sockets import RTP, Site, eventually, run_site, stun, udp

RECORD = struct.Struct("!IIQBBBB16s16sHH")


@pytest.fixture
def site() -> Iterator[Site]:
    with run_site() as site:
        yield site


def points(records: bytes) -> list[tuple[int, int, int]]:
    """(point, bytes kept, bytes of the datagram) of each record."""
    found = []
    while records:
        kept, length, _, point, *_ = RECORD.unpack_from(records)
        found.append((point, kept, length))
        records = records[CAPTURE_HEADER + kept :]
    return found


def test_records_have_the_documented_form(site: Site) -> None:
    relay, transceiver, username = site
    public = relay.listeners()[0][0]
    capture = Capture(relay, everything=True)
    with udp("127.0.0.1") as client:
        client.sendto(stun(username=username), public)
        assert transceiver.recv(2048)
        records, lost = capture.take()
        assert lost == 0
        kept, length, time_ns, point, listener, dropped, held, source, destination, *ports = RECORD.unpack_from(records)
        assert (kept, length) == (len(stun(username=username)),) * 2
        assert abs(time_ns - time.time_ns()) < 60e9
        assert (point, listener, dropped, held) == (0, 0, 0, 0)
        assert (source[-4:], destination[-4:]) == (b"\x7f\0\0\1",) * 2
        assert ports == [client.getsockname()[1], public[1]]
        assert [point for point, *_ in points(records)] == [0, 3]
    assert capture.take() == (b"", 0)


def test_a_full_ring_counts_what_it_has_no_room_for_and_forwarding_goes_on(site: Site) -> None:
    relay, transceiver, username = site
    public, internal = relay.listeners()[0]
    speech = b"\x80\x6f" + bytes(1480)
    with udp("127.0.0.1") as client:
        client.sendto(stun(username=username), public)
        header = transceiver.recv(2048)[:SPP_HEADER]
        transceiver.sendto(header + stun(0x0101), internal)
        assert client.recv(2048)
        capture = Capture(relay, clients=["127.0.0.0/8"], full=True)
        for _ in range(2000):
            client.sendto(speech, public)
            assert transceiver.recv(2048)
        taken, pieces, lost = 0, 0, 0
        while piece := capture.take():
            if not piece[0]:
                break
            assert len(piece[0]) <= 262_144
            taken, pieces, lost = taken + len(points(piece[0])), pieces + 1, piece[1]
        assert pieces >= 16, "4 MiB in pieces"
        assert taken + lost == 4000
        assert lost > 1000
        client.sendto(speech, public)
        assert transceiver.recv(2048)
        assert [point for point, *_ in points(capture.take()[0])] == [0, 3], "there is room again"


def test_stopping_keeps_what_was_captured_and_takes_no_more(site: Site) -> None:
    relay, transceiver, username = site
    with udp("127.0.0.1") as client:
        capture = Capture(relay, everything=True)
        client.sendto(stun(username=username), relay.listeners()[0][0])
        transceiver.recv(2048)
        capture.stop()
        client.sendto(stun(username=username), relay.listeners()[0][0])
        transceiver.recv(2048)
        assert len(points(capture.take()[0])) == 2


def test_a_capture_says_what_it_is_about(site: Site) -> None:
    relay = site[0]
    for arguments in ({}, {"everything": True, "clients": ["10.0.0.0/8"]}):
        with pytest.raises(ValueError, match="is of some flows or of everything"):
            Capture(relay, **arguments)  # type: ignore[arg-type]  # keywords by name
    with pytest.raises(ValueError, match="is not a network"):
        Capture(relay, nodes=["x"])
    captures = [Capture(relay, everything=True) for _ in range(8)]
    with pytest.raises(RuntimeError, match="8 captures run already"):
        Capture(relay, everything=True)
    del captures
    Capture(relay, everything=True)


def test_a_killed_path_stays_away_until_the_clients_next_check(site: Site) -> None:
    relay, transceiver, username = site
    public, internal = relay.listeners()[0]
    relay.listen(True)
    with udp("127.0.0.1") as client:
        client.sendto(stun(username=username), public)
        header = transceiver.recv(2048)[:SPP_HEADER]
        for payload in (stun(0x0101), RTP):
            transceiver.sendto(header + payload, internal)
            assert client.recv(2048) == payload
        key = (client.getsockname(), internal[1])
        assert relay.kill([key, (("192.0.2.1", 9), 1)]) == 1
        assert relay.kill([key]) == 0
        assert relay.flows() == ([], 0)
        transceiver.sendto(header + RTP, internal)
        transceiver.sendto(header, internal)  # an announce
        client.sendto(RTP, public)
        assert eventually(lambda: relay.drops()["killed"] == 3)
        assert relay.flows() == ([], 0)
        client.sendto(stun(username=username), public)
        assert transceiver.recv(2048)
        transceiver.sendto(header + RTP, internal)
        assert client.recv(2048) == RTP
        (flow,) = relay.flows()[0]
        assert flow.claims[0].state == "strong"
    events = relay.events()[0]
    (killed,) = [event for event in events if event.what == "killed"]
    assert (killed.client, killed.ingress, killed.next_hop) == (*key, transceiver.getsockname())
    assert relay.counters()["killed"] == 1
    assert dataplane.DROP_REASONS["killed"].startswith("An operator")
