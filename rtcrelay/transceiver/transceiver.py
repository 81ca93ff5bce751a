"""What does one process own? Its sessions, their tables, its keys and its limits.

Everything that sessions need of their process is here; sockets and HTTP are given to it or call it.
"""

from __future__ import annotations

import hmac
import logging
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rtcrelay._dataplane import Route, mint_ufrag
from rtcrelay.config import TransceiverSettings
from rtcrelay.errors import BackendError, ConfigError, ExitStatus
from rtcrelay.keys import KeyFile
from rtcrelay.rtc.dtls import DtlsIdentity
from rtcrelay.rtc.offer_answer import AnswerParameters, IceCredentials, read_offer, write_answer
from rtcrelay.transceiver.backends import find_backend
from rtcrelay.transceiver.counters import Count, Counters, End
from rtcrelay.transceiver.link import Sender
from rtcrelay.transceiver.paths import PathKey, Reply
from rtcrelay.transceiver.probes import ProbeResponder
from rtcrelay.transceiver.router import Router
from rtcrelay.transceiver.session import Session
from rtcrelay.transceiver.timers import Timers

if TYPE_CHECKING:
    from rtcrelay._dataplane import Address

log = logging.getLogger("rtcrelay.transceiver")

_PASSWORD_BYTES: Final = 18
"""24 characters of base64url with its two odd characters replaced: more than 128 bits (RFC 8445 section 5.3)."""


class OverloadedError(BackendError):
    """No session can be taken on now; the client may try again."""

    status = ExitStatus.TEMPORARY


@dataclass(frozen=True, slots=True)
class Accepted:
    """What signaling tells a client whose offer was accepted."""

    answer: str
    """The SDP answer."""
    resource: str
    """``<route>.<secret>``: the last part of the session's URL."""
    etag: str
    """Of the ICE session, in quotes; it changes with an ICE restart."""


@dataclass(frozen=True, slots=True)
class _Entry:
    session: Session
    secret: str


class Transceiver:
    """One process's sessions. `open` it with the bound addresses before anything else."""

    def __init__(self, settings: TransceiverSettings, keys: KeyFile, clock: Callable[[], float]) -> None:
        """Raises ConfigError if no key mints or the backend is unknown."""
        if keys.active_id is None:
            raise ConfigError(f"key file {keys.path} has no active key, so no ufrag can be minted")
        self.settings = settings
        self.counters = Counters()
        self.identity = DtlsIdentity()
        self.make_backend = find_backend(settings.backend)
        self.max_session_seconds = settings.max_session_seconds
        self.timers = Timers()
        self.on_rearm: Callable[[], None] = lambda: None
        """Called when `timers` may want to be called sooner."""
        self.is_draining = False
        """True refuses new sessions."""
        self.started_at = clock()
        self._keys, self._key_id, self.now = keys, keys.active_id, clock
        self._entries: dict[str, _Entry] = {}
        self._resources: dict[Session, str] = {}
        self._shared: Sender | None = None
        self._direct: Sender | None = None
        self._candidates: list[Address] = []

    def open(self, media: Address, http: Address, shared: Sender, direct: tuple[Address, Sender] | None) -> None:
        """Takes the bound addresses and where to send. Raises ConfigError if clients could not be told any."""
        self._shared = shared
        self._direct = direct[1] if direct else None
        self._candidates = [*self.settings.ingresses, *([direct[0]] if direct else [])]
        if not self._candidates:
            raise ConfigError(
                "there is no address that clients can send to", hint="--ingress VIP:PORT or --direct ADDR"
            )
        cluster, node = self.settings.cluster, self.settings.node_id
        if node is None:
            self._media_route = Route("endpoint", cluster, ip=media[0], port=media[1], key_id=self._key_id)
        else:
            self._media_route = Route("node", cluster, node=node, key_id=self._key_id)
        self._owner = _owner_address(http, media)
        self.router = Router(self.counters, ProbeResponder(self, self.counters, self._keys, self._media_route))

    # -- signaling

    def create_session(self, offer_text: str) -> Accepted:
        """A new session for an offer. Raises SdpError if it cannot be accepted, OverloadedError if there is no room."""
        if self.is_draining or len(self._entries) >= self.settings.max_sessions:
            raise OverloadedError("this transceiver takes no more calls now")
        offer = read_offer(offer_text)
        ice = IceCredentials(self._mint(), _password())
        session = Session(self, ice, offer, self.now())
        resource = self._mint_resource()
        secret = secrets.token_urlsafe(16)
        self._entries[resource] = _Entry(session, secret)
        self._resources[session] = resource
        self.router.add(session)
        self.counters.counts[Count.SESSIONS_CREATED] += 1
        self.rearm(session)
        fingerprint = self.identity.certificate.fingerprint
        answer = write_answer(offer, AnswerParameters(ice, fingerprint, self._candidates, session.ssrc))
        log.info("session %s created, ufrag %s", session.id, ice.ufrag)
        return Accepted(answer, f"{resource}.{secret}", f'"{secrets.token_hex(8)}"')

    def find_session(self, resource: str) -> Session | None:
        """The session of a URL's last part; None if there is none or the secret is wrong (constant time)."""
        route, _, secret = resource.partition(".")
        entry = self._entries.get(route)
        expected = entry.secret if entry is not None else ""
        is_right = hmac.compare_digest(expected.encode(), secret.encode("utf-8", "replace"))
        return entry.session if entry is not None and is_right else None

    def sessions(self) -> Iterator[Session]:
        """The live sessions, oldest first."""
        return (entry.session for entry in tuple(self._entries.values()))

    @property
    def session_count(self) -> int:
        """Live sessions, set up or not."""
        return len(self._entries)

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
            self.timers.arm(session, self.now())
            self.on_rearm()

    def forget_path(self, session: Session, key: PathKey) -> None:
        """See `Host.forget_path`."""
        self.router.remove_path(session, key)

    def forget(self, session: Session) -> None:
        """See `Host.forget`."""
        resource = self._resources.pop(session, None)
        if resource is not None:
            del self._entries[resource]
        self.router.remove(session)
        self.timers.forget(session)

    # -- inside

    def _mint(self) -> str:
        """A ufrag with a nonce that no live session has (RFC 8839 wants 24 random bits, and we have just those)."""
        route = self._media_route
        while True:
            ufrag = mint_ufrag(
                self._keys.ring,
                Route(
                    route.kind,
                    route.cluster,
                    ip=route.ip,
                    node=route.node,
                    port=route.port,
                    nonce=secrets.randbits(24),
                    key_id=route.key_id,
                ),
            )
            if not self.router.knows_ufrag(ufrag):
                return ufrag

    def _mint_resource(self) -> str:
        """A kind-4 token that names this process's HTTP address, for whoever else is asked about the session."""
        ip, port = self._owner
        cluster, key_id = self.settings.cluster, self._key_id
        while True:
            route = Route("session", cluster, ip=ip, port=port, nonce=secrets.randbits(24), key_id=key_id)
            resource = mint_ufrag(self._keys.ring, route)
            if resource not in self._entries:
                return resource


def _owner_address(http: Address, media: Address) -> Address:
    """Where other pods reach this one's HTTP. A token holds IPv4 only: the media address stands in for a wildcard,
    and 127.0.0.1 for IPv6, whose sites need a sticky load balancer instead."""
    if ":" not in http[0] and http[0] != "0.0.0.0":  # noqa: S104  # compared, not bound
        return http
    return ("127.0.0.1" if ":" in media[0] else media[0]), http[1]


def _password() -> str:
    """An ICE password of 24 ice-chars."""
    return secrets.token_urlsafe(_PASSWORD_BYTES).replace("-", "+").replace("_", "/")
