"""The end of a transceiver: no new calls, the old ones go on, and whoever is left is told."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest

from rtcrelay.client.caller import calling
from rtcrelay.client.core import CallState
from rtcrelay.client.demo.processes import free_ports
from rtcrelay.client.demo.site import Site, SiteOptions, Transceiver
from rtcrelay.errors import PeerError

from .aiortc_caller import AiortcCall, aiortc_call
from .waiting import until


@asynccontextmanager
async def site_with(directory: Path, *arguments: str) -> AsyncIterator[tuple[Transceiver, str]]:
    """One transceiver and the address of its health pages."""
    (port,) = free_ports(1)
    extra = ("--metrics", f"127.0.0.1:{port}", *arguments)
    site = Site(directory, SiteOptions(nodes=("a",), extra_transceiver=extra))
    try:
        await site.start()
        yield site.transceivers[0], f"http://127.0.0.1:{port}"
    finally:
        await site.stop()


def send(node: Transceiver, number: signal.Signals) -> None:
    assert node.daemon.pid is not None
    os.kill(node.daemon.pid, number)


def status_of(url: str) -> Callable[[], asyncio.Future[int]]:
    async def read() -> int:
        async with aiohttp.ClientSession() as http, http.get(url) as response:
            return response.status

    return lambda: asyncio.ensure_future(read())


async def until_said(node: Transceiver, words: str) -> None:
    async def read() -> str:
        return node.daemon.log.read_text()

    await until(read, lambda said: words in said, words)


async def until_told(call: AiortcCall) -> None:
    closed = asyncio.Event()
    call.channel.on("close", closed.set)
    await asyncio.wait_for(closed.wait(), 20)
    assert call.messages[-1] == '{"type": "closing", "reason": "shutdown"}'


async def test_sigterm_lets_calls_go_on_and_takes_no_new_ones(tmp_path: Path) -> None:
    async with site_with(tmp_path, "--drain-timeout", "30s") as (node, health):
        async with calling(node.url) as caller:
            await caller.until_talking()
            assert await status_of(f"{health}/readyz")() == 200
            send(node, signal.SIGTERM)
            await until(status_of(f"{health}/readyz"), lambda status: status == 503, "not ready", 20.0)
            assert await status_of(f"{health}/healthz")() == 200
            async with (
                aiohttp.ClientSession() as http,
                http.post(node.url, data=caller.call.offer, headers={"Content-Type": "application/sdp"}) as response,
            ):
                assert (response.status, response.headers["Retry-After"]) == (503, "5")
                assert response.content_type == "application/problem+json"
            before = caller.call.counts(0.0).audio_echoed
            await caller.until(lambda: caller.call.counts(0.0).audio_echoed >= before + 100, "the call goes on", 20.0)
            assert await caller.hang_up() == 200
        assert await asyncio.wait_for(node.daemon.wait(), 20) == 0


async def test_when_the_drain_time_is_over_every_client_is_told(tmp_path: Path) -> None:
    async with site_with(tmp_path, "--drain-timeout", "1s") as (node, _), aiortc_call(node.url) as call:
        await call.until_frames(10)
        await until(_state(call), lambda state: state == "open", "an open data channel")
        send(node, signal.SIGTERM)
        await until_told(call)
        assert await asyncio.wait_for(node.daemon.wait(), 20) == 0


async def test_a_second_sigterm_ends_now_and_every_client_is_told(tmp_path: Path) -> None:
    async with site_with(tmp_path, "--drain-timeout", "1h") as (node, health), aiortc_call(node.url) as call:
        await call.until_frames(10)
        await until(_state(call), lambda state: state == "open", "an open data channel")
        send(node, signal.SIGTERM)
        await until(status_of(f"{health}/readyz"), lambda status: status == 503, "draining", 20.0)
        send(node, signal.SIGTERM)
        await until_told(call)
        assert await asyncio.wait_for(node.daemon.wait(), 20) == 0


async def test_what_was_to_end_a_drain_does_not_end_the_goodbye(tmp_path: Path) -> None:
    async with site_with(tmp_path, "--drain-timeout", "0s") as (node, _):
        pid = node.daemon.pid
        assert pid is not None
        with socket.socket(socket.AF_UNIX) as slow:
            slow.connect(str(node.admin.socket))
            slow.sendall(b"POST /v1/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")  # waited for: a second
            send(node, signal.SIGTERM)
            await until_said(node, "stopping, 0 sessions are ended")
            with suppress(ProcessLookupError):  # where this process has to wait for its turn, that one has ended
                for number in (signal.SIGHUP, signal.SIGTERM):
                    os.kill(pid, number)
            assert await asyncio.wait_for(node.daemon.wait(), 20) == 0


async def test_a_client_without_a_data_channel_is_told_by_dtls(tmp_path: Path) -> None:
    async with site_with(tmp_path, "--drain-timeout", "0s") as (node, _), calling(node.url) as caller:
        await caller.until_talking()
        send(node, signal.SIGTERM)
        with pytest.raises(PeerError, match="close_notify"):
            await caller.until(lambda: False, "told", 20.0)
        assert caller.call.state is CallState.ENDED
        assert await asyncio.wait_for(node.daemon.wait(), 20) == 0


async def test_metrics_are_served_where_health_is(tmp_path: Path) -> None:
    async with site_with(tmp_path) as (node, health), calling(node.url) as caller:
        await caller.until_talking()
        async with aiohttp.ClientSession() as http, http.get(f"{health}/metrics") as response:
            text = await response.text()
        assert 'rtcrelay_transceiver_sessions{state="connected"} 1.0' in text
        assert "rtcrelay_transceiver_event_loop_lag_seconds_bucket" in text
        assert 'signaling_requests_total{method="POST",status="201"} 1.0' in text
        async with aiohttp.ClientSession() as http, http.get(f"{health}/v1/sessions") as response:
            assert response.status == 404, "what steers the process is on the Unix socket only"


def _state(call: AiortcCall) -> Callable[[], asyncio.Future[str]]:
    async def read() -> str:
        return str(call.channel.readyState)

    return lambda: asyncio.ensure_future(read())
