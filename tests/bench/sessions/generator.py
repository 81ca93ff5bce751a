"""The load: sessions that send 50 packets a second each, evenly spread, and count what comes back.

A process of its own, on a core of its own: ``python -m tests.bench.sessions.generator SIGNALING MEDIA_PORT CPU``.
One JSON command per line on stdin, one JSON answer per line on stdout: ``{"sessions": N, "seconds": S}`` has N
sessions speak for S seconds after one to warm up. The figures tell its own lateness: a bench is worth nothing while
the generator is late itself.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import time
from collections.abc import Callable

from rtcrelay.rtc.dtls import DtlsIdentity

from .caller import CHECK_SECONDS, BenchCall

FRAME_SECONDS = 0.02
WARM_UP_SECONDS = 1.0
_SPP = 38
_INDEX = slice(16, 18)
"""The last two bytes of the client's IPv4 address in an SPP header."""


class Generator:
    """All sessions of one bench, on one socket that plays the relay."""

    def __init__(self, signaling: str, server: tuple[str, int]) -> None:
        self.calls: list[BenchCall] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            self._socket.setsockopt(socket.SOL_SOCKET, option, 4_194_304)
        self._socket.bind(("127.0.0.2", 0))
        self._socket.setblocking(False)
        self._signaling, self._server = signaling, server
        self._identity = DtlsIdentity()
        self._received = 0

    def grow(self, sessions: int) -> None:
        """Sets sessions up, one after the other, until there are that many."""
        while len(self.calls) < sessions:
            call = BenchCall(len(self.calls), self._socket.getsockname(), self._identity, self._signaling)
            self.calls.append(call)
            self._send(call.check(nominate=True))
            end = time.monotonic() + 5
            while not call.is_connected:
                select.select([self._socket], [], [], 0.1)
                self._drain(time.monotonic())
                assert time.monotonic() < end, f"session {len(self.calls)} did not connect"
        for call in self.calls:  # the pause of setting up is no loss
            self._send(call.check())

    def run(self, seconds: float, on_begin: Callable[[], None]) -> dict[str, object]:
        """Speaks for that long after the warm-up; ``on_begin`` is called between the two."""
        self._speak(WARM_UP_SECONDS, [])
        on_begin()
        late: list[float] = []
        received, cpu = self._received, time.process_time()
        began = time.monotonic()
        sent = self._speak(seconds, late)
        took = time.monotonic() - began
        cpu = time.process_time() - cpu
        time.sleep(0.2)
        self._drain(time.monotonic())
        late.sort()
        trips = sorted(call.reports.round_trip or 0.0 for call in self.calls)
        return {
            "sent": sent,
            "received": self._received - received,
            "packets_per_second": round(sent / took),
            "seconds": round(took, 3),
            "generator_cpu_percent": round(100 * cpu / took, 1),
            "generator_lateness_p50_ms": round(1000 * late[len(late) // 2], 3),
            "generator_lateness_p99_ms": round(1000 * late[int(len(late) * 0.99)], 3),
            "rtcp_round_trip_p50_ms": round(1000 * trips[len(trips) // 2], 3),
            "lost_by_server_reports": sum(call.reports.remote.lost for call in self.calls),
        }

    def _speak(self, seconds: float, late: list[float]) -> int:
        """Packet number k is due k times 20 ms / sessions after the start."""
        step, count = FRAME_SECONDS / len(self.calls), 0
        total = int(seconds / step)
        start = time.monotonic()
        while count < total:
            now = time.monotonic()
            due = start + count * step
            if now >= due:
                self._speak_one(self.calls[count % len(self.calls)], now)
                if count & 7 == 0:
                    late.append(now - due)
                count += 1
                if count & 7:
                    continue
                due = start + count * step
            self._drain(now)
            # Not a wait for the socket: each packet of the server would have to wake us, which costs the server
            # more than the packet, and no network card asks that of it.
            time.sleep(max(0.0, due - time.monotonic()))
        return total

    def _speak_one(self, call: BenchCall, now: float) -> None:
        self._send(call.speak(now))
        if now >= call.check_at:
            call.check_at = now + CHECK_SECONDS
            self._send(call.check())
        report_at = call.reports.poll_timeout()
        if report_at is not None and now >= report_at:
            report = call.report(now)
            if report is not None:
                self._send(report)

    def _send(self, datagram: bytes) -> None:
        self._socket.sendto(datagram, self._server)

    def _drain(self, now: float) -> None:
        while True:
            try:
                datagram = self._socket.recv(2048)
            except BlockingIOError:
                return
            call = self.calls[int.from_bytes(datagram[_INDEX], "big")]
            payload = datagram[_SPP:]
            if len(payload) > 1 and payload[0] >= 128 and not 192 <= payload[1] <= 223:
                self._received += 1
                call.hear(payload, now)
            elif payload:
                for answer in call.handle_control(payload, now):
                    self._send(answer)


def main() -> None:
    """Takes commands until the end of stdin."""
    signaling, port, cpu = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    os.sched_setaffinity(0, {cpu})
    generator = Generator(signaling, ("127.0.0.1", port))
    for line in sys.stdin:
        command = json.loads(line)
        generator.grow(command["sessions"])
        print(json.dumps({"ready": len(generator.calls)}), flush=True)
        if command["seconds"]:
            result = generator.run(command["seconds"], lambda: print(json.dumps({"began": True}), flush=True))
            print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
