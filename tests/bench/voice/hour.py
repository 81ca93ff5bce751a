"""An hour's call in virtual time: ``python -m tests.bench.voice.hour``, about a minute for each.

The real path without sockets: SRTP, ear, an echo of samples, speaker, frame clock, and a client whose clock is wrong,
that sends nothing in its pauses, and whose sequence numbers and timestamps roll over. The delay is that from the first
loud packet of an utterance to the first loud one that comes back; a pause's comfort noise and silence are no glitches.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
from pathlib import Path

# Benches are packages of a namespace that mypy does not see.
from ...unit.transceiver.long_call import LongCall  # type: ignore[import-not-found, misc]

SCENES = ((100.0, 0.0, 0.0), (-100.0, 0.0, 0.0), (100.0, 0.01, 0.03))
"""(parts per million by which a second of the client's is longer, part lost, jitter in seconds)."""
SPAN_MINUTES = 10.0


def main() -> None:
    """Prints a table for each scene."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.voice.hour", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="of each call [60]")
    minutes: float = parser.parse_args().minutes
    for ppm, lost, jitter in SCENES:
        print(f"client's clock {ppm:+g} ppm, {100 * lost:g} % lost, {1000 * jitter:g} ms jitter")
        print("minute utterances  delay ms p50, max  glitches left out  queued  objects   blocks  peak MB")
        with tempfile.TemporaryDirectory() as directory:
            call = LongCall(Path(directory), ppm, lost=lost, jitter=jitter)
            while call.minutes < minutes - SPAN_MINUTES / 2:
                span = call.pass_minutes(min(SPAN_MINUTES, minutes))
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
                print(f"{span.as_text()} {peak:8.1f}", flush=True)
        print(f"{call.sent} packets, {call.sequence_rolls} roll-overs of the sequence, timestamps after 30 s\n")


if __name__ == "__main__":
    main()
