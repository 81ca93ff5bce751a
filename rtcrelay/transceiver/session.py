"""What is one call, from its offer to its end? DTLS, SRTP, reports, data channels and backend of one client.

No socket and no task: packets and ``now`` in, packets out through the host. Laws: only what authenticates moves
or prolongs anything; nothing from the network raises.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from rtcrelay.rtc.dtls import Dtls, DtlsEnd, DtlsState
from rtcrelay.rtc.offer_answer import IceCredentials, Offer
from rtcrelay.rtc.reports import Reporter
from rtcrelay.rtc.rtp import is_rtcp, read_rtp
from rtcrelay.rtc.sctp import DataChannels
from rtcrelay.rtc.srtp import Srtp
from rtcrelay.transceiver.audio import AudioOut, OpusPacket
from rtcrelay.transceiver.backends import Message
from rtcrelay.transceiver.counters import Count, Drop, End
from rtcrelay.transceiver.frame_clock import Ticket
from rtcrelay.transceiver.host import Host as Host
from rtcrelay.transceiver.link import Link
from rtcrelay.transceiver.milestones import Milestones
from rtcrelay.transceiver.paths import Arrival, CheckKind, Path
from rtcrelay.transceiver.report import describe_media
from rtcrelay.transceiver.statistics_feed import StatisticsFeed

if TYPE_CHECKING:
    from rtcrelay._dataplane import StunMessage

log = logging.getLogger("rtcrelay.transceiver")

CNAME: Final = "rtcrelay"
"""Of the audio we send, in its reports and in the answer: one stream has nothing to be in step with."""
_ENDS: Final = {
    DtlsEnd.CLOSE_NOTIFY: End.CLOSE_NOTIFY,
    DtlsEnd.ALERT: End.ALERT,
    DtlsEnd.VERSION: End.DTLS_VERSION,
    DtlsEnd.FINGERPRINT: End.DTLS_FINGERPRINT,
}


class Session:
    """One call. It is in the host's tables until it calls `Host.forget`, exactly once."""

    def __init__(self, host: Host, ice: IceCredentials, offer: Offer, now: float) -> None:
        self.id = secrets.token_hex(8)
        """For logs and the admin interface; no secret."""
        self.ssrc = secrets.randbits(32)
        """Of the audio we send."""
        self.end: End | None = None
        """Why it ended; None while it lives."""
        self.marks = Milestones(now)
        self.link = Link(host, host.counters, ice, offer.ice, now)
        self.dtls = Dtls(host.identity, offer.dtls_role, offer.fingerprints)
        self.channels: DataChannels | None = None
        """None until DTLS is complete, and if the offer had no data channel."""
        # The wall clock is only for the reports' own times; nothing here depends on it.
        self.reports = Reporter(self.ssrc, CNAME, now, unix_offset=time.time() - now)
        """Loss, jitter and round trip, and what is told about them."""
        self.packets_in = self.bytes_in = 0
        """Of Opus, from the client."""
        self.audio_out = AudioOut(offer.audio, self.ssrc) if offer.audio is not None else None
        self._host, self._counters, self._offer = host, host.counters, offer
        self._payload_type = offer.audio.payload_type if offer.audio is not None else -1
        self._rtcp_indexes: dict[bytes, int] = {}
        self._feed: StatisticsFeed | None = None
        self._on_frame: Callable[[int], None] | None = None
        self._ticket: Ticket | None = None
        self._backend = host.make_backend(self)

    # -- packets

    def handle_check(self, arrival: Arrival, datagram: bytes, message: StunMessage, ufrag: bytes, now: float) -> bool:
        """A binding request with this ufrag of the session's. False if its integrity is wrong: nothing happened
        then."""
        paths = self.link.paths
        kind = self.link.handle_check(arrival, datagram, message, ufrag, connected=self.is_connected, now=now)
        if kind is None:
            return False
        if kind is not CheckKind.REPEATED:
            self.marks.reach("first_check", now)
            if paths.forgotten is not None:
                self._host.forget_path(self, paths.forgotten)
            if kind is CheckKind.MOVED:
                self._on_moved(now)
            self._host.rearm(self)
        return True

    def handle_response(self, arrival: Arrival, datagram: bytes, message: StunMessage, now: float) -> bool:
        """A STUN success response on one of our paths. True if it was ours."""
        return self.link.handle_response(arrival.key, datagram, message, now)

    def handle_dtls(self, arrival: Arrival, datagram: bytes, now: float, *, share: int, alone: bool) -> Drop | None:
        """A DTLS datagram on one of our paths. None if it was ours, or may have been; else why not.

        ``share`` is what of its bytes counts for us, ``alone`` whether the path is nobody else's: a datagram for
        another session may fail our handshake, and what we say then would fail theirs.
        """
        path = self.link.paths.find(arrival.key)
        if path is None:
            return Drop.UNKNOWN_PATH
        self.link.paths.handle_bytes(path, share)
        before = self.dtls.state
        proved = self.dtls.handle_datagram(datagram, now)
        if not alone and self.dtls.state is DtlsState.CLOSED and before is not DtlsState.CONNECTED:
            while self.dtls.poll_transmit() is not None:
                pass
        if proved:
            self.link.handle_authenticated(path, arrival.reply, is_newest=False, connected=self.is_connected, now=now)
        if self.dtls.state is not before:
            self._on_dtls_state(path, now)
        while (data := self.dtls.poll_data()) is not None:
            if self.channels is not None:
                self.channels.handle_data(data)
        self._flush()
        if before is not DtlsState.CONNECTED:
            self._host.rearm(self)
        return None if proved or before is not DtlsState.CONNECTED else Drop.NOT_AUTHENTIC

    def handle_media(self, arrival: Arrival, packet: bytes, now: float, *, share: int) -> Drop | None:
        """An SRTP or SRTCP packet on one of our paths, of whose bytes ``share`` count for us. None if it was ours;
        else why not."""
        path = self.link.paths.find(arrival.key)
        if path is None:
            return Drop.UNKNOWN_PATH
        self.link.paths.handle_bytes(path, share)
        srtp = self.dtls.srtp
        if srtp is None:
            return Drop.NO_KEYS
        if is_rtcp(packet):
            return self._handle_rtcp(srtp, arrival, path, packet, now)
        return self._handle_rtp(srtp, arrival, path, packet, now)

    # -- time

    def poll_timeout(self, now: float) -> float:
        """When `handle_timeout` wants to be called, on the clock of ``now``."""
        deadline = min(self.link.poll_timeout(now), self.marks.created + self._host.max_session_seconds)
        channels = self.channels.poll_timeout() if self.channels is not None else None
        feed = self._feed.poll_timeout() if self._feed is not None else None
        for at in (self.dtls.poll_timeout(), self.reports.poll_timeout(), channels, feed):
            if at is not None and at < deadline:
                deadline = at
        return deadline

    def handle_timeout(self, now: float) -> None:
        """Does what is due: flights sent again, validation, heartbeat, reports, announce; or the end."""
        if self.link.is_silent(now):
            self.close(End.SILENT if self.link.is_checked else End.UNCHECKED, now)
        elif now - self.marks.created >= self._host.max_session_seconds:
            self.close(End.TOO_LONG, now)
        else:
            self.dtls.handle_timeout(now)
            if self.dtls.state is DtlsState.CLOSED:
                self._close_with_dtls(now)
                return
            if self.channels is not None and self._feed is not None:
                self.channels.handle_timeout(now)
                self._feed.handle_timeout(now)
            report = self.reports.poll_report(now)
            if report is not None:
                self._send_rtcp(report, now)
            self._flush()
            for ufrag in self.link.handle_timeout(now):
                self._host.forget_ufrag(self, ufrag)

    def close(self, end: End, now: float) -> None:
        """Ends the session: tells the client over its data channels, by BYE and by close_notify, as far as it
        listens."""
        if self.end is not None:
            return
        self.end = end
        self._counters.ends[end] += 1
        if self.channels is not None:
            for channel in self.channels.open_channels():
                self.channels.send(channel, json.dumps({"type": "closing", "reason": end.name.lower()}))
            self.channels.close()
        if self.reports.sent_packets:
            self._send_rtcp(self.reports.goodbye(now), now)
        self.dtls.close()
        self._flush()
        if self._ticket is not None:
            self._host.frame_clock.remove(self._ticket)
        self._host.forget(self)
        self.link.stop()
        try:
            self._backend.on_close()
        except Exception:
            self._counters.counts[Count.BACKEND_FAILURES] += 1
            log.exception("session %s: the backend raised while it was closed", self.id)
        log.info("session %s ended: %s%s", self.id, end.name.lower(), self.dtls.detail and f" ({self.dtls.detail})")

    @property
    def ice(self) -> IceCredentials:
        """Ours, as the last answer says."""
        return self.link.generations.newest.local

    @property
    def offer(self) -> Offer:
        """What was asked for."""
        return self._offer

    @property
    def is_connected(self) -> bool:
        """Whether DTLS is complete."""
        return self.dtls.state is DtlsState.CONNECTED

    @property
    def wants_dtx(self) -> bool:
        """See `Backend.wants_dtx`."""
        return self._backend.wants_dtx

    # -- what the backend can do

    def send_opus(self, payload: bytes, *, timestamp: int | None = None, marker: bool = False) -> bool:
        """See `Call.send_opus`."""
        srtp, audio = self.dtls.srtp, self.audio_out
        if srtp is None or audio is None or not audio.may_send:
            return False
        now = self._host.now()
        packet = srtp.protect(audio.write(payload, timestamp, marker, now))
        if packet is None:
            self._counters.drops[Drop.TOO_LONG_TO_SEND] += 1
            return False
        if self.link.send(packet, now) is None:
            return False
        reports = self.reports
        reports.handle_sent(audio.timestamp, len(payload), now)
        if reports.sent_packets == 1:
            self.marks.reach("first_rtp_out", now)
            self._host.rearm(self)
        self._counters.counts[Count.RTP_OUT] += 1
        return True

    def start_frames(self, on_frame: Callable[[int], None]) -> None:
        """See `Call.start_frames`."""
        self._on_frame = on_frame
        self._start_clock()

    def send_message(self, channel: int, message: Message) -> bool:
        """See `Call.send_message`."""
        if self.channels is None or not self.channels.send(channel, message):
            return False
        self._counters.counts[Count.MESSAGES_OUT] += 1
        return True

    def hang_up(self) -> None:
        """See `Call.hang_up`."""
        self.close(End.BACKEND_ENDED, self._host.now())

    # -- media

    def _handle_rtcp(self, srtp: Srtp, arrival: Arrival, path: Path, packet: bytes, now: float) -> Drop | None:
        plain = srtp.unprotect_rtcp(packet)
        if plain is None:
            return Drop.NOT_AUTHENTIC
        self._counters.counts[Count.RTCP_IN] += 1
        source, index = packet[4:8], srtp.rtcp_index(packet)
        is_newest = index > self._rtcp_indexes.get(source, -1)
        if is_newest:  # as bounded as the SRTP session's sources
            self._rtcp_indexes[source] = index
        self._on_authentic(arrival, path, is_newest, now)
        if not self.reports.handle_rtcp(plain, now):
            self._counters.drops[Drop.RTCP_MALFORMED] += 1
        return None

    def _handle_rtp(self, srtp: Srtp, arrival: Arrival, path: Path, packet: bytes, now: float) -> Drop | None:
        plain = srtp.unprotect(packet)
        if plain is None:
            return Drop.NOT_AUTHENTIC
        rtp = read_rtp(plain)
        if rtp is None:
            self._counters.drops[Drop.RTP_MALFORMED] += 1
            return None
        payload_type, marker, number, timestamp, ssrc, payload = rtp
        sequence, is_newest = self.reports.handle_packet(ssrc, number, timestamp, now)
        self._on_authentic(arrival, path, is_newest, now)
        if payload_type != self._payload_type:
            self._counters.drops[Drop.OTHER_PAYLOAD_TYPE] += 1
            return None
        if not self.packets_in:
            self.marks.reach("first_rtp_in", now)
            self._host.rearm(self)
        self._counters.counts[Count.RTP_IN] += 1
        self.packets_in += 1
        self.bytes_in += len(payload)
        try:
            self._backend.on_opus(OpusPacket(payload, sequence, timestamp, marker))
        except Exception:
            self._on_backend_failure()
        return None

    def _on_authentic(self, arrival: Arrival, path: Path, is_newest: bool, now: float) -> None:
        moved = self.link.handle_authenticated(
            path, arrival.reply, is_newest=is_newest, connected=self.is_connected, now=now
        )
        if moved:
            self._on_moved(now)
            self._host.rearm(self)

    def _send_rtcp(self, report: bytes, now: float) -> None:
        packet = self.dtls.srtp.protect_rtcp(report) if self.dtls.srtp is not None else None
        if packet is not None and self.link.send(packet, now) is not None:
            self._counters.counts[Count.RTCP_OUT] += 1

    # -- the backend

    def _start_clock(self) -> None:
        if self._on_frame is not None and self._ticket is None and self.dtls.srtp is not None and self.end is None:
            self._ticket = self._host.frame_clock.add(self._frame)

    def _frame(self, number: int) -> None:
        assert self._on_frame is not None
        try:
            self._on_frame(number)
        except Exception:
            self._on_backend_failure()

    def _on_open(self, channel: int, label: str) -> None:
        if self._feed is not None:
            self._feed.handle_open(channel, label, self._host.now())
            self._host.rearm(self)

    def _on_message(self, channel: int, label: str, message: Message) -> None:
        self._counters.counts[Count.MESSAGES_IN] += 1
        if self._feed is not None and self._feed.has(channel):
            return
        try:
            self._backend.on_message(channel, label, message)
        except Exception:
            self._on_backend_failure()

    def _on_backend_failure(self) -> None:
        self._counters.counts[Count.BACKEND_FAILURES] += 1
        log.exception("session %s: the backend raised", self.id)
        self.close(End.BACKEND_FAILED, self._host.now())

    # -- transport

    def _on_moved(self, now: float) -> None:
        if self.dtls.state is DtlsState.NEW and self.dtls.role == "client":
            self.dtls.handle_start(now)
            self._flush()
        elif self.dtls.srtp is not None:
            self.link.validate_selected(now)

    def _on_dtls_state(self, path: Path, now: float) -> None:
        if self.dtls.srtp is not None:
            self.link.paths.handle_handshake_proof(path)
            self.marks.reach("keys", now)
            self._start_clock()
        if self.dtls.state is DtlsState.CONNECTED:
            self.marks.reach("dtls", now)
            self._counters.counts[Count.DTLS_CONNECTED] += 1
            self.link.validate_selected(now)
            self._start_channels(now)
        elif self.dtls.state is DtlsState.CLOSED:
            self._close_with_dtls(now)

    def _close_with_dtls(self, now: float) -> None:
        end = self.dtls.end or DtlsEnd.PROTOCOL
        if end.value in self._counters.dtls_failures:
            self._counters.dtls_failures[end.value] += 1
        self.close(_ENDS.get(end, End.DTLS_FAILED), now)

    def _start_channels(self, now: float) -> None:
        if self._offer.data is None:
            return
        self.channels = DataChannels(
            self.dtls,
            self._offer.data,
            on_transmit=self._flush,
            on_message=self._on_message,
            on_open=self._on_open,
            on_closed=lambda: self.close(End.SCTP_CLOSED, self._host.now()),
        )
        self._feed = StatisticsFeed(self.channels.send, lambda now: describe_media(self, now))
        self.channels.handle_start(now)

    def _flush(self) -> None:
        handshaking, now = self.dtls.is_handshaking, self._host.now()
        while (datagram := self.dtls.poll_transmit()) is not None:
            path = self.link.send(datagram, now)
            if handshaking and path is not None:
                self.link.paths.handle_handshake_sent(path)
