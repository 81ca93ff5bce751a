"""Packets that relays capture, written as one pcapng file: an interface for each leg of each relay."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import IO, Final

from rtcrelay._dataplane import DROP_REASONS
from rtcrelay.admin.capture import FROM_CLIENT, INTERNAL_IN, TO_CLIENT, Captured, Origin, Piece
from rtcrelay.debug.capture_writer import CaptureWriter, Remark

_MAX_CLIENTS: Final = 100_000
"""Clients that are counted; the summary says "or more" beyond."""


@dataclass(slots=True)
class CaptureSummary:
    """What was written."""

    client_leg: int = 0
    """Packets between clients and the VIP."""
    internal_leg: int = 0
    """SPP datagrams."""
    dropped: int = 0
    """Packets that a relay dropped."""
    lost: dict[str, int] = field(default_factory=dict)
    """Packets that relays had no room for, by relay."""
    clients: set[tuple[str, int]] = field(default_factory=set)
    """Addresses of clients."""

    @property
    def packets(self) -> int:
        """All packets written."""
        return self.client_leg + self.internal_leg

    def sentence(self) -> str:
        """All of it in a line."""
        clients = f"{len(self.clients)}{' or more' if len(self.clients) >= _MAX_CLIENTS else ''} clients"
        return (
            f"{self.packets} packets of {clients}: {self.client_leg} on the client leg, {self.internal_leg} on the"
            f" internal leg; {self.dropped} were dropped by the relay; {sum(self.lost.values())} missing here"
        )


class LiveCapture:
    """Writes what relays tell, each in its own order."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.summary = CaptureSummary()
        self._stream = stream
        self._writer = CaptureWriter(stream)
        self._interfaces: dict[tuple[str, int, bool], int] = {}
        stream.flush()

    def begin(self, origin: Origin) -> None:
        """Names the legs of a relay."""
        for number, listener in enumerate(origin.listeners):
            public, internal = listener["public"], listener["internal"]
            for name, is_public, what in (
                (f"client-{public}", True, f"clients and {public}"),
                (f"internal-{internal}", False, f"transceivers, other relays and {internal} (SPP)"),
            ):
                description = f"relay {origin.relay}: between {what}"
                self._interfaces[origin.relay, number, is_public] = self._writer.add_interface(name, description)
        self._stream.flush()

    def write(self, origin: Origin, piece: Piece, most: int | None = None) -> None:
        """Adds packets, at most so many."""
        self.summary.lost[origin.relay] = piece.lost
        for packet in piece.packets[:most]:
            self._write(origin, packet)
        self._stream.flush()

    def _write(self, origin: Origin, packet: Captured) -> None:
        summary, is_public = self.summary, packet.point in (FROM_CLIENT, TO_CLIENT)
        if is_public:
            summary.client_leg += 1
            if len(summary.clients) < _MAX_CLIENTS:
                summary.clients.add(packet.source if packet.point == FROM_CLIENT else packet.destination)
        else:
            summary.internal_leg += 1
        summary.dropped += packet.dropped is not None
        interface = self._interfaces[origin.relay, packet.listener, is_public]
        inbound = packet.point in (FROM_CLIENT, INTERNAL_IN)
        remark = Remark(interface, inbound, _comment(packet), packet.length)
        self._writer.write(packet.time_ns, packet.source, packet.destination, packet.datagram, remark)


def _comment(packet: Captured) -> str:
    if packet.dropped is not None:
        return f"dropped: {packet.dropped}: {DROP_REASONS.get(packet.dropped, '')}"
    return "held for the route cache's answer" if packet.held else ""
