"""Datagrams that the kernel threw away because a socket's receive buffer was full: the relay never sees them."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterable
from pathlib import Path

from rtcrelay.config.text import Address

_TABLES = (Path("/proc/net/udp"), Path("/proc/net/udp6"))


def receive_overflows(addresses: Iterable[Address], tables: Iterable[Path] = _TABLES) -> int:
    """Datagrams lost at the sockets bound to these addresses since they were bound; 0 if the kernel does not say.

    Reads the table of all UDP sockets in this network namespace: some 60 µs, and 2.7 ms with a thousand of them.
    """
    wanted = {_as_in_proc(address) for address in addresses}
    lost = 0
    for table in tables:
        try:
            lines = table.read_text("ascii").splitlines()[1:]
        except (OSError, UnicodeDecodeError):
            continue
        for line in lines:
            columns = line.split()
            if len(columns) > 12 and columns[1] in wanted and columns[-1].isdecimal():
                lost += int(columns[-1])
    return lost


def _as_in_proc(address: Address) -> str:
    """The kernel prints each 32-bit word of an address as a number of this machine."""
    ip, port = address
    packed = socket.inet_pton(socket.AF_INET6 if ":" in ip else socket.AF_INET, ip)
    words = (packed[at : at + 4] for at in range(0, len(packed), 4))
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words) + f":{port:04X}"
