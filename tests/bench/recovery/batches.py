"""Thousands of datagrams a second from Python: whole batches with one system call (sendmmsg(2), recvmmsg(2)).

Every row of a batch has its place in one buffer, and the structures that the kernel wants are made once. What is left
for Python to do does not depend on how many datagrams there are.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import Final

ROW: Final = 128
"""Bytes of a row; a longer datagram is cut."""
_IN_PKTINFO: Final = struct.Struct("=QII i4s4s4x")
"""cmsghdr and in_pktinfo (ip(7)), padded to CMSG_SPACE."""
IP_PKTINFO: Final = 8
"""Of ip(7); the socket module does not name it."""
_SOCKADDR: Final = struct.Struct("=H2s4s8x")


class _IoVec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _MsgHdr(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("vectors", ctypes.c_void_p),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _MMsgHdr(ctypes.Structure):
    _fields_ = (("header", _MsgHdr), ("length", ctypes.c_uint32))


_libc = ctypes.CDLL(None, use_errno=True)
_SIZE: Final = ctypes.sizeof(_MMsgHdr)
_VECTOR: Final = ctypes.sizeof(_IoVec)


class Batch:
    """``count`` rows to send or to receive."""

    def __init__(self, count: int) -> None:
        self.rows = bytearray(count * ROW)
        """The datagrams, `ROW` bytes each."""
        self.count = count
        self._names = bytearray(count * _SOCKADDR.size)
        self._controls = bytearray(count * _IN_PKTINFO.size)
        self._vectors = (_IoVec * count)()
        self._messages = (_MMsgHdr * count)()
        rows, names = _address(self.rows), _address(self._names)
        self._address = ctypes.addressof(self._messages)
        for at, (vector, message) in enumerate(zip(self._vectors, self._messages, strict=True)):
            vector.base, vector.length = rows + at * ROW, ROW
            header = message.header
            header.name, header.name_length = names + at * _SOCKADDR.size, _SOCKADDR.size
            header.vectors, header.vector_count = ctypes.addressof(self._vectors) + at * _VECTOR, 1

    def set_length(self, length: int) -> None:
        """Every row is sent with so many bytes from now on."""
        for vector in self._vectors:
            vector.length = length

    def send_to(self, address: tuple[str, int]) -> None:
        """Every row goes there from now on."""
        name = _SOCKADDR.pack(socket.AF_INET, address[1].to_bytes(2, "big"), socket.inet_aton(address[0]))
        self._names[:] = name * self.count

    def send_from(self, hosts: Sequence[str]) -> None:
        """Each row comes from its own local IPv4 address, from a socket that is bound to none."""
        controls = _address(self._controls)
        for at, host in enumerate(hosts):
            info = _IN_PKTINFO.pack(28, socket.IPPROTO_IP, IP_PKTINFO, 0, socket.inet_aton(host), bytes(4))
            self._controls[at * len(info) : (at + 1) * len(info)] = info
            header = self._messages[at].header
            header.control, header.control_length = controls + at * _IN_PKTINFO.size, _IN_PKTINFO.size

    def send(self, sock: socket.socket, first: int, last: int) -> None:
        """Sends the rows from ``first`` to before ``last``; one that the kernel refuses is skipped."""
        while first < last:
            wanted = min(last - first, 1024)  # UIO_MAXIOV
            done = _libc.sendmmsg(
                sock.fileno(), ctypes.c_void_p(self._address + first * _SIZE), wanted, socket.MSG_DONTWAIT
            )
            first += max(done, 1)

    def receive(self, sock: socket.socket) -> int:
        """Receives what is there; how many rows that were, which are `ROW` bytes each whatever their length."""
        return max(
            0, int(_libc.recvmmsg(sock.fileno(), ctypes.byref(self._messages), self.count, socket.MSG_DONTWAIT, None))
        )

    def column(self, at: int, count: int) -> bytes:
        """The byte ``at`` of each of the first ``count`` rows."""
        return bytes(self.rows[at : count * ROW : ROW])

    def taken(self, count: int) -> Iterator[bytes]:
        """The first ``count`` rows, one by one."""
        return (bytes(self.rows[at * ROW : (at + 1) * ROW]) for at in range(count))


def _address(buffer: bytearray) -> int:
    return ctypes.addressof((ctypes.c_char * len(buffer)).from_buffer(buffer))
