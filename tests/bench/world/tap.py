"""When did voice arrive, at the server and at the client? By the kernel's times, whoever the client is."""

from __future__ import annotations

import socket
import time
from itertools import pairwise
from typing import Final

from recovery.packet_tap import ETH_P_IP, PacketTap

from rtcrelay._dataplane import SPP_HEADER
from rtcrelay.lab.kernel import inside
from rtcrelay.lab.plan import DIRECT_PORT, MEDIA_PORT, Host

_UDP: Final = 17
_PACKET_OUTGOING: Final = 4


class Tap(PacketTap):
    """On one host: the RTP packets that it receives."""

    def __init__(self, host: Host) -> None:
        self._is_server = host.role == "transceiver"
        with inside(host.namespace):
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP))
        super().__init__(sock, 1 << 22, 2048)
        self._times: list[float] = []

    def forget(self) -> None:
        """Begins anew."""
        with self._lock:
            self._times.clear()

    @property
    def arrivals(self) -> list[float]:
        """Unix times, in order."""
        with self._lock:
            self._check()
            return list(self._times)

    def gap_ms(self, since: float) -> float:
        """The longest time without a packet that ended after ``since`` (Unix time), the present one included."""
        times = [*self.arrivals, time.time()]
        return max((1000 * (after - before) for before, after in pairwise(times) if after >= since), default=0.0)

    def _take(self, at: float, packet: bytes, kind: int) -> None:
        if kind != _PACKET_OUTGOING and self._is_voice(packet):
            with self._lock:
                self._times.append(at)

    def _is_voice(self, packet: bytes) -> bool:
        header = 4 * (packet[0] & 15)
        if packet[9] != _UDP:
            return False
        payload = packet[header + 8 :]
        port = int.from_bytes(packet[header + 2 : header + 4], "big")
        if self._is_server:
            if port not in (MEDIA_PORT, DIRECT_PORT):
                return False
            payload = payload[SPP_HEADER:] if port == MEDIA_PORT else payload
        # RTP, and not RTCP (RFC 5761 section 4).
        return len(payload) > 12 and 128 <= payload[0] < 192 and not 192 <= payload[1] <= 223
