"""Sending from an address that is not ours: IP packets of our own making, by scapy.

Scapy is under the GPL, so it is no dependency of rtcrelay: whoever wants this installs it.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rtcrelay.debug.probe_socket import UdpEndpoint, source_towards
from rtcrelay.errors import BackendError, ExitStatus

if TYPE_CHECKING:
    from rtcrelay._dataplane import Address

_PORT = 50_000
"""The source port if none is named."""


class RawEndpoint:
    """Sends by a raw socket. If the source is an address of this machine, answers are heard too."""

    def __init__(self, target: Address, source: Address | None = None) -> None:
        """Raises BackendError: without scapy (status 69), without CAP_NET_RAW (status 77)."""
        wanted = source or (source_towards(target), 0)
        self._listening = _maybe_listen(target, wanted)
        port = self._listening.local[1] if self._listening else wanted[1] or _PORT
        self.local: Address = (wanted[0], port)
        self._target = target
        try:
            self._scapy, self._sender = _open_sender(target)
        except BackendError:
            self.close()
            raise

    @property
    def hears(self) -> bool:
        """Whether answers can come here."""
        return self._listening is not None

    def send(self, datagram: bytes) -> str | None:
        """Sends one packet; returns why that failed, or None."""
        (src, sport), (dst, dport) = self.local, self._target
        ip = (self._scapy.IPv6 if ":" in dst else self._scapy.IP)(src=src, dst=dst)
        try:
            self._sender.send(ip / self._scapy.UDP(sport=sport, dport=dport) / datagram)
        except OSError as error:
            return (error.strerror or str(error)).lower()
        return None

    def receive(self, seconds: float) -> Iterator[tuple[bytes, Address] | str]:
        """What came to the source address, if that is here."""
        if self._listening is None:
            time.sleep(max(0.0, seconds))
            return
        yield from self._listening.receive(seconds)

    def close(self) -> None:
        """Gives the sockets back."""
        if self._listening is not None:
            self._listening.close()
        if hasattr(self, "_sender"):
            self._sender.close()


class _Scapy:
    """The three layers that are needed. Importing all of scapy takes a second."""

    def __init__(self) -> None:
        from scapy.layers.inet import IP, UDP
        from scapy.layers.inet6 import IPv6

        self.IP: Any = IP
        self.IPv6: Any = IPv6
        self.UDP: Any = UDP


def _open_sender(target: Address) -> tuple[_Scapy, Any]:
    _refuse_without_right()
    try:
        scapy = _Scapy()
        from scapy.supersocket import L3RawSocket, L3RawSocket6
    except ImportError as error:
        raise BackendError(
            "--raw needs scapy, which is not installed",
            hint="pip install 'rtcrelay[raw]', or pip install scapy",
            status=ExitStatus.UNAVAILABLE,
        ) from error
    return scapy, (L3RawSocket6 if ":" in target[0] else L3RawSocket)()


def _refuse_without_right() -> None:
    try:
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW).close()
    except PermissionError as error:
        raise BackendError(
            "--raw needs the privilege CAP_NET_RAW",
            hint="run it with sudo; without --raw none is needed",
            status=ExitStatus.PERMISSION,
        ) from error


def _maybe_listen(target: Address, source: Address) -> UdpEndpoint | None:
    """A socket at the source, or None if that is not an address of this machine."""
    try:
        return UdpEndpoint(target, source)
    except BackendError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno == errno.EADDRNOTAVAIL:
            return None
        raise
