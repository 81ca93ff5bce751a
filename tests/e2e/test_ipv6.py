"""IPv6 end to end: clients that reach an IPv6 address, in front of transceivers of either version."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aioice.ice
import pytest

from rtcrelay.client.caller import calling
from rtcrelay.client.demo.admin import Admin
from rtcrelay.client.demo.processes import Daemon, free_ports, stop_all
from rtcrelay.config.text import format_address
from rtcrelay.keys import generate, write_key_file

from .aiortc_caller import aiortc_call
from .browser import browser_call
from .waiting import until

NODE_ID = 4242


@dataclass(frozen=True)
class Lab:
    """A relay whose VIP is IPv6, and one transceiver behind it."""

    url: str
    vip: str
    media: str
    relay: Admin
    transceiver: Admin

    async def session(self) -> dict[str, Any]:
        """The only one."""
        (session,) = await self.transceiver.sessions()
        return session

    async def expect_route(self, client: str) -> None:
        """The relay sends the client's packets to the transceiver, and by nothing but its ufrag knew where."""
        flow = await self.relay.flow(client)
        assert flow is not None
        assert [claim["next_hop"] for claim in flow["claims"]] == [self.media]


@pytest.fixture(params=["127.0.0.1", "::1"], ids=["IPv4 inside", "IPv6 inside"])
async def lab(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Lab]:
    """A transceiver at an IPv4 address, as is usual, or at an IPv6 one, which only a node id names in a ufrag."""
    inside: str = request.param
    public, internal, media, http = free_ports(4)
    keys = tmp_path / "keys.toml"
    write_key_file(keys, generate())
    vip, media_address = format_address(("::1", public)), format_address((inside, media))
    internal_address = format_address((inside, internal))
    nodes = [] if inside == "127.0.0.1" else ["--nodes", f"{NODE_ID}={media_address}"]
    network = f"127.0.0.1/32:{media}" if inside == "127.0.0.1" else f"[::1/128]:{media}"
    relay = Daemon(
        "relay",
        [
            *("relay", "-l", vip, "--internal", internal_address, "--transceivers", network),
            *("--key-file", str(keys), "--admin", str(tmp_path / "relay.sock"), *nodes),
        ],
        tmp_path,
    )
    transceiver = Daemon(
        "transceiver",
        [
            *("transceiver", "--http", f"127.0.0.1:{http}", "--media", media_address, "--ingress", vip),
            *("--relays", f"{inside}/{32 if inside == '127.0.0.1' else 128}", "--key-file", str(keys)),
            *("--admin", str(tmp_path / "transceiver.sock"), "--drain-timeout", "0s"),
            *(["--node-id", str(NODE_ID)] if nodes else []),
        ],
        tmp_path,
    )
    async with AsyncExitStack() as stack:
        stack.push_async_callback(stop_all, [relay, transceiver])
        await relay.start()
        await transceiver.start()
        admins = Admin(tmp_path / "relay.sock"), Admin(tmp_path / "transceiver.sock")
        yield Lab(f"http://127.0.0.1:{http}/whip", vip, media_address, *admins)


async def test_the_synthetic_client_calls_moves_and_hangs_up_over_ipv6(lab: Lab) -> None:
    async with calling(lab.url, channel="echo") as caller:
        assert [format_address(candidate) for candidate in caller.call.candidates] == [lab.vip]
        await caller.until_talking()
        assert caller.channel is not None
        await caller.until(lambda: caller.channel is not None and caller.channel.is_open, "no channel", 20.0)
        assert caller.local is not None
        assert caller.local[0] == "::1"
        assert (await lab.session())["client"] == format_address(caller.local)
        await lab.expect_route(format_address(caller.local))
        await caller.move()
        before = caller.call.counts(0.0).audio_received
        await caller.until(lambda: caller.call.counts(0.0).audio_received >= before + 50, "audio follows", 20.0)

        async def session() -> dict[str, Any]:
            return await lab.session()

        await until(session, lambda row: bool(row["path_validated"]) and row["moves"] == 1, "the new address proved")
        await lab.expect_route(format_address(caller.local))
        counts = caller.call.counts(0.0)
        assert counts.srtp_refused == 0
        assert await caller.hang_up() == 200


async def test_stock_aiortc_calls_over_ipv6(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    # aioice leaves out loopback, and a machine of tests may have no other IPv6 address.
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda use_ipv4, use_ipv6: ["::1"])
    async with aiortc_call(lab.url) as call:
        await call.until_frames(50)
        call.channel.send("over IPv6")
        await call.until_message("over IPv6")
        assert call.loudest > 1000
        client = (await lab.session())["client"]
        assert client.startswith("[::1]:")
        await lab.expect_route(client)


@pytest.mark.requires(module="playwright", install="pip install playwright")
@pytest.mark.requires(file="/usr/bin/chromium", install="apt-get install chromium")
async def test_chromium_calls_over_ipv6(lab: Lab) -> None:
    async with browser_call(lab.url.removesuffix("whip"), "--allow-loopback-in-peer-connection") as call:
        await call.until_state("connected")
        await call.until_stats("packetsReceived", 50)
        client = (await lab.session())["client"]
        assert client.startswith("[")  # whichever IPv6 address of this machine Chromium prefers
        await lab.expect_route(client)
