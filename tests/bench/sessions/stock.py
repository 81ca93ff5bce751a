"""The same echo with stock aiortc: its own ICE, DTLS, jitter buffer, decoder and encoder.

``python -m tests.bench.sessions.stock CPU`` serves WHIP on a free port and prints it as a JSON line.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

from aiohttp import web
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription

_peers: set[RTCPeerConnection] = set()


async def _answer(request: web.Request) -> web.Response:
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    _peers.add(peer)

    def on_track(track: MediaStreamTrack) -> None:
        peer.addTrack(track)

    peer.on("track", on_track)
    await peer.setRemoteDescription(RTCSessionDescription(await request.text(), "offer"))
    await peer.setLocalDescription(await peer.createAnswer())
    return web.Response(status=201, text=peer.localDescription.sdp, headers={"Location": "/whip/1"})


async def _gone(_: web.Request) -> web.Response:
    return web.Response(status=200)


async def main() -> None:
    """Serves until stdin ends."""
    app = web.Application()
    app.router.add_post("/whip", _answer)
    app.router.add_delete("/whip/1", _gone)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(json.dumps({"url": f"http://127.0.0.1:{runner.addresses[0][1]}/whip"}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await asyncio.gather(*(peer.close() for peer in _peers))
    await runner.cleanup()


if __name__ == "__main__":
    os.sched_setaffinity(0, {int(sys.argv[1])})
    asyncio.run(main())
