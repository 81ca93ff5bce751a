"""Which UDP datagrams does a capture hold? Files, compressed files and pipes; SPP headers taken off.

A capture on the host of a relay shows datagrams that the kernel will cut later or has joined already (GSO, GRO): these
are longer than any a relay passes, and nobody can tell where the cuts are.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING

from rtcrelay._dataplane import SPP_HEADER, classify, unpack_spp
from rtcrelay.debug.frames import Frame, FrameTally, read_frames
from rtcrelay.debug.links import Datagram, Skip, read_datagram
from rtcrelay.errors import BackendError, ExitStatus

if TYPE_CHECKING:
    from rtcrelay._dataplane import Address, SppHeader

_MAX_DATAGRAM = 65_535 + 256
"""With its link header."""


@dataclass(frozen=True, slots=True)
class Packet:
    """One UDP datagram of a capture."""

    frame: int
    """The frame's number, from 1, as Wireshark counts."""
    time_ns: int
    """Nanoseconds since 1970, UTC."""
    source: Address
    destination: Address
    datagram: bytes
    """What UDP carried, SPP header included."""

    @property
    def spp(self) -> SppHeader | None:
        """The SPP header in front; None if there is none."""
        return unpack_spp(self.datagram)

    @property
    def payload(self) -> bytes:
        """The datagram without an SPP header."""
        return self.datagram if self.spp is None else self.datagram[SPP_HEADER:]


@dataclass(slots=True)
class CaptureTally(FrameTally):
    """What a capture held, counted while it is read."""

    frames: int = 0
    """All frames."""
    packets: int = 0
    """UDP datagrams."""
    skipped: Counter[Skip] = field(default_factory=Counter)
    """Frames that gave none, by reason."""

    def sentences(self) -> Iterator[str]:
        """What an operator should know beside the packets, one sentence each."""
        for reason in Skip:
            if self.skipped[reason]:
                yield f"{self.skipped[reason]} of {self.frames} frames left out: {reason.value}{_HINTS.get(reason, '')}"
        if self.is_truncated:
            yield f"the capture ends inside a record, after {self.frames} whole frames"


_HINTS = {Skip.CUT: " (tcpdump -s 0 keeps them whole)", Skip.FRAGMENT: " (they are not put together)"}


def read_packets(stream: IO[bytes], tally: CaptureTally, *, fill: bool = False) -> Iterator[Packet]:
    """Every UDP datagram of a capture, in the order of the file, in constant memory. Raises DataError.

    With ``fill``, DTLS, RTP and RTCP that the capture has cut get zeros for what is missing: for readers that look at
    their headers only.
    """
    for frame in read_frames(stream, tally):
        tally.frames += 1
        found = read_datagram(frame.link, frame.data, frame.length)
        if fill and found is Skip.CUT:
            found = _filled(frame)
        if isinstance(found, Skip):
            tally.skipped[found] += 1
        else:
            tally.packets += 1
            yield Packet(frame.number, frame.time_ns, *found)


def _filled(frame: Frame) -> Datagram | Skip:
    missing = frame.length - len(frame.data)
    if frame.length > _MAX_DATAGRAM:
        return Skip.CUT
    found = read_datagram(frame.link, frame.data + bytes(missing), frame.length)
    if isinstance(found, Skip):
        return Skip.CUT
    datagram = found[2]
    kept = len(datagram) - missing
    start = SPP_HEADER if unpack_spp(datagram[:kept]) is not None else 0
    return found if kept >= start + 2 and classify(datagram[start:]) in ("dtls", "rtp", "rtcp") else Skip.CUT


@contextmanager
def open_input(name: str) -> Iterator[IO[bytes]]:
    """A file, or stdin for ``-``, as bytes. A missing file is a BackendError with status 66."""
    if name == "-":
        yield sys.stdin.buffer
        return
    try:
        stream = open(name, "rb")  # noqa: SIM115  # closed below: only opening is what these errors are about
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BackendError(f"cannot read {name}: {_reason(error)}", status=ExitStatus.NO_INPUT) from error
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise BackendError(f"cannot read {name}: {_reason(error)}", status=ExitStatus.IO) from error
    with stream:
        yield stream


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).lower()
