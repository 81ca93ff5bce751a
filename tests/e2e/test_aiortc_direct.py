"""Stock aiortc calls a transceiver without any relay, through its direct socket."""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.rtcdtlstransport import RTCDtlsTransport

from rtcrelay.client.demo.admin import Admin
from rtcrelay.client.demo.processes import Daemon, free_ports
from rtcrelay.keys import generate, write_key_file

from .aiortc_caller import AiortcCall, aiortc_call
from .waiting import until


@dataclass(frozen=True)
class Direct:
    """One transceiver process with a direct socket."""

    url: str
    direct: tuple[str, int]
    daemon: Daemon
    admin: Admin

    async def session(self) -> dict[str, object]:
        (session,) = await self.admin.sessions()
        return session


@pytest.fixture
async def transceiver(tmp_path: Path) -> AsyncIterator[Direct]:
    media, http, direct = free_ports(3)
    key_file = tmp_path / "keys.toml"
    write_key_file(key_file, generate())
    arguments = [
        "transceiver",
        "--key-file",
        str(key_file),
        "--node",
        "direct",
        "--drain-timeout",
        "0s",
        "--admin",
        str(tmp_path / "admin.sock"),
    ]
    arguments += ["--media", f"127.0.0.1:{media}", "--http", f"127.0.0.1:{http}", "--direct", f"127.0.0.1:{direct}"]
    arguments += ["--ingress", "127.0.0.1:9"]  # no relay is there: clients have to find the direct candidate
    daemon = Daemon("direct", arguments, tmp_path)
    await daemon.start()
    yield Direct(f"http://127.0.0.1:{http}/whip", ("127.0.0.1", direct), daemon, Admin(tmp_path / "admin.sock"))
    await daemon.stop()


async def hear_itself(call: AiortcCall, frames: int = 50) -> None:
    """Both kinds of echo come back."""
    await call.until_frames(call.frames + frames)
    if call.channel.readyState == "open":
        call.channel.send("hello")
    else:
        call.channel.on("open", lambda: call.channel.send("hello"))
    await call.until_message("hello")


async def test_aiortc_hears_itself_and_its_data_channel_echoes(transceiver: Direct) -> None:
    async with aiortc_call(transceiver.url) as call:
        await hear_itself(call, frames=100)
        assert call.loudest > 1000
        session = await transceiver.session()
        assert (session["state"], session["dtls_role"], session["ingress"]) == ("connected", "client", 0)
        assert session["channels"] == 1
        stats = await transceiver.admin.stats()
        assert stats.count("rtp_out") == stats.count("rtp_in") >= 100
        assert {name: count for name, count in stats.drops.items() if count} == {}


async def test_aiortc_as_the_active_side_gets_a_passive_server(
    transceiver: Direct, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = inspect.getattr_static(RTCPeerConnection, "localDescription").fget

    def active(peer: RTCPeerConnection) -> RTCSessionDescription:
        description = local(peer)
        return RTCSessionDescription(description.sdp.replace("setup:actpass", "setup:active"), description.type)

    monkeypatch.setattr(RTCPeerConnection, "localDescription", property(active))
    async with aiortc_call(transceiver.url) as call:
        await hear_itself(call)
        assert (await transceiver.session())["dtls_role"] == "server"


async def test_a_datagram_that_is_too_long_kills_no_session(transceiver: Direct) -> None:
    """One unauthenticated datagram of over 1500 bytes on the call's own path ends a session of stock aiortc."""
    async with aiortc_call(transceiver.url) as call:
        await hear_itself(call)
        dtls = call.peer.sctp.transport if call.peer.sctp else None
        assert isinstance(dtls, RTCDtlsTransport)
        for length in (1501, 2000, 9000):
            await dtls.transport._send(bytes([0x80]) + bytes(length - 1))

        async def oversize() -> int:
            return (await transceiver.admin.stats()).drops["oversize"]

        await until(oversize, lambda seen: seen == 3, "three datagrams dropped as oversize")
        await hear_itself(call)
        assert (await transceiver.admin.stats()).ends == dict.fromkeys((await transceiver.admin.stats()).ends, 0)


async def test_sigterm_tells_the_client_and_ends_with_0(transceiver: Direct) -> None:
    async with aiortc_call(transceiver.url) as call:
        await hear_itself(call)
        closed = asyncio.Event()
        call.channel.on("close", closed.set)
        assert transceiver.daemon.pid is not None
        os.kill(transceiver.daemon.pid, signal.SIGTERM)
        assert await asyncio.wait_for(transceiver.daemon.wait(), 20) == 0
        await asyncio.wait_for(closed.wait(), 20)
        assert call.messages[-1] == '{"type": "closing", "reason": "shutdown"}'


async def test_a_client_that_closes_ends_its_session(transceiver: Direct) -> None:
    async with aiortc_call(transceiver.url) as call:
        await hear_itself(call)

    async def sessions() -> int:
        return len(await transceiver.admin.sessions())

    await until(sessions, lambda seen: seen == 0, "no session left")


async def test_a_port_in_use_is_one_clear_line_and_71(transceiver: Direct, tmp_path: Path) -> None:
    host, port = transceiver.direct
    arguments = ["transceiver", "--key-file", str(tmp_path / "keys.toml"), "--media", f"{host}:{port}"]
    arguments += ["--http", "127.0.0.1:0", "--ingress", "127.0.0.1:9", "--admin", str(tmp_path / "second.sock")]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "rtcrelay", "serve", *arguments, stderr=asyncio.subprocess.PIPE
    )
    _, words = await process.communicate()
    assert process.returncode == 71
    assert f"cannot bind {host}:{port}: address already in use" in words.decode()
    assert "Traceback" not in words.decode()


async def test_noise_on_the_direct_socket_harms_nobody(transceiver: Direct) -> None:
    async with aiortc_call(transceiver.url) as call:
        await hear_itself(call)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            for first in range(256):
                stranger.sendto(bytes([first]) + bytes(40), transceiver.direct)
        await hear_itself(call)
        stats = await transceiver.admin.stats()
        assert sum(stats.drops.values()) == 256
