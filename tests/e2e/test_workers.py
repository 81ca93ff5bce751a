"""Several transceiver processes as one service: one address for clients, a port for each worker, and one that dies."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from rtcrelay.client.caller import Caller, calling
from rtcrelay.client.core import CallState
from rtcrelay.client.demo.processes import is_free

from .test_owner_routing import FRAGMENT, PATCH
from .waiting import until
from .workers import OFFER, SDP, ended, is_alive, until_gone, workers


def cli(*arguments: str) -> list[dict[str, object]]:
    """What a command says as JSON."""
    command = [sys.executable, "-m", "rtcrelay", *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    rows: list[dict[str, object]] = json.loads(done.stdout)
    return rows


async def state_of(caller: Caller) -> CallState:
    return caller.call.state


async def until_more_is_heard(caller: Caller) -> None:
    """Its call goes on."""
    before = caller.call.counts(0.0).audio_echoed
    await caller.until(lambda: caller.call.counts(0.0).audio_echoed >= before + 50, "the call goes on", 15.0)


async def test_calls_are_spread_and_every_request_reaches_its_worker(tmp_path: Path) -> None:
    async with workers(tmp_path, 3) as service, AsyncExitStack() as calls:
        callers: list[Caller] = [await calls.enter_async_context(calling(service.node.url)) for _ in range(6)]
        for caller in callers:
            await caller.until_talking()
        assert all(await service.counts()), "every worker has calls"
        directory = str(tmp_path / "transceiver-a.sock")
        assert len(cli("sessions", "list", "-A", directory)) == 6
        assert {row["node"] for row in cli("status", "-A", directory)} == {"a-w0", "a-w1", "a-w2"}
        nodes: dict[str, set[str]] = {}
        for caller in callers:
            assert caller.answer is not None
            assert caller.answer.session_url is not None
            url, owner = caller.answer.session_url, caller.answer.node
            seen = nodes.setdefault(str(owner), set())
            for status in (200, 204, 204, 204):  # connections of their own: whichever worker is first takes each
                async with aiohttp.ClientSession() as http, http.patch(url, data=FRAGMENT, headers=PATCH) as response:
                    assert response.status == status
                    seen.add(response.headers["X-Rtcrelay-Node"])
        assert nodes == {name: {name} for name in ("a-w0", "a-w1", "a-w2")}
        for caller in callers:
            assert await caller.hang_up() == 200
        await until(service.counts, lambda counts: counts == [0, 0, 0], "no session")


async def test_calls_over_one_connection_are_spread_evenly(tmp_path: Path) -> None:
    """As a proxy sends them: the worker that has the connection passes calls on."""
    async with workers(tmp_path, 3) as service:
        one = aiohttp.TCPConnector(limit=1)
        async with aiohttp.ClientSession(connector=one) as http:
            for _ in range(30):
                assert (await service.post(http))[0] == 201
        counts = await service.counts()
        assert sum(counts) == 30
        assert max(counts) - min(counts) <= 2, counts
        base = service.node.url.removesuffix("/whip")
        for _ in range(6):  # as OpenAI's interface has it; each request over a connection of its own
            offer = aiohttp.ClientSession()
            async with offer as http, http.post(f"{base}/v1/realtime/calls", data=OFFER, headers=SDP) as response:
                assert response.status == 201
                place, node = response.headers["Location"], response.headers["X-Rtcrelay-Node"]
            async with aiohttp.ClientSession() as http, http.post(f"{base}{place}/hangup") as response:
                assert (response.status, response.headers["X-Rtcrelay-Node"]) == (200, node)


async def test_a_full_worker_gives_calls_to_one_that_has_room(tmp_path: Path) -> None:
    async with workers(tmp_path, 2, "--max-sessions", "3") as service, aiohttp.ClientSession() as http:
        statuses = [(await service.post(http))[0] for _ in range(8)]
        assert statuses == [201] * 6 + [503] * 2
        assert await service.counts() == [3, 3]


async def test_a_worker_that_is_killed_takes_only_its_sessions_and_comes_back(tmp_path: Path) -> None:
    async with workers(tmp_path, 2) as service, calling(service.node.url) as first, AsyncExitStack() as more:
        await first.until_talking()
        assert first.answer is not None
        assert first.answer.session_url is not None
        victim = int(str(first.answer.node)[-1])
        others: list[Caller] = []
        while len([c for c in others if c.answer and c.answer.node != first.answer.node]) < 1:
            others.append(await more.enter_async_context(calling(service.node.url)))
        survivor = others[-1]
        await survivor.until_talking()
        pids = await service.pids()
        os.kill(pids[victim], signal.SIGKILL)
        await until_gone([pids[victim]])

        async def back() -> str:
            return (await service.get("/metrics"))[1]

        await until(back, lambda text: f'worker_starts_total{{worker="{victim}"}} 2.0' in text, "another process")
        await until(back, lambda text: f'worker_up{{worker="{victim}"}} 1.0' in text, "a worker that is up")
        await until_more_is_heard(survivor)
        async with aiohttp.ClientSession() as http, http.delete(first.answer.session_url) as response:
            assert response.status == 404, "its sessions are over"
        async with AsyncExitStack() as again:  # it has the fewest sessions, and its port as before
            for _ in range(8):
                caller = await again.enter_async_context(calling(service.node.url))
                if caller.answer is not None and caller.answer.node == first.answer.node:
                    await caller.until_talking()
                    break
            else:
                pytest.fail("the worker that came back got no call")
        assert (await service.pids())[1 - victim] == pids[1 - victim]
        assert "killed by SIGKILL" in service.words()


async def test_sigterm_to_every_process_drains_and_a_second_one_to_the_parent_ends(tmp_path: Path) -> None:
    """systemd sends it to all of them, a terminal's Ctrl-C reaches the parent alone."""
    async with workers(tmp_path, 2, "--drain-timeout", "1h") as service, calling(service.node.url) as caller:
        await caller.until_talking()
        pids = await service.pids()
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        service.signal(signal.SIGTERM)
        await until(lambda: service.get("/readyz"), lambda page: page[0] == 503, "not ready")
        async with aiohttp.ClientSession() as http:
            assert (await service.post(http))[0] == 503
        await until_more_is_heard(caller)
        service.signal(signal.SIGINT)
        assert await ended(service.daemon) == 0
        await until(lambda: state_of(caller), lambda state: state is CallState.ENDED, "the caller is told")
        assert not [pid for pid in pids if is_alive(pid)]


async def test_when_the_parent_is_killed_no_worker_is_left(tmp_path: Path) -> None:
    async with workers(tmp_path, 2, "--drain-timeout", "1h") as service, calling(service.node.url) as caller:
        await caller.until_talking()
        pids = await service.pids()
        await service.daemon.kill()
        await until_gone(pids)
        await until(lambda: state_of(caller), lambda state: state is CallState.ENDED, "the caller is told")
        assert is_free(service.node.media[1])
        assert is_free(service.node.media[1] + 1)


async def test_metrics_and_health_are_those_of_all_workers(tmp_path: Path) -> None:
    async with workers(tmp_path, 2) as service, aiohttp.ClientSession() as http:
        for _ in range(4):
            assert (await service.post(http))[0] == 201
        for _ in range(5):  # whichever worker is asked
            status, text = await service.get("/metrics")
            assert status == 200
            for number in range(2):
                assert f'rtcrelay_transceiver_worker_up{{worker="{number}"}} 1.0' in text
            counts = re.findall(r'rtcrelay_transceiver_sessions{state="new",worker="([01])"} ([\d.]+)', text)
            assert sum(float(count) for _, count in counts) == 4
            assert {number for number, _ in counts} == {"0", "1"}
            lines = [line for line in text.splitlines() if line.startswith("# TYPE ")]
            assert len(lines) == len(set(lines)), "each family once"
        assert (await service.get("/readyz"))[0] == 200
        assert (await service.get("/healthz"))[0] == 200


async def test_reload_reaches_every_worker_and_a_wrong_file_none(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.touch(0o600)
    token.write_text("the-first-token-of-all\n")
    async with workers(tmp_path, 2, "--auth-token-file", str(token)) as service:

        async def statuses(words: str) -> set[int]:
            found = set()
            for _ in range(6):
                headers = {"Authorization": f"Bearer {words}", "Content-Type": "application/sdp"}
                async with aiohttp.ClientSession() as http, http.post(service.node.url, headers=headers) as response:
                    found.add(response.status)
            return found

        assert await statuses("the-first-token-of-all") == {422}
        token.write_text("the-second-token-of-all\n")
        service.signal(signal.SIGHUP)
        await until(lambda: statuses("the-second-token-of-all"), lambda seen: seen == {422}, "the other token")
        assert await statuses("the-first-token-of-all") == {401}
        token.write_text("short\n")
        service.signal(signal.SIGHUP)
        await service.until_said("everything stays as it was")
        assert service.words().count("everything stays as it was") == 1
        assert await statuses("the-second-token-of-all") == {422}
