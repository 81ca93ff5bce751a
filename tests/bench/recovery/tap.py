"""What really passes: RTP packets on loopback, told apart by where they were seen, with the kernel's own times.

It counts calls whose packets nobody may open, a browser's too: sequence numbers are in the clear.
"""

from __future__ import annotations

import ctypes
import select
import socket
import struct
import threading
import time
from collections.abc import Sequence
from typing import Final

from rtcrelay._dataplane import SPP_HEADER

Address = tuple[str, int]

_ETH_P_IP: Final = 0x0800
_SO_ATTACH_FILTER: Final = 26
_SO_TIMESTAMPNS: Final = 35
_PACKET_HOST: Final = 0
"""Loopback shows each packet twice; this is how it arrives."""


class Tap:
    """Listens from entering the context to leaving it. Needs CAP_NET_RAW."""

    def __init__(self, public: Address, media: Address) -> None:
        """``public`` is where clients send to, ``media`` the transceiver's socket."""
        self._public, self._media = public, media
        self._seen: list[tuple[float, str, int, int]] = []
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_IP))
        self._sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 23)
        _attach(self._sock, (public[1], media[1]))
        self._sock.bind(("lo", _ETH_P_IP))
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Tap:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._sock.close()

    def forget(self) -> None:
        """Begins the record anew."""
        with self._lock:
            self._seen.clear()

    def seen(self, where: str) -> list[tuple[float, int, int]]:
        """(Unix time, SSRC, extended sequence number) of the RTP packets seen at ``up_sent``, ``up_arrived``,
        ``down_sent`` or ``down_arrived``."""
        with self._lock:
            rows = [row for row in self._seen if row[1] == where]
        found, last = [], dict[int, int]()
        for at, _, ssrc, low in rows:
            near = last.get(ssrc, low)
            extended = near + (low - near + 0x8000) % 0x10000 - 0x8000
            last[ssrc] = max(extended, near)
            found.append((at, ssrc, extended))
        return found

    def _run(self) -> None:
        while not self._stop.is_set():
            if not select.select((self._sock,), (), (), 0.1)[0]:
                continue
            packet, control, _, address = self._sock.recvmsg(256, 128)
            if address[2] != _PACKET_HOST:
                continue
            seconds, nanoseconds = struct.unpack("qq", control[0][2]) if control else (time.time(), 0)
            self._note(seconds + nanoseconds / 1e9, packet)

    def _note(self, at: float, packet: bytes) -> None:
        header = 4 * (packet[0] & 15)
        source_port, port = struct.unpack_from(">HH", packet, header)
        source = socket.inet_ntoa(packet[12:16]), source_port
        target = socket.inet_ntoa(packet[16:20]), port
        payload = packet[header + 8 :]
        if target == self._public:
            where = "up_sent"
        elif target == self._media:
            where, payload = "up_arrived", payload[SPP_HEADER:]
        elif source == self._media:
            where, payload = "down_sent", payload[SPP_HEADER:]
        elif source == self._public:
            where = "down_arrived"
        else:
            return
        if len(payload) >= 12 and payload[0] >> 6 == 2 and not 192 <= payload[1] <= 223:
            with self._lock:
                self._seen.append(
                    (at, where, int.from_bytes(payload[8:12], "big"), int.from_bytes(payload[2:4], "big"))
                )


def _attach(sock: socket.socket, ports: Sequence[int]) -> None:
    """Lets only UDP from or to these ports through: loopback is busy (classic BPF, bpf(4))."""
    code: list[tuple[int, int, int, int]] = [(0x30, 0, 0, 9), (0x15, 0, 2 * len(ports) + 3, 17), (0xB1, 0, 0, 0)]
    for offset in (0, 2):
        code.append((0x48, 0, 0, offset))
        for at, port in enumerate(ports):
            left = (len(ports) - at - 1) + (len(ports) + 1 if offset == 0 else 0)
            code.append((0x15, left + 1, 0, port))
    code += [(0x06, 0, 0, 0), (0x06, 0, 0, 256)]
    program = b"".join(struct.pack("HBBI", *step) for step in code)
    buffer = ctypes.create_string_buffer(program)
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", len(code), ctypes.addressof(buffer)))
