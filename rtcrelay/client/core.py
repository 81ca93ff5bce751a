"""One call without sockets and clock: the offer, ICE, DTLS-SRTP, the voice, and the count of what returns.

The owner posts `Call.offer`, passes the answer to `handle_answer`, then datagrams and timers in and
`poll_transmit` out. Law: `now` is in seconds of any monotonic clock, and bytes from the network never raise.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from rtcrelay._dataplane import classify
from rtcrelay.client.ice import IceAgent
from rtcrelay.client.speech import speech_frames
from rtcrelay.client.tally import EchoTally
from rtcrelay.client.timings import CallCounts, CallTimings, Gap, RoundTrip
from rtcrelay.client.voice import Voice
from rtcrelay.errors import PeerError
from rtcrelay.rtc.certificate import Fingerprint
from rtcrelay.rtc.dtls import Dtls, DtlsEnd, DtlsIdentity, DtlsState
from rtcrelay.rtc.offer_answer import DataOffer, IceCredentials, read_answer, write_offer
from rtcrelay.rtc.reports import Reporter
from rtcrelay.rtc.rtp import is_rtcp, read_rtp
from rtcrelay.rtc.sdp import Candidate

if TYPE_CHECKING:  # an alias of the stub, not of the module
    from rtcrelay._dataplane import Address

REPLAY_MEMORY = 1024
"""Packets whose second copy is told from a forged one; as long as libsrtp's replay window."""
PAYLOAD_TYPE = 111
"""Of Opus in the offer, as in Chromium's; the answer may choose no other."""


class CallState(Enum):
    """How far the call is."""

    OFFERING = "offering"
    """Waiting for the answer."""
    CHECKING = "checking"
    """No candidate of the server has answered a check yet."""
    HANDSHAKING = "handshaking"
    """ICE works, DTLS is under way."""
    TALKING = "talking"
    """The keys are there and speech is sent."""
    ENDED = "ended"
    """Over; `Call.end` says why."""


@dataclass(frozen=True, slots=True)
class CallConfig:
    """What a call may do differently from a browser's."""

    check_interval_seconds: float | None = 2.5
    """Between consent checks, as Chromium; None: never again after the nomination, as some stacks do."""
    nominates_again: bool = True
    """Whether consent checks and those from a new address nominate, as Chromium's; False: once and never again, as
    Firefox's and aioice's."""
    data: bool = False
    """Whether the offer has data channels. A server that was offered some speaks SCTP, wanted or not."""
    identity: DtlsIdentity | None = None
    """The certificate; None makes a new one. A load generator shares one among its calls."""
    claimed_fingerprint: Fingerprint | None = None
    """What the offer says instead of the certificate's own fingerprint: the lie of an attacker."""


class Call:
    """The client's end of one call."""

    def __init__(self, config: CallConfig | None = None, *, now: float, unix_offset: float = 0.0) -> None:
        """Makes keys and credentials. ``now`` is when the times of `timings` begin.

        ``unix_offset`` is Unix time less ``now``, in seconds: RTCP names instants by the wall clock.
        """
        config = config or CallConfig()
        self.state = CallState.OFFERING
        self.end = ""
        """Why the call ended, a sentence; empty before."""
        self.ice = IceAgent(
            secrets.token_hex(4),
            secrets.token_hex(16),
            check_interval_seconds=config.check_interval_seconds,
            nominates_again=config.nominates_again,
        )
        self.remote_ufrag = ""
        """The server's ufrag: the route."""
        self.remote_is_lite = self.remote_sends = False
        """Whether the server is an ICE-lite agent, and whether it said that it sends audio."""
        self.candidates: list[Address] = []
        """Where the answer says the server can be reached, best first, of one IP version: there is one socket."""
        self.dtls: Dtls | None = None
        """From the answer on."""
        self.data_offer: DataOffer | None = None
        """What the answer says about data channels; None: rejected."""
        self.on_data: Callable[[bytes], None] | None = None
        """Takes application messages (SCTP) from the server."""
        self._identity = config.identity or DtlsIdentity()
        ssrc = secrets.randbits(32)
        self.offer = write_offer(
            IceCredentials(self.ice.ufrag, self.ice.password),
            config.claimed_fingerprint or self._identity.fingerprint,
            ssrc=ssrc,
            payload_type=PAYLOAD_TYPE,
            data=config.data,
        )
        """The SDP offer, without candidates: a server learns the address from the first check."""
        self.reports = Reporter(ssrc, secrets.token_hex(8), now, unix_offset=unix_offset)
        """What both ends told each other about the media (RTCP)."""
        self._voice = Voice(speech_frames(), PAYLOAD_TYPE, ssrc)
        self._tally = EchoTally()
        self._began = now
        self._marks: dict[str, float] = {}
        self._out: deque[tuple[bytes, Address]] = deque()
        self._seen: dict[bytes, None] = {}
        self._replayed = self._refused = self._dropped = self._dtls_received = 0

    # -- input

    def handle_answer(self, sdp: str, now: float, *, only: Container[Address] | None = None) -> None:
        """Takes the SDP answer and begins with the checks, of the addresses in ``only`` if that is given. PeerError
        if nothing can be done with it."""
        answer = read_answer(sdp)
        self.candidates = [where for where in usable(answer.candidates) if only is None or where in only]
        if not self.candidates:
            raise PeerError("the answer names no address for the media (no a=candidate over UDP)")
        if answer.payload_type != PAYLOAD_TYPE:
            raise PeerError(f"the answer takes payload type {answer.payload_type} for Opus, expected {PAYLOAD_TYPE}")
        self.remote_ufrag = answer.ice.ufrag
        self.remote_is_lite = answer.ice_lite
        self.remote_sends = answer.audio_direction in ("sendrecv", "sendonly")
        self.data_offer = answer.data
        self.dtls = Dtls(self._identity, answer.dtls_role, answer.fingerprints)
        self.state = CallState.CHECKING
        self._mark("answered_ms", now)
        self.ice.start(answer.ice.ufrag, answer.ice.password, self.candidates, now)
        self._mark("first_check_sent_ms", now)
        self._collect(now)

    def handle_datagram(self, data: bytes, source: Address, now: float) -> None:
        """Takes one datagram from the socket, whoever sent it."""
        kind = classify(data)
        if self.state in (CallState.OFFERING, CallState.ENDED):
            self._dropped += 1
        elif kind == "stun":
            self.ice.handle_datagram(data, source, now)
        elif source not in self.candidates or kind is None:
            self._dropped += 1
        elif kind == "dtls":
            self._on_dtls(data, now)
        else:
            self._on_media(data, now)
        self._collect(now)

    def handle_timer(self, now: float) -> None:
        """Does what is due."""
        if self.state is CallState.ENDED:
            return
        self.ice.handle_timer(now)
        if self.dtls is not None:
            self.dtls.handle_timeout(now)
        self._speak(now)
        self._report(now)
        self._collect(now)

    def handle_moved(self, now: float) -> None:
        """The socket was replaced by one with another address, as when a phone changes its network."""
        self.ice.handle_moved(now)
        self._collect(now)

    def handle_restart(self, local: IceCredentials, remote: IceCredentials, now: float) -> None:
        """The server took new credentials for an ICE restart."""
        self.remote_ufrag = remote.ufrag
        self.ice.restart(local.ufrag, local.password, remote.ufrag, remote.password, now)
        self._collect(now)

    def send_data(self, message: bytes, now: float) -> bool:
        """Sends an application message (SCTP). False if DTLS is not up."""
        sent = self.dtls is not None and self.dtls.send(message)
        self._collect(now)
        return sent

    def mute(self, muted: bool, now: float) -> None:
        """Stops speaking or goes on, so that both ends can be counted while nothing is under way."""
        self._voice.mute(muted, now)

    def close(self, now: float) -> None:
        """Ends the call; the goodbye is in `poll_transmit` then."""
        if self.dtls is not None and self.state is not CallState.ENDED:
            self.dtls.close()
            self._collect(now)
        self._end("we hung up")

    # -- output

    def poll_transmit(self) -> tuple[bytes, Address] | None:
        """The next datagram to send and where to, or None."""
        return self._out.popleft() if self._out else None

    def poll_timeout(self) -> float | None:
        """When `handle_timer` wants to be called; None if never."""
        if self.state is CallState.ENDED:
            return None
        dtls = self.dtls.poll_timeout() if self.dtls is not None else None
        due = (self.ice.poll_timeout(), dtls, self._voice.poll_timeout(), self.reports.poll_timeout())
        return min((at for at in due if at is not None), default=None)

    def mark_channel_open(self, now: float) -> None:
        """The owner's SCTP says that the data channel is open."""
        self._mark("channel_open_ms", now)

    @property
    def began(self) -> float:
        """When the times of `timings` begin, on the clock of ``now``."""
        return self._began

    @property
    def timings(self) -> CallTimings:
        """When each part was done."""
        return CallTimings(**self._marks)

    def counts(self, now: float) -> CallCounts:
        """What was sent and what came back until now."""
        self._tally.settle(now)
        tally, ice = self._tally, self.ice.counts
        return CallCounts(
            audio_sent=tally.sent,
            audio_received=tally.received,
            audio_lost=tally.lost,
            audio_echoed=tally.echoed,
            audio_duplicated=tally.duplicated + self._replayed,
            audio_unreturned=tally.unreturned,
            audio_skipped=self._voice.skipped,
            srtp_refused=self._refused,
            checks_sent=ice.sent,
            checks_answered=ice.answered,
            checks_refused=ice.refused,
            validations_answered=ice.validations,
            dtls_received=self._dtls_received,
            datagrams_dropped=self._dropped,
        )

    @property
    def audio_reported(self) -> int:
        """Speech packets that the server's last report is about: those sent until the newest that it had."""
        remote = self.reports.remote
        if not remote.reports:
            return 0
        return max(0, min(remote.highest_sequence - self._voice.first_sequence + 1, self._tally.sent))

    def round_trip(self) -> RoundTrip:
        """Of the echoed speech."""
        return self._tally.round_trip()

    def longest_gap(self, since: float, now: float) -> Gap | None:
        """The longest time without returned audio that ended after ``since``; None if there was none."""
        return self._tally.longest_gap(since, now)

    def recent_arrivals(self) -> tuple[float, ...]:
        """When the last packets of returned audio came, oldest first; about ten seconds of them."""
        return self._tally.recent_arrivals()

    # -- inside

    def _on_dtls(self, data: bytes, now: float) -> None:
        assert self.dtls is not None
        self._dtls_received += 1
        self._mark("first_dtls_received_ms", now)
        self.dtls.handle_datagram(data, now)
        while (message := self.dtls.poll_data()) is not None:
            if self.on_data is not None:
                self.on_data(message)

    def _on_media(self, data: bytes, now: float) -> None:
        srtp = self.dtls.srtp if self.dtls is not None else None
        if srtp is None:
            self._refused += 1
            return
        if is_rtcp(data):
            plain = srtp.unprotect_rtcp(data)
            self._refused += plain is None or not self.reports.handle_rtcp(plain, now)
            return
        name = data[2:4] + data[8:12]
        plain = srtp.unprotect(data)
        packet = read_rtp(plain) if plain is not None else None
        if packet is None:
            known = name in self._seen
            self._replayed += known
            self._refused += not known
            return
        self._seen[name] = None
        if len(self._seen) > REPLAY_MEMORY:
            del self._seen[next(iter(self._seen))]
        self._mark("first_audio_received_ms", now)
        self.reports.handle_packet(packet.ssrc, packet.sequence, packet.timestamp, now)
        if self._tally.on_received(packet.sequence, packet.payload, now):
            self._mark("first_echo_ms", now)

    def _speak(self, now: float) -> None:
        srtp = self.dtls.srtp if self.dtls is not None else None
        if srtp is None or self.ice.selected is None:
            return
        for payload, packet in self._voice.handle_timer(now):
            protected = srtp.protect(packet)
            if protected is None:
                self._end("the SRTP keys are used up")
                return
            self._mark("first_audio_sent_ms", now)
            self._tally.on_sent(payload, now)
            self.reports.handle_sent(int.from_bytes(packet[4:8], "big"), len(payload), now)
            self._out.append((protected, self.ice.selected))

    def _report(self, now: float) -> None:
        srtp = self.dtls.srtp if self.dtls is not None else None
        report = self.reports.poll_report(now)
        if report is not None and srtp is not None and self.ice.selected is not None:
            protected = srtp.protect_rtcp(report)
            if protected is not None:
                self._out.append((protected, self.ice.selected))

    def _collect(self, now: float) -> None:
        """Moves the call on, and every part's output into ours."""
        while (check := self.ice.poll_transmit()) is not None:
            self._out.append(check)
        if self.dtls is None or self.state is CallState.ENDED:
            return
        if self.ice.failed:
            self._end("the server stopped answering checks" if self.ice.selected else "no check was answered")
            return
        if self.ice.selected is not None:
            self._after_ice(self.dtls, self.ice.selected, now)
        if self.dtls.state is DtlsState.CLOSED:
            self._end(_why(self.dtls))

    def _after_ice(self, dtls: Dtls, selected: Address, now: float) -> None:
        self._mark("first_check_answered_ms", now)
        if self.state is CallState.CHECKING:
            self.state = CallState.HANDSHAKING
            if dtls.role == "client":
                dtls.handle_start(now)
        while (datagram := dtls.poll_transmit()) is not None:
            self._out.append((datagram, selected))
        if dtls.srtp is not None and self.state is CallState.HANDSHAKING:
            self.state = CallState.TALKING
            self._mark("keys_ms", now)
            self._voice.start(now)
            self._speak(now)
        if dtls.state is DtlsState.CONNECTED:
            self._mark("dtls_done_ms", now)

    def _mark(self, name: str, now: float) -> None:
        self._marks.setdefault(name, (now - self._began) * 1000)

    def _end(self, reason: str) -> None:
        if self.state is not CallState.ENDED:
            self.state, self.end = CallState.ENDED, reason
            self._voice.stop()


def usable(candidates: Sequence[Candidate]) -> list[Address]:
    """The candidates' addresses by priority, of the IP version of the first: there is one socket."""
    addresses = [(candidate.ip, candidate.port) for candidate in sorted(candidates, key=lambda each: -each.priority)]
    return [address for address in addresses if (":" in address[0]) == (":" in addresses[0][0])]


def _why(dtls: Dtls) -> str:
    if dtls.end is None or dtls.end is DtlsEnd.LOCAL:
        return "we hung up"
    return f"DTLS ended: {dtls.end.value}" + (f" ({dtls.detail})" if dtls.detail else "")
