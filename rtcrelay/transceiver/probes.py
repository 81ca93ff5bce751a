"""Is a transceiver alive behind its relays? Checks with a probe ufrag, answered without any state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from rtcrelay._dataplane import KeyRing, Route, UfragError, open_ufrag
from rtcrelay.rtc import stun
from rtcrelay.transceiver.counters import Count, Counters, Drop
from rtcrelay.transceiver.link import Sender
from rtcrelay.transceiver.paths import Arrival

if TYPE_CHECKING:
    from rtcrelay._dataplane import StunMessage

PROBES_PER_SECOND: Final = 100.0
"""Answered at most, over all sources. Chosen: an answer costs 30 us, so a flood costs 0.3 % of a core."""
PROBE_BURST: Final = 200.0


class ProbeKeys(Protocol):
    """What a key file knows of probes."""

    @property
    def ring(self) -> KeyRing:
        """The keys."""

    def probe_password(self, ufrag: str) -> str | None:
        """The password of a probe ufrag; None if it is none of these keys'."""


class ProbeResponder:
    """Answers the checks that `rtcrelay probe` sends; no session, path or claim comes of them."""

    def __init__(self, sender: Sender, counters: Counters, keys: ProbeKeys, own: Route) -> None:
        """``own`` is this transceiver as a route of its sessions: probes for another one are refused."""
        self._sender, self._counters, self._keys, self._own = sender, counters, keys, own
        self._tokens = PROBE_BURST
        self._refilled_at = 0.0

    def reload(self, keys: ProbeKeys) -> None:
        """Takes other keys."""
        self._keys = keys

    def handle_request(
        self, arrival: Arrival, ufrag: bytes, datagram: bytes, message: StunMessage, now: float
    ) -> Drop | None:
        """A binding request with a ufrag that no session has. None if it was a probe and is answered."""
        try:
            route = open_ufrag(self._keys.ring, ufrag)
        except UfragError:
            return Drop.UNKNOWN_UFRAG
        if route.kind not in ("probe_endpoint", "probe_node"):
            return Drop.UNKNOWN_UFRAG
        if not self._is_for_us(route):
            return Drop.PROBE_REFUSED
        password = self._keys.probe_password(ufrag.decode("ascii"))
        if password is None or stun.verified_attributes(datagram, message, password.encode()) is None:
            return Drop.WRONG_INTEGRITY
        # Only now: who merely saw a probe's ufrag could otherwise use up the answers to the real ones.
        if not self._take_token(now):
            return Drop.PROBE_REFUSED
        self._counters.counts[Count.PROBES_ANSWERED] += 1
        self._sender.send(arrival.reply, stun.write_binding_success(message.transaction, arrival.key[:2], password))
        return None

    def _is_for_us(self, route: Route) -> bool:
        own = self._own
        return (route.cluster, route.ip, route.port, route.node) == (own.cluster, own.ip, own.port, own.node)

    def _take_token(self, now: float) -> bool:
        self._tokens = min(PROBE_BURST, self._tokens + (now - self._refilled_at) * PROBES_PER_SECOND)
        self._refilled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
