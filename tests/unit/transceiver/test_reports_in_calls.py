"""RTCP of whole calls: what goes out and when, what a client can say, and what the operator sees."""

from __future__ import annotations

import json
import random

import pytest

from rtcrelay.rtc.reports import REPORT_SECONDS, Reporter
from rtcrelay.rtc.rtcp import Goodbye, Report, RtcpItem, read_rtcp, write_goodbye, write_report
from rtcrelay.rtc.rtp import is_rtcp
from rtcrelay.transceiver.counters import Count, Drop, End
from rtcrelay.transceiver.paths import Arrival
from rtcrelay.transceiver.report import describe_media, describe_session

from .network import THERE, Caller, Network, arrival, client_of

NEW = arrival(THERE)


def send_rtcp(call: Caller, plain: bytes, at: Arrival | None = None) -> bytes:
    """Sends a client's RTCP; returns it protected, for a replay."""
    assert call.dtls.srtp is not None
    packet = call.dtls.srtp.protect_rtcp(plain)
    assert packet is not None
    call.network.receive(at or call.at, packet)
    return packet


def take_rtcp(call: Caller) -> list[RtcpItem]:
    """What the server reported since the last look; the media are put aside."""
    items: list[RtcpItem] = []
    for _, payload in call.network.take():
        if payload and payload[0] >= 128 and is_rtcp(payload):
            assert call.dtls.srtp is not None
            plain = call.dtls.srtp.unprotect_rtcp(payload)
            assert plain is not None
            items += read_rtcp(plain) or []
    return items


def talk(network: Network, call: Caller, packets: int, *, lost: int = 0) -> None:
    """50 packets a second; every ``lost``th is sent but does not arrive."""
    for number in range(packets):
        if lost and number % lost == lost - 1:
            call._sequence += 1
        else:
            call.speak()
        network.pass_time(0.02)


def test_reports_come_at_random_about_every_two_seconds(network: Network, call: Caller) -> None:
    talk(network, call, 3000)
    reports = [item for item in take_rtcp(call) if isinstance(item, Report)]
    assert 60 / REPORT_SECONDS * 0.8 <= len(reports) <= 60 / REPORT_SECONDS * 1.2
    assert {report.ssrc for report in reports} == {call.session.ssrc}
    assert all(report.sender is not None and len(report.blocks) == 1 for report in reports)
    assert network.count(Count.RTCP_OUT) == len(reports)


def test_loss_is_reported_to_the_client_and_shown_to_the_operator(network: Network, call: Caller) -> None:
    talk(network, call, 1000, lost=33)
    network.pass_time(3.0)
    report = [item for item in take_rtcp(call) if isinstance(item, Report) and item.blocks][-1]
    assert report.blocks[0].lost == 30
    row = describe_session(call.session, "test", network.now)
    assert (row["rtp_packets_in"], row["rtp_lost_in"]) == (970, 30)
    assert json.dumps(describe_media(call.session, network.now))


def test_a_silent_call_is_silent_in_rtcp_too(network: Network, call: Caller) -> None:
    network.pass_time(20.0)
    assert take_rtcp(call) == []


def test_what_the_client_reports_is_shown_and_the_round_trip_measured(network: Network, call: Caller) -> None:
    client = Reporter(42, "client", network.now, unix_offset=12345.0)
    talk(network, call, 100)
    for _, payload in network.take():
        assert call.dtls.srtp is not None
        if not payload or payload[0] < 128:
            continue
        if is_rtcp(payload):
            client.handle_rtcp(call.dtls.srtp.unprotect_rtcp(payload) or b"", network.now)
        elif payload[3] % 10:  # a tenth of the echoes never comes
            ssrc, number = int.from_bytes(payload[8:12], "big"), int.from_bytes(payload[2:4], "big")
            client.handle_packet(ssrc, number, int.from_bytes(payload[4:8], "big"), network.now)
    # 60 ms after the server reported, of which the client knows 0.
    reported_at = network.now
    network.now += 0.06
    send_rtcp(call, client._report(reported_at))
    row = describe_session(call.session, "test", network.now)
    assert row["rtp_lost_out"] in range(9, 14)
    assert row["round_trip_ms"] is not None
    assert row["rtcp_reports_in"] == 1


def test_a_goodbye_of_the_client_ends_nothing(network: Network, call: Caller) -> None:
    call.speak()
    send_rtcp(call, write_report(42, None, [], b"x") + write_goodbye(42))
    send_rtcp(call, write_goodbye(42))
    call.speak()
    call.pump()
    assert len(call.media) == 2
    assert call.session.end is None


def test_a_replayed_report_counts_for_nothing(network: Network, call: Caller) -> None:
    packet = send_rtcp(call, write_report(42, None, [], b"x"))
    before = call.session.reports.reports_received
    network.receive(call.at, packet)
    assert call.session.reports.reports_received == before == 1
    assert network.drops(Drop.NOT_AUTHENTIC) == 1


def test_a_replayed_report_from_elsewhere_moves_nothing(network: Network, call: Caller) -> None:
    call.check(NEW)
    packet = send_rtcp(call, write_report(42, None, [], b"x"))
    network.receive(NEW, packet)
    selected = call.session.link.paths.selected
    assert selected is not None
    assert selected.key == call.at.key


def test_a_late_report_from_another_path_moves_nothing_but_a_new_one_does(network: Network, call: Caller) -> None:
    call.check(NEW)
    assert call.dtls.srtp is not None
    late, current = (call.dtls.srtp.protect_rtcp(write_report(42, None, [], b"x")) for _ in range(2))
    assert late is not None
    assert current is not None
    network.receive(call.at, current)
    network.receive(NEW, late)
    paths = call.session.link.paths
    assert paths.selected is not None
    assert paths.selected.key == call.at.key
    send_rtcp(call, write_report(42, None, [], b"x"), NEW)
    assert paths.selected.key == NEW.key


def test_malformed_reports_that_authenticate_are_counted_and_harm_nothing(network: Network, call: Caller) -> None:
    dice = random.Random(1)
    for _ in range(500):
        send_rtcp(call, b"\x81\xc9" + dice.randbytes(2) + bytes(4) + dice.randbytes(dice.randrange(60)))
    assert network.drops(Drop.RTCP_MALFORMED) > 400
    call.speak()
    call.pump()
    assert len(call.media) == 1


def test_forged_reports_are_dropped(network: Network, call: Caller) -> None:
    for length in (2, 7, 8, 20, 100, 1500):
        network.receive(call.at, (b"\x80\xc9" + bytes(1500))[:length])
    assert call.session.reports.reports_received == 0
    assert call.session.end is None


def test_sequence_and_timestamps_go_on_when_the_client_moves(network: Network, call: Caller) -> None:
    call.addresses.add(THERE)
    talk(network, call, 10)
    call.pump()
    call.check(NEW, nominate=True)
    call.at = NEW
    call.pump()
    talk(network, call, 10)
    call.pump()
    assert len(call.media) == 20
    sequences = [packet.sequence for packet in call.media]
    assert sequences == [(sequences[0] + n) & 0xFFFF for n in range(20)]
    steps = {(b.timestamp - a.timestamp) % 2**32 for a, b in zip(call.media, call.media[1:], strict=False)}
    assert steps == {960}
    assert call.session.reports.lost == 0


def test_the_end_of_a_session_is_said_by_bye(network: Network, call: Caller) -> None:
    talk(network, call, 10)
    network.take()
    call.session.close(End.DELETED, network.now)
    items = take_rtcp(call)
    assert isinstance(items[0], Report)
    assert items[-1] == Goodbye((call.session.ssrc,))


def test_who_never_sent_says_no_bye(network: Network, call: Caller) -> None:
    network.take()
    call.session.close(End.DELETED, network.now)
    assert take_rtcp(call) == []


def test_a_client_that_only_listens_gets_sender_reports(network: Network, call: Caller) -> None:
    for _ in range(150):
        assert call.session.send_opus(b"\xf8opus")
        network.pass_time(0.02)
    reports = [item for item in take_rtcp(call) if isinstance(item, Report)]
    assert reports
    assert all(report.sender is not None and report.blocks == () for report in reports)


def test_reports_go_where_the_media_go(network: Network, call: Caller) -> None:
    call.addresses.add(THERE)
    talk(network, call, 10)
    call.check(NEW, nominate=True)
    call.at = NEW
    call.pump()
    network.take()
    talk(network, call, 200)
    places = {client_of(reply) for reply, payload in network.take() if payload and is_rtcp(payload)}
    assert places == {THERE}


@pytest.mark.parametrize("packets", [70_000])
def test_a_call_of_many_packets_rolls_over_without_loss(network: Network, call: Caller, packets: int) -> None:
    """65536 packets are 22 minutes; the SRTP roll-over counters of both ends follow."""
    for _ in range(packets):
        call.speak()
        network.now += 0.02
        if len(network.sent) > 1000:
            call.pump()
    call.pump()
    assert (call.session.packets_in, call.session.reports.lost) == (packets, 0)
    assert len(call.media) == packets
    assert {(b.sequence - a.sequence) & 0xFFFF for a, b in zip(call.media, call.media[1:], strict=False)} == {1}
