"""What is one call, from its offer to its end? The link, DTLS, media and channels of one client, and their time.

No socket and no task: packets and ``now`` in, packets out through the host. Laws: only what authenticates moves
or prolongs anything; nothing from the network raises.
"""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING, Final

from rtcrelay.rtc.dtls import Dtls, DtlsEnd, DtlsState
from rtcrelay.rtc.offer_answer import IceCredentials, Offer
from rtcrelay.transceiver.audio import MAX_DTX_BYTES
from rtcrelay.transceiver.backends import Message
from rtcrelay.transceiver.conversation import Conversation
from rtcrelay.transceiver.counters import Count, Drop, End
from rtcrelay.transceiver.host import Host
from rtcrelay.transceiver.link import Link
from rtcrelay.transceiver.media import Media
from rtcrelay.transceiver.messages import Listener, Messages
from rtcrelay.transceiver.milestones import Milestones
from rtcrelay.transceiver.paths import Arrival, CheckKind, Path, PathKey
from rtcrelay.transceiver.report import describe_media

if TYPE_CHECKING:
    from rtcrelay._dataplane import StunMessage

log = logging.getLogger("rtcrelay.transceiver")

_ENDS: Final = {
    DtlsEnd.CLOSE_NOTIFY: End.CLOSE_NOTIFY,
    DtlsEnd.ALERT: End.ALERT,
    DtlsEnd.VERSION: End.DTLS_VERSION,
    DtlsEnd.FINGERPRINT: End.DTLS_FINGERPRINT,
}


class Session:
    """One call. It is in the host's tables until it calls `Host.forget`, exactly once."""

    def __init__(
        self, host: Host, ice: IceCredentials, offer: Offer, now: float, *, request: str | None = None
    ) -> None:
        self.id = secrets.token_hex(8)
        """For logs and the admin interface; no secret."""
        self.end: End | None = None
        """Why it ended; None while it lives."""
        self.offer = offer
        """What was asked for."""
        self.request = request
        """See `Call.request`."""
        self.marks = Milestones(now)
        self.active_at = now
        """When somebody spoke last, or sent a message; the creation before that."""
        self.link = Link(host, host.counters, ice, offer.ice, now)
        self.dtls = Dtls(host.identity, offer.dtls_role, offer.fingerprints)
        self.media = Media(offer.audio, host.counters, now, host.max_bit_rate)
        self._host, self._counters = host, host.counters
        self.messages = Messages(host.counters, host.now)
        self.conversation = Conversation(self, host.counters, host.frame_clock, host.make_backend)

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
            self.messages.handle_data(data)
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
        heard = self.media.handle_packet(packet, now)
        if isinstance(heard, Drop):
            return heard
        is_newest, opus = heard
        if not self.is_connected:
            self.dtls.handle_alive()
        if self.link.handle_authenticated(
            path, arrival.reply, is_newest=is_newest, connected=self.is_connected, now=now
        ):
            self._on_moved(now)
            self._host.rearm(self)
        if opus is not None:
            if len(opus.payload) > MAX_DTX_BYTES:
                self.active_at = now
            if self.media.packets_in == 1:
                self.marks.reach("first_rtp_in", now)
                self._host.rearm(self)
            self.conversation.handle_opus(opus)
        return None

    @property
    def hello(self) -> bytes | None:
        """The random of the ClientHello that it answers; None: of none yet."""
        return self.dtls.hello

    @property
    def awaits_hello(self) -> bool:
        """Whether it is a server in DTLS that is not connected."""
        return self.dtls.role == "server" and not self.is_connected

    def handle_newcomer(self, key: PathKey, now: float) -> None:
        """Another session's client is on this path, too, or has taken it over."""
        self.link.paths.handle_newcomer(key, now)

    # -- time

    def poll_timeout(self, now: float) -> float:
        """When `handle_timeout` wants to be called, on the clock of ``now``."""
        deadline = min(self.link.poll_timeout(now), self.marks.created + self._host.max_session_seconds)
        if self._host.max_idle_seconds:
            deadline = min(deadline, self.active_at + self._host.max_idle_seconds)
        for at in (self.dtls.poll_timeout(), self.media.reports.poll_timeout(), self.messages.poll_timeout()):
            if at is not None and at < deadline:
                deadline = at
        return deadline

    def handle_timeout(self, now: float) -> None:
        """Does what is due: flights sent again, validation, heartbeat, reports, announce; or the end."""
        if self.link.is_silent(now):
            self.close(End.SILENT if self.link.is_checked else End.UNCHECKED, now)
        elif now - self.marks.created >= self._host.max_session_seconds:
            self.close(End.TOO_LONG, now)
        elif self._host.max_idle_seconds and now - self.active_at >= self._host.max_idle_seconds:
            self.close(End.IDLE, now)
        else:
            self.dtls.handle_timeout(now)
            if self.dtls.state is DtlsState.CLOSED:
                self._close_with_dtls(now)
                return
            self.messages.handle_timeout(now)
            self._send_rtcp(self.media.poll_report(now), now)
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
        self.messages.close(end.name.lower())
        self._send_rtcp(self.media.goodbye(now), now)
        self.dtls.close()
        self._flush()
        self._host.forget(self)
        self.link.stop()
        self.conversation.close()

    @property
    def ice(self) -> IceCredentials:
        """Ours, as the last answer says."""
        return self.link.generations.newest.local

    @property
    def is_connected(self) -> bool:
        """Whether DTLS is complete."""
        return self.dtls.state is DtlsState.CONNECTED

    # -- what the conversation is carried by

    @property
    def loss_out(self) -> float:
        """See `Call.loss_out`."""
        return self.media.reports.remote.fraction_lost

    def now(self) -> float:
        """See `Call.now`."""
        return self._host.now()

    def send_opus(self, payload: bytes, timestamp: int | None = None, marker: bool = False) -> bool:
        """See `Call.send_opus`."""
        now = self._host.now()
        packet = self.media.write_opus(payload, timestamp, marker, now)
        if not packet:
            return packet is not None
        if self.link.send(packet, now) is None:
            return False
        if len(payload) > MAX_DTX_BYTES:
            self.active_at = now
        if self.media.handle_sent(len(payload), now):
            self.marks.reach("first_rtp_out", now)
            self._host.rearm(self)
        return True

    def send_message(self, channel: int, message: Message) -> bool:
        """See `Call.send_message`."""
        self.active_at = self._host.now()
        return self.messages.send(channel, message)

    def end_by_backend(self, end: End) -> None:
        """The backend asked for the end, or failed."""
        self.close(end, self._host.now())

    # -- inside

    def _on_message(self, channel: int, label: str, message: Message) -> None:
        self.active_at = self._host.now()
        self.conversation.handle_message(channel, label, message)

    def _on_moved(self, now: float) -> None:
        if self.dtls.state is DtlsState.NEW and self.dtls.role == "client":
            self.dtls.handle_start(now)
            self._flush()
        elif self.dtls.srtp is not None:
            self.link.validate_selected(now)

    def _on_dtls_state(self, path: Path, now: float) -> None:
        if self.dtls.srtp is not None:
            self.media.srtp = self.dtls.srtp
            self.link.paths.handle_handshake_proof(path)
            self.marks.reach("keys", now)
            self.conversation.start()
        if self.dtls.state is DtlsState.CONNECTED:
            self.marks.reach("dtls", now)
            self._counters.counts[Count.DTLS_CONNECTED] += 1
            self.link.validate_selected(now)
            if self.offer.data is not None:
                self.messages.start(self.dtls, self.offer.data, self._listener())
        elif self.dtls.state is DtlsState.CLOSED:
            self._close_with_dtls(now)

    def _listener(self) -> Listener:
        return Listener(
            describe=lambda now: describe_media(self, now),
            on_channel=self.conversation.handle_channel,
            on_message=self._on_message,
            on_sooner=lambda: self._host.rearm(self),
            on_transmit=self._flush,
            on_closed=lambda: self.close(End.SCTP_CLOSED, self._host.now()),
        )

    def _close_with_dtls(self, now: float) -> None:
        end = self.dtls.end or DtlsEnd.PROTOCOL
        if end.value in self._counters.dtls_failures:
            self._counters.dtls_failures[end.value] += 1
        self.close(_ENDS.get(end, End.DTLS_FAILED), now)

    def _send_rtcp(self, packet: bytes | None, now: float) -> None:
        if packet is not None and self.link.send(packet, now) is not None:
            self._counters.counts[Count.RTCP_OUT] += 1

    def _flush(self) -> None:
        handshaking, now = self.dtls.is_handshaking, self._host.now()
        while (datagram := self.dtls.poll_transmit()) is not None:
            if handshaking and self.link.is_doubted:
                continue  # it would end the handshake of whoever is there now; ours is sent again after a check
            path = self.link.send(datagram, now)
            if handshaking and path is not None:
                self.link.paths.handle_handshake_sent(path)
