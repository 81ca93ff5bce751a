"""The usual aiortc server, on one UDP port: it answers offers at /offer, echoes voice, and pongs on data channels.

It differs from aiortc's own example in one line, the import of RTCPeerConnection::

    rtcrelay keys generate > keys.toml && chmod 600 keys.toml
    export RTCRELAY_KEY_FILE=keys.toml RTCRELAY_MEDIA=10.0.3.7:7000 RTCRELAY_RELAYS=10.0.0.0/24
    export RTCRELAY_INGRESS=203.0.113.10:3478      # a relay's public address; or, without a relay:
    export RTCRELAY_DIRECT=10.0.3.7:7001 RTCRELAY_INGRESS=10.0.3.7:7001
    python aiortc_server.py 8080
"""

import asyncio
import sys

from aiohttp import web
from aiortc import RTCSessionDescription
from aiortc.contrib.media import MediaRelay

from rtcrelay.oneport import RTCPeerConnection

peers = set()
relay = MediaRelay()


async def offer(request):
    params = await request.json()
    peer = RTCPeerConnection()
    peers.add(peer)

    @peer.on("datachannel")
    def on_datachannel(channel):
        @channel.on("message")
        def on_message(message):
            if isinstance(message, str) and message.startswith("ping"):
                channel.send("pong" + message[4:])

    @peer.on("connectionstatechange")
    async def on_connectionstatechange():
        if peer.connectionState in ("failed", "closed"):
            await peer.close()
            peers.discard(peer)

    @peer.on("track")
    def on_track(track):
        peer.addTrack(relay.subscribe(track))

    await peer.setRemoteDescription(RTCSessionDescription(params["sdp"], params["type"]))
    await peer.setLocalDescription(await peer.createAnswer())
    return web.json_response({"sdp": peer.localDescription.sdp, "type": peer.localDescription.type})


async def on_shutdown(app):
    await asyncio.gather(*(peer.close() for peer in peers))
    peers.clear()


if __name__ == "__main__":
    app = web.Application()
    app.on_shutdown.append(on_shutdown)
    app.router.add_post("/offer", offer)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]) if len(sys.argv) > 1 else 8080)
