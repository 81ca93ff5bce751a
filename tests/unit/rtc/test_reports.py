"""Two ends that report to each other: when, and what they find out."""

from __future__ import annotations

import pytest

from rtcrelay.rtc.reports import REPORT_SECONDS, Reporter
from rtcrelay.rtc.rtcp import Goodbye, Report, ReportBlock, SenderInfo, read_rtcp, write_goodbye, write_report
from rtcrelay.rtc.srtp import MAX_SOURCES

UNIX = 1_800_000_000.0


def ends() -> tuple[Reporter, Reporter]:
    """Their clocks have nothing to do with each other."""
    return Reporter(1, "one", 0.0, unix_offset=UNIX), Reporter(2, "two", 0.0, unix_offset=UNIX + 12_345.678)


def speak(
    sender: Reporter, ssrc: int, receiver: Reporter, numbers: range, *, lost: int = 0, delay: float = 0.05
) -> float:
    """50 packets a second; every ``lost``th is dropped. Returns the time after the last."""
    for number in numbers:
        sender.handle_sent(960 * number, 80, 0.02 * number)
        if not lost or number % lost != lost - 1:
            receiver.handle_packet(ssrc, number & 0xFFFF, 960 * number, 0.02 * number + delay)
    return 0.02 * numbers.stop


def due(reporter: Reporter) -> bytes:
    """Its next report, whenever that is."""
    at = reporter.poll_timeout()
    assert at is not None
    packet = reporter.poll_report(at)
    assert packet is not None
    return packet


def test_nothing_is_reported_before_the_first_packet() -> None:
    one, _ = ends()
    assert one.poll_timeout() is None
    assert one.poll_report(1000.0) is None


def test_the_first_report_comes_after_half_an_interval_and_the_others_at_random_in_one() -> None:
    waits = []
    for _ in range(200):
        one, _ = ends()
        one.handle_sent(0, 80, 10.0)
        at = one.poll_timeout()
        assert at is not None
        assert 0.25 * REPORT_SECONDS <= at - 10.0 <= 0.75 * REPORT_SECONDS
        assert one.poll_report(at - 0.001) is None
        assert one.poll_report(at) is not None
        then = one.poll_timeout()
        assert then is not None
        waits.append(then - at)
    assert min(waits) >= 0.5 * REPORT_SECONDS
    assert max(waits) <= 1.5 * REPORT_SECONDS
    assert max(waits) - min(waits) > 0.5 * REPORT_SECONDS


def test_loss_is_seen_at_both_ends() -> None:
    one, two = ends()
    speak(one, 1, two, range(1000), lost=33)
    assert two.lost == 30
    assert two.received == 970
    one.handle_rtcp(due(two), 20.0)
    assert one.remote.lost == 30
    assert one.remote.fraction_lost == pytest.approx(30 / 1000, abs=1 / 256)


def test_both_ends_measure_the_round_trip_whatever_their_clocks_say() -> None:
    one, two = ends()
    speak(one, 1, two, range(100), delay=0.03)
    speak(two, 2, one, range(100), delay=0.07)
    two.handle_rtcp(one._report(2.10), 2.13)  # 30 ms there
    one.handle_rtcp(two._report(2.50), 2.57)  # 70 ms back
    assert one.round_trip == pytest.approx(0.1, abs=0.001)
    speak(two, 2, one, range(100, 110), delay=0.07)
    two.handle_rtcp(one._report(2.60), 2.63)
    assert two.round_trip == pytest.approx(0.1, abs=0.001)


def test_a_round_trip_that_cannot_be_is_not_believed() -> None:
    one, _ = ends()
    one.handle_sent(0, 80, 1.0)
    lie = write_report(2, None, [_block(last_report=5, delay=77)], b"")
    assert one.handle_rtcp(lie, 2.0)
    assert one.round_trip is None
    assert one.remote.reports == 1


def test_a_sender_report_names_one_instant_in_both_clocks() -> None:
    one, _ = ends()
    one.handle_sent(4_294_967_200, 80, 1.0)
    (report, _) = read_rtcp(one._report(1.5)) or []
    assert isinstance(report, Report)
    assert report.sender is not None
    assert report.sender.timestamp == (4_294_967_200 + 24_000) % 2**32
    assert report.sender.ntp >> 32 == int(UNIX + 1.5) + 2_208_988_800
    assert (report.sender.packets, report.sender.payload_bytes) == (1, 80)


def test_who_sent_nothing_since_the_last_report_writes_a_receivers() -> None:
    one, _ = ends()
    one.handle_sent(0, 80, 1.0)
    assert due(one)[1] == 200
    assert due(one)[1] == 201


def test_a_source_without_news_is_not_reported_again() -> None:
    one, two = ends()
    speak(one, 1, two, range(10))
    assert due(two)[0] & 0x1F == 1
    assert due(two)[0] & 0x1F == 0


def test_a_goodbye_ends_nothing_because_the_source_may_speak_on() -> None:
    one, two = ends()
    speak(one, 1, two, range(100), lost=10)
    assert two.handle_rtcp(one.goodbye(2.0), 2.0)
    assert two.handle_rtcp(write_goodbye(1), 2.0)
    speak(one, 1, two, range(100, 200), lost=10)
    assert (two.received, two.lost) == (180, 19)
    assert two._report(5.0)[0] & 0x1F == 1


def test_the_last_report_ends_with_a_goodbye() -> None:
    one, _ = ends()
    one.handle_sent(0, 80, 1.0)
    assert (read_rtcp(one.goodbye(2.0)) or [])[-1] == Goodbye((1,))


def test_reports_about_somebody_else_are_nothing_to_us() -> None:
    one, _ = ends()
    one.handle_sent(0, 80, 1.0)
    assert one.handle_rtcp(write_report(2, None, [_block(ssrc=99)], b""), 2.0)
    assert one.remote.reports == 0


def test_a_sender_report_of_an_unknown_source_is_kept_nowhere() -> None:
    one, _ = ends()
    for ssrc in range(1000):
        one.handle_rtcp(write_report(ssrc, SenderInfo(1, 2, 3, 4), [], b"x"), 2.0)
    assert one.sources == {}


def test_no_more_sources_are_kept_than_srtp_admits() -> None:
    one, _ = ends()
    for ssrc in range(100, 200):
        one.handle_packet(ssrc, 1, 1, 1.0)
    assert len(one.sources) == MAX_SOURCES


def test_a_malformed_packet_changes_nothing() -> None:
    one, _ = ends()
    one.handle_sent(0, 80, 1.0)
    good = write_report(2, None, [_block(ssrc=1, lost=5)], b"")
    assert not one.handle_rtcp(good + b"\x80\xc9\x00\x09", 2.0)
    assert (one.remote.lost, one.reports_received) == (0, 0)


def test_reports_go_on_over_every_roll_over() -> None:
    """24.8 hours are 2**32 units of the clock; sequence numbers roll over every 22 minutes."""
    one, two = ends()
    start = 2**32 // 960 - 200
    for number in range(start, start + 400):
        now = 0.02 * number
        one.handle_sent(960 * number & 0xFFFF_FFFF, 80, now)
        two.handle_packet(1, number & 0xFFFF, 960 * number & 0xFFFF_FFFF, now + 0.05)
    end = 0.02 * (start + 400)
    assert (two.lost, two.received) == (0, 400)
    assert two.current is not None
    assert two.current.jitter < 1
    two.handle_rtcp(one._report(end), end + 0.05)
    one.handle_rtcp(two._report(end + 1), end + 1.05)
    assert one.round_trip == pytest.approx(0.1, abs=0.001)


def _block(ssrc: int = 1, lost: int = 0, last_report: int = 0, delay: int = 0) -> ReportBlock:
    return ReportBlock(ssrc, 0, lost, 0, 0, last_report, delay)
