"""Two DTLS ends and the network between them, on a clock of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from rtcrelay.rtc.certificate import Fingerprint
from rtcrelay.rtc.dtls import Dtls, DtlsIdentity, DtlsState, Role

Name = Literal["client", "server"]
Lose = Callable[[Name, int], bool]
"""Takes the sender and how many datagrams it sent before; True loses this one."""


@dataclass
class Pair:
    """A client, a server, and datagrams on their way, ``one_way`` seconds each."""

    client: Dtls
    server: Dtls
    one_way: float = 0.0
    lose: Lose = lambda sender, index: False
    now: float = 0.0
    sent: dict[Name, list[bytes]] = field(default_factory=lambda: {"client": [], "server": []})
    _flying: list[tuple[float, int, Name, bytes]] = field(default_factory=list)

    def start(self) -> None:
        """Sends the ClientHello."""
        self.client.handle_start(self.now)
        self._collect()

    def run(self, until: float) -> None:
        """Delivers, and lets time pass, up to a time."""
        while True:
            times = [at for at, _, _, _ in self._flying]
            times += [at for at in (self.client.poll_timeout(), self.server.poll_timeout()) if at is not None]
            upcoming = min(times, default=until + 1)
            if upcoming > until:
                self.now = until
                return
            self.now = max(self.now, upcoming)
            self._deliver()
            for end in (self.client, self.server):
                at = end.poll_timeout()
                if at is not None and at <= self.now:
                    end.handle_timeout(self.now)
            self._collect()

    @property
    def states(self) -> tuple[DtlsState, DtlsState]:
        """The client's and the server's."""
        return self.client.state, self.server.state

    def _deliver(self) -> None:
        due = sorted(entry for entry in self._flying if entry[0] <= self.now)
        self._flying = [entry for entry in self._flying if entry[0] > self.now]
        for _, _, sender, datagram in due:
            receiver = self.server if sender == "client" else self.client
            receiver.handle_datagram(datagram, self.now)

    def _collect(self) -> None:
        ends: tuple[tuple[Name, Dtls], ...] = (("client", self.client), ("server", self.server))
        for name, end in ends:
            while (datagram := end.poll_transmit()) is not None:
                index = len(self.sent[name])
                self.sent[name].append(datagram)
                if not self.lose(name, index):
                    serial = len(self.sent["client"]) + len(self.sent["server"])
                    self._flying.append((self.now + self.one_way, serial, name, datagram))


def make(identity: DtlsIdentity, role: Role, *expected: Fingerprint) -> Dtls:
    """One end that expects these fingerprints."""
    return Dtls(identity, role, expected)


def pair(client: DtlsIdentity, server: DtlsIdentity, **network: object) -> Pair:
    """Two ends that expect each other."""
    return Pair(
        make(client, "client", server.fingerprint),
        make(server, "server", client.fingerprint),
        **network,  # type: ignore[arg-type]  # the fields of Pair
    )
