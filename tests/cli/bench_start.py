"""How long help and one-shot commands take, and a relay from its start to its first forwarded packet.

``python tests/cli/bench_start.py [RUNS]`` prints medians and maxima in milliseconds, beside those of an interpreter
that does nothing; nothing here is a test, because the figures are the machine's as much as ours. ``--leaves`` takes
the help of every command.
"""

from __future__ import annotations

import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from cli.relay_process import RelayProcess
from cli.test_cli_app import commands
from rtcrelay import keys
from rtcrelay._dataplane import Route, mint_ufrag
from rtcrelay.cli.app import root_command
from rtcrelay.client.demo.processes import free_ports

HELP_LIMIT_MS = 200
ONE_SHOT_LIMIT_MS = 300
FORWARD_LIMIT_MS = 300
SPP = "56ec00000000000000000000ffffc633640700000000000000000000ffff0a000005c8220d97"
RTCRELAY = [sys.executable, "-m", "rtcrelay"]


def command(*args: str) -> Callable[[], float]:
    """Milliseconds of a one-shot command."""

    def run() -> float:
        begun = time.perf_counter()
        done = subprocess.run([*RTCRELAY, *args], capture_output=True)
        assert done.returncode in (0, 1), done.stderr  # the doctor may find something
        return (time.perf_counter() - begun) * 1000

    return run


def forwarding(key_path: Path) -> float:
    """Milliseconds from starting a relay's process until a transceiver has the first packet."""
    ring = keys.load_key_file(key_path).ring
    with socket.socket(type=socket.SOCK_DGRAM) as transceiver, socket.socket(type=socket.SOCK_DGRAM) as client:
        transceiver.bind(("127.0.0.1", 0))
        transceiver.settimeout(0.001)
        port, public = transceiver.getsockname()[1], free_ports(1)[0]
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


def one_shots(keys_path: Path, admin: Path) -> list[tuple[str, int | None, Callable[[], float]]]:
    """Commands that answer and end, beside a relay without flows."""
    key_file, service = ("--key-file", str(keys_path)), ("-A", str(admin))
    lines: list[tuple[str, ...]] = [
        ("version", "--json"),
        ("ufrag", "encode", "--node", "1", *key_file),
        ("keys", "list", *key_file, "--json"),
        ("keys", "list", *key_file, "-o", "table"),
        ("config", "show", "relay"),
        ("config", "check", "relay"),
        ("config", "schema"),
        ("spp", "decode", SPP),
        ("status", *service),
        ("flows", "list", *service, "--json"),
        ("flows", "stats", *service),
        ("keys", "rotate", *key_file, "--dry-run", *service),
        ("doctor", "relay", *service),
    ]
    return [(f"rtcrelay {' '.join(line[:2])}", ONE_SHOT_LIMIT_MS, command(*line)) for line in lines]


def leaves() -> list[tuple[str, int | None, Callable[[], float]]]:
    """The help of every command."""
    return [
        (f"rtcrelay {' '.join(path)} --help", HELP_LIMIT_MS, command(*path, "--help"))
        for path, one in commands(root_command())
        if not hasattr(one, "list_commands")
    ]


def work_ms() -> float:
    """Processor time of all children that have ended: what other load on the machine does not change."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (used.ru_utime + used.ru_stime) * 1000


def nothing() -> float:
    """Milliseconds of an interpreter that does nothing: what no command can be faster than."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", ""], check=True)
    return (time.perf_counter() - begun) * 1000


def main() -> None:
    """Prints the table."""
    words = [word for word in sys.argv[1:] if word != "--leaves"]
    runs = int(words[0]) if words else 15
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "keys.toml")
        keys.write_key_file(path, keys.generate())
        os.environ["RTCRELAY_KEY_FILE"] = str(path)
        rows: list[tuple[str, int | None, Callable[[], float]]] = [
            ("an interpreter that does nothing", None, nothing),
            ("rtcrelay --help", HELP_LIMIT_MS, command("--help")),
            ("rtcrelay serve relay --help", HELP_LIMIT_MS, command("serve", "relay", "--help")),
            *(leaves() if "--leaves" in sys.argv else []),
            ("serve relay: start to first packet forwarded", FORWARD_LIMIT_MS, lambda: forwarding(path)),
        ]
        print(f"{'':46}{'median':>8}{'max':>8}{'CPU':>8}{'limit':>8}  ms, {runs} runs")
        with RelayProcess(Path(directory), str(path)) as relay:
            for name, limit, measure in (*rows, *one_shots(path, relay.admin)):
                measure()  # warms the page cache and the compiled modules
                taken, worked = [], []
                for _ in range(runs):
                    before = work_ms()
                    taken.append(measure())
                    worked.append(work_ms() - before)
                cells = (statistics.median(taken), max(taken), statistics.median(worked))
                print(f"{name:46}{cells[0]:8.0f}{cells[1]:8.0f}{cells[2]:8.0f}{limit or '-':>8}")


if __name__ == "__main__":
    main()
