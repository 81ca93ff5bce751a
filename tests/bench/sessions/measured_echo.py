"""The echo under test, with a stopwatch: how long after a packet was sent to the server had its echo left?

The generator writes the clock into each payload; both processes are on one machine and share it. One packet in eight
is timed, into a file that the bench maps too.
"""

from __future__ import annotations

import mmap
import os
import time
from pathlib import Path

from rtcrelay.transceiver.audio import OpusPacket
from rtcrelay.transceiver.backends.interface import Call
from rtcrelay.transceiver.backends.simple import Echo

VARIABLE = "BENCH_LATENESS_FILE"
BUCKET_SECONDS = 0.000_1
BUCKETS = 2000
"""Up to 0.2 s; the last one also has what is later."""
FILE_BYTES = 8 * BUCKETS


def map_counts(path: Path) -> memoryview:
    """The file's buckets, shared with whoever else maps them."""
    with path.open("r+b") as file:
        return memoryview(mmap.mmap(file.fileno(), FILE_BYTES)).cast("Q")


class MeasuredEcho(Echo):
    """As `Echo`, and every eighth packet is timed."""

    _counts: memoryview | None = None

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        if MeasuredEcho._counts is None:
            MeasuredEcho._counts = map_counts(Path(os.environ[VARIABLE]))

    def on_opus(self, packet: OpusPacket) -> None:
        """Echoes first, then looks at the clock."""
        payload = packet.payload
        self._send_opus(payload, timestamp=packet.timestamp, marker=packet.marker)
        if packet.sequence & 7 == 0:
            late = time.monotonic_ns() - int.from_bytes(payload[-8:], "big")
            assert self._counts is not None
            self._counts[min(BUCKETS - 1, max(0, int(late / (1e9 * BUCKET_SECONDS))))] += 1
