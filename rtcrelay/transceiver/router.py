"""Whose packet is this? The tables of one process: ufrag to session, path to sessions.

No socket and no clock. Laws: a stranger's packet adds nothing to any table; each session of a path gets the
packets that its own cryptography accepts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from rtcrelay._dataplane import classify, read_stun
from rtcrelay.rtc import stun
from rtcrelay.rtc.dtls_records import client_random
from rtcrelay.rtc.offer_answer import IceCredentials
from rtcrelay.transceiver.counters import Counters, Drop
from rtcrelay.transceiver.link import Link
from rtcrelay.transceiver.paths import Arrival, PathKey
from rtcrelay.transceiver.probes import ProbeResponder

if TYPE_CHECKING:
    from rtcrelay._dataplane import StunMessage

MAX_SESSIONS_PER_PATH: Final = 8
"""Sessions of one path at once: reused ports and shared addresses have two for a while; more is an attack."""
PROOF_SECONDS: Final = 20.0
"""How long a session whose keys proved themselves on a path keeps its place there. Chosen: media and reports prove
them at least every few seconds; a session without either gets its place back with its next check."""


class Routed(Protocol):
    """Whom packets are for: a session."""

    @property
    def ice(self) -> IceCredentials:
        """Its own, as the last answer says."""

    @property
    def link(self) -> Link | None:
        """Its paths; None before the first check."""

    @property
    def is_connected(self) -> bool:
        """Whether DTLS is complete."""

    @property
    def hello(self) -> bytes | None:
        """The random of the ClientHello that it answers; None: of none yet, or it does not look."""

    @property
    def awaits_hello(self) -> bool:
        """Whether it is a server in DTLS that is not connected."""

    def handle_newcomer(self, key: PathKey, now: float) -> None:
        """Another session's client is on this path, too, or has taken it over."""

    def handle_check(self, arrival: Arrival, datagram: bytes, message: StunMessage, ufrag: bytes, now: float) -> bool:
        """A check with a ufrag of its own. False if its integrity is wrong."""

    def handle_response(self, arrival: Arrival, datagram: bytes, message: StunMessage, now: float) -> bool:
        """A STUN success response on one of its paths. True if it was its own."""

    def handle_dtls(self, arrival: Arrival, datagram: bytes, now: float, *, share: int, alone: bool) -> Drop | None:
        """A DTLS datagram on one of its paths. None if it was its own, or may have been; else why not."""

    def handle_media(self, arrival: Arrival, packet: bytes, now: float, *, share: int) -> Drop | None:
        """An SRTP or SRTCP packet on one of its paths. None if it was its own; else why not."""


class Router:
    """Brings each packet to the session it belongs to."""

    def __init__(self, counters: Counters, probes: ProbeResponder) -> None:
        self._counters, self._probes = counters, probes
        self._by_ufrag: dict[bytes, Routed] = {}
        self._by_path: dict[PathKey, list[Routed]] = {}
        self.on_path_gone: list[Callable[[PathKey], None]] = []
        """Called when no session has a path any more."""

    def add(self, session: Routed) -> None:
        """Takes in a new session, by its ufrag."""
        self.add_ufrag(session, session.ice.ufrag)

    def remove(self, session: Routed) -> None:
        """Forgets a session, its ufrags and its paths."""
        if session.link is None:
            return
        for ufrag in session.link.generations.ufrags():
            self.remove_ufrag(ufrag)
        for key in session.link.paths.all_keys():
            self.remove_path(session, key)

    def add_ufrag(self, session: Routed, ufrag: str) -> None:
        """Brings checks with this ufrag to the session, too."""
        self._by_ufrag[ufrag.encode()] = session

    def remove_ufrag(self, ufrag: str) -> None:
        """Forgets a ufrag."""
        self._by_ufrag.pop(ufrag.encode(), None)

    def remove_path(self, session: Routed, key: PathKey) -> None:
        """Forgets that a session has this path."""
        sessions = self._by_path.get(key)
        if sessions is not None and session in sessions:
            sessions.remove(session)
            if not sessions:
                del self._by_path[key]
                for tell in self.on_path_gone:
                    tell(key)

    def knows_ufrag(self, ufrag: str) -> bool:
        """Whether a live session has this ufrag."""
        return ufrag.encode() in self._by_ufrag

    def knows_path(self, key: PathKey) -> bool:
        """Whether a session had a valid check on this path."""
        return key in self._by_path

    @property
    def path_count(self) -> int:
        """Paths in the table."""
        return len(self._by_path)

    def handle_payload(self, arrival: Arrival, payload: bytes, now: float) -> None:
        """One payload from the network, whatever it is."""
        reason = self._route(arrival, payload, now)
        if reason is not None:
            self._counters.drops[reason] += 1

    def _route(self, arrival: Arrival, payload: bytes, now: float) -> Drop | None:
        kind = classify(payload)
        if kind is None:
            return Drop.NOT_WEBRTC
        if kind == "stun":
            return self._route_stun(arrival, payload, now)
        sessions = self._by_path.get(arrival.key)
        if sessions is None:
            return Drop.UNKNOWN_PATH
        if kind == "dtls":
            return _offer_dtls(sessions, arrival, payload, now)
        return _offer_media(sessions, arrival, payload, now)

    def _route_stun(self, arrival: Arrival, payload: bytes, now: float) -> Drop | None:
        message = read_stun(payload)
        if message is None:
            return Drop.STUN_MALFORMED
        if message.kind == stun.BINDING_SUCCESS:
            sessions = self._by_path.get(arrival.key, ())
            taken = any(session.handle_response(arrival, payload, message, now) for session in sessions)
            return None if taken else Drop.STUN_NOT_A_REQUEST
        if message.kind != stun.BINDING_REQUEST:
            return Drop.STUN_NOT_A_REQUEST
        username = stun.split_username(message)
        if username is None:
            return Drop.STUN_NO_USERNAME
        if stun.fingerprint_is_wrong(payload, message):
            return Drop.WRONG_FINGERPRINT
        session = self._by_ufrag.get(username[0])
        if session is None:
            return self._probes.handle_request(arrival, username[0], payload, message, now)
        if not session.handle_check(arrival, payload, message, username[0], now):
            return Drop.WRONG_INTEGRITY
        return self._claim(session, arrival.key, now)

    def _claim(self, session: Routed, key: PathKey, now: float) -> Drop | None:
        """Notes that a valid check of the session came on the path."""
        sessions = self._by_path.get(key)
        if sessions is None:
            if _has_path(session, key):  # a repeated check adds no path
                self._by_path[key] = [session]
        elif session not in sessions and _has_path(session, key):
            if len(sessions) >= MAX_SESSIONS_PER_PATH and not _make_room(sessions, key, now):
                return Drop.PATHS_FULL
            for other in sessions:
                other.handle_newcomer(key, now)
            sessions.append(session)
        return None


def _has_path(session: Routed, key: PathKey) -> bool:
    return session.link is not None and session.link.paths.find(key) is not None


def _make_room(sessions: list[Routed], key: PathKey, now: float) -> bool:
    """Removes a session that does without the path: before all others one that has selected another path, else one
    whose keys proved nothing here lately; of these the longest silent one."""
    idle: list[tuple[bool, float, Routed]] = []
    for session in sessions:
        if session.link is None:
            continue
        paths = session.link.paths
        path = paths.find(key)
        is_selected = path is not None and path is paths.selected
        proved_at = path.authenticated_at if path is not None else None
        if not is_selected or proved_at is None or now - proved_at >= PROOF_SECONDS:
            idle.append((is_selected, path.last_heard_at if path else 0.0, session))
    if not idle:
        return False
    sessions.remove(min(idle, key=lambda entry: entry[:2])[2])
    return True


def _offer_dtls(sessions: list[Routed], arrival: Arrival, payload: bytes, now: float) -> Drop | None:
    """Handshakes are in the clear: every session of the path sees them, and its own state says what is its own."""
    reason: Drop | None = Drop.UNKNOWN_PATH
    alone = len(sessions) == 1
    if not alone and (random := client_random(payload)) is not None:
        answerer = _find_answerer(sessions, arrival.key, random)
        if answerer is None:
            return Drop.NOT_AUTHENTIC
        sessions = [answerer]
    # Its bytes count once in all, and for those who are in a handshake first: they have the most to answer.
    handshaking = [session for session in sessions if not session.is_connected]
    among = handshaking or sessions
    share = len(payload) // len(among)
    for session in tuple(sessions):
        counts = share if session in among else 0
        answer = session.handle_dtls(arrival, payload, now, share=counts, alone=alone)
        reason = reason and answer
    return reason


def _find_answerer(sessions: list[Routed], key: PathKey, random: bytes) -> Routed | None:
    """Who answers a ClientHello: the session that did before, else one that waits for its first, else one that has
    another; of these the one whose client was heard last. None if all are connected, or clients themselves."""

    def fitness(session: Routed) -> tuple[bool, float]:
        path = session.link.paths.find(key) if session.link is not None else None
        return session.hello is None, path.last_heard_at if path is not None else 0.0

    known = next((session for session in sessions if session.hello == random), None)
    waiting = [session for session in sessions if session.awaits_hello]
    return known or max(waiting, key=fitness, default=None)


def _offer_media(sessions: list[Routed], arrival: Arrival, payload: bytes, now: float) -> Drop | None:
    reason: Drop | None = Drop.UNKNOWN_PATH
    share = len(payload) // len(sessions)
    for session in tuple(sessions):
        reason = session.handle_media(arrival, payload, now, share=share)
        if reason is None:
            return None
    return reason
