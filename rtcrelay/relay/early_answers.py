"""Who answers the data plane's questions in the first moments of a relay's life?

A relay that was killed is asked about all its calls at once as soon as it forwards, and asyncio, aiohttp and redis
take 0.4 s to import. So a thread that speaks the protocol by hiredis alone answers until the route cache is there.
It asks with the same keys under the same time-outs, writes nothing, and gives up at the first trouble: whatever it
leaves, the route cache finds.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import hiredis

from rtcrelay.config.redis_url import RedisUrl, read_redis_url
from rtcrelay.store.route_entry import Lead, PathKey, routes_of

if TYPE_CHECKING:
    from rtcrelay._dataplane import Event, Relay

CONNECT_SECONDS: Final = 0.5
ANSWER_SECONDS: Final = 0.25
BATCH: Final = 1024
"""Questions in one MGET: the first answers are used while the next are read."""
SWITCH_SECONDS: Final = 0.0005
"""How long imports may keep the interpreter from this thread; Python's default is ten times as long."""


@dataclass(slots=True)
class Left:
    """What whoever read the events first leaves to the route cache."""

    events: list[Event] = field(default_factory=list)
    """Those that are not dealt with."""
    asked: int = 0
    """Questions that are: how many, and what became of them, as `rtcrelay.relay.route_cache.CacheCounts` has it."""
    found: int = 0
    missed: int = 0
    refused: int = 0


class EarlyAnswers:
    """Answers from `start` to `finish`."""

    def __init__(self, relay: Relay, url: str, password: str | None, lead: Lead) -> None:
        """``url`` is one that `can_answer`; ``password`` is used if it has none; ``lead`` says where an entry leads."""
        self._relay, self._where, self._password, self._lead = relay, read_redis_url(url), password, lead
        self._left, self._has_ended = Left(), False
        self._stop_read, self._stop_write = os.pipe()
        self._thread = threading.Thread(target=self._run, name="early-answers", daemon=True)
        self._switch_interval = sys.getswitchinterval()

    def start(self) -> None:
        """Begins to answer."""
        sys.setswitchinterval(SWITCH_SECONDS)
        self._thread.start()

    def finish(self) -> Left:
        """Ends, within `ANSWER_SECONDS`; whoever calls it first gets what is left, and reads the relay's events from
        then on."""
        if self._has_ended:
            return Left()
        self._has_ended = True
        os.write(self._stop_write, b"!")
        self._thread.join()
        sys.setswitchinterval(self._switch_interval)
        os.close(self._stop_read)
        os.close(self._stop_write)
        self._left.events += self._relay.events()[0]
        return self._left

    def _run(self) -> None:
        told = self._relay.listen(True, route_cache=True)
        with contextlib.suppress(OSError, ValueError, EOFError, hiredis.HiredisError), _connect(self._where) as server:
            reader = hiredis.Reader()
            for command in _greeting(self._where, self._password):
                _ask(server, reader, command)
            poll = select.poll()
            poll.register(told, select.POLLIN)
            poll.register(self._stop_read, select.POLLIN)
            while self._stop_read not in [descriptor for descriptor, _ in poll.poll()]:
                self._answer(server, reader)

    def _answer(self, server: socket.socket, reader: Any) -> None:
        events, _ = self._relay.events()
        questions = [PathKey(event.client, event.ingress) for event in events if event.what == "asked"]
        self._left.events += [event for event in events if event.what != "asked"]
        self._left.asked += len(questions)
        for start in range(0, len(questions), BATCH):
            batch = questions[start : start + BATCH]
            values = _values(_ask(server, reader, ("MGET", *(key.text() for key in batch))), len(batch))
            texts = [None if value is None else value.decode(errors="replace") for value in values]
            routes, missed, refused = routes_of(batch, texts, self._lead, time.time_ns() // 1_000_000)
            taken = self._relay.restore(routes) if routes else 0
            self._left.missed += missed
            self._left.refused += refused + len(routes) - taken
            self._left.found += taken


def can_answer(url: str) -> bool:
    """Whether a URL names one plain server. The others, with TLS or several servers, are left to the route cache."""
    where = read_redis_url(url)
    return where.form in ("server", "socket") and not where.tls


def _connect(where: RedisUrl) -> socket.socket:
    if where.form == "socket":
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        server.settimeout(CONNECT_SECONDS)
        server.connect(where.socket)
    else:
        server = socket.create_connection(where.hosts[0], CONNECT_SECONDS)
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    server.settimeout(ANSWER_SECONDS)
    return server


def _greeting(where: RedisUrl, password: str | None) -> list[tuple[str, ...]]:
    """What redis-py would say first."""
    word = password if where.password is None else where.password
    commands: list[tuple[str, ...]] = []
    if word:
        commands.append(("AUTH", where.username, word) if where.username else ("AUTH", word))
    if where.database:
        commands.append(("SELECT", str(where.database)))
    return commands


def _values(answer: object, count: int) -> Sequence[bytes | None]:
    """An answer to MGET; ValueError if it is none."""
    if not isinstance(answer, list) or len(answer) != count or any(type(v) not in (bytes, type(None)) for v in answer):
        raise ValueError
    return answer


def _ask(server: socket.socket, reader: Any, command: tuple[str, ...]) -> Any:
    """The answer to a command; OSError, EOFError or ValueError if there is none."""
    server.sendall(hiredis.pack_command(command))  # type: ignore[arg-type]  # a tuple of any length
    while (answer := reader.gets()) is False:
        received = server.recv(65_536)
        if not received:
            raise EOFError
        reader.feed(received)
    if isinstance(answer, hiredis.ReplyError):
        raise ValueError
    return answer
