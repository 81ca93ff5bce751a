"""A realtime service that says every piece of sound again at once: ``python -m tests.bench.voice.again CPU``.

Prints its URL as a JSON line and serves until stdin ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import suppress

import uvloop
from aiohttp import WSMsgType, web

_APPEND = '{"type":"input_audio_buffer.append","audio":"'
_DELTA = '{"type":"response.output_audio.delta","response_id":"r","item_id":"i","delta":"'


async def _talk(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(compress=False)
    await socket.prepare(request)
    with suppress(ConnectionError):  # the client left
        async for message in socket:
            if message.type is WSMsgType.TEXT and message.data.startswith(_APPEND):
                await socket.send_str(_DELTA + message.data[len(_APPEND) :])
    return socket


async def main() -> None:
    """Serves until stdin ends."""
    app = web.Application()
    app.router.add_get("/", _talk)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(json.dumps({"url": f"ws://127.0.0.1:{runner.addresses[0][1]}/"}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    os.sched_setaffinity(0, {int(sys.argv[1])})
    uvloop.run(main())
