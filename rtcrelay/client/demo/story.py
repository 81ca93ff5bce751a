"""The demo from its first process to its last: the steps in order, and the end of everything whatever happens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

from rtcrelay.client.demo import crash_steps, setup_steps
from rtcrelay.client.demo.steps import Step
from rtcrelay.client.demo.world import World
from rtcrelay.errors import RtcrelayError

Act: TypeAlias = Callable[[World, Step], Awaitable[None]]

STEPS: tuple[tuple[str, str, Act], ...] = (
    ("start", "the processes start", setup_steps.start),
    ("signaling", "the calls are answered", setup_steps.signal),
    ("first_stun", "the first STUN packet is routed", setup_steps.first_stun),
    ("dtls", "DTLS is completed", setup_steps.dtls),
    ("first_audio", "the first audio passes", setup_steps.first_audio),
    ("conversation", "both ends hear everything", setup_steps.converse),
    ("relay_killed", "the relay is killed", crash_steps.kill_relay),
    ("relay_restarted", "the relay starts again", crash_steps.restart_relay),
    ("recovery", "the calls go on", crash_steps.go_on),
    ("hang_up", "the calls end", crash_steps.hang_up),
)
"""Stable name, title, and what is done."""


@asynccontextmanager
async def telling(world: World) -> AsyncIterator[AsyncIterator[Step]]:
    """The steps as they are done; at the end of the block every call and process is over.

    The first step that fails is the last.
    """
    try:
        yield _tell(world)
    finally:
        await world.close()


async def _tell(world: World) -> AsyncIterator[Step]:
    for name, title, act in STEPS:
        step = Step(name, title)
        try:
            await act(world, step)
        except RtcrelayError as error:
            step.error = str(error) + (f" ({error.hint})" if error.hint else "")
        yield step
        if not step.passed:
            return
