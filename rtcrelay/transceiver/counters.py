"""What does a transceiver count? Every way to drop a packet, to end a session, and what else happened, by name.

The enums are closed: one integer each, counted by index, no text built where packets pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Final

from rtcrelay.rtc.dtls import DtlsEnd


class Drop(IntEnum):
    """Why a packet went nowhere. `DROP_SENTENCES` says it to the operator."""

    UNTRUSTED_SOURCE = 0
    SPP_MALFORMED = 1
    EMPTY = 2
    OVERSIZE = 3
    NOT_WEBRTC = 4
    STUN_MALFORMED = 5
    STUN_NOT_A_REQUEST = 6
    STUN_NO_USERNAME = 7
    UNKNOWN_UFRAG = 8
    WRONG_FINGERPRINT = 9
    WRONG_INTEGRITY = 10
    PROBE_REFUSED = 11
    UNKNOWN_PATH = 12
    NOT_AUTHENTIC = 13
    NO_KEYS = 14
    RTP_MALFORMED = 15
    OTHER_PAYLOAD_TYPE = 16
    PATHS_FULL = 17
    UNPROVED_PATH = 18
    SEND_BLOCKED = 19
    SEND_FAILED = 20
    TOO_LONG_TO_SEND = 21
    DEFECT = 22
    RTCP_MALFORMED = 23
    OVER_BIT_RATE = 24
    TOO_MANY_SOURCES = 25
    NOT_TAKEN = 26


DROP_SENTENCES: Final[Mapping[Drop, str]] = {
    Drop.UNTRUSTED_SOURCE: "It came from an address outside the networks of --relays.",
    Drop.SPP_MALFORMED: "It was too short for the SPP header, or the magic was wrong.",
    Drop.EMPTY: "It held no payload.",
    Drop.OVERSIZE: "Its payload was over 1500 bytes.",
    Drop.NOT_WEBRTC: "Its first byte and length are neither STUN nor DTLS nor RTP nor RTCP.",
    Drop.STUN_MALFORMED: "It began like STUN, but a length or the cookie was wrong.",
    Drop.STUN_NOT_A_REQUEST: "It was a STUN indication, or a response to nothing that was asked.",
    Drop.STUN_NO_USERNAME: "It was a binding request without a USERNAME of two halves.",
    Drop.UNKNOWN_UFRAG: "No session has this ufrag: it is over, or another transceiver's.",
    Drop.WRONG_FINGERPRINT: "Its STUN FINGERPRINT was wrong.",
    Drop.WRONG_INTEGRITY: "Its MESSAGE-INTEGRITY was missing or made with another password.",
    Drop.PROBE_REFUSED: "It was a probe over the rate limit, or for another transceiver.",
    Drop.UNKNOWN_PATH: "No session has had a valid check on this path.",
    Drop.NOT_AUTHENTIC: "No session of its path could authenticate it: forged, replayed or too old.",
    Drop.TOO_MANY_SOURCES: "Its SSRC would be one more than the 8 that a session may have.",
    Drop.NO_KEYS: "Media came before the session had keys.",
    Drop.RTP_MALFORMED: "It authenticated, but is no RTP.",
    Drop.RTCP_MALFORMED: "It authenticated, but is no RTCP.",
    Drop.NOT_TAKEN: "Its peer connection has not taken the ones before it: the application is too slow.",
    Drop.OVER_BIT_RATE: "It authenticated, but its session sends more than --max-session-bit-rate.",
    Drop.OTHER_PAYLOAD_TYPE: "It authenticated, but is not the negotiated Opus.",
    Drop.PATHS_FULL: "Its path has as many sessions as are allowed, all of them in use.",
    Drop.UNPROVED_PATH: "Not sent: the address has not proved yet that it wants to receive this much.",
    Drop.SEND_BLOCKED: "Not sent: the socket's buffer was full.",
    Drop.SEND_FAILED: "Not sent: the kernel refused.",
    Drop.TOO_LONG_TO_SEND: "Not sent: over 1500 bytes with its protection, or the keys are used up.",
    Drop.DEFECT: "rtcrelay raised an error over it, which is a defect: please report what its log says.",
}


class Count(IntEnum):
    """What else is counted."""

    DATAGRAMS_IN = 0
    BYTES_IN = 1
    DATAGRAMS_OUT = 2
    BYTES_OUT = 3
    ANNOUNCES_OUT = 4
    CHECKS = 5
    CHECKS_REPEATED = 6
    PROBES_ANSWERED = 7
    PATHS_MOVED = 8
    VALIDATIONS_SENT = 9
    VALIDATIONS_ANSWERED = 10
    DTLS_CONNECTED = 11
    RTP_IN = 12
    RTP_OUT = 13
    RTCP_IN = 14
    MESSAGES_IN = 15
    MESSAGES_OUT = 16
    SESSIONS_CREATED = 17
    OFFERS_REFUSED = 18
    RTCP_OUT = 19
    FRAMES_SKIPPED = 20
    """Of backends that speak by themselves: frames left out because the process was late."""
    BACKEND_FAILURES = 21
    """Times that a backend raised."""
    ICE_RESTARTS = 22
    """By `PATCH`."""
    REQUESTS_PASSED_ON = 23
    """Requests about a session of another transceiver that it was asked about."""
    OFFERS_UNPLACED = 24
    """Offers refused because the transceiver was full or draining; also in OFFERS_REFUSED."""
    CONNECTIONS_REFUSED = 25
    """Of signaling, over a limit."""
    CONNECTIONS_LATE = 26
    """Of signaling, closed because no request came."""
    WORKER_REQUESTS = 27
    """Requests of signaling given to another worker."""


class End(IntEnum):
    """Why a session ended."""

    DELETED = 0
    """The client sent DELETE."""
    SILENT = 1
    """30 s without anything authenticated."""
    TOO_LONG = 2
    """The maximum duration."""
    SHUTDOWN = 3
    """The transceiver ends."""
    CLOSE_NOTIFY = 4
    """The client closed DTLS."""
    ALERT = 5
    """The client sent a DTLS alert."""
    DTLS_VERSION = 6
    """The client does not speak DTLS 1.2."""
    DTLS_FINGERPRINT = 7
    """The client's certificate is not the announced one."""
    DTLS_FAILED = 8
    """Another failure of DTLS, or its time-out."""
    SCTP_CLOSED = 9
    """The client ended the data-channel association."""
    BACKEND_FAILED = 10
    """The backend raised; a defect."""
    BACKEND_ENDED = 11
    """The backend asked for it."""
    OPERATOR = 12
    """An operator closed it over the admin interface."""
    UNCHECKED = 13
    """10 s after the offer without a valid check."""
    BACKEND_LOST = 14
    """What stands behind the backend went away, stalled or could not be understood."""
    IDLE = 15
    """Nobody said anything for as long as the limit is."""


DTLS_FAILURES: Final = tuple(end.value for end in DtlsEnd if end not in (DtlsEnd.LOCAL, DtlsEnd.CLOSE_NOTIFY))
"""Why DTLS ends when neither side wanted that."""


class Counters:
    """All numbers of one process. The lists are indexed by the enums above."""

    __slots__ = ("counts", "drops", "dtls_failures", "ends")

    def __init__(self) -> None:
        self.counts = [0] * len(Count)
        self.drops = [0] * len(Drop)
        self.ends = [0] * len(End)
        self.dtls_failures = dict.fromkeys(DTLS_FAILURES, 0)

    def counting(self, which: Count) -> Callable[[], None]:
        """What counts one more each time that it is called."""

        def count() -> None:
            self.counts[which] += 1

        return count

    def snapshot(self) -> dict[str, dict[str, int]]:
        """Everything by lower-case name, zeros included: ``counters``, ``drops`` and ``ends``."""
        return {
            "counters": {count.name.lower(): self.counts[count] for count in Count},
            "drops": {drop.name.lower(): self.drops[drop] for drop in Drop},
            "ends": {end.name.lower(): self.ends[end] for end in End},
        }
