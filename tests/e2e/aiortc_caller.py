"""A call by stock aiortc: an independent judge of signaling, ICE, DTLS, SRTP and the data channel."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from aiortc import RTCConfiguration, RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from aiortc.contrib.media import MediaPlayer
from aiortc.mediastreams import MediaStreamTrack
from av import AudioFrame

from rtcrelay.client.speech import SPEECH_FILE

from .waiting import until


@dataclass(slots=True)
class AiortcCall:
    """One peer connection and what came back on it."""

    peer: RTCPeerConnection
    channel: RTCDataChannel
    session_url: str = ""
    frames: int = 0
    loudest: int = 0
    """Largest absolute sample that came back, 0 to 32768."""
    messages: list[str] = field(default_factory=list)

    async def until_frames(self, count: int, seconds: float = 25.0) -> None:
        """Waits until so many audio frames came back."""
        await until(self._frames, lambda seen: seen >= count, f"{count} audio frames back", seconds)

    async def until_message(self, message: str, seconds: float = 25.0) -> None:
        """Waits until a message came back."""
        await until(self._messages, lambda seen: message in seen, f"the message {message!r} back", seconds)

    async def _frames(self) -> int:
        return self.frames

    async def _messages(self) -> list[str]:
        return self.messages


@asynccontextmanager
async def aiortc_call(url: str, mangle: Callable[[str], str] = str) -> AsyncIterator[AiortcCall]:
    """Calls a WHIP address and speaks; closed with the block. ``mangle`` may change the offer on its way."""
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    player = MediaPlayer(str(SPEECH_FILE), loop=True)
    assert player.audio is not None
    peer.addTrack(player.audio)
    call = AiortcCall(peer, peer.createDataChannel("echo"))
    readers: list[asyncio.Task[None]] = []
    call.channel.on("message", call.messages.append)
    peer.on("track", lambda track: readers.append(asyncio.ensure_future(_listen(track, call))))
    try:
        await peer.setLocalDescription(await peer.createOffer())
        async with aiohttp.ClientSession() as http:
            await _signal(http, url, call, mangle)
            yield call
    finally:
        await peer.close()
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)


async def _signal(http: aiohttp.ClientSession, url: str, call: AiortcCall, mangle: Callable[[str], str]) -> None:
    headers = {"Content-Type": "application/sdp"}
    async with http.post(url, data=mangle(call.peer.localDescription.sdp), headers=headers) as response:
        answer = await response.text()
        assert response.status == 201, answer
        call.session_url = str(response.url.join(type(response.url)(response.headers["Location"])))
    await call.peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))


async def _listen(track: MediaStreamTrack, call: AiortcCall) -> None:
    while True:
        frame = await track.recv()
        assert isinstance(frame, AudioFrame)
        call.frames += 1
        call.loudest = max(call.loudest, *map(abs, array("h", bytes(frame.planes[0]))))
