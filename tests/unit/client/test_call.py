"""A whole call on a clock made of numbers: the client against a small ICE-lite echo server, over a link with delay."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from rtcrelay._dataplane import classify, read_stun
from rtcrelay.client.core import Call, CallConfig, CallState
from rtcrelay.errors import PeerError
from rtcrelay.rtc import stun
from rtcrelay.rtc.certificate import Certificate
from rtcrelay.rtc.dtls import Dtls, DtlsIdentity, DtlsState
from rtcrelay.rtc.offer_answer import AnswerParameters, IceCredentials, read_offer, write_answer
from rtcrelay.rtc.reports import Reporter
from rtcrelay.rtc.rtp import is_rtcp, read_rtp

if TYPE_CHECKING:  # an alias of the stub, not of the module
    from rtcrelay._dataplane import Address

VIP: Address = ("198.51.100.1", 3478)
CLIENT: Address = ("203.0.113.9", 50_000)
ICE = IceCredentials("a" * 27, "serverpassword22charslong")
IDENTITY = DtlsIdentity()
SSRC = 77
"""Of what the server sends."""


class EchoServer:
    """ICE-lite, one session, DTLS client, sends every SRTP packet back."""

    def __init__(self, offer: str, *, passive: bool = False) -> None:
        asked = read_offer(offer)
        self.answer = write_answer(asked, AnswerParameters(ICE, IDENTITY.fingerprint, [VIP], 1))
        self.dtls = Dtls(IDENTITY, "server" if passive else asked.dtls_role, asked.fingerprints)
        if passive:
            self.answer = self.answer.replace("a=setup:active", "a=setup:passive")
        self.out: list[bytes] = []
        self.deaf = False
        self.reports = Reporter(SSRC, "server", 100.0, unix_offset=0.0)

    def take(self, data: bytes, now: float) -> None:
        kind = classify(data)
        if self.deaf:
            return
        if kind == "stun":
            message = read_stun(data)
            assert message is not None
            if message.kind == stun.BINDING_REQUEST:
                assert stun.verified_attributes(data, message, ICE.password.encode()) is not None
                self.out.append(stun.write_binding_success(message.transaction, CLIENT, ICE.password))
                if self.dtls.role == "client":
                    self.dtls.handle_start(now)
        elif kind == "dtls":
            self.dtls.handle_datagram(data, now)
        elif self.dtls.srtp is not None and is_rtcp(data):
            report = self.dtls.srtp.unprotect_rtcp(data)
            assert report is not None
            assert self.reports.handle_rtcp(report, now)
        elif self.dtls.srtp is not None:
            plain = self.dtls.srtp.unprotect(data)
            packet = read_rtp(plain) if plain is not None else None
            assert packet is not None
            self.reports.handle_packet(packet.ssrc, packet.sequence, packet.timestamp, now)
            self.reports.handle_sent(packet.timestamp, len(packet.payload), now)
            echo = self.dtls.srtp.protect(plain[:8] + SSRC.to_bytes(4, "big") + plain[12:]) if plain else None
            if echo is not None:
                self.out.append(echo)
        self.drain()

    def report(self, now: float) -> None:
        report = self.reports.poll_report(now)
        if report is not None and self.dtls.srtp is not None:
            protected = self.dtls.srtp.protect_rtcp(report)
            assert protected is not None
            self.out.append(protected)

    def drain(self) -> None:
        while (datagram := self.dtls.poll_transmit()) is not None:
            self.out.append(datagram)


@dataclass
class World:
    """The client, the server, and the link between them."""

    delay: float = 0.0
    config: CallConfig | None = None
    passive: bool = False
    """Whether the server waits for our ClientHello."""
    now: float = 100.0
    dropped: set[int] = field(default_factory=set)
    """Numbers of the datagrams, in order of sending either way, that get lost."""
    sent: int = 0
    flying: list[tuple[float, int, str, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.call = Call(self.config, now=self.now)
        self.server = EchoServer(self.call.offer, passive=self.passive)
        self.call.handle_answer(self.server.answer, self.now)
        self.post()

    def post(self) -> None:
        """Puts what both sides want to send on the link."""
        while (sent := self.call.poll_transmit()) is not None:
            assert sent[1] == VIP
            self._fly("server", sent[0])
        while self.server.out:
            self._fly("client", self.server.out.pop(0))

    def run(self, seconds: float) -> None:
        """Lets time pass."""
        end = self.now + seconds
        while (due := self._due()) <= end:
            self.now = max(self.now, due)
            if self.flying and self.flying[0][0] <= self.now:
                _, _, to, data = heapq.heappop(self.flying)
                if to == "server":
                    self.server.take(data, self.now)
                else:
                    self.call.handle_datagram(data, VIP, self.now)
            else:
                self.call.handle_timer(self.now)
                self.server.dtls.handle_timeout(self.now)
                self.server.report(self.now)
                self.server.drain()
            self.post()
        self.now = end

    def _due(self) -> float:
        server = self.server.dtls.poll_timeout(), self.server.reports.poll_timeout()
        timers = (self.call.poll_timeout(), *server, self.flying[0][0] if self.flying else None)
        return min((at for at in timers if at is not None), default=float("inf"))

    def _fly(self, to: str, data: bytes) -> None:
        self.sent += 1
        if self.sent not in self.dropped:
            heapq.heappush(self.flying, (self.now + self.delay, self.sent, to, data))


def test_speech_goes_out_and_every_packet_comes_back() -> None:
    world = World(delay=0.005)
    world.run(5.0)
    counts = world.call.counts(world.now)
    assert world.call.state is CallState.TALKING
    assert counts.audio_sent == pytest.approx(249, abs=2)
    assert counts.audio_echoed >= counts.audio_sent - 1
    assert (counts.audio_lost, counts.audio_duplicated, counts.audio_unreturned, counts.srtp_refused) == (0, 0, 0, 0)
    assert world.call.round_trip().max_ms == pytest.approx(10.0)
    assert world.call.longest_gap(world.now - 4.9, world.now) is None


def test_set_up_takes_the_round_trips_that_the_protocols_need() -> None:
    world = World(delay=0.05)
    world.run(2.0)
    timings = world.call.timings
    assert timings.first_check_answered_ms == pytest.approx(100)
    # The ClientHello follows the first response; Certificate to Finished arrive one round trip later.
    assert timings.first_dtls_received_ms == pytest.approx(100)
    assert timings.keys_ms == pytest.approx(200)
    assert timings.first_audio_sent_ms == pytest.approx(200)
    assert timings.first_echo_ms == pytest.approx(300)


def test_a_passive_server_is_called_as_dtls_client_with_false_start() -> None:
    world = World(delay=0.05, passive=True)
    world.run(2.0)
    timings = world.call.timings
    assert world.call.dtls is not None
    assert world.call.dtls.role == "client"
    # One round trip for ICE, two for DTLS; with False Start the first audio goes with our Finished.
    assert timings.first_audio_sent_ms == pytest.approx(200)
    assert timings.dtls_done_ms == pytest.approx(300)
    assert timings.first_echo_ms == pytest.approx(300)


@pytest.mark.parametrize("passive", [False, True])
@pytest.mark.parametrize("lost", range(1, 13))
def test_whichever_packet_of_the_set_up_is_lost_speech_flows_within_a_second(lost: int, passive: bool) -> None:
    world = World(delay=0.02, passive=passive, dropped={lost})
    world.run(1.0)
    assert world.call.timings.first_echo_ms is not None


def test_a_server_that_never_answers_a_check_ends_the_call() -> None:
    world = World()
    world.server.deaf = True
    world.flying.clear()
    world.run(20.0)
    assert world.call.state is CallState.ENDED
    assert world.call.end == "no check was answered"
    assert world.call.counts(world.now).audio_sent == 0


def test_candidates_are_tried_by_priority_and_only_those_that_one_socket_reaches() -> None:
    call = Call(now=0.0)
    answer = EchoServer(call.offer).answer
    more = [
        "a=candidate:8 1 udp 1 198.51.100.8 3478 typ host",
        "a=candidate:9 1 udp 2130706432 198.51.100.9 3478 typ host",
        "a=candidate:6 1 udp 2130706000 2001:db8::6 3478 typ host",
    ]
    call.handle_answer(answer.replace("a=end-of-candidates", "\r\n".join(more)), 0.0)
    assert call.candidates == [("198.51.100.9", 3478), VIP, ("198.51.100.8", 3478)]


def test_a_lost_packet_is_unreturned_and_the_loss_on_the_way_back_is_seen() -> None:
    world = World(delay=0.005)
    world.run(1.0)
    world.dropped = {world.sent + 7}
    world.run(5.0)
    counts = world.call.counts(world.now)
    assert counts.audio_unreturned == 1
    assert counts.audio_lost == 1


def test_both_ends_report_and_learn_round_trip_and_loss() -> None:
    world = World(delay=0.02)
    world.run(1.0)
    world.dropped = set(range(world.sent + 1, world.sent + 2000, 20))  # one of twenty, either way
    world.run(20.0)
    ours, theirs = world.call.reports, world.server.reports
    for end in (ours, theirs):
        assert end.reports_sent >= 5
        assert end.reports_received >= 5
        assert end.round_trip == pytest.approx(0.04, abs=0.001)
        assert end.remote.lost > 0
    assert ours.lost == world.call.counts(world.now).audio_lost
    assert ours.remote.lost <= theirs.lost


def test_an_rtcp_packet_that_is_malformed_is_refused() -> None:
    world = World()
    world.run(1.0)
    srtp = world.server.dtls.srtp
    assert srtp is not None
    packet = srtp.protect_rtcp(b"\x81\xc9\x00\x01" + bytes(4))  # says one block and has none
    assert packet is not None
    before = world.call.reports.reports_received
    world.call.handle_datagram(packet, VIP, world.now)
    assert world.call.counts(world.now).srtp_refused == 1
    assert world.call.reports.reports_received == before


def test_a_replayed_packet_is_a_duplicate_and_a_forged_one_is_refused() -> None:
    world = World(delay=0.005)
    world.run(1.0)
    srtp = world.server.dtls.srtp
    assert srtp is not None
    packet = srtp.protect(bytes([0x80, 111, 0, 1]) + bytes(8) + b"hello")
    assert packet is not None
    for data in (packet, packet, packet[:2] + b"\x99\x99" + packet[4:]):
        world.call.handle_datagram(data, VIP, world.now)
    counts = world.call.counts(world.now)
    assert (counts.audio_duplicated, counts.srtp_refused) == (1, 1)


def test_media_from_elsewhere_is_dropped_before_it_is_decrypted() -> None:
    world = World()
    world.run(1.0)
    world.call.handle_datagram(bytes([0x80]) + bytes(30), ("192.0.2.66", 4444), world.now)
    counts = world.call.counts(world.now)
    assert (counts.datagrams_dropped, counts.srtp_refused) == (1, 0)


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x16", b"\x80", b"\xff" * 1501, bytes([22]) + bytes(100)])
def test_bytes_from_the_network_never_raise(data: bytes) -> None:
    world = World()
    world.run(1.0)
    for source in (VIP, CLIENT):
        world.call.handle_datagram(data, source, world.now)
    world.run(1.0)
    assert world.call.state is CallState.TALKING


def test_a_gap_is_measured_from_the_last_packet_to_the_next() -> None:
    world = World(delay=0.005)
    world.run(1.0)
    world.server.deaf = True
    world.run(0.5)
    world.server.deaf = False
    start = world.now
    world.run(1.0)
    gap = world.call.longest_gap(start - 0.5, world.now)
    assert gap is not None
    assert gap.length_ms == pytest.approx(520, abs=21)


def test_a_server_that_falls_silent_ends_the_call_when_consent_is_over() -> None:
    world = World()
    world.run(1.0)
    world.server.deaf = True
    world.run(31.0)
    assert world.call.state is CallState.ENDED
    assert world.call.end == "the server stopped answering checks"
    assert world.call.poll_timeout() is None


def test_a_client_that_lies_about_its_certificate_gets_no_media() -> None:
    world = World(config=CallConfig(claimed_fingerprint=Certificate.generate().fingerprint))
    world.run(2.0)
    counts = world.call.counts(world.now)
    assert counts.audio_received == 0
    assert world.call.state is CallState.ENDED
    assert world.call.end.startswith("DTLS ended: alert")


def test_hanging_up_says_goodbye_to_the_server() -> None:
    world = World()
    world.run(1.0)
    world.call.close(world.now)
    world.post()
    world.run(0.1)
    assert world.call.end == "we hung up"
    assert world.server.dtls.state is DtlsState.CLOSED
    assert world.call.counts(world.now).audio_sent == world.call.counts(world.now + 1).audio_sent


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda answer: answer.replace("a=candidate", "a=x-candidate"), "names no address"),
        (lambda answer: answer.replace(" 111", " 96").replace(":111 ", ":96 "), "payload type 96"),
        (lambda answer: answer.replace("a=ice-pwd", "a=x-pwd"), "ice-pwd"),
        (lambda _: "nonsense", "v="),
    ],
)
def test_an_answer_that_cannot_work_is_the_servers_fault(change: object, problem: str) -> None:
    call = Call(now=0.0)
    answer = EchoServer(call.offer).answer
    assert callable(change)
    with pytest.raises(PeerError, match=problem):
        call.handle_answer(change(answer), 0.1)
