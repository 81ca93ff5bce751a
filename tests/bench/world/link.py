"""How well does the emulator keep what it is told? Its own error, and how many packets a second it carries."""

from __future__ import annotations

import socket
import statistics
import threading
import time
from pathlib import Path
from typing import Any, Final

from rtcrelay.lab.kernel import inside
from rtcrelay.lab.state import read_state

from .bed import NEAR, Bed

_SO_TIMESTAMPNS: Final = 35
PORT: Final = 9999
SET_MS: Final = 40.0
RATES: Final = (50, 1_000, 5_000)
"""Packets a second: one call one way, and twenty and a hundred."""
SECONDS: Final = 4.0
FLOOD_SECONDS: Final = 2.0
LINK: Final = f"public:{NEAR}-{NEAR}"


def accuracy(bed: Bed) -> dict[str, Any]:
    """One way of a link that is set to 40 ms, between two hosts, by the kernel's time of arrival."""
    (before, _) = (row for row in bed.links() if row["link"] == LINK)
    bed.lab.set_link(LINK, {"delay_ms": SET_MS, "jitter_ms": 0, "loss_percent": 0})
    try:
        rows = [_delays(bed, rate) for rate in RATES]
        flood = _flood(bed)
    finally:
        bed.lab.set_link(LINK, {key: before[key] for key in ("delay_ms", "jitter_ms", "loss_percent")})
    return {"set_ms": SET_MS, "rates": rows, "flood": flood}


def print_accuracy(figures: dict[str, Any]) -> None:
    """For people."""
    print(f"The emulator, set to {figures['set_ms']:.0f} ms one way, from send() to the kernel's time of arrival:")
    for row in figures["rates"]:
        print(
            f"  {row['rate']:>5} packets/s: mean {row['mean_ms']:.3f} ms ± {row['deviation_ms']:.3f},"
            f" p50 {row['p50_ms']:.3f}, p99 {row['p99_ms']:.3f}, most {row['max_ms']:.3f}; lost {row['lost']}"
        )
    flood = figures["flood"]
    print(f"  flooded: {flood['pps']:.0f} packets/s came out, {flood['cpu_us']:.1f} µs of processor time each")


def _delays(bed: Bed, rate: int) -> dict[str, Any]:
    receiver, sender, address = _ends(bed)
    count = int(rate * SECONDS)
    delays: list[float] = []

    def receive() -> None:
        while len(delays) < count:
            try:
                data, ancillary, _, _ = receiver.recvmsg(100, 100)
            except TimeoutError:
                return
            seconds, nanoseconds = (int.from_bytes(ancillary[0][2][i : i + 8], "little") for i in (0, 8))
            delays.append((seconds * 10**9 + nanoseconds - int(data)) / 1e6)

    with receiver, sender:
        thread = threading.Thread(target=receive)
        thread.start()
        due = time.monotonic()
        for _ in range(count):
            due += 1 / rate
            time.sleep(max(0.0, due - time.monotonic()))
            sender.sendto(str(time.time_ns()).encode(), address)
        thread.join()
    delays.sort()
    return {
        "rate": rate,
        "mean_ms": statistics.fmean(delays),
        "deviation_ms": statistics.pstdev(delays),
        "p50_ms": delays[len(delays) // 2],
        "p99_ms": delays[len(delays) * 99 // 100],
        "min_ms": delays[0],
        "max_ms": delays[-1],
        "lost": count - len(delays),
    }


def _flood(bed: Bed) -> dict[str, float]:
    receiver, sender, address = _ends(bed)
    pid = _emulator(bed)
    with receiver, sender:
        cpu, came, end = cpu_ns(pid), _sent(bed), time.monotonic() + FLOOD_SECONDS
        payload = bytes(172)
        sender.setblocking(False)
        while time.monotonic() < end:
            try:
                sender.sendto(payload, address)
            except BlockingIOError:
                time.sleep(0.0001)
        time.sleep(SET_MS / 1000 + 0.2)
        packets = _sent(bed) - came
        return {"pps": packets / FLOOD_SECONDS, "cpu_us": (cpu_ns(pid) - cpu) / packets / 1000}


def _ends(bed: Bed) -> tuple[socket.socket, socket.socket, tuple[str, int]]:
    host = bed.host(f"{NEAR}-ingress")
    address = (str(host.public), PORT)
    with inside(host.namespace):
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    receiver.bind(address)
    receiver.settimeout(2.0)
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    return receiver, sender, address


def _sent(bed: Bed) -> int:
    return next(int(row["sent"]) for row in bed.links() if (row["link"], row["way"]) == (LINK, "there"))


def _emulator(bed: Bed) -> int:
    state = read_state(bed.plan.directory)
    assert state is not None
    return state.processes["links"][0]


def cpu_ns(pid: int) -> int:
    """Processor time of all threads of a process, kernel included, in nanoseconds."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)
