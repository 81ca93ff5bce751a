"""A WHIP server of stock aiortc: full ICE, its own DTLS and SRTP, nothing of ours."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from aiortc import RTCConfiguration, RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from aiortc.contrib.media import MediaPlayer
from aiortc.mediastreams import MediaStreamTrack
from av import AudioFrame

from rtcrelay.client.speech import SPEECH_FILE


@dataclass(slots=True)
class AiortcServer:
    """Answers each offer with speech of its own, listens, and echoes data channel messages."""

    url: str = ""
    peers: list[RTCPeerConnection] = field(default_factory=list)
    listeners: list[asyncio.Task[None]] = field(default_factory=list)
    frames: int = 0
    """Audio frames decoded."""
    loudest: int = 0
    """Largest absolute sample heard, 0 to 32768."""

    async def answer(self, request: web.Request) -> web.Response:
        """POST of an offer."""
        peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.peers.append(peer)
        player = MediaPlayer(str(SPEECH_FILE), loop=True)
        assert player.audio is not None
        peer.addTrack(player.audio)
        peer.on("track", lambda track: self.listeners.append(asyncio.ensure_future(self._listen(track))))
        peer.on("datachannel", _echo)
        await peer.setRemoteDescription(RTCSessionDescription(await request.text(), "offer"))
        await peer.setLocalDescription(await peer.createAnswer())
        return web.Response(status=201, text=peer.localDescription.sdp, headers={"Location": "/whip/1"})

    async def close(self) -> None:
        """Ends every call."""
        for peer in self.peers:
            await peer.close()
        for listener in self.listeners:
            listener.cancel()
        await asyncio.gather(*self.listeners, return_exceptions=True)

    async def _listen(self, track: MediaStreamTrack) -> None:
        while True:
            frame = await track.recv()
            assert isinstance(frame, AudioFrame)
            self.frames += 1
            self.loudest = max(self.loudest, *map(abs, array("h", bytes(frame.planes[0]))))


@asynccontextmanager
async def aiortc_server() -> AsyncIterator[AiortcServer]:
    """The server on a free port of loopback."""
    server = AiortcServer()
    app = web.Application()
    app.router.add_post("/whip", server.answer)
    app.router.add_delete("/whip/1", _gone)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/whip"
    try:
        yield server
    finally:
        await server.close()
        await runner.cleanup()


def _echo(channel: RTCDataChannel) -> None:
    channel.on("message", channel.send)


async def _gone(_: web.Request) -> web.Response:
    return web.Response(status=200)
