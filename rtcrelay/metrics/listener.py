"""The TCP socket on which metrics and health are served to other machines."""

from __future__ import annotations

import errno
import socket

from rtcrelay.config.text import Address, format_address
from rtcrelay.errors import BackendError, ExitStatus


class MetricsListener:
    """A listening TCP socket as a context manager; None for no address. Raises BackendError on entering.

    ``[::]`` takes IPv4 too, since there is one address and scrapes may come over both.
    """

    def __init__(self, address: Address | None) -> None:
        self._address = address
        self._socket: socket.socket | None = None

    def __enter__(self) -> socket.socket | None:
        if self._address is None:
            return None
        family = socket.AF_INET6 if ":" in self._address[0] else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            listener.bind(self._address)
            listener.listen(128)
        except OSError as error:
            listener.close()
            raise _bind_error(self._address, error) from error
        self._socket = listener
        return listener

    def __exit__(self, *_: object) -> None:
        if self._socket is not None:
            self._socket.close()


def _bind_error(address: Address, error: OSError) -> BackendError:
    status = ExitStatus.PERMISSION if error.errno in (errno.EACCES, errno.EPERM) else ExitStatus.OS
    hint = f"ss -tlpn sport = :{address[1]}" if error.errno == errno.EADDRINUSE else "--metrics ADDR names another"
    reason = (error.strerror or str(error)).lower()
    return BackendError(f"cannot serve metrics on {format_address(address)}: {reason}", hint=hint, status=status)
