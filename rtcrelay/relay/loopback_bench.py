"""What a relay costs on this machine: a client, a relay with sockets, and an echo, all on loopback.

The processor time of the relay's packet threads per forwarded datagram is the figure to compare; delays and what a
second carries depend on the client and the echo as well, which are Python and share the machine.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rtcrelay._dataplane import KeyRing, Policy, Relay, RelayConfig, Route, mint_ufrag

PAYLOAD_BYTES = 160
"""Of every media packet: 20 ms of Opus at 64 kbit/s."""
_SPP = 38
_COOKIE = bytes.fromhex("2112a442")


@dataclass(frozen=True, slots=True)
class LoopbackResult:
    """What one run showed."""

    sent: int
    """Media packets of clients."""
    returned: int
    """Those that came back through relay, echo and relay."""
    misrouted: int
    """Those that came to another client than their own."""
    seconds: float
    """The sending took so long."""
    cpu_ns: float
    """Processor time of the relay's packet threads for each forwarded datagram."""
    delays_us: tuple[float, float, float]
    """Round trips: median, 99th percentile, longest, in microseconds."""
    workers: list[dict[str, int]]
    """The counters of each packet thread."""


def run(*, seconds: float, pps: int, flows: int, workers: int = 1) -> LoopbackResult:
    """Sends ``pps`` packets a second of ``flows`` clients (1 to 10,000) through a relay. Raises OSError."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    echo = context.Process(target=_echo, args=(theirs,), daemon=True)
    echo.start()
    try:
        transceiver: tuple[str, int] = ours.recv()
        with _relay(transceiver, workers) as (relay, ring):
            return _measure(relay, ring, transceiver, _Load(seconds, pps, flows))
    finally:
        echo.terminate()
        echo.join()


@dataclass(frozen=True, slots=True)
class _Load:
    seconds: float
    pps: int
    flows: int


def _echo(pipe: object) -> None:
    """Sends every datagram back, one at a time; a binding request as its success."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        _enlarge(own)
        own.bind(("127.0.0.1", 0))
        pipe.send(own.getsockname())  # type: ignore[attr-defined]  # Connection has no public type for spawn
        while True:
            datagram, source = own.recvfrom(2048)
            if datagram[_SPP : _SPP + 2] == b"\x00\x01":
                datagram = datagram[:_SPP] + b"\x01\x01" + datagram[_SPP + 2 :]
            own.sendto(datagram, source)


@contextmanager
def _relay(transceiver: tuple[str, int], workers: int) -> Iterator[tuple[Relay, KeyRing]]:
    ring = KeyRing([(0, os.urandom(16), "active")])
    host, port = transceiver
    policy = Policy(ring, cluster=1, transceivers=[f"{host}/32:{port}"], admission_exempt=["127.0.0.0/8"])
    relay = Relay(RelayConfig([(("127.0.0.1", 0), ("127.0.0.1", 0))], policy, workers=workers))
    relay.start()
    try:
        yield relay, ring
    finally:
        relay.stop()


def _measure(relay: Relay, ring: KeyRing, transceiver: tuple[str, int], load: _Load) -> LoopbackResult:
    public = relay.listeners()[0][0]
    clients = [_client(public) for _ in range(load.flows)]
    try:
        for number, client in enumerate(clients):
            _open(client, ring, transceiver, number)
        ended = threading.Event()
        receiver = _Receiver(clients, ended)
        receiver.start()
        cpu, packets, begin = _cpu_ns(), _forwarded(relay), time.perf_counter()
        sent = _send(clients, load)
        took = time.perf_counter() - begin
        receiver.wait_for(sent, 1.0)
        cpu, packets = _cpu_ns() - cpu, _forwarded(relay) - packets
        ended.set()
        receiver.join()
        delays = sorted(receiver.delays_us) or [0.0]
        percentiles = (delays[len(delays) // 2], delays[len(delays) * 99 // 100], delays[-1])
        returned = len(receiver.delays_us)
        return LoopbackResult(
            sent, returned, receiver.misrouted, took, cpu / max(packets, 1), percentiles, relay.workers()
        )
    finally:
        for client in clients:
            client.close()


def _client(public: tuple[str, int]) -> socket.socket:
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    _enlarge(client)
    client.connect(public)
    client.settimeout(1.0)
    return client


def _enlarge(one: socket.socket) -> None:
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)


def _open(client: socket.socket, ring: KeyRing, transceiver: tuple[str, int], number: int) -> None:
    host, port = transceiver
    username = mint_ufrag(ring, Route("endpoint", 1, ip=host, port=port, nonce=number)).encode() + b":abcd"
    attribute = b"\x00\x06" + len(username).to_bytes(2) + username
    client.send(b"\x00\x01" + len(attribute).to_bytes(2) + _COOKIE + os.urandom(12) + attribute)
    client.recv(2048)


def _send(clients: list[socket.socket], load: _Load) -> int:
    """Sends in time, each packet with its client's number and the time."""
    filler = bytes(PAYLOAD_BYTES - 24)
    begin, sent = time.perf_counter_ns(), 0
    end = begin + int(load.seconds * 1e9)
    while (now := time.perf_counter_ns()) < end:
        due = min((now - begin) * load.pps // 1_000_000_000, sent + 64)
        if due <= sent:
            time.sleep(0.0001)
        for number in range(sent, due):
            flow = number % load.flows
            head = b"\x80\x6f" + (number & 0xFFFF).to_bytes(2) + bytes(4) + flow.to_bytes(4)
            clients[flow].send(head + flow.to_bytes(4) + time.perf_counter_ns().to_bytes(8) + filler)
        sent = max(due, sent)
    return sent


class _Receiver(threading.Thread):
    """Takes what comes back."""

    def __init__(self, clients: list[socket.socket], ended: threading.Event) -> None:
        super().__init__(daemon=True)
        self.delays_us: list[float] = []
        self.misrouted = 0
        self._clients, self._ended = clients, ended

    def run(self) -> None:
        """Until it is told to end."""
        import selectors

        with selectors.DefaultSelector() as ready:
            for number, client in enumerate(self._clients):
                ready.register(client, selectors.EVENT_READ, number)
            while not self._ended.is_set():
                for key, _ in ready.select(0.05):
                    datagram = self._clients[key.data].recv(2048)
                    now = time.perf_counter_ns()
                    if datagram[0] >= 128:
                        self.misrouted += int.from_bytes(datagram[12:16]) != key.data
                        self.delays_us.append((now - int.from_bytes(datagram[16:24])) / 1000)

    def wait_for(self, count: int, seconds: float) -> None:
        """Until so many came, or for so long."""
        end = time.monotonic() + seconds
        while len(self.delays_us) < count and time.monotonic() < end:
            time.sleep(0.01)


def _forwarded(relay: Relay) -> int:
    counts = relay.counters()
    return counts["public_out_packets"] + counts["internal_out_packets"]


def _cpu_ns() -> int:
    """Processor time of this process's packet threads."""
    total = 0
    for task in Path("/proc/self/task").iterdir():
        if (task / "comm").read_text().startswith("relay-worker"):
            total += int((task / "schedstat").read_text().split()[0])
    return total
