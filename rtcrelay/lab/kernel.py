"""What the laboratory wants of Linux and Python 3.11 does not have: other network namespaces, TUN devices, timerfd."""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

NAMESPACES: Final = Path("/run/netns")
"""Where ip-netns(8) keeps them by name."""
TUN: Final = Path("/dev/net/tun")
_CLONE_NEWNET = 0x40000000  # linux/sched.h
_TUNSETIFF = 0x400454CA  # linux/if_tun.h
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_TFD_TIMER_ABSTIME = 1  # linux/timerfd.h
_NS_PER_S = 1_000_000_000


class _Itimerspec(ctypes.Structure):
    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("value_s", ctypes.c_long),
        ("value_ns", ctypes.c_long),
    )


_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """Has this thread make its sockets and read /proc/sys/net in a network namespace, for the length of the block."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        there = os.open(NAMESPACES / namespace, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _checked(_libc.setns(there, _CLONE_NEWNET), "setns")
        finally:
            os.close(there)
        try:
            yield
        finally:
            _checked(_libc.setns(home, _CLONE_NEWNET), "setns")
    finally:
        os.close(home)


def open_tun(name: str) -> int:
    """A descriptor of a new TUN device of this thread's namespace, which is gone with it: IP packets in and out, never
    waiting."""
    tun = os.open(TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
    except OSError:
        os.close(tun)
        raise
    return tun


class Timer:
    """Readable at an instant of the monotonic clock, to the nanosecond; a wait of epoll alone counts milliseconds."""

    def __init__(self) -> None:
        self.fileno = int(_checked(_libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC), "timerfd"))
        self._spec = _Itimerspec()
        self._reference = ctypes.byref(self._spec)

    def set(self, at: int | None) -> None:
        """Rings at ``at`` nanoseconds, at once if that is over; None: never."""
        # Zero would mean never.
        self._spec.value_s, self._spec.value_ns = (0, 0) if at is None else divmod(max(at, 1), _NS_PER_S)
        _checked(_libc.timerfd_settime(self.fileno, _TFD_TIMER_ABSTIME, self._reference, None), "timerfd_settime")


def _checked(result: int, call: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), call)
    return result
