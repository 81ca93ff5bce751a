"""A UDP leg with a delay, as a process: ``python -m tests.bench.setup.shim SERVER_HOST SERVER_PORT SECONDS``.

Every datagram is kept for so many seconds each way. It prints its address as a JSON line; for each line on stdin it
prints what it saw since the last one: when the first datagram of a client came, when the first audio packet of each
direction left (Unix time), and how late its own packets were. A figure is worth as much as the leg that it was
measured on.
"""

from __future__ import annotations

import contextlib
import heapq
import json
import os
import select
import socket
import sys
import time
from dataclasses import dataclass, field

Address = tuple[str, int]


@dataclass
class Seen:
    """One report."""

    first_datagram_at: float | None = None
    """Unix time, from a client."""
    first_audio_up_at: float | None = None
    """Unix time at which it left towards the server."""
    first_audio_down_at: float | None = None
    datagrams: int = 0
    late: list[float] = field(default_factory=list)
    """Seconds after it was due, of every datagram."""

    def report(self) -> dict[str, object]:
        """For the bench."""
        late = sorted(self.late) or [0.0]
        return {
            "first_datagram_at": self.first_datagram_at,
            "first_audio_up_at": self.first_audio_up_at,
            "first_audio_down_at": self.first_audio_down_at,
            "datagrams": self.datagrams,
            "late_p50_ms": round(1000 * late[len(late) // 2], 3),
            "late_p99_ms": round(1000 * late[int(len(late) * 0.99)], 3),
            "late_max_ms": round(1000 * late[-1], 3),
        }


class Shim:
    """Listens for clients; each gets a socket of its own towards the server."""

    def __init__(self, server: Address, delay_seconds: float) -> None:
        self.front = _bound("127.0.0.1")
        self._server, self._delay = server, delay_seconds
        self._backs: dict[Address, socket.socket] = {}
        self._clients: dict[socket.socket, Address] = {}
        self._queue: list[tuple[float, int, socket.socket, Address, bytes]] = []
        self._serial = 0
        self.seen = Seen()

    def run(self) -> None:
        """Until stdin ends."""
        print(json.dumps({"address": self.front.getsockname()}), flush=True)
        while True:
            sockets = {each.fileno(): each for each in (self.front, *self._clients)}
            readable, _, _ = select.select([sys.stdin.fileno(), *sockets], [], [], self._wait())
            self._send_due()
            for number in readable:
                if number in sockets:
                    self._drain(sockets[number])
                elif not sys.stdin.readline():
                    return
                else:
                    print(json.dumps(self.seen.report()), flush=True)
                    self.seen = Seen()

    def _wait(self) -> float:
        # The last millisecond is spent awake: a sleeping process is woken too late for what is measured here.
        return max(0.0, self._queue[0][0] - time.monotonic() - 0.001) if self._queue else 1.0

    def _drain(self, from_socket: socket.socket) -> None:
        while True:
            try:
                data, source = from_socket.recvfrom(2048)
            except (BlockingIOError, ConnectionRefusedError):
                return
            if from_socket is self.front:
                self.seen.first_datagram_at = self.seen.first_datagram_at or time.time()
                self._push(self._back(source), self._server, data)
            else:
                self._push(self.front, self._clients[from_socket], data)

    def _push(self, to: socket.socket, address: Address, data: bytes) -> None:
        self._serial += 1
        heapq.heappush(self._queue, (time.monotonic() + self._delay, self._serial, to, address, data))

    def _send_due(self) -> None:
        while self._queue and self._queue[0][0] <= time.monotonic():
            due, _, to, address, data = heapq.heappop(self._queue)
            to.sendto(data, address)
            self.seen.datagrams += 1
            self.seen.late.append(time.monotonic() - due)
            if len(data) > 12 and 128 <= data[0] < 192 and not 192 <= data[1] <= 223:
                if to is self.front:
                    self.seen.first_audio_down_at = self.seen.first_audio_down_at or time.time()
                else:
                    self.seen.first_audio_up_at = self.seen.first_audio_up_at or time.time()

    def _back(self, client: Address) -> socket.socket:
        back = self._backs.get(client)
        if back is None:
            back = self._backs[client] = _bound("127.0.0.1")
            self._clients[back] = client
        return back


def _bound(host: str) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bound.setblocking(False)
    bound.bind((host, 0))
    return bound


if __name__ == "__main__":
    with contextlib.suppress(PermissionError):  # other work on the machine is no part of the leg
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    Shim((sys.argv[1], int(sys.argv[2])), float(sys.argv[3])).run()
