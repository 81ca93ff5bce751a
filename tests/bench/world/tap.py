"""When did voice arrive, at the server and at the client? By the kernel's times, whoever the client is."""

from __future__ import annotations

import select
import socket
import threading
import time
from itertools import pairwise
from typing import Final

from rtcrelay._dataplane import SPP_HEADER
from rtcrelay.lab.kernel import inside
from rtcrelay.lab.plan import DIRECT_PORT, MEDIA_PORT, Host

_ETH_P_IP: Final = 0x0800
_SO_TIMESTAMPNS: Final = 35
_UDP: Final = 17
_PACKET_OUTGOING: Final = 4


class Tap:
    """Listens on one host from entering the context to leaving it: the RTP packets that it receives."""

    def __init__(self, host: Host) -> None:
        self._is_server = host.role == "transceiver"
        with inside(host.namespace):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_IP))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self._times: list[float] = []
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Tap:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._socket.close()

    def forget(self) -> None:
        """Begins anew."""
        with self._lock:
            self._times.clear()

    @property
    def arrivals(self) -> list[float]:
        """Unix times, in order."""
        with self._lock:
            return list(self._times)

    def gap_ms(self, since: float) -> float:
        """The longest time without a packet that ended after ``since`` (Unix time), the present one included."""
        times = [*self.arrivals, time.time()]
        return max((1000 * (after - before) for before, after in pairwise(times) if after >= since), default=0.0)

    def _run(self) -> None:
        while not self._stop.is_set():
            if not select.select([self._socket], [], [], 0.1)[0]:
                continue
            packet, ancillary, _, address = self._socket.recvmsg(2048, 100)
            if address[2] != _PACKET_OUTGOING and self._is_voice(packet):
                seconds, nanoseconds = (int.from_bytes(ancillary[0][2][i : i + 8], "little") for i in (0, 8))
                with self._lock:
                    self._times.append(seconds + nanoseconds / 1e9)

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
