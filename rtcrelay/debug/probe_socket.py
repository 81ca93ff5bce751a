"""One UDP socket that asks one target, hears answers from anywhere, and says what ICMP had to say."""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Protocol

from rtcrelay.config.text import parse_ip
from rtcrelay.errors import BackendError, ExitStatus, UsageError, bind_error

if TYPE_CHECKING:
    from rtcrelay._dataplane import Address

_IP_RECVERR, _IPV6_RECVERR = 11, 25
"""From linux/in.h and linux/in6.h; Python has no names for them before 3.14."""
_FROM_ICMP: Final = (2, 3)
_MAX_DATAGRAM: Final = 65_535
_MAX_TURN: Final = 64
"""Datagrams taken at once at most, so that an answering flood does not keep the sender away."""


class Endpoint(Protocol):
    """Where a probe sends and listens."""

    local: Address
    """The source of what is sent."""

    def send(self, datagram: bytes) -> str | None:
        """Sends to the target; returns why that failed, or None."""

    def receive(self, seconds: float) -> Iterator[tuple[bytes, Address] | str]:
        """Waits at most so long; then everything there is: (datagram, source), or what ICMP said."""

    def close(self) -> None:
        """Gives the socket back."""


class UdpEndpoint:
    """An ordinary socket. It is not connected: an answer from a wrong address is worth knowing of."""

    def __init__(self, target: Address, bind: Address | None = None) -> None:
        """``bind`` may have port 0. Raises BackendError."""
        self._target = target
        self._socket = bound_socket(bind or (source_towards(target), 0))
        level, option = (socket.IPPROTO_IPV6, _IPV6_RECVERR) if ":" in target[0] else (socket.IPPROTO_IP, _IP_RECVERR)
        self._socket.setsockopt(level, option, 1)
        self.local: Address = self._socket.getsockname()[:2]

    def send(self, datagram: bytes) -> str | None:
        """Sends to the target; returns why that failed, or None."""
        try:
            self._socket.sendto(datagram, self._target)
        except OSError as error:
            told = self._icmp()
            if not told:
                return _reason(error)
            # The error was an earlier packet's; this one was not sent.
            try:
                self._socket.sendto(datagram, self._target)
            except OSError as again:
                return _reason(again)
            return told
        return None

    def receive(self, seconds: float) -> Iterator[tuple[bytes, Address] | str]:
        """Waits at most so long; then everything there is: (datagram, source), or what ICMP said."""
        if not select.select([self._socket], [], [], max(0.0, seconds))[0]:
            return
        for _ in range(_MAX_TURN):
            try:
                datagram, source = self._socket.recvfrom(_MAX_DATAGRAM, socket.MSG_DONTWAIT)
            except BlockingIOError:
                told = self._icmp()
                if told:
                    yield told
                return
            except OSError as error:
                yield self._icmp() or _reason(error)
            else:
                yield datagram, (parse_ip(source[0].partition("%")[0]), source[1])

    def close(self) -> None:
        """Gives the socket back."""
        self._socket.close()

    def _icmp(self) -> str | None:
        """What the error queue says, emptied: the last of it, with who said it."""
        found = None
        for _ in range(_MAX_TURN):
            try:
                _, ancillary, _, _ = self._socket.recvmsg(1, 512, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT)
            except OSError:
                break
            for level, _, data in ancillary:
                found = _read_error(level, data) or found
        return found


def resolve(host: str, port: int, family: int = socket.AF_UNSPEC) -> Address:
    """The first address of a name, or the address itself. Raises BackendError with status 69."""
    try:
        found = socket.getaddrinfo(host, port, family, socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise BackendError(f"cannot look up {host}: {reason}", status=ExitStatus.UNAVAILABLE) from error
    return parse_ip(str(found[0][4][0]).partition("%")[0]), port


def source_towards(target: Address) -> str:
    """The address that the kernel would send from."""
    family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect(target)  # sends nothing
        except OSError as error:
            raise BackendError(f"cannot send to {target[0]}: {_reason(error)}") from error
        return parse_ip(asking.getsockname()[0].partition("%")[0])


def bound_socket(where: Address) -> socket.socket:
    """A UDP socket. Raises BackendError."""
    family = socket.AF_INET6 if ":" in where[0] else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_DGRAM)
    try:
        bound.bind(where)
    except OSError as error:
        bound.close()
        text = f"[{where[0]}]:{where[1]}" if ":" in where[0] else f"{where[0]}:{where[1]}"
        raise bind_error(text, "ulpn", error) from error
    return bound


def refuse_mixed(target: Address, local: Address | None) -> None:
    """Raises UsageError if one address is IPv4 and the other IPv6."""
    if local is not None and (":" in target[0]) != (":" in local[0]):
        raise UsageError(f"{local[0]} and the target {target[0]} are of different IP versions")


def _read_error(level: int, data: bytes) -> str | None:
    """One struct sock_extended_err (ip(7)), with the address of who sent the ICMP message behind it."""
    if level not in (socket.IPPROTO_IP, socket.IPPROTO_IPV6) or len(data) < 16:
        return None
    number, origin, _, _, _, info, _ = struct.unpack_from("=IBBBBII", data)
    text = os.strerror(number).lower()
    if number == errno.EMSGSIZE:
        text += f", at most {info} bytes"
    if origin not in _FROM_ICMP:
        return text
    is_ipv4 = origin == _FROM_ICMP[0]
    packed = data[20:24] if is_ipv4 else data[24:40]
    if len(packed) not in (4, 16):
        return f"ICMP: {text}"
    return f"ICMP from {socket.inet_ntop(socket.AF_INET if is_ipv4 else socket.AF_INET6, packed)}: {text}"


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
