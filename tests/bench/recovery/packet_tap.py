"""What passes on a machine's interfaces, with the kernel's own times, read in a thread of its own."""

from __future__ import annotations

import select
import socket
import struct
import threading
from abc import ABC, abstractmethod
from typing import Final, TypeVar

ETH_P_IP: Final = 0x0800
_SO_TIMESTAMPNS: Final = 35

Self = TypeVar("Self", bound="PacketTap")


class PacketTap(ABC):
    """Listens from entering the context to leaving it. Needs CAP_NET_RAW."""

    def __init__(self, sock: socket.socket, buffer_bytes: int, most_bytes: int) -> None:
        """``sock`` is a packet socket, which the tap closes; of each packet ``most_bytes`` are read."""
        self._sock, self._most_bytes = sock, most_bytes
        self._sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self: Self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._sock.close()

    @abstractmethod
    def _take(self, at: float, packet: bytes, kind: int) -> None:
        """Takes a packet that was seen at a Unix time; ``kind`` is its PACKET_HOST, PACKET_OUTGOING, …."""

    def _check(self) -> None:
        """Raises RuntimeError if packets were missed because the thread has failed."""
        if self._error is not None:
            raise RuntimeError("the tap broke off") from self._error

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                if select.select((self._sock,), (), (), 0.1)[0]:
                    packet, control, _, address = self._sock.recvmsg(self._most_bytes, 128)
                    seconds, nanoseconds = struct.unpack("qq", control[0][2])
                    self._take(seconds + nanoseconds / 1e9, packet, address[2])
        except Exception as error:  # told by `_check`, or packets would be missed in silence
            self._error = error
