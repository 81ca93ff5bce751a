"""How long help takes, and how long a relay takes from its start to its first forwarded packet.

``python tests/cli/bench_start.py [RUNS]`` prints medians and maxima in milliseconds; nothing here is a test, because
the figures are the machine's as much as ours.
"""

from __future__ import annotations

import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rtcrelay import keys
from rtcrelay._dataplane import Route, mint_ufrag

HELP_LIMIT_MS = 200
FORWARD_LIMIT_MS = 300
RTCRELAY = [sys.executable, "-m", "rtcrelay"]


def command(*args: str) -> Callable[[], float]:
    """Milliseconds of a one-shot command."""

    def run() -> float:
        begun = time.perf_counter()
        subprocess.run([*RTCRELAY, *args], check=True, capture_output=True)
        return (time.perf_counter() - begun) * 1000

    return run


def forwarding(key_path: Path) -> float:
    """Milliseconds from starting a relay's process until a transceiver has the first packet."""
    ring = keys.load_key_file(key_path).ring
    with socket.socket(type=socket.SOCK_DGRAM) as transceiver, socket.socket(type=socket.SOCK_DGRAM) as client:
        transceiver.bind(("127.0.0.1", 0))
        transceiver.settimeout(0.001)
        port, public = transceiver.getsockname()[1], _free_port()
        username = mint_ufrag(ring, Route("endpoint", 0, ip="127.0.0.1", port=port, nonce=1)).encode() + b":abcd"
        request = bytes.fromhex("000100242112a442") + bytes(12) + bytes.fromhex("00060020") + username
        args = ["-l", f"127.0.0.1:{public}", "--internal", "127.0.0.1:0", "--transceivers", f"127.0.0.1:{port}"]
        begun = time.perf_counter()
        with subprocess.Popen(
            [*RTCRELAY, "serve", "relay", "-q", "--admin", "none", "--key-file", str(key_path), *args]
        ) as relay:
            while time.perf_counter() < begun + 10:
                client.sendto(request, ("127.0.0.1", public))
                try:
                    transceiver.recv(2048)
                    break
                except TimeoutError:
                    continue
            taken = (time.perf_counter() - begun) * 1000
            relay.terminate()
    return taken


def _free_port() -> int:
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    """Prints the table."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "keys.toml")
        keys.write_key_file(path, keys.generate())
        rows: list[tuple[str, int | None, Callable[[], float]]] = [
            ("rtcrelay --help", HELP_LIMIT_MS, command("--help")),
            ("rtcrelay serve relay --help", HELP_LIMIT_MS, command("serve", "relay", "--help")),
            ("rtcrelay ufrag encode", None, command("ufrag", "encode", "--node", "1", "--key-file", str(path))),
            ("serve relay: start to first packet forwarded", FORWARD_LIMIT_MS, lambda: forwarding(path)),
        ]
        print(f"{'':46}{'median':>8}{'max':>8}{'limit':>8}  ms, {runs} runs")
        for name, limit, measure in rows:
            measure()  # warms the page cache and the compiled modules
            taken = [measure() for _ in range(runs)]
            print(f"{name:46}{statistics.median(taken):8.0f}{max(taken):8.0f}{limit or '-':>8}")


if __name__ == "__main__":
    main()
