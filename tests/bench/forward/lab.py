"""The network of the bench: three namespaces on one machine, and the settings that make a core measurable."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

PREFIX = f"fw{os.getpid() % 100_000}"
"""Names of the namespaces begin with it: clients -c, relay -r, backend -b."""
CORE = 1
PRIORITY = 10

_LINKS = """
link add c0 netns {n}-c address 02:00:00:00:01:02 type veth peer name r0 netns {n}-r address 02:00:00:00:01:01
link add b0 netns {n}-b address 02:00:00:00:02:02 type veth peer name r1 netns {n}-r address 02:00:00:00:02:01
"""
_ADDRESSES = {
    "c": ["addr add 10.1.0.2/24 dev c0", "link set c0 up", "route add default via 10.1.0.1"],
    "r": [
        "addr add 10.1.0.1/24 dev r0",
        "addr add 10.2.0.1/24 dev r1",
        "link set r0 up",
        "link set r1 up",
        "neigh replace 10.1.0.2 lladdr 02:00:00:00:01:02 dev r0 nud permanent",
        "neigh replace 10.2.0.2 lladdr 02:00:00:00:02:02 dev r1 nud permanent",
        "route add 10.64.0.0/10 via 10.1.0.2 dev r0",
    ],
    "b": [
        "addr add 10.2.0.2/24 dev b0",
        "link set b0 up",
        "route add default via 10.2.0.1",
        "neigh replace 10.2.0.1 lladdr 02:00:00:00:02:01 dev b0 nud permanent",
    ],
}


def run(*words: str | Path, quiet: bool = False) -> str:
    """Runs a command and returns its output; CalledProcessError if it fails, unless ``quiet``."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    if done.returncode and not quiet:
        raise SystemExit(f"{' '.join(map(str, words))}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def inside(side: str, *words: str | Path) -> list[str]:
    """The command that runs ``words`` in the namespace of the clients (c), the relay (r) or the backend (b).

    Not ``ip netns exec``, which hides /sys and cgroups behind mounts of its own.
    """
    return ["nsenter", f"--net=/run/netns/{PREFIX}-{side}", *map(str, words)]


def measured(*words: str | Path) -> list[str]:
    """The command that runs ``words`` on the measured core, before everything else there."""
    return ["chrt", "-f", str(PRIORITY), "taskset", "-c", str(CORE), *map(str, words)]


@contextmanager
def network(receiving: str) -> Iterator[Sequence[int]]:
    """Makes the namespaces; yields the kernel's threads whose time belongs to the cost.

    With ``receiving`` ``threads`` the relay's two interfaces receive as network cards do: NAPI with GRO, in a thread
    for each on the measured core, so that a burst is taken together. With ``softirq`` a packet is taken at once by
    whoever sends it: no GRO, and nothing to switch to. Nothing is segmented for free: no interface takes GSO buffers,
    as most network cards do not for UDP.
    """
    before = Path("/proc/sys/kernel/sched_rt_runtime_us").read_text()
    try:
        Path("/proc/sys/kernel/sched_rt_runtime_us").write_text("-1")  # else the kernel stops us 5 % of the time
        for side in "crb":
            run("ip", "netns", "add", f"{PREFIX}-{side}")
            run(*inside(side, "ip", "link", "set", "lo", "up"))
        for line in _LINKS.format(n=PREFIX).strip().splitlines():
            run("ip", *line.split())
        for side, lines in _ADDRESSES.items():
            for line in lines:
                run(*inside(side, "ip", *line.split()))
        for side, device in (("r", "r0"), ("r", "r1"), ("b", "b0"), ("c", "c0")):
            run(
                *inside(side, "ethtool", "-K", device, "tso", "off", "gso", "off", "tx-udp-segmentation", "off"),
                quiet=True,
            )
        yield _napi_threads() if receiving == "threads" else _softirq_threads()
    finally:
        for side in "crb":
            run("ip", "netns", "del", f"{PREFIX}-{side}", quiet=True)
        Path("/proc/sys/kernel/sched_rt_runtime_us").write_text(before)


def _napi_threads() -> list[int]:
    known = set(_threads())
    for device in ("r0", "r1"):
        run(*inside("r", "ethtool", "-K", device, "gro", "on"))
        run("nsenter", f"--net=/run/netns/{PREFIX}-r", "unshare", "-m", "sh", "-c",
            f"mount -t sysfs sysfs /sys && echo 1 > /sys/class/net/{device}/threaded")  # fmt: skip
    ours = [pid for pid, name in _threads().items() if pid not in known and name.startswith(("napi/r0", "napi/r1"))]
    if len(ours) < 2:
        raise SystemExit("the kernel made no NAPI threads for r0 and r1")
    for pid in ours:
        run("taskset", "-pc", str(CORE), str(pid))
        run("chrt", "-f", "-p", str(PRIORITY), str(pid))
    return ours + _softirq_threads()


def _softirq_threads() -> list[int]:
    return [pid for pid, name in _threads().items() if name == f"ksoftirqd/{CORE}"]


def _threads() -> dict[int, str]:
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found[int(entry.name)] = (entry / "comm").read_text().strip()
            except OSError:
                continue  # it has ended
    return found
