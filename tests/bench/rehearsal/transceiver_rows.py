"""A transceiver drained and replaced under real calls: DTLS, SRTP, echoed speech."""

from __future__ import annotations

import asyncio
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from rtcrelay.client.caller import Caller, calling
from rtcrelay.client.core import CallState
from rtcrelay.client.demo.site import Site, SiteOptions
from rtcrelay.errors import RtcrelayError

from .kubelet import hook_of, terminate


async def replace_transceiver(calls: int, talk_seconds: float) -> dict[str, Any]:
    """The calls go on for ``talk_seconds`` after their pod was told to go, and hang up; new ones find the other pod."""
    with tempfile.TemporaryDirectory() as directory:
        site = Site(Path(directory), SiteOptions(nodes=("old", "new")))
        try:
            await site.start()
            async with AsyncExitStack() as stack:
                return await _rehearse(site, stack, calls, talk_seconds)
        finally:
            await site.stop()


async def _rehearse(site: Site, stack: AsyncExitStack, calls: int, talk_seconds: float) -> dict[str, Any]:
    old, new = site.transceivers
    callers: list[Caller] = []
    for _ in range(calls):
        caller = await stack.enter_async_context(calling(old.url))
        await caller.until_talking(30.0)
        callers.append(caller)
    pid, directory = old.daemon.pid, site.directory / "hook"
    assert pid is not None
    directory.mkdir()
    # The hook drains every service in its pod's directory, and this pod has one.
    (directory / "transceiver-old.sock").symlink_to(old.admin.socket)
    hook = hook_of("transceiver", 600)
    ending = asyncio.create_task(asyncio.to_thread(terminate, pid, directory, hook, 660.0, lambda: time.sleep(0.05)))
    refused = await _until_refused(old.url)
    async with calling(new.url) as other:
        await other.until_talking(30.0)
    await asyncio.sleep(talk_seconds)
    still = not ending.done()
    cut = sum(caller.call.state is CallState.ENDED for caller in callers)
    counts = [caller.call.counts(asyncio.get_running_loop().time()) for caller in callers]
    await stack.aclose()
    seconds, killed = await ending
    return {
        "row": "a transceiver is drained and replaced",
        "calls": calls,
        "replaced": 1,
        "killed": int(killed),
        "calls_lost": cut,
        "waited_for_its_calls": still,
        "new_calls_refused_there": refused,
        "exit_status": await old.daemon.wait(),
        "packets_sent": sum(count.audio_sent for count in counts),
        "drain_seconds": round(seconds, 1),
    }


async def _until_refused(url: str) -> bool:
    """Whether a call to a draining pod is refused at last; those before that are taken and hang up."""
    for _ in range(100):
        try:
            async with calling(url):
                pass
        except RtcrelayError:
            return True
        await asyncio.sleep(0.1)
    return False
