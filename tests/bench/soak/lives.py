"""What sessions do in a soak: they come, talk, move, restart ICE, and end in every way that there is."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress

import aiohttp

from rtcrelay.client.caller import Caller
from rtcrelay.client.core import Call, CallConfig
from rtcrelay.client.whip import post_offer
from rtcrelay.errors import RtcrelayError
from rtcrelay.rtc.dtls import DtlsIdentity

TALK_SECONDS = 3.0
"""Each session speaks for so long after it came and before it goes; the rest of its life it only checks."""
MEAN_LIFE_SECONDS = 15.0
MAX_LIFE_SECONDS = 90.0
"""Longer lives are cut, so that the population is steady soon."""


class Population:
    """Sessions that come at random times; ``done`` counts them by what they did, ``failed`` by what went wrong."""

    def __init__(self, url: str, per_second: float) -> None:
        self.done: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self._url, self._per_second = url, per_second
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
        label = random.choice(("stats", "soak")) if random.random() < share_of_channels else None
        caller = Caller(self._url, CallConfig(identity=self._identity), channel=label)
        try:
            await life(caller)
            self.done[f"{name}{' with a data channel' if label else ''}"] += 1
        except RtcrelayError as error:
            self.failed[f"{name}: {error}"] += 1
        finally:
            caller.vanish()


async def _talk(caller: Caller) -> None:
    """Comes, talks, is there, and talks again."""
    await caller.dial()
    await caller.until_talking()
    if caller.channel is not None:
        await caller.until(lambda: caller.channel is not None and caller.channel.is_open, "no channel", 10.0)
    await asyncio.sleep(TALK_SECONDS / 2)
    _mute(caller, True)
    loop = asyncio.get_running_loop()
    end = loop.time() + min(MAX_LIFE_SECONDS, random.expovariate(1 / MEAN_LIFE_SECONDS))
    while (left := end - loop.time()) > 0:
        if caller.channel is not None:
            caller.channel.send(secrets.token_hex(random.randrange(1, 2000)))
        await asyncio.sleep(min(1.0, left))
    _mute(caller, False)
    await asyncio.sleep(TALK_SECONDS / 2)


async def _delete(caller: Caller) -> None:
    await _talk(caller)
    await caller.hang_up()


async def _say_goodbye(caller: Caller) -> None:
    await _talk(caller)
    caller.answer = None  # so that only close_notify, or the end of the association, tells the server
    await caller.hang_up()


async def _vanish(caller: Caller) -> None:
    await _talk(caller)


async def _vanish_early(caller: Caller) -> None:
    await caller.dial()
    await asyncio.sleep(random.uniform(0.0, 0.05))


async def _never_check(caller: Caller) -> None:
    """A client that got its answer and nothing else through."""
    loop = asyncio.get_running_loop()
    async with aiohttp.ClientSession() as http:
        await post_offer(http, caller.url, Call(now=loop.time()).offer)


async def _move(caller: Caller) -> None:
    await _talk(caller)
    for _ in range(random.randrange(1, 12)):  # more than a session's paths
        await caller.move()
        await asyncio.sleep(random.uniform(0.0, 0.5))
    await caller.hang_up()


async def _restart_ice(caller: Caller) -> None:
    await _talk(caller)
    for _ in range(random.randrange(1, 5)):
        await caller.restart_ice()
        await asyncio.sleep(random.uniform(0.0, 0.5))
    await (caller.hang_up() if random.random() < 0.5 else asyncio.sleep(0.0))


async def _offer_nonsense(caller: Caller) -> None:
    async with aiohttp.ClientSession() as http:
        headers = {"Content-Type": "application/sdp"}
        with suppress(aiohttp.ClientError):
            async with http.post(caller.url, data=secrets.token_bytes(random.randrange(4000)), headers=headers) as got:
                await got.read()


LIVES: tuple[tuple[str, float, Callable[[Caller], Awaitable[None]]], ...] = (
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
