"""A few calls of the synthetic client, for what the cheap generator cannot do: full ICE, data channels."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from rtcrelay.client.caller import Caller
from rtcrelay.client.core import CallConfig
from rtcrelay.rtc.dtls import DtlsIdentity

SETTLE_SECONDS = 1.5


@contextlib.asynccontextmanager
async def calls(
    url: str, count: int, *, channel: str | None = None, muted: bool = False
) -> AsyncIterator[list[Caller]]:
    """That many calls, all talking (or silent), hung up at the end."""
    identity = DtlsIdentity()
    made: list[Caller] = []
    loop = asyncio.get_running_loop()
    try:
        for _ in range(count):
            caller = Caller(url, CallConfig(identity=identity), channel=channel)
            made.append(caller)
            await caller.dial()
            call = caller.call
            await caller.until(lambda call=call: call.timings.dtls_done_ms is not None, "DTLS", 10)  # type: ignore[misc]
            if channel is not None:
                await caller.until(lambda call=call: call.timings.channel_open_ms is not None, "channel", 10)  # type: ignore[misc]
            if muted:
                call.mute(True, loop.time())
        await asyncio.sleep(SETTLE_SECONDS)
        yield made
    finally:
        for caller in made:
            with contextlib.suppress(Exception):
                await caller.hang_up()
