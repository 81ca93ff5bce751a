"""How do two peers agree on keys, in as few round trips and with as little waiting as DTLS 1.2 allows?

Synchronous DTLS-SRTP (RFC 5764, RFC 6347) over OpenSSL's memory BIOs, either role: datagrams and ``now`` in,
datagrams, application data and a deadline out. Laws: no key leaves before the peer's certificate matches its
announced fingerprint; bytes from the network never raise; what anybody could have forged (a plaintext alert,
records that say nothing new) neither ends a handshake that goes on nor delays what has to be sent again.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Sequence
from enum import Enum
from typing import Final, Literal, TypeAlias

from OpenSSL import SSL

from rtcrelay.rtc import dtls_records
from rtcrelay.rtc.certificate import Fingerprint
from rtcrelay.rtc.dtls_identity import MTU_BYTES as MTU_BYTES
from rtcrelay.rtc.dtls_identity import DtlsIdentity as DtlsIdentity
from rtcrelay.rtc.dtls_identity import PeerCheck
from rtcrelay.rtc.srtp import PROFILES, Srtp

Role: TypeAlias = Literal["client", "server"]

FIRST_HELLO_RETRY_SECONDS: Final = 0.05
"""Some stacks drop a ClientHello that follows the first check at once (measured: one always, one in 4 of 20 runs)."""
FLIGHT_RETRY_SECONDS: Final = 0.15
"""OpenSSL's own timer starts at 1 s and cannot be set; measured with 150 ms: 0.27-0.45 s instead of 1.1-1.5 s."""
MAX_RETRY_SECONDS: Final = 1.0
HANDSHAKE_SECONDS: Final = 30.0
"""A handshake that takes longer has failed. Chosen: as long as a silent session lives."""
ALERT_HOLD_SECONDS: Final = 1.0
"""How long a plaintext alert waits for the peer to go on in spite of it: then somebody else sent it.
Chosen: longer than nearly all round trips, so that the real peer's flight comes in between."""
KEYED_HOLD_SECONDS: Final = 5.0
"""The same once there are keys: as long as a peer needs to repeat its Finished three times. Authentic media comes
sooner, if the peer has keys too (`Dtls.handle_alive`)."""
_REPEAT_PAUSE_SECONDS: Final = 0.04
"""A peer's repeated flight of several datagrams is answered once."""
_MAX_QUEUED_MESSAGES: Final = 256
"""Application messages that wait to be polled; the owner polls after each datagram, which holds far fewer."""
_MAX_RECORDS_PER_DATAGRAM: Final = 64
_MAX_HELLOS: Final = 8
"""Times that a server begins anew. Chosen: addresses are reused once; who forges hellos finds an end."""
_MAX_FLIGHT: Final = 16
"""Datagrams of one flight kept for sending again."""


class DtlsState(Enum):
    """Where the connection is. `KEYED` is a client that may send media by False Start."""

    NEW = "new"
    CONNECTING = "connecting"
    KEYED = "keyed"
    CONNECTED = "connected"
    CLOSED = "closed"


class DtlsEnd(Enum):
    """Why a connection closed."""

    LOCAL = "local"
    """We closed it."""
    CLOSE_NOTIFY = "close_notify"
    """The peer closed it."""
    ALERT = "alert"
    """The peer sent a fatal alert."""
    VERSION = "version"
    """The peer does not speak DTLS 1.2 (one that is limited to DTLS 1.3 ends here)."""
    FINGERPRINT = "fingerprint"
    """The peer's certificate is not the one it announced."""
    NO_SRTP = "no_srtp"
    """The peer agreed to no SRTP profile of ours."""
    PROTOCOL = "protocol"
    """OpenSSL refused what the peer sent."""
    TIMEOUT = "timeout"
    """The handshake did not end in `HANDSHAKE_SECONDS`."""


class Dtls:
    """One DTLS-SRTP connection.

    The owner calls a ``handle_*`` method, then drains `poll_transmit` and `poll_data` and arms one timer
    at `poll_timeout`. The server starts with the first datagram, the client with `handle_start`.
    """

    def __init__(self, identity: DtlsIdentity, role: Role, expected: Sequence[Fingerprint]) -> None:
        """``expected`` are the fingerprints that the peer announced; with none, every peer is refused."""
        self.role: Role = role
        self.state = DtlsState.NEW
        self.end: DtlsEnd | None = None
        """Why it closed; None while it has not."""
        self.detail = ""
        """OpenSSL's words about the end, for the log."""
        self.srtp: Srtp | None = None
        """The media keys, from `DtlsState.KEYED` on."""
        self.retransmissions = 0
        """Flights sent again."""
        self.alerts_held = 0
        """Plaintext alerts that did not end the handshake at once."""
        self.hello: bytes | None = None
        """The random of the ClientHello that a server answers; None before."""
        self._hellos = 0
        self._identity = identity
        self._check = PeerCheck(tuple(expected))
        self._connection = identity.connect(role, self._check)
        self._out: deque[bytes] = deque()
        self._data: deque[bytes] = deque(maxlen=_MAX_QUEUED_MESSAGES)
        self._flight: list[bytes] = []
        self._repeats = dtls_records.RepeatDetector()
        self._sieve = dtls_records.Sieve(role)
        self._heard = False
        self._finished_is_written = False
        self._retry_at: float | None = None
        self._retry_seconds = FIRST_HELLO_RETRY_SECONDS
        self._resent_at = 0.0
        self._started_at = 0.0
        self._alert = b""
        self._alert_at: float | None = None

    @property
    def is_handshaking(self) -> bool:
        """True from the first flight until both Finished are in, False Start or not."""
        return self.state in (DtlsState.CONNECTING, DtlsState.KEYED)

    # -- input

    def handle_start(self, now: float) -> None:
        """Starts the handshake; a client's ClientHello is in `poll_transmit` then. Later calls do nothing."""
        if self.state is DtlsState.NEW:
            self.state = DtlsState.CONNECTING
            self._started_at = now
            self._advance(now)

    def handle_datagram(self, datagram: bytes, now: float) -> bool:
        """Takes one datagram. Returns True if it proves that the peer is there: the handshake got as far as
        keys or its end by it, or it held authentic data or an authentic alert."""
        if self.state is DtlsState.CLOSED or len(datagram) < dtls_records.RECORD_HEADER:
            return False
        alert = b""
        if self.state is not DtlsState.CONNECTED:
            datagram, alert = self._sieve.sift(datagram)
            if self.role == "server":
                self._notice_hello(dtls_records.client_random(datagram))
            if self.state is DtlsState.NEW and datagram:
                self.state = DtlsState.CONNECTING
                self._started_at = now
        proved = False
        if datagram:
            self._connection.bio_write(datagram)
            connected = self.state is DtlsState.CONNECTED
            proved = self._read_data(datagram, now) if connected else self._read_flight(datagram, now)
        if alert and self.is_handshaking:
            self._hold(alert, now)
        return proved

    def handle_alive(self) -> None:
        """Media of the peer's has authenticated: it has the keys, and any alert in the clear was somebody else's."""
        self._alert_at = None

    def handle_timeout(self, now: float) -> None:
        """Sends the last flight again if its time has come, and gives up after `HANDSHAKE_SECONDS`."""
        if not self.is_handshaking:
            return
        if now - self._started_at >= HANDSHAKE_SECONDS:
            self._close(DtlsEnd.TIMEOUT, "the handshake did not end in time")
        elif self._alert_at is not None and now >= self._alert_at:
            self._believe_alert(now)
        elif self._retry_at is not None and now >= self._retry_at:
            self._retry_seconds = min(2 * self._retry_seconds, MAX_RETRY_SECONDS)
            self._retry_at = now + self._retry_seconds
            # OpenSSL sends the flight in new records once its own second is over. Peers that take ours for
            # replays (BoringSSL, after losing its last flight) answer only those.
            try:
                self._connection.DTLSv1_handle_timeout()
            except SSL.Error as error:  # OpenSSL counts its own retries
                self._fail(error)
                return
            renewed = self._drain()
            self._flight = renewed or self._flight
            self._resend(now)

    def send(self, data: bytes) -> bool:
        """Queues application data (SCTP) for the peer. False if the connection is not there."""
        if self.state is not DtlsState.CONNECTED:
            return False
        try:
            self._connection.send(data)
        except SSL.Error:
            return False
        self._out.extend(self._drain())
        return True

    def close(self) -> None:
        """Closes with close_notify, which is in `poll_transmit` then."""
        if self.state is DtlsState.CONNECTED:
            with contextlib.suppress(SSL.Error):
                self._connection.shutdown()
            self._out.extend(self._drain())
        self._close(DtlsEnd.LOCAL, "")

    # -- output

    def poll_transmit(self) -> bytes | None:
        """The next datagram for the peer, or None."""
        return self._out.popleft() if self._out else None

    def poll_data(self) -> bytes | None:
        """The next application message from the peer, or None."""
        return self._data.popleft() if self._data else None

    def poll_timeout(self) -> float | None:
        """When `handle_timeout` wants to be called, on the clock of ``now``; None if never."""
        if not self.is_handshaking or self._retry_at is None:
            return None
        deadline = min(self._retry_at, self._started_at + HANDSHAKE_SECONDS)
        return deadline if self._alert_at is None else min(deadline, self._alert_at)

    # -- the handshake

    def _notice_hello(self, random: bytes | None) -> None:
        """Begins anew with another ClientHello: the first may have been a vanished client's, or anybody's."""
        if random is None or random == self.hello or self._hellos > _MAX_HELLOS:
            return
        self._hellos += 1
        self.hello = random
        if self.state is DtlsState.CONNECTING:
            self._check = PeerCheck(self._check.expected)
            self._connection = self._identity.connect(self.role, self._check)
            self._repeats, self._sieve = dtls_records.RepeatDetector(), dtls_records.Sieve(self.role)
            self._flight, self._heard = [], False

    def _read_flight(self, datagram: bytes, now: float) -> bool:
        before = self.state
        novelty = self._repeats.judge(datagram)
        if novelty is dtls_records.Novelty.NEW:
            self._read_new_fragments(now)
        else:
            self._advance(now)
        is_repeat = novelty is dtls_records.Novelty.REPEAT
        if is_repeat and self.is_handshaking and self._flight and now - self._resent_at >= _REPEAT_PAUSE_SECONDS:
            self._resend(now)  # whatever was asked has been answered; the answer was lost
        return self.state is not before and self.state in (DtlsState.KEYED, DtlsState.CONNECTED)

    def _read_new_fragments(self, now: float) -> None:
        if not self._heard:
            self._heard = True
            self._retry_seconds = FLIGHT_RETRY_SECONDS
        if self._alert_at is not None:
            self._alert_at = None  # the peer goes on: it was not the peer's
        flight_before = self._flight
        self._advance(now)
        if self.is_handshaking and self._flight is flight_before and self._flight:
            # Part of the peer's flight: it is alive, wait for the rest of it. Not for ever: anybody can send
            # fragments that look new, and so does another session on the same path.
            self._retry_seconds = FLIGHT_RETRY_SECONDS
            self._retry_at = min(now + self._retry_seconds, self._resent_at + MAX_RETRY_SECONDS)

    def _hold(self, alert: bytes, now: float) -> None:
        """Keeps a plaintext alert, which anybody can write, until the peer goes on or the hold is over."""
        self.alerts_held += 1
        if self._alert_at is None:
            self._alert = alert
            self._alert_at = now + (ALERT_HOLD_SECONDS if self.state is DtlsState.CONNECTING else KEYED_HOLD_SECONDS)

    def _believe_alert(self, now: float) -> None:
        self._alert_at = None
        self._connection.bio_write(self._alert)
        self._advance(now)

    def _advance(self, now: float) -> None:
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            self._send_flight(now)
            if self.role == "client" and self.state is DtlsState.CONNECTING and self._finished_is_written:
                self._install_keys(DtlsState.KEYED)
        except SSL.Error as error:
            self._out.extend(self._drain())
            self._fail(error)
        else:
            self._send_flight(now)
            if self.srtp is None:
                self._install_keys(DtlsState.CONNECTED)
            elif self.state is not DtlsState.CLOSED:
                self.state = DtlsState.CONNECTED
            self._retry_at = None
            if self.role == "client":
                self._flight = []  # the server's Finished says that it has it; a server cannot know that yet

    def _send_flight(self, now: float) -> None:
        datagrams = self._drain()
        if not datagrams:
            return
        if any(dtls_records.holds_change_cipher_spec(datagram) for datagram in datagrams):
            self._finished_is_written = self._sieve.may_change = True
        self._flight = datagrams[:_MAX_FLIGHT]
        self._resent_at = now
        self._retry_seconds = FLIGHT_RETRY_SECONDS if self._heard else FIRST_HELLO_RETRY_SECONDS
        self._retry_at = now + self._retry_seconds
        self._out.extend(datagrams)

    def _resend(self, now: float) -> None:
        self._resent_at = now
        self.retransmissions += 1
        self._out.extend(self._flight)

    def _install_keys(self, state: DtlsState) -> None:
        if self._check.accepted is not True:
            self._close(DtlsEnd.FINGERPRINT, "the peer showed no certificate that matches its fingerprint")
            return
        name = self._connection.get_selected_srtp_profile().decode("ascii", "replace")
        profile = next((profile for profile in PROFILES if profile.name == name), None)
        if profile is None:
            self._close(DtlsEnd.NO_SRTP, f"the peer chose the SRTP profile {name!r}")
            return
        length = 2 * (profile.key_bytes + profile.salt_bytes)
        material = self._connection.export_keying_material(b"EXTRACTOR-dtls_srtp", length)
        self.srtp = Srtp(profile, material, self.role)
        self.state = state

    # -- after the handshake

    def _read_data(self, datagram: bytes, now: float) -> bool:
        authentic = False
        for _ in range(_MAX_RECORDS_PER_DATAGRAM):
            try:
                data = self._connection.recv(2048)
            except SSL.WantReadError:
                break
            except SSL.ZeroReturnError:
                self._close(DtlsEnd.CLOSE_NOTIFY, "the peer closed the connection")
                return True
            except SSL.Error as error:
                self._fail(error)
                return True
            authentic = True
            self._data.append(data)
        self._out.extend(self._drain())
        if authentic:
            self._flight = []  # the peer has our last flight, or it could not have sent data
        elif self._flight and self._repeats.is_repeat(datagram) and now - self._resent_at >= _REPEAT_PAUSE_SECONDS:
            self._resend(now)
        return authentic

    # -- OpenSSL

    def _drain(self) -> list[bytes]:
        output = b""
        while True:
            try:
                piece = self._connection.bio_read(65536)
            except SSL.Error:  # WantReadError: the BIO is empty
                return dtls_records.pack_datagrams(output, MTU_BYTES)
            output += piece

    def _fail(self, error: SSL.Error) -> None:
        detail = _words(error)
        if self._check.accepted is False:
            self._close(DtlsEnd.FINGERPRINT, "the peer's certificate does not match its fingerprint")
        elif "protocol version" in detail or "unsupported protocol" in detail or "wrong version" in detail:
            self._close(DtlsEnd.VERSION, detail)
        elif "alert" in detail:
            self._close(DtlsEnd.ALERT, detail)
        else:
            self._close(DtlsEnd.PROTOCOL, detail)

    def _close(self, end: DtlsEnd, detail: str) -> None:
        if self.state is not DtlsState.CLOSED:
            self.state, self.end, self.detail = DtlsState.CLOSED, end, detail
            self.srtp = None
            self._flight = []
            self._retry_at = None


def _words(error: SSL.Error) -> str:
    reasons = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return "; ".join(str(reason[-1]) for reason in reasons) or "the connection ended without a reason"
