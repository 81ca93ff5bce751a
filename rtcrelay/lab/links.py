"""The process that is all links of a laboratory: ``python -m rtcrelay.lab.links DIRECTORY``.

Reads ``links.json`` there (a list of `LinkPlan`), makes a TUN device at both ends of each link, and carries packets
from one to the other as `rtcrelay.lab.emulator` says. On the Unix socket ``links.sock`` it answers each line of JSON
with one: ``{}`` asks for the counts, ``{"link": NAME, "set": {KEY: VALUE}}`` changes a link.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from rtcrelay.daemon import sd_notify
from rtcrelay.lab.emulator import Direction
from rtcrelay.lab.kernel import Timer, inside, open_tun
from rtcrelay.lab.world import Impairment, explain

SOCKET: Final = "links.sock"
PLAN: Final = "links.json"
_BURST: Final = 64
"""Packets taken from one device before others have their turn."""
_EARLY_NS: Final = 30_000
"""A wake costs at least that: a packet that is due so soon is awaited, not slept for."""


class End(msgspec.Struct, frozen=True):
    """One end of a link."""

    namespace: str
    device: str


class LinkPlan(msgspec.Struct, frozen=True):
    """A link to carry."""

    name: str
    ends: tuple[End, End]
    impairment: Impairment
    seed: int


class _Way:
    """From one device to the other."""

    def __init__(self, label: str, source: int, sink: int, direction: Direction) -> None:
        self.label, self.source, self.sink, self.direction = label, source, sink, direction


class Carrier:
    """Carries packets between open devices."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._timer = Timer()
        self._armed: int | None = None
        self._epoll.register(self._timer.fileno, select.EPOLLIN)
        self._ways: dict[int, _Way] = {}
        self._links: dict[str, tuple[Impairment, list[_Way]]] = {}
        self._readers: dict[int, Callable[[], None]] = {}
        self._stopped = False

    def add(self, plan: LinkPlan) -> None:
        """Makes a link's devices. OSError if one is there, or its namespace is not."""
        tuns = []
        for end in plan.ends:
            with inside(end.namespace):
                tuns.append(open_tun(end.device))
        self.join(plan, tuns[0], tuns[1])

    def join(self, plan: LinkPlan, first: int, second: int) -> None:
        """Carries packets between two devices, whoever made them."""
        ways = []
        for source, sink, label in ((first, second, "there"), (second, first, "back")):
            direction = Direction(plan.impairment, f"{plan.seed}/{plan.name}/{label}")
            ways.append(_Way(label, source, sink, direction))
            self._ways[source] = ways[-1]
            self._epoll.register(source, select.EPOLLIN)
        self._links[plan.name] = (plan.impairment, ways)

    def on_readable(self, fileno: int, call: Callable[[], None]) -> None:
        """Calls when something else can be read."""
        self._readers[fileno] = call
        self._epoll.register(fileno, select.EPOLLIN)

    def forget(self, fileno: int) -> None:
        """No longer."""
        self._epoll.unregister(fileno)
        del self._readers[fileno]

    def stop(self) -> None:
        """Has `run` return."""
        self._stopped = True

    def run(self) -> None:
        """Until `stop`."""
        timer, ways, clock = self._timer.fileno, self._ways, time.monotonic_ns
        while not self._stopped:
            for fileno, _ in self._epoll.poll():
                if (way := ways.get(fileno)) is not None:
                    self._take(way, clock())
                elif fileno == timer:
                    with contextlib.suppress(BlockingIOError):
                        os.read(timer, 8)
                    self._armed = None
                else:
                    self._readers[fileno]()
            self._send_due(clock)

    def change(self, name: str, changes: dict[str, Any]) -> Impairment:
        """Treats a link's packets differently; KeyError: no such link, msgspec.ValidationError: no such treatment."""
        impairment, ways = self._links[name]
        changed = msgspec.convert({**msgspec.to_builtins(impairment), **changes}, Impairment)
        for way in ways:
            way.direction.change(changed)
        self._links[name] = (changed, ways)
        return changed

    def describe(self) -> list[dict[str, object]]:
        """A row for each direction of each link."""
        return [_row(name, impairment, way) for name, (impairment, ways) in self._links.items() for way in ways]

    def _take(self, way: _Way, now: int) -> None:
        push = way.direction.push
        for _ in range(_BURST):
            try:
                push(os.read(way.source, 65_535), now)
            except BlockingIOError:
                return
            except OSError:  # the device is down
                return

    def _send_due(self, clock: Callable[[], int]) -> None:
        while True:
            now, due = clock(), None
            for way in self._ways.values():
                direction = way.direction
                next_due = direction.poll_timeout()
                if next_due is None:
                    continue
                if next_due <= now:
                    while (packet := direction.poll(clock())) is not None:
                        # A device that is down or full loses the packet, as an interface would.
                        with contextlib.suppress(OSError):
                            os.write(way.sink, packet)
                    next_due = direction.poll_timeout()
                if next_due is not None and (due is None or next_due < due):
                    due = next_due
            if due is None or due > clock() + _EARLY_NS:
                break
        if due != self._armed:
            self._timer.set(None if due is None else due - _EARLY_NS)
            self._armed = due


def _row(name: str, impairment: Impairment, way: _Way) -> dict[str, object]:
    counts = way.direction.counts
    late = sorted(counts.late_ns[-10_000:]) or [0]
    return {
        "link": name,
        "way": way.label,
        **msgspec.to_builtins(impairment),
        "sent": counts.sent,
        "lost": counts.lost,
        "overflowed": counts.overflowed,
        "reordered": counts.reordered,
        "bytes": counts.bytes,
        "late_p50_ms": round(late[len(late) // 2] / 1e6, 3),
        "late_p99_ms": round(late[len(late) * 99 // 100] / 1e6, 3),
    }


def be_prompt() -> None:
    """Before other work on the machine, which is no part of a link. Without the privilege, as others."""
    gc.collect()
    gc.freeze()
    gc.disable()  # nothing here makes cycles
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def main() -> None:
    """Carries until SIGTERM."""
    directory = Path(sys.argv[1])
    plans = msgspec.json.decode((directory / PLAN).read_bytes(), type=list[LinkPlan])
    carrier = Carrier()
    for plan in plans:
        carrier.add(plan)
    _listen(carrier, directory / SOCKET)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    be_prompt()
    sd_notify("READY=1")
    carrier.run()


def _listen(carrier: Carrier, path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    path.unlink(missing_ok=True)
    listener.bind(str(path))
    listener.setblocking(False)

    def answer() -> None:
        try:
            request, sender = listener.recvfrom(65_535)
        except BlockingIOError:
            return
        with contextlib.suppress(OSError):  # who asked is gone
            listener.sendto(_answer(carrier, request), sender)

    carrier.on_readable(listener.fileno(), answer)


def _answer(carrier: Carrier, request: bytes) -> bytes:
    try:
        asked = json.loads(request)
        if "set" in asked:
            carrier.change(asked["link"], asked["set"])
    except KeyError as error:
        return json.dumps({"error": f"there is no link {error.args[0]}"}).encode()
    except msgspec.ValidationError as error:
        return json.dumps({"error": f"link {asked['link']}: {explain(error)}"}).encode()
    except (ValueError, TypeError) as error:
        return json.dumps({"error": f"not a question: {error}"}).encode()
    return json.dumps({"links": carrier.describe()}).encode()


if __name__ == "__main__":
    main()
