"""What sessions do in a soak: they come, talk, move, restart ICE, and end in every way that there is."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import aiohttp

from rtcrelay.client.caller import Caller
from rtcrelay.client.core import Call, CallConfig
from rtcrelay.client.whip import post_offer
from rtcrelay.errors import RtcrelayError
from rtcrelay.rtc.dtls import DtlsIdentity

TALK_SECONDS = 3.0
"""Each session speaks for so long, half after it came and half before it goes."""
REFUSED = "answered 503"
MAX_TRIES = 20
REFUSED_SECONDS = 2.0
"""Then a client that was refused, because the service is full or late, tries again, as `Retry-After` asks it to."""
MAX_LIFE_SECONDS = 90.0
MAX_LIVES = 2.5
"""Lives that are longer than both, this many mean ones, are cut, so that the population is steady soon."""
TURN_SECONDS = 8
SPOKEN_SECONDS = 2


@dataclass(frozen=True, slots=True)
class Habits:
    """How clients live."""

    mean_life_seconds: float = 15.0
    labels: tuple[str, ...] = ("stats", "soak")
    """Of their data channels."""
    converses: bool = False
    """Whether they speak for `SPOKEN_SECONDS` of each `TURN_SECONDS` and hear what is answered, which need not be
    their own words. Without this they only check between their first words and their last, and hear an echo."""


class Population:
    """Sessions that come at random times; ``done`` counts them by what they did, ``failed`` by what went wrong."""

    def __init__(self, url: str, per_second: float, habits: Habits | None = None) -> None:
        self.done: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.refused = 0
        """Offers that were to be made again later; whoever is refused for long gives up, and has failed."""
        self._url, self._per_second, self._habits = url, per_second, habits or Habits()
        self._identity = DtlsIdentity()
        self._living: set[asyncio.Task[None]] = set()

    @property
    def living(self) -> int:
        """Clients that are there now; the server has more, of those who left without a word."""
        return len(self._living)

    async def grow(self, seconds: float) -> None:
        """Lets sessions come for so long."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while loop.time() < end:
            task = asyncio.ensure_future(self._live())
            self._living.add(task)
            task.add_done_callback(self._living.discard)
            await asyncio.sleep(min(random.expovariate(self._per_second), end - loop.time()))

    async def die_out(self) -> None:
        """Waits for the last one."""
        while self._living:
            await asyncio.wait(tuple(self._living))

    async def _live(self) -> None:
        name, share_of_channels, life = random.choices(LIVES, WEIGHTS)[0]
        label = random.choice(self._habits.labels) if random.random() < share_of_channels else None
        for left in range(MAX_TRIES - 1, -1, -1):
            caller = Caller(self._url, CallConfig(identity=self._identity), channel=label)
            try:
                await life(caller, self._habits)
                self.done[f"{name}{' with a data channel' if label else ''}"] += 1
                return
            except RtcrelayError as error:
                if not left or REFUSED not in str(error):
                    self.failed[f"{name}: {error}"] += 1
                    return
                self.refused += 1
            finally:
                caller.vanish()
            await asyncio.sleep(REFUSED_SECONDS)


async def _talk(caller: Caller, habits: Habits) -> None:
    """Comes, talks, is there, and talks again."""
    await caller.dial()
    await _until_there(caller, habits)
    if caller.channel is not None:
        await caller.until(lambda: caller.channel is not None and caller.channel.is_open, "no channel", 10.0)
    await asyncio.sleep(TALK_SECONDS / 2)
    _mute(caller, True)
    loop = asyncio.get_running_loop()
    mean = habits.mean_life_seconds
    end = loop.time() + min(max(MAX_LIFE_SECONDS, MAX_LIVES * mean), random.expovariate(1 / mean))
    seconds = random.randrange(TURN_SECONDS)
    while (left := end - loop.time()) > 0:
        seconds += 1
        if habits.converses:
            _mute(caller, seconds % TURN_SECONDS >= SPOKEN_SECONDS)
        if caller.channel is not None:
            caller.channel.send(secrets.token_hex(random.randrange(1, 2000)))
        await asyncio.sleep(min(1.0, left))
    _mute(caller, False)
    await asyncio.sleep(TALK_SECONDS / 2)


async def _until_there(caller: Caller, habits: Habits) -> None:
    """Until it is heard: its own words come back, or where others answer, the keys are there."""
    if habits.converses:
        await caller.until(lambda: caller.call.timings.dtls_done_ms is not None, "no keys", 10.0)
    else:
        await caller.until_talking()


async def _delete(caller: Caller, habits: Habits) -> None:
    await _talk(caller, habits)
    await caller.hang_up()


async def _say_goodbye(caller: Caller, habits: Habits) -> None:
    await _talk(caller, habits)
    caller.answer = None  # so that only close_notify, or the end of the association, tells the server
    await caller.hang_up()


async def _vanish(caller: Caller, habits: Habits) -> None:
    await _talk(caller, habits)


async def _vanish_early(caller: Caller, habits: Habits) -> None:
    await caller.dial()
    await asyncio.sleep(random.uniform(0.0, 0.05))


async def _never_check(caller: Caller, habits: Habits) -> None:
    """A client that got its answer and nothing else through."""
    loop = asyncio.get_running_loop()
    async with aiohttp.ClientSession() as http:
        await post_offer(http, caller.url, Call(now=loop.time()).offer)


async def _move(caller: Caller, habits: Habits) -> None:
    await _talk(caller, habits)
    for _ in range(random.randrange(1, 12)):  # more than a session's paths
        await caller.move()
        await asyncio.sleep(random.uniform(0.0, 0.5))
    await caller.hang_up()


async def _restart_ice(caller: Caller, habits: Habits) -> None:
    await _talk(caller, habits)
    for _ in range(random.randrange(1, 5)):
        await caller.restart_ice()
        await asyncio.sleep(random.uniform(0.0, 0.5))
    await (caller.hang_up() if random.random() < 0.5 else asyncio.sleep(0.0))


async def _offer_nonsense(caller: Caller, habits: Habits) -> None:
    async with aiohttp.ClientSession() as http:
        headers = {"Content-Type": "application/sdp"}
        with suppress(aiohttp.ClientError):
            async with http.post(caller.url, data=secrets.token_bytes(random.randrange(4000)), headers=headers) as got:
                await got.read()


LIVES: tuple[tuple[str, float, Callable[[Caller, Habits], Awaitable[None]]], ...] = (
    ("ended by DELETE", 0.5, _delete),
    ("ended on the media path", 0.5, _say_goodbye),
    ("vanished", 0.5, _vanish),
    ("vanished during set-up", 0.5, _vanish_early),
    ("never checked", 0.5, _never_check),
    ("moved and ended", 0.5, _move),
    ("restarted ICE", 0.5, _restart_ice),
    ("offered nonsense", 0.0, _offer_nonsense),
)
WEIGHTS = (30, 15, 20, 5, 5, 10, 10, 5)


def _mute(caller: Caller, muted: bool) -> None:
    caller.call.mute(muted, asyncio.get_running_loop().time())
    caller.wake()
