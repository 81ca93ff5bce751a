"""Applications of stock aiortc on the shared port: one line is another, and everything else is aiortc's own."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import aiortc
import pytest
from aiortc import RTCConfiguration, RTCSessionDescription
from aiortc import RTCPeerConnection as StockPeerConnection
from aiortc.contrib.media import MediaPlayer

from rtcrelay import oneport
from rtcrelay.client.demo.processes import Daemon, free_ports
from rtcrelay.client.speech import SPEECH_FILE
from rtcrelay.keys import generate, write_key_file
from rtcrelay.oneport.connection import LiteConnection

from . import aiortc_server as application
from .aiortc_caller import aiortc_call
from .aiortc_server import aiortc_server
from .waiting import until

EXAMPLE = Path(__file__).parents[2] / "examples" / "aiortc_server.py"


@pytest.fixture
def direct(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """The environment of an application without a relay; its media port."""
    media, direct = free_ports(2)
    settings(tmp_path, monkeypatch, media, direct)
    monkeypatch.setenv("RTCRELAY_DIRECT", f"127.0.0.1:{direct}")
    return direct


def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, media: int, ingress: int) -> None:
    write_key_file(tmp_path / "keys.toml", generate())
    monkeypatch.setenv("RTCRELAY_KEY_FILE", str(tmp_path / "keys.toml"))
    monkeypatch.setenv("RTCRELAY_MEDIA", f"127.0.0.1:{media}")
    monkeypatch.setenv("RTCRELAY_INGRESS", f"127.0.0.1:{ingress}")


@pytest.fixture
async def changed(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """The one line of the application."""
    monkeypatch.setattr(application, "RTCPeerConnection", oneport.RTCPeerConnection)
    yield
    oneport.SharedPort.current().close()


async def test_two_callers_of_an_aiortc_application_share_its_port(direct: int, changed: None) -> None:
    async with aiortc_server() as server, aiortc_call(server.url) as first, aiortc_call(server.url) as second:
        for call in (first, second):
            await call.until_frames(100)
            call.channel.send("over the same port")
            await call.until_message("over the same port")
            answer = call.peer.remoteDescription.sdp
            assert "a=ice-lite" in answer
            assert set(re.findall(r"a=candidate:.* (\S+ \d+) typ", answer)) == {f"127.0.0.1 {direct}"}
        await until(lambda: _value(server.loudest > 3000), bool, "the callers' voices")
        port = oneport.SharedPort.current()
        assert port.router.path_count == 2
        assert open_udp_ports() >= {direct}
    await until(lambda: _value(port.router.path_count), lambda seen: seen == 0, "no path after the calls")
    assert port.timers._armed == {}


async def test_an_aiortc_application_is_called_through_a_relay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: None
) -> None:
    vip, internal, media = free_ports(3)
    settings(tmp_path, monkeypatch, media, vip)
    arguments = ["relay", "--key-file", str(tmp_path / "keys.toml"), "-l", f"127.0.0.1:{vip}"]
    arguments += ["--internal", f"127.0.0.1:{internal}", "--transceivers", f"127.0.0.0/8:{media}"]
    relay = Daemon("relay", [*arguments, "--admin", str(tmp_path / "relay.sock")], tmp_path)
    await relay.start()
    try:
        async with aiortc_server() as server, aiortc_call(server.url) as call:
            await call.until_frames(50)
            assert await relay.kill() == -9  # and back: the application's announces and media teach it the way
            await relay.start()
            await call.until_frames(call.frames + 100)
    finally:
        await relay.stop()


async def test_a_caller_that_vanishes_is_noticed(direct: int, changed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtcrelay.transceiver.link.SILENCE_SECONDS", 2.0)
    async with aiortc_server() as server, aiortc_call(server.url) as call:
        await call.until_frames(20)
        for transport in call.peer.getSenders()[0].transport.transport._connection._protocols:
            transport.transport.abort()
        peer = server.peers[0]
        await until(
            lambda: _value(peer.connectionState), lambda seen: seen in ("closed", "failed"), "the end of the call"
        )


async def test_the_example_is_a_whole_server(direct: int, tmp_path: Path) -> None:
    (http,) = free_ports(1)
    with (tmp_path / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(EXAMPLE), str(http), stdout=log, stderr=log, env=dict(os.environ)
        )
    try:
        peer = StockPeerConnection(RTCConfiguration(iceServers=[]))
        player = MediaPlayer(str(SPEECH_FILE), loop=True)
        assert player.audio is not None
        peer.addTrack(player.audio)
        channel, heard = peer.createDataChannel("chat"), list[str]()
        channel.on("open", lambda: channel.send("ping 1"))
        channel.on("message", heard.append)
        await peer.setLocalDescription(await peer.createOffer())
        answer = await _post(f"http://127.0.0.1:{http}/offer", peer.localDescription.sdp)
        await peer.setRemoteDescription(RTCSessionDescription(answer["sdp"], "answer"))
        await until(lambda: _value(heard), bool, "a pong")
        assert heard == ["pong 1"]
        await peer.close()
    finally:
        process.terminate()
        await process.wait()
    assert "Traceback" not in (tmp_path / "log").read_text()


async def _post(url: str, sdp: str) -> dict[str, str]:
    async with aiohttp.ClientSession() as http:
        for _ in range(100):
            try:
                async with http.post(url, data=json.dumps({"sdp": sdp, "type": "offer"})) as answer:
                    found: dict[str, str] = await answer.json()
                    return found
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.1)
    raise AssertionError("the example does not answer")


async def _value(value: object) -> object:
    return value


def open_udp_ports() -> set[int]:
    lines = Path("/proc/net/udp").read_text().splitlines()[1:]
    return {int(line.split()[1].rpartition(":")[2], 16) for line in lines}


# -- the contract with the pinned version of aiortc


def test_aiortcs_own_way_of_making_a_transport_is_the_one_that_is_replaced() -> None:
    """If its names or steps change, ours must."""
    private: Any = StockPeerConnection
    source = inspect.getsource(private._RTCPeerConnection__createDtlsTransport)
    used = set(re.findall(r"self\.(__\w+)", source))
    ours = inspect.getsource(oneport.RTCPeerConnection)
    replaced = {"__transceivers", "__sctp", "__configuration"}  # of the gatherer, which is another one here
    assert {name for name in used - replaced if f"_RTCPeerConnection{name}" not in ours} == set()
    assert aiortc.__version__.startswith("1.16.")


def test_all_that_aiortc_asks_of_a_connection_is_there() -> None:
    source = inspect.getsource(inspect.getmodule(aiortc.RTCIceTransport))  # type: ignore[arg-type]
    asked = set(re.findall(r"_connection\.(\w+)", source)) - {"_connection"}
    assert len(asked) >= 12
    missing = {name for name in asked if not hasattr(LiteConnection, name)}
    assert missing <= {"ice_controlling", "remote_is_lite", "remote_username", "remote_password", "remote_candidates"}


def test_frameworks_get_ours_after_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (aiortc, aiortc.rtcpeerconnection):
        monkeypatch.setattr(module, "RTCPeerConnection", module.RTCPeerConnection)
    oneport.install()
    from aiortc import RTCPeerConnection

    assert RTCPeerConnection is oneport.RTCPeerConnection
