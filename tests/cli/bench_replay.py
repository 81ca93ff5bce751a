"""How many packets a second does ``rtcrelay probe replay -t`` send, beside a bare loop of ``socket.send``?

``python tests/cli/bench_replay.py [PACKETS]`` prints medians of five interleaved runs; nothing here is a test.
"""

from __future__ import annotations

import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from rtcrelay.debug.capture_writer import CaptureWriter

PAYLOAD = b"\x80\x60" + bytes(158)


def write(path: Path, packets: int, sources: int) -> None:
    """A capture of RTP-sized packets from so many clients in turn."""
    with path.open("wb") as stream:
        writer = CaptureWriter(stream, "pcap")
        for number in range(packets):
            client = ("198.51.100.7", 10_000 + number % sources)
            writer.write(number * 1000, client, ("203.0.113.10", 3478), PAYLOAD)


def bare(target: tuple[str, int], packets: int) -> float:
    """Packets a second of the shortest loop that Python has for it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
        sending.connect(target)
        send, begun = sending.send, time.perf_counter()
        for _ in range(packets):
            send(PAYLOAD)
        return packets / (time.perf_counter() - begun)


def main() -> None:
    """Prints the table."""
    packets = int(sys.argv[1]) if len(sys.argv) > 1 else 250_000
    with tempfile.TemporaryDirectory() as directory, socket.socket(type=socket.SOCK_DGRAM) as sink:
        sink.bind(("127.0.0.1", 0))  # nobody reads: what is sent is what counts
        target: tuple[str, int] = sink.getsockname()
        for sources in (1, 200):
            capture = Path(directory, "x.pcap")
            write(capture, packets, sources)
            command = [
                sys.executable,
                "-m",
                "rtcrelay",
                "probe",
                "replay",
                str(capture),
                "--to",
                f"127.0.0.1:{target[1]}",
            ]
            ours, theirs = [], []
            for _ in range(5):
                out = subprocess.run([*command, "-t", "--json"], check=True, capture_output=True).stdout
                ours.append(json.loads(out)["packets_per_second"])
                theirs.append(bare(target, packets))
            ratio = statistics.median(one / other for one, other in zip(ours, theirs, strict=True))
            print(
                f"{sources:>4} sources: replay {statistics.median(ours):>9,.0f} packets/s,"
                f" bare loop {statistics.median(theirs):>9,.0f}, ratio {ratio:.2f}"
            )


if __name__ == "__main__":
    main()
