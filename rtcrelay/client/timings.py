"""What a call measured, as values that can be printed and compared.

All times are milliseconds since the moment the offer was ready to be sent, on one monotonic clock;
None means that it did not happen.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CallTimings:
    """When each part of the set-up was done, in the order it normally happens."""

    answered_ms: float | None = None
    """The SDP answer was there."""
    first_check_sent_ms: float | None = None
    """The first STUN binding request was sent."""
    first_check_answered_ms: float | None = None
    """The first authenticated STUN response arrived."""
    first_dtls_received_ms: float | None = None
    """The server's first DTLS record arrived."""
    keys_ms: float | None = None
    """The SRTP keys were there; with a server that takes the client role this is the end of the handshake."""
    dtls_done_ms: float | None = None
    """The DTLS handshake was complete."""
    first_audio_sent_ms: float | None = None
    """The first speech packet was sent."""
    first_audio_received_ms: float | None = None
    """The first SRTP packet that authenticates arrived."""
    first_echo_ms: float | None = None
    """The first of our own speech packets came back."""
    channel_open_ms: float | None = None
    """The data channel was open."""


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """Round trip of the echoed speech packets, in milliseconds; all zero if none came back."""

    min_ms: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    max_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Gap:
    """A time without any returned audio."""

    start_s: float
    """When the last packet before it arrived, in seconds of the call's clock."""
    length_ms: float
    """Until the next packet arrived, in milliseconds."""


@dataclass(frozen=True, slots=True)
class CallCounts:
    """What was sent and what came back, in packets unless the name says otherwise."""

    audio_sent: int = 0
    """Speech packets sent."""
    audio_received: int = 0
    """SRTP packets that authenticated."""
    audio_lost: int = 0
    """Sequence numbers missing from what the server sent (RFC 3550 A.3), not below zero."""
    audio_echoed: int = 0
    """Own speech packets that came back."""
    audio_duplicated: int = 0
    """Packets that came a second time: SRTP replays, and speech echoed twice."""
    audio_unreturned: int = 0
    """Own speech packets that did not come back within `tally.LATE_SECONDS`."""
    audio_skipped: int = 0
    """Speech frames that were not sent because the timer came too late."""
    srtp_refused: int = 0
    """RTP or RTCP datagrams that did not authenticate."""
    checks_sent: int = 0
    """STUN binding requests sent."""
    checks_answered: int = 0
    """Authenticated responses to them."""
    checks_refused: int = 0
    """STUN messages that were malformed, not authenticated or not expected."""
    validations_answered: int = 0
    """The server's own binding requests (path validation) that we answered."""
    dtls_received: int = 0
    """DTLS datagrams from the server."""
    datagrams_dropped: int = 0
    """Datagrams from elsewhere, or that nobody understood."""
