"""What really passes: RTP packets on loopback, told apart by where they were seen, with the kernel's own times.

It counts calls whose packets nobody may open, a browser's too: sequence numbers are in the clear. Datagrams that the
relay sends in one group (UDP GSO) pass loopback as one packet, which the receiving socket cuts; so does the tap.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Sequence
from typing import Final

from rtcrelay._dataplane import SPP_HEADER

from .packet_tap import ETH_P_IP, PacketTap

Address = tuple[str, int]

_SO_ATTACH_FILTER: Final = 26
_SOL_PACKET: Final = 263
_PACKET_VNET_HDR: Final = 15
_PACKET_HOST: Final = 0
"""Loopback shows each packet twice; this is how it arrives."""
_GROUP: Final = struct.Struct("=BBHHHH")
"""struct virtio_net_hdr (linux/virtio_net.h), which comes before each packet; its fourth field is the length of a
group's datagrams, of which the last may be shorter, and 0 if the packet is no group."""
_ETHERNET: Final = 14
_LARGEST: Final = 1 << 16


class Tap(PacketTap):
    """On loopback. Needs Linux 6.2, which describes groups."""

    def __init__(self, public: Address, media: Address) -> None:
        """``public`` is where clients send to, ``media`` the transceiver's socket."""
        self._public, self._media = public, media
        self._seen: list[tuple[float, str, int, int]] = []
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_IP))
        super().__init__(sock, 1 << 23, _GROUP.size + _LARGEST)
        sock.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
        _attach(sock, (public[1], media[1]))
        sock.bind(("lo", ETH_P_IP))

    def forget(self) -> None:
        """Begins the record anew."""
        with self._lock:
            self._seen.clear()

    def seen(self, where: str) -> list[tuple[float, int, int]]:
        """(Unix time, SSRC, extended sequence number) of the RTP packets seen at ``up_sent``, ``up_arrived``,
        ``down_sent`` or ``down_arrived``."""
        with self._lock:
            self._check()
            rows = [row for row in self._seen if row[1] == where]
        found, last = [], dict[int, int]()
        for at, _, ssrc, low in rows:
            near = last.get(ssrc, low)
            extended = near + (low - near + 0x8000) % 0x10000 - 0x8000
            last[ssrc] = max(extended, near)
            found.append((at, ssrc, extended))
        return found

    def _take(self, at: float, packet: bytes, kind: int) -> None:
        if kind == _PACKET_HOST:
            _, _, _, each, _, _ = _GROUP.unpack_from(packet)
            self._note(at, packet[_GROUP.size + _ETHERNET :], each)

    def _note(self, at: float, packet: bytes, each: int) -> None:
        header = 4 * (packet[0] & 15)
        source_port, port = struct.unpack_from(">HH", packet, header)
        source = socket.inet_ntoa(packet[12:16]), source_port
        target = socket.inet_ntoa(packet[16:20]), port
        datagrams = packet[header + 8 :]
        spp = 0
        if target == self._public:
            where = "up_sent"
        elif target == self._media:
            where, spp = "up_arrived", SPP_HEADER
        elif source == self._media:
            where, spp = "down_sent", SPP_HEADER
        elif source == self._public:
            where = "down_arrived"
        else:
            return
        for start in range(0, len(datagrams), each or _LARGEST):
            self._keep(at, where, datagrams[start : start + (each or _LARGEST)][spp:])

    def _keep(self, at: float, where: str, payload: bytes) -> None:
        if len(payload) >= 12 and payload[0] >> 6 == 2 and not 192 <= payload[1] <= 223:
            ssrc, number = int.from_bytes(payload[8:12], "big"), int.from_bytes(payload[2:4], "big")
            with self._lock:
                self._seen.append((at, where, ssrc, number))


def _attach(sock: socket.socket, ports: Sequence[int]) -> None:
    """Lets only UDP from or to these ports through: loopback is busy (classic BPF, bpf(4))."""
    code: list[tuple[int, int, int, int]] = [
        (0x30, 0, 0, _ETHERNET + 9),
        (0x15, 0, 2 * len(ports) + 3, 17),
        (0xB1, 0, 0, _ETHERNET),
    ]
    for offset in (_ETHERNET, _ETHERNET + 2):
        code.append((0x48, 0, 0, offset))
        for at, port in enumerate(ports):
            left = (len(ports) - at - 1) + (len(ports) + 1 if offset == _ETHERNET else 0)
            code.append((0x15, left + 1, 0, port))
    code += [(0x06, 0, 0, 0), (0x06, 0, 0, _LARGEST)]
    program = b"".join(struct.pack("HBBI", *step) for step in code)
    buffer = ctypes.create_string_buffer(program)
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", len(code), ctypes.addressof(buffer)))
