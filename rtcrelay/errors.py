"""The error tree and the exit statuses: the type of an error says who is at fault."""

from __future__ import annotations

import errno
from enum import IntEnum


class ExitStatus(IntEnum):
    """What the process returns, after sysexits(3); printed in the man page."""

    OK = 0
    """Done, answered, healthy."""
    PROBLEM = 1
    """It ran, and the answer is no: no reply, nothing found, a check failed."""
    USAGE = 2
    """The command line is wrong."""
    DATA = 65
    """Input data is malformed."""
    NO_INPUT = 66
    """An input file is missing."""
    UNAVAILABLE = 69
    """Redis or an admin socket cannot be reached."""
    SOFTWARE = 70
    """A defect of rtcrelay."""
    OS = 71
    """The operating system refused, for example to bind an address."""
    IO = 74
    """Reading or writing failed."""
    TEMPORARY = 75
    """Timed out; try again."""
    PERMISSION = 77
    """A privilege is missing."""
    CONFIG = 78
    """Configuration or keys are wrong."""
    INTERRUPTED = 130
    """Ctrl-C in a one-shot command."""


class RtcrelayError(Exception):
    """Base of all errors a user is shown. ``str()`` is one whole sentence without a full stop.

    ``hint`` is what to try next, or None. ``status`` is the exit status of the process.
    """

    status = ExitStatus.SOFTWARE

    def __init__(self, message: str, *, hint: str | None = None, status: ExitStatus | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        if status is not None:
            self.status = status


class UsageError(RtcrelayError):
    """The operator asked for something that cannot be."""

    status = ExitStatus.USAGE


class ConfigError(UsageError):
    """A configuration or key file is wrong."""

    status = ExitStatus.CONFIG


class DataError(UsageError):
    """Input data is malformed."""

    status = ExitStatus.DATA


class PeerError(RtcrelayError):
    """The other side of a connection broke a protocol or did not answer."""

    status = ExitStatus.PROBLEM


class StateError(RtcrelayError):
    """A defect of rtcrelay: a call that its own state does not allow."""

    status = ExitStatus.SOFTWARE


class BackendError(RtcrelayError):
    """The kernel, Redis or another service refused."""

    status = ExitStatus.OS


def bind_error(where: str, flags: str, error: OSError) -> BackendError:
    """What an operator is told when the address ``where`` cannot be bound. ``flags`` are ss(8)'s to find who has it:
    ``ulpn`` for UDP, ``tlpn`` for TCP."""
    reason = (error.strerror or str(error)).lower()
    status, hint = ExitStatus.OS, None
    if error.errno in (errno.EACCES, errno.EPERM):
        status = ExitStatus.PERMISSION
        hint = "ports below 1024 need CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE)"
    elif error.errno == errno.EADDRINUSE:
        hint = f"ss -{flags} sport = :{where.rpartition(':')[2]}"
    elif error.errno == errno.EADDRNOTAVAIL:
        hint = "'ip address' lists the addresses of this machine"
    return BackendError(f"cannot bind {where}: {reason}", hint=hint, status=status)
