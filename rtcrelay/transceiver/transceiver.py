"""What does one process own? Its sessions, their tables, its keys and its limits.

Everything that sessions need of their process is here; sockets and HTTP are given to it or call it.
"""

from __future__ import annotations

import hmac
import logging
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rtcrelay._dataplane import Route
from rtcrelay.config import TransceiverSettings
from rtcrelay.daemon import shown_client
from rtcrelay.errors import BackendError, ExitStatus
from rtcrelay.http.owners import Owners
from rtcrelay.keys import KeyFile, require_active_key
from rtcrelay.rtc.dtls import DtlsIdentity
from rtcrelay.rtc.offer_answer import AnswerParameters, IceCredentials, read_offer, write_answer
from rtcrelay.rtc.trickle import write_fragment
from rtcrelay.transceiver.admission import Admission, Measure
from rtcrelay.transceiver.backends import find_backend
from rtcrelay.transceiver.counters import Count, Counters, End
from rtcrelay.transceiver.frame_clock import FrameClock
from rtcrelay.transceiver.link import Sender
from rtcrelay.transceiver.minting import Mint, make_password
from rtcrelay.transceiver.owner import own_address, owner_rules, require_addresses
from rtcrelay.transceiver.paths import PathKey, Reply
from rtcrelay.transceiver.probes import ProbeResponder
from rtcrelay.transceiver.report import describe_session
from rtcrelay.transceiver.router import Router
from rtcrelay.transceiver.session import Session
from rtcrelay.transceiver.timers import Timed, Timers

if TYPE_CHECKING:
    from rtcrelay._dataplane import Address

log = logging.getLogger("rtcrelay.transceiver")


class OverloadedError(BackendError):
    """No session can be taken on now; the client may try again."""

    status = ExitStatus.TEMPORARY


@dataclass(frozen=True, slots=True)
class Accepted:
    """What signaling tells a client whose offer was accepted."""

    answer: str = field(repr=False)
    """The SDP answer, with our ice-pwd."""
    resource: str = field(repr=False)
    """``<route>.<secret>``: the last part of the session's URL."""
    etag: str
    """Of the ICE session, in quotes; it changes with an ICE restart."""


@dataclass(slots=True)
class Placed:
    """A live session and what its URL needs."""

    session: Session
    secret: str = field(repr=False)
    """The second half of the URL's last part."""
    etag: str
    """As in `Accepted`, of the latest ICE session."""
    ingresses: tuple[Address, ...] = ()
    """Those that its client is told; empty: all."""


class Transceiver:
    """One process's sessions. `open` it with the bound addresses before anything else."""

    def __init__(self, settings: TransceiverSettings, keys: KeyFile, clock: Callable[[], float]) -> None:
        """Raises ConfigError if no key mints or the backend is unknown."""
        require_active_key(keys)
        self.settings = settings
        self.counters = Counters()
        self.identity = DtlsIdentity()
        self.make_backend = find_backend(settings.backend, settings.backend_token_file)
        self.max_session_seconds = settings.max_session_seconds
        self.max_idle_seconds = settings.max_idle_seconds
        self.max_bit_rate = settings.max_bit_rate
        self.timers = Timers()
        self.frame_clock = FrameClock(self.counters, clock, lambda: self._rearm(self.frame_clock))
        self.admission = Admission(self.frame_clock.lateness, clock())
        """Whether there is room for another session."""
        self.on_rearm: Callable[[], None] = lambda: None
        """Called when `timers` may want to be called sooner."""
        self.is_draining = False
        """True refuses new sessions."""
        self.on_empty: Callable[[], None] = lambda: None
        """Called when the last session is over."""
        self.on_count: Callable[[], None] = lambda: None
        """Called when there is a session more or less."""
        self.keys = keys
        """The keys in use."""
        self.started_at = clock()
        self.now = clock
        self._entries: dict[str, Placed] = {}
        self._resources: dict[Session, str] = {}
        self._shared: Sender | None = None
        self._direct: Sender | None = None
        self._direct_address: Address | None = None

    def open(self, media: Address, http: Address, shared: Sender, direct: tuple[Address, Sender] | None) -> None:
        """Takes the bound addresses and where to send. What `require_addresses` refuses raises ConfigError here."""
        self._shared = shared
        self._direct_address, self._direct = direct or (None, None)
        require_addresses(self.settings)
        cluster, node = self.settings.cluster, self.settings.node_id
        if node is None:
            route = Route("endpoint", cluster, ip=media[0], port=media[1])
        else:
            route = Route("node", cluster, node=node)
        own = own_address(self.settings, http, media)
        self.addresses = media, http
        """Where media and signaling are bound."""
        self._mint = Mint(self.keys, route, own, self.settings.worker)
        self.owners = Owners(owner_rules(self.settings, self.keys), own)
        self._probes = ProbeResponder(self, self.counters, self.keys, route)
        self.router = Router(self.counters, self._probes)

    def reload(self, settings: TransceiverSettings, keys: KeyFile) -> None:
        """Takes other keys and settings, which are checked, for what comes from now on; sockets and sessions stay."""
        self._mint.reload(keys)
        self.owners.reload(owner_rules(settings, keys))
        self._probes.reload(keys)
        self.settings, self.keys = settings, keys
        self.max_session_seconds = settings.max_session_seconds
        self.max_idle_seconds = settings.max_idle_seconds
        self.max_bit_rate = settings.max_bit_rate

    # -- signaling

    def create_session(
        self, offer_text: str, ingresses: Sequence[Address] = (), request: str | None = None
    ) -> Accepted:
        """A new session for an offer. Raises SdpError if it cannot be accepted, OverloadedError if there is no room.

        ``ingresses``: those that the client is told, best first, as far as they are ours; empty: all of ours.
        ``request``: see `Call.request`.
        """
        refusal = self.refusal()
        if refusal is not None:
            raise OverloadedError(refusal)
        offer = read_offer(offer_text)
        ice = self._credentials()
        session = Session(self, ice, offer, self.now(), request=request)
        if session.conversation.is_refused:
            session.conversation.close()
            raise OverloadedError("what answers calls here takes none now")
        resource = self._mint.resource(self._entries.__contains__)
        told = tuple(address for address in ingresses if address in self.settings.ingresses)
        placed = self._entries[resource] = Placed(session, secrets.token_urlsafe(16), _make_etag(), told)
        self._resources[session] = resource
        self.router.add(session)
        self.counters.counts[Count.SESSIONS_CREATED] += 1
        self.rearm(session)
        self.on_count()
        fingerprint = self.identity.certificate.fingerprint
        parameters = AnswerParameters(
            ice, fingerprint, self._candidates(told), session.media.ssrc, session.conversation.wants_dtx
        )
        log.info("session %s created, ufrag %s", session.id, ice.ufrag)
        return Accepted(write_answer(offer, parameters), f"{resource}.{placed.secret}", placed.etag)

    def refusal(self) -> str | None:
        """Why there is no room for another session, as a sentence; None if there is."""
        if self.is_draining:
            return "this transceiver drains and takes no more calls"
        return self.admission.refusal(len(self._entries), self.settings.max_sessions)

    def restart_ice(self, placed: Placed, remote: IceCredentials) -> str:
        """Gives a session new credentials on the same path to us; returns the answer's fragment.

        The old ones work until the client has used the new ones for a while; `Placed.etag` is another one.
        """
        session, ice = placed.session, self._credentials()
        for ufrag in session.link.generations.restart(ice, remote):
            self.router.remove_ufrag(ufrag)
        self.router.add_ufrag(session, ice.ufrag)
        placed.etag = _make_etag()
        self.counters.counts[Count.ICE_RESTARTS] += 1
        log.info("session %s restarts ICE, ufrag %s", session.id, ice.ufrag)
        return write_fragment(session.offer, ice, self._candidates(placed.ingresses))

    def find(self, resource: str) -> Placed | None:
        """The session of a URL's last part; None if there is none or the secret is wrong (constant time)."""
        route, _, secret = resource.partition(".")
        placed = self._entries.get(route)
        expected = placed.secret if placed is not None else ""
        is_right = hmac.compare_digest(expected.encode(), secret.encode("utf-8", "replace"))
        return placed if placed is not None and is_right else None

    def sessions(self) -> Iterator[Session]:
        """The live sessions, oldest first."""
        return (placed.session for placed in tuple(self._entries.values()))

    @property
    def session_count(self) -> int:
        """Live sessions, set up or not."""
        return len(self._entries)

    def loads(self) -> dict[Measure, float]:
        """See `Admission.loads`."""
        return self.admission.loads(len(self._entries), self.settings.max_sessions)

    def close_all(self, end: End) -> None:
        """Ends every session."""
        for session in self.sessions():
            session.close(end, self.now())

    # -- Host

    def send(self, reply: Reply, payload: bytes) -> None:
        """See `Sender.send`."""
        sender = self._shared if reply.header else self._direct
        if sender is not None:
            sender.send(reply, payload)

    def rearm(self, session: Session) -> None:
        """See `Host.rearm`."""
        if session in self._resources:
            self._rearm(session)

    def forget_path(self, session: Session, key: PathKey) -> None:
        """See `Host.forget_path`."""
        self.router.remove_path(session, key)

    def forget_ufrag(self, session: Session, ufrag: str) -> None:
        """See `Host.forget_ufrag`."""
        self.router.remove_ufrag(ufrag)

    def forget(self, session: Session) -> None:
        """See `Host.forget`. Writes the session's line into the log: its set-up and its media."""
        assert session.end is not None
        end, why = session.end.name.lower(), session.dtls.detail
        row = describe_session(session, self.settings.node, self.now())
        fields = {"event": "session_ended", "reason": end, "detail": why, **row, "kind": "session_ended"}
        fields["client"] = shown_client(row["client"])
        log.info("session %s ended: %s%s", session.id, end, why and f" ({why})", extra={"fields": fields})
        resource = self._resources.pop(session, None)
        if resource is not None:
            del self._entries[resource]
        self.router.remove(session)
        self.timers.forget(session)
        self.on_count()
        if not self._entries:
            self.on_empty()

    # -- inside

    def _candidates(self, ingresses: Sequence[Address]) -> list[Address]:
        """What clients are told to send to, best first."""
        return [*(ingresses or self.settings.ingresses), *([self._direct_address] if self._direct_address else [])]

    def _credentials(self) -> IceCredentials:
        return IceCredentials(self._mint.ufrag(self.router.knows_ufrag), make_password())

    def _rearm(self, timed: Timed) -> None:
        self.timers.arm(timed, self.now())
        self.on_rearm()


def _make_etag() -> str:
    return f'"{secrets.token_hex(8)}"'
