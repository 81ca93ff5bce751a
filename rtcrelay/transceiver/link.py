"""How does a session reach its client? Checks answered, paths proved, announces sent; an ICE-lite agent.

Laws: a packet that does not authenticate changes nothing but a path's budget; nothing is sent to an address
beyond that budget until it has proved itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from rtcrelay.rtc import stun
from rtcrelay.rtc.offer_answer import IceCredentials
from rtcrelay.transceiver.counters import Count, Counters, Drop
from rtcrelay.transceiver.generations import Generation, Generations
from rtcrelay.transceiver.paths import Arrival, CheckKind, Path, PathBook, PathKey, Reply
from rtcrelay.transceiver.validation import PathValidation

if TYPE_CHECKING:
    from rtcrelay._dataplane import StunMessage

SILENCE_SECONDS: Final = 30.0
"""Without anything authentic for this long, a session is over (not every stack keeps checking)."""
UNCHECKED_SECONDS: Final = 10.0
"""Without one valid check for this long after its offer, it is: offers cost their sender nothing, but a place here.
Chosen: clients check as soon as they have the answer, and again for seconds."""
ANNOUNCE_SECONDS: Final = 0.25
"""Silence towards the client after which relays are told that the session lives. Measured with 0.5 s: a
restarted relay had Firefox's media back after 171-385 ms, without announces after 1.7-5.2 s or never."""
_SPED: Final = frozenset((int(stun.Attribute.DTLS_IN_STUN), int(stun.Attribute.DTLS_IN_STUN_ACK)))


class Sender(Protocol):
    """Where packets leave."""

    def send(self, reply: Reply, payload: bytes) -> None:
        """Sends a payload, which may be empty (an announce), or drops it and counts why."""


class Link:
    """The paths of one session and what goes over them."""

    def __init__(
        self, sender: Sender, counters: Counters, local: IceCredentials, remote: IceCredentials, now: float
    ) -> None:
        self.paths = PathBook()
        self.generations = Generations(local, remote)
        self.heard_at = now
        """When something authentic came last; the creation before that."""
        self._sender, self._counters = sender, counters
        self._validation = PathValidation()
        self._sent_at = now

    @property
    def is_checked(self) -> bool:
        """Whether a valid check came."""
        return self.paths.selected is not None

    def is_silent(self, now: float) -> bool:
        """Whether nothing authentic came for so long that the session is over."""
        return now - self.heard_at >= (SILENCE_SECONDS if self.is_checked else UNCHECKED_SECONDS)

    @property
    def is_doubted(self) -> bool:
        """Whether somebody else seems to have the selected path now."""
        return self.paths.selected is not None and self.paths.selected.is_doubted

    # -- what comes in

    def handle_check(
        self, arrival: Arrival, datagram: bytes, message: StunMessage, ufrag: bytes, *, connected: bool, now: float
    ) -> CheckKind | None:
        """A binding request with this ufrag of ours: answered if its integrity is right, else None and nothing
        happened."""
        generation = self.generations.find(ufrag)
        if generation is None:
            return None
        attributes = stun.verified_attributes(datagram, message, generation.key)
        if attributes is None:
            return None
        self._counters.counts[Count.CHECKS] += 1
        may_move = self.generations.handle_check(generation, now)
        kind = self.paths.handle_check(
            arrival,
            message.transaction,
            nominated=may_move and stun.Attribute.USE_CANDIDATE in attributes,
            connected=may_move and connected,
            now=now,
        )
        path = self.paths.find(arrival.key)
        if path is not None:
            self.paths.handle_bytes(path, len(datagram))
        sped = not _SPED.isdisjoint(attributes)
        self._answer(path, arrival, message.transaction, generation, sped=sped)
        if kind is CheckKind.REPEATED:
            self._counters.counts[Count.CHECKS_REPEATED] += 1
        else:
            self.heard_at = now
            if kind is CheckKind.MOVED and self.paths.moves:
                self._counters.counts[Count.PATHS_MOVED] += 1
        return kind

    def handle_response(self, key: PathKey, datagram: bytes, message: StunMessage, now: float) -> bool:
        """A STUN success response. True if it answers our path validation."""
        path = self.paths.find(key)
        if path is None or not self._validation.handle_response(key, datagram, message):
            return False
        self.heard_at = now
        self._counters.counts[Count.VALIDATIONS_ANSWERED] += 1
        self.paths.validate(path)
        return True

    def handle_authenticated(self, path: Path, reply: Reply, *, is_newest: bool, connected: bool, now: float) -> bool:
        """A packet of the path passed SRTP or DTLS authentication. True if that selected the path."""
        self.heard_at = now
        moved = self.paths.handle_authenticated(path, reply, is_newest=is_newest, connected=connected, now=now)
        if moved:
            self._counters.counts[Count.PATHS_MOVED] += 1
        return moved

    # -- what goes out

    def send(self, payload: bytes, now: float) -> Path | None:
        """Sends to where media goes now. Returns that path, or None if nothing was sent."""
        path = self.paths.media_path(now, len(payload))
        if path is None:
            return None
        if not path.validated:
            if not path.may_send(len(payload)):
                self._counters.drops[Drop.UNPROVED_PATH] += 1
                return None
            path.bytes_out += len(payload)
        self._sent_at = now
        self._sender.send(path.reply, payload)
        return path

    def validate_selected(self, now: float) -> None:
        """Asks the selected path to prove itself, unless it has; `handle_timeout` asks again until it does."""
        path = self.paths.selected
        if path is None or path.validated:
            self._validation.stop()
        else:
            self._validation.start(path, self.generations.in_use, now)
            self._ask(now)

    def stop(self) -> None:
        """Asks and announces nothing any more."""
        self._validation.stop()
        self.paths = PathBook()

    # -- time

    def poll_timeout(self, now: float) -> float:
        """When `handle_timeout` has something to do, or `is_silent` may be true."""
        deadline = self.heard_at + (SILENCE_SECONDS if self.is_checked else UNCHECKED_SECONDS)
        for at in (self._validation.poll_timeout(), self._announce_at(), self.generations.poll_timeout()):
            if at is not None and at < deadline:
                deadline = at
        return deadline

    def handle_timeout(self, now: float) -> list[str]:
        """Sends the announce or the validation request that is due; returns our ufrags that stopped working."""
        self._ask(now)
        at, path = self._announce_at(), self.paths.announced_path
        if at is not None and now >= at and path is not None:
            self._sent_at = now
            self._counters.counts[Count.ANNOUNCES_OUT] += 1
            self._sender.send(path.reply, b"")
        return self.generations.handle_timeout(now)

    # -- inside

    def _answer(
        self, path: Path | None, arrival: Arrival, transaction: bytes, generation: Generation, *, sped: bool
    ) -> None:
        # An empty acknowledgement tells clients that put DTLS into STUN not to wait for ours there
        # (measured: without it such a client needs 2 more round trips).
        extra = [(int(stun.Attribute.DTLS_IN_STUN_ACK), b"")] if sped else []
        response = stun.write_binding_success(transaction, arrival.key[:2], generation.local.password, extra)
        if path is not None and not path.validated:
            path.bytes_out += len(response)
        self._sender.send(arrival.reply, response)

    def _ask(self, now: float) -> None:
        # A request goes to the path it is about and nowhere else: who reads it elsewhere could answer for a victim.
        path = self._validation.path
        if path is not self.paths.selected:
            self._validation.stop()
        request = self._validation.poll_request(now)
        if request is not None and path is not None and path.may_send(len(request)):
            path.bytes_out += len(request)
            self._counters.counts[Count.VALIDATIONS_SENT] += 1
            self._sender.send(path.reply, request)

    def _announce_at(self) -> float | None:
        path = self.paths.announced_path
        # There is no relay to tell on the direct socket.
        return self._sent_at + ANNOUNCE_SECONDS if path is not None and path.reply.header else None
