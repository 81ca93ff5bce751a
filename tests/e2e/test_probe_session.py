"""``rtcrelay probe session`` through a relay, to stock aiortc and to a realtime API, and what it says of a failure."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from rtcrelay.client import session_probe
from rtcrelay.client.core import Call
from rtcrelay.client.demo.site import Site, SiteOptions
from rtcrelay.config.text import format_address

from .aiortc_server import AiortcServer, aiortc_server
from .test_probe_route import rtcrelay

STEPS = ["connect", "answer", "ice", "dtls", "audio", "echo"]
Handler = Callable[[web.Request], Awaitable[web.Response]]


async def probed(url: str, *args: str) -> tuple[int, dict[str, Any], str]:
    status, out, err = await rtcrelay("probe", "session", url, "--json", *args)
    assert out, err
    row: dict[str, Any] = json.loads(out)
    assert ("1" if status else "0", row["passed"]) in (("0", True), ("1", False))
    return status, row, err


@asynccontextmanager
async def http_server(handler: Handler) -> AsyncIterator[str]:
    """An HTTP server with one handler; yields where to post."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/whip"
    finally:
        await runner.cleanup()


async def test_a_whole_session_passes_and_every_step_has_its_time(site: Site) -> None:
    node = site.transceivers[0]
    status, row, err = await probed(node.url, "--seconds", "1.5")
    assert (status, err, row["node"], row["selected"]) == (0, "", "a", format_address(site.relay.vip))
    assert [step["name"] for step in row["steps"]] == STEPS
    ends = [step["start_ms"] + step["took_ms"] for step in row["steps"]]
    assert ends == sorted(ends)
    assert row["steps"][0]["start_ms"] == 0
    media = row["media"]
    assert 60 <= media["sent"] <= 90
    assert media["received_lost"] == 0
    assert media["echoed"] >= media["sent"] - 5
    assert 0 < media["echo_rtt_p50_ms"] <= media["echo_rtt_p99_ms"]
    assert (row["ice_lite"], row["server_sends"], row["hang_up_status"]) == (True, True, 200)
    assert (await node.admin.stats()).count("sessions_created") == 1
    assert await node.admin.sessions() == []
    assert "pwd" not in json.dumps(row)


async def test_our_own_realtime_interface_passes(site: Site) -> None:
    node = site.transceivers[0]
    url = node.url.replace("/whip", "/v1/realtime/calls")
    status, row, err = await probed(url, "--api", "realtime", "--seconds", "0.5")
    assert (status, err, row["selected"]) == (0, "", format_address(site.relay.vip))
    assert row["hang_up_status"] == 200
    assert "channel" in [step["name"] for step in row["steps"]]
    assert await node.admin.sessions() == []


async def test_only_the_relay_is_used_if_that_is_wanted(tmp_path: Path) -> None:
    site = Site(tmp_path, SiteOptions(nodes=("a",), extra_transceiver=("--direct", "127.0.0.1:0")))
    try:
        await site.start()
        _, both, _ = await probed(site.transceivers[0].url, "--seconds", "0")
        status, row, _ = await probed(site.transceivers[0].url, "--seconds", "0", "--relay-only")
        assert len(both["candidates"]) == 2
        assert (status, row["candidates"]) == (0, [format_address(site.relay.vip)])
        assert "relay" in [step["name"] for step in row["steps"]]
        await site.relay.daemon.kill()
        status, row, err = await probed(site.transceivers[0].url, "--seconds", "0", "--relay-only")
        assert (status, row["failed_step"]) == (1, "relay")
        assert "rtcrelay: error: failed at relay: no relay answers at any address of the answer (127.0.0.1:" in err
    finally:
        await site.stop()


async def test_stock_aiortc_behind_whip_passes_with_full_ice() -> None:
    async with aiortc_server() as server:
        status, row, err = await probed(server.url, "--seconds", "1")
        assert (status, err, row["ice_lite"]) == (0, "", False)
        assert [step["name"] for step in row["steps"]] == STEPS[:-1]  # it speaks, and echoes nothing
        assert row["media"]["received"] > 20
        assert row["media"]["echoed"] == 0
        assert server.frames > 0


async def test_a_realtime_api_gets_its_token_its_channel_and_its_hangup(tmp_path: Path) -> None:
    seen: list[tuple[str, str, str | None]] = []
    server = AiortcServer()

    async def handle(request: web.Request) -> web.Response:
        seen.append((request.method, request.path_qs, request.headers.get("Authorization")))
        if request.path.endswith("/hangup"):
            return web.Response(status=200)
        answer = await server.answer(request)
        answer.headers["Location"] = "/v1/realtime/calls/rtc_1"
        return answer

    token = tmp_path / "token"
    token.write_text("ek_secret\n")
    try:
        async with http_server(handle) as url:
            calls = url.replace("/whip", "/v1/realtime/calls?model=m")
            arguments = ("--api", "realtime", "--token-file", str(token), "--seconds", "0.5")
            status, row, err = await probed(calls, *arguments)
    finally:
        await server.close()
    assert (status, err, row["api"], row["hang_up_status"]) == (0, "", "realtime", 200)
    assert "channel" in [step["name"] for step in row["steps"]]
    assert seen == [
        ("POST", "/v1/realtime/calls?model=m", "Bearer ek_secret"),
        ("POST", "/v1/realtime/calls/rtc_1/hangup", "Bearer ek_secret"),
    ]
    assert "ek_secret" not in json.dumps(row)
    assert row["url"].endswith("/v1/realtime/calls")


async def refused(_: web.Request) -> web.Response:
    return web.json_response({"title": "no", "detail": "this needs the right Bearer token"}, status=401)


async def unauthorized(_: web.Request) -> web.Response:
    return web.json_response({"error": {"message": "wrong key\x1b[2J", "code": "x"}}, status=401)


async def nonsense(_: web.Request) -> web.Response:
    return web.Response(status=201, text="v=0\r\nno answer")


@pytest.mark.parametrize(
    ("handler", "error", "hint"),
    [
        (refused, "answered 401 Unauthorized to the offer, expected 201: this needs the right Bearer token", "token"),
        (unauthorized, "answered 401 Unauthorized to the offer, expected 201: wrong key [2J", "token"),
        (nonsense, "the answer", "'rtcrelay sdp inspect'"),
    ],
)
async def test_what_signaling_refuses_is_said_in_the_servers_words(handler: Handler, error: str, hint: str) -> None:
    async with http_server(handler) as url:
        status, row, err = await probed(url)
    assert (status, row["failed_step"]) == (1, "answer")
    assert error in row["error"]
    assert f"rtcrelay: error: failed at answer: {row['error']}\n" in err
    assert hint in row["hint"]
    assert [step["ok"] for step in row["steps"]][-1] is False


async def test_no_server_and_no_name_are_steps_of_their_own() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        status, row, _ = await probed(f"http://127.0.0.1:{bound.getsockname()[1]}/whip")
    assert (status, row["failed_step"]) == (1, "connect")
    assert row["error"].endswith("/whip: connection refused")
    status, row, _ = await probed("http://nobody.invalid/whip")
    assert (status, row["failed_step"]) == (1, "resolve")
    assert row["error"] == "cannot reach http://nobody.invalid/whip: name or service not known"


async def test_a_dead_media_path_is_told_from_dead_signaling(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, with a client that gives up sooner than after 15 seconds."""
    monkeypatch.setattr("rtcrelay.client.ice.SETUP_LIMIT_SECONDS", 1.0)
    await site.relay.daemon.kill()
    report = await session_probe.probe_session(session_probe.SessionPlan(url=site.transceivers[0].url), lambda _: None)
    assert (report.failed, report.error) == ("ice", "no check was answered")
    assert report.hint is not None
    assert "rtcrelay probe stun" in report.hint
    assert [step.name for step in report.steps] == ["connect", "answer", "ice"]


async def test_a_handshake_that_hangs_is_told_from_ice(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, with a client that does not hear DTLS."""
    monkeypatch.setattr(session_probe, "DTLS_LIMIT_SECONDS", 0.5)
    monkeypatch.setattr(Call, "_on_dtls", lambda self, data, now: None)
    plan = session_probe.SessionPlan(url=site.transceivers[0].url)
    seen: list[str | None] = []
    report = await session_probe.probe_session(plan, lambda report: seen.append(report.failed))
    assert (report.failed, report.error, seen) == ("dtls", "nothing within 0.5 seconds", ["dtls"])
    assert report.hint is not None
    assert "MTU" in report.hint
    assert report.hang_up_status == 200


async def test_a_person_sees_a_waterfall_at_80_columns(site: Site) -> None:
    status, out, err = await rtcrelay("probe", "session", site.transceivers[1].url, "--seconds", "1")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].split()[:4] == ["STEP", "BEGINS", "TAKES", "0"]
    assert lines[0].endswith(" ms")
    assert [line.split("  ")[0] for line in lines[1:7]] == [
        "connect to the server",
        "offer and answer",
        "ICE: first answer",
        "DTLS handshake",
        "first audio back",
        "first of ours back",
    ]
    assert all(line.rstrip().endswith(("█", "#")) for line in lines[1:7])
    assert lines[-1] == "every step worked"


async def test_control_c_hangs_up_and_shows_what_there_was(site: Site) -> None:
    node = site.transceivers[0]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "rtcrelay", "probe", "session", node.url, "--seconds", "60"),
        stdout=asyncio.subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout is not None
    async with asyncio.timeout(20):
        while b"speaking" not in await process.stdout.readline():
            pass
        process.send_signal(signal.SIGINT)
        out, _ = await process.communicate()
    assert process.returncode == 0
    assert out.decode().splitlines()[-1] == "every step worked"
    assert await node.admin.sessions() == []


@pytest.mark.parametrize(
    ("args", "status", "message"),
    [
        ("ftp://x/", 2, "URL: 'ftp://x/' is not an HTTP URL"),
        ("http://user:pw@x/", 2, "URL: a password in a URL is seen by everyone on this machine"),
        ("http://x/ --api sip", 2, "--api: 'sip' is not one of whip, realtime"),
        ("http://x/ --seconds day", 2, "--seconds: 'day'"),
        ("http://x/ --token-file /none", 66, "cannot read /none: no such file"),
    ],
)
async def test_what_cannot_be_is_one_line_with_its_status(args: str, status: int, message: str) -> None:
    code, out, err = await rtcrelay("probe", "session", *args.split())
    assert (code, out) == (status, "")
    assert err.startswith(f"rtcrelay: error: {message}")
