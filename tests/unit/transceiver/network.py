"""A transceiver without sockets, callers of it, and the network between them, on a clock of the test's own."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from rtcrelay._dataplane import SppHeader, StunMessage, classify, pack_spp, read_stun
from rtcrelay.config import TransceiverSettings
from rtcrelay.keys import KeyFile, generate, load_key_file
from rtcrelay.rtc import stun
from rtcrelay.rtc.certificate import Certificate
from rtcrelay.rtc.dtls import Dtls, DtlsIdentity
from rtcrelay.rtc.offer_answer import Answer, IceCredentials, read_answer, write_offer
from rtcrelay.rtc.rtp import RtpPacket, is_rtcp, read_rtp, write_rtp
from rtcrelay.rtc.sctp import DataChannels, Message
from rtcrelay.transceiver.counters import Count, Drop
from rtcrelay.transceiver.paths import Arrival, Reply
from rtcrelay.transceiver.session import Session
from rtcrelay.transceiver.transceiver import Accepted, Transceiver

Address = tuple[str, int]

MEDIA: Address = ("127.0.0.1", 7000)
HTTP: Address = ("127.0.0.1", 8080)
RELAY: Address = ("127.0.0.2", 3479)
OTHER_RELAY: Address = ("127.0.0.3", 3479)
HERE: Address = ("198.51.100.7", 51234)
THERE: Address = ("198.51.100.8", 40000)
VICTIM: Address = ("192.0.2.66", 53)

CALLER = DtlsIdentity()
"""The callers' certificate: making one costs more than a call."""
SOMEBODY = Certificate.generate()


def key_file(directory: Path) -> KeyFile:
    path = directory / "keys.toml"
    path.write_text(generate())
    path.chmod(0o600)
    return load_key_file(path)


def settings(directory: Path, **changes: object) -> TransceiverSettings:
    values: dict[str, object] = {
        "http": HTTP,
        "media": MEDIA,
        "ingresses": (("127.0.0.1", 3478),),
        "node": "test",
        "relays": ("127.0.0.0/8",),
        "key_file": directory / "keys.toml",
        "cluster": 7,
    }
    return TransceiverSettings(**{**values, **changes})  # type: ignore[arg-type]  # the fields of TransceiverSettings


@dataclass
class Network:
    """What is sent stays here until somebody looks; time passes when the test says so."""

    transceiver: Transceiver
    now: float
    sent: list[tuple[Reply, bytes]] = field(default_factory=list)

    @classmethod
    def make(cls, directory: Path, **changes: object) -> Network:
        holder: list[Network] = []
        transceiver = Transceiver(
            settings(directory, **changes), key_file(directory), lambda: holder[0].now if holder else 100.0
        )
        network = cls(transceiver, 100.0)
        holder.append(network)
        transceiver.open(MEDIA, HTTP, network, (("127.0.0.1", 7001), network))
        return network

    def send(self, reply: Reply, payload: bytes) -> None:
        """The transceiver's socket."""
        self.sent.append((reply, payload))

    def take(self) -> list[tuple[Reply, bytes]]:
        """What was sent since the last look."""
        sent, self.sent = self.sent, []
        return sent

    def receive(self, arrival: Arrival, payload: bytes) -> None:
        """A payload reaches the transceiver."""
        self.transceiver.router.handle_payload(arrival, payload, self.now)

    def pass_time(self, seconds: float) -> None:
        """Moves the clock from deadline to deadline."""
        end = self.now + seconds
        timers = self.transceiver.timers
        while (at := timers.poll_timeout()) is not None and at <= end:
            self.now = max(self.now, at)
            timers.handle_timeout(self.now)
        self.now = end

    def count(self, which: Count) -> int:
        return self.transceiver.counters.counts[which]

    def drops(self, which: Drop) -> int:
        return self.transceiver.counters.drops[which]

    @property
    def session(self) -> Session:
        """The only session."""
        (session,) = self.transceiver.sessions()
        return session


def arrival(client: Address = HERE, *, relay: Address = RELAY, proxy: Address = RELAY) -> Arrival:
    """As a relay with this return address delivers it."""
    header = SppHeader(client, proxy)
    return Arrival(header.path, Reply(pack_spp(header), relay))


def direct(client: Address = HERE) -> Arrival:
    """As the direct socket delivers it."""
    return Arrival((*client, 0), Reply(b"", client))


class Caller:
    """A client without sockets: checks, DTLS, SRTP."""

    def __init__(self, network: Network, identity: DtlsIdentity = CALLER, claimed: Certificate | None = None) -> None:
        self.network = network
        self.ice = IceCredentials("caller", "callerpassword0123456789")
        self.at = arrival()
        """Where the caller is."""
        self.addresses = {HERE}
        """Addresses whose packets reach the caller."""
        self.answers_checks = True
        self.responses: list[StunMessage] = []
        self.media: list[RtpPacket] = []
        self.to_others: list[tuple[Reply, bytes]] = []
        """What was sent to addresses that are not the caller's."""
        self.announces = 0
        offered = claimed.fingerprint if claimed else identity.fingerprint
        self.accepted: Accepted = network.transceiver.create_session(self.offer(offered))
        self.answer: Answer = read_answer(self.accepted.answer)
        self.session = next(s for s in network.transceiver.sessions() if s.ice.ufrag == self.answer.ice.ufrag)
        self.dtls = Dtls(identity, self.answer.dtls_role, self.answer.fingerprints)
        self._sequence = 0

    def offer(self, fingerprint: object) -> str:
        return write_offer(self.ice, fingerprint, ssrc=42, data=False)  # type: ignore[arg-type]  # a Fingerprint

    def check(
        self, at: Arrival | None = None, *, nominate: bool = False, transaction: bytes | None = None, password: str = ""
    ) -> bytes:
        """Sends one check; returns it, for a replay."""
        datagram = self.write_check(nominate=nominate, transaction=transaction, password=password)
        self.network.receive(at or self.at, datagram)
        return datagram

    def write_check(self, *, nominate: bool = False, transaction: bytes | None = None, password: str = "") -> bytes:
        """One check, not sent."""
        return stun.write_binding_request(
            transaction or secrets.token_bytes(12),
            f"{self.answer.ice.ufrag}:{self.ice.ufrag}",
            password or self.answer.ice.password,
            stun.IceCheck(1, True, bytes(8), nominate),
        )

    def speak(self, payload: bytes = b"\xf8opus", at: Arrival | None = None, payload_type: int = 111) -> bytes:
        """Sends one Opus packet; returns it protected, for a replay."""
        self._sequence += 1
        rtp = RtpPacket(payload_type, False, self._sequence, 960 * self._sequence, 42, payload)
        assert self.dtls.srtp is not None
        packet = self.dtls.srtp.protect(write_rtp(rtp))
        assert packet is not None
        self.network.receive(at or self.at, packet)
        return packet

    def lose(self) -> None:
        """Sends one packet that never comes."""
        self._sequence += 1

    def connect(self) -> None:
        """One check, and the handshake to its end."""
        self.check()
        self.pump()
        assert self.session.is_connected

    def pump(self) -> None:
        """Takes what was sent to the caller, and answers, until nothing moves."""
        while True:
            sent = self.network.take()
            for reply, payload in sent:
                self._receive(reply, payload)
            moved = False
            while (datagram := self.dtls.poll_transmit()) is not None:
                moved = True
                self.network.receive(self.at, datagram)
            if not moved and not self.network.sent:
                return

    def _receive(self, reply: Reply, payload: bytes) -> None:
        client = client_of(reply)
        if client not in self.addresses:
            self.to_others.append((reply, payload))
            return
        kind = classify(payload)
        if not payload:
            self.announces += 1
        elif kind == "stun":
            self._receive_stun(reply, payload)
        elif kind == "dtls":
            self.dtls.handle_datagram(payload, self.network.now)
        elif self.dtls.srtp is not None and not is_rtcp(payload):
            plain = self.dtls.srtp.unprotect(payload)
            packet = read_rtp(plain) if plain is not None else None
            if packet is not None:
                self.media.append(packet)

    def _receive_stun(self, reply: Reply, payload: bytes) -> None:
        message = read_stun(payload)
        assert message is not None
        assert not stun.fingerprint_is_wrong(payload, message)
        if message.kind == stun.BINDING_REQUEST and self.answers_checks:
            assert stun.verified_attributes(payload, message, self.ice.password.encode()) is not None
            response = stun.write_binding_success(message.transaction, MEDIA, self.ice.password)
            self.network.receive(arrival(client_of(reply)), response)
        elif message.kind == stun.BINDING_SUCCESS:
            assert stun.verified_attributes(payload, message, self.answer.ice.password.encode()) is not None
            self.responses.append(message)


class ChannelCaller(Caller):
    """A caller with data channels; it needs a running loop, as SCTP does."""

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        self.messages: list[Message] = []
        self.channels: DataChannels | None = None

    def offer(self, fingerprint: object) -> str:
        return write_offer(self.ice, fingerprint, ssrc=42, data=True)  # type: ignore[arg-type]  # a Fingerprint

    async def open_channel(self, label: str) -> None:
        """Opens one; `messages` has what comes on it."""
        assert self.answer.data is not None
        opened: list[int] = []
        self.channels = DataChannels(
            self.dtls,
            self.answer.data,
            on_transmit=lambda: None,
            on_message=lambda _channel, _label, message: self.messages.append(message),
            on_open=lambda channel, _label: opened.append(channel),
        )
        self.channels.handle_start(self.network.now)
        self.channels.open_channel(label)
        while not opened:
            self.pump()
            await asyncio.sleep(0)

    def pump(self) -> None:
        """Takes the messages too."""
        super().pump()
        while (packet := self.dtls.poll_data()) is not None:
            if self.channels is not None:
                self.channels.handle_data(packet)
            super().pump()


def client_of(reply: Reply) -> Address:
    """Whom a relay would send it to."""
    if not reply.header:
        return str(reply.destination[0]), reply.destination[1]
    from rtcrelay._dataplane import unpack_spp

    header = unpack_spp(reply.header)
    assert header is not None
    return header.client
