"""Where packets vanish, a relay says: real processes, a client whose path loses packets, a transceiver whose does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from rtcrelay.client.caller import Caller, calling
from rtcrelay.client.demo.admin import Admin
from rtcrelay.client.demo.processes import Daemon, free_ports, stop_all
from rtcrelay.keys import generate, write_key_file

from .lossy_path import Leg, LossyPath, LossySpp, lossy_path, lossy_spp
from .waiting import until

LOSE_EVERY = 10
PACKETS = 300
NEVER = 1 << 30
NODE = "5"


@asynccontextmanager
async def call_over(tmp_path: Path, client_loses: int, transceiver_loses: int) -> AsyncIterator[tuple[Any, ...]]:
    """A call through a relay with a lossy path on either side of it: (caller, relay, client's path, transceiver's)."""
    public, internal, media, http = free_ports(4)
    write_key_file(tmp_path / "keys.toml", generate())
    keys = ("--key-file", str(tmp_path / "keys.toml"))
    async with AsyncExitStack() as stack:
        near = await stack.enter_async_context(
            lossy_path(("127.0.0.1", public), lose_every=client_loses, delay_seconds=0.0)
        )
        far = await stack.enter_async_context(lossy_spp(lose_every=transceiver_loses))
        far.transceiver, far.relay = ("127.0.0.1", media), ("127.0.0.1", internal)
        spp = f"127.0.0.1:{far.address[1]}"
        relay = ["relay", "-l", f"127.0.0.1:{public}", "--internal", f"127.0.0.1:{internal}", *keys]
        relay += ["--transceivers", spp, "--nodes", f"{NODE}={spp}", "--admin", str(tmp_path / "relay.sock")]
        transceiver = ["transceiver", "--media", f"127.0.0.1:{media}", "--http", f"127.0.0.1:{http}", *keys]
        transceiver += ["--node-id", NODE, "--ingress", f"127.0.0.1:{near.address[1]}", "--drain-timeout", "0s"]
        transceiver += ["--admin", str(tmp_path / "transceiver.sock")]
        daemons = (Daemon("relay", relay, tmp_path), Daemon("transceiver", transceiver, tmp_path))
        stack.push_async_callback(stop_all, daemons)
        for daemon in daemons:
            await daemon.start()
        caller = await stack.enter_async_context(calling(f"http://127.0.0.1:{http}/whip"))
        yield caller, Admin(tmp_path / "relay.sock"), near, far


async def spoken(caller: Caller, admin: Admin) -> dict[str, Any]:
    """The only flow once both directions had enough packets."""
    await caller.until(lambda: caller.call.counts(0.0).audio_received >= PACKETS, "enough audio is back", 30.0)
    (flow,) = await admin.flows()
    return flow


def loss_of(leg: Leg) -> float:
    return 100 * leg.lost / leg.media


@pytest.mark.parametrize("lossy", ["client", "transceiver"])
async def test_loss_is_told_of_the_leg_where_it_happens(tmp_path: Path, lossy: str) -> None:
    loses = (LOSE_EVERY, NEVER) if lossy == "client" else (NEVER, LOSE_EVERY)
    near: LossyPath
    far: LossySpp
    async with call_over(tmp_path, *loses) as (caller, admin, near, far):
        flow = await spoken(caller, admin)
        said = {"client": flow["from_client"]["loss_percent"], "transceiver": flow["to_client"]["loss_percent"]}
        injected = {"client": loss_of(near.up), "transceiver": loss_of(far.down)}
        other = "transceiver" if lossy == "client" else "client"
        assert injected[lossy] > 9, "it is lossy"
        assert said[lossy] == pytest.approx(injected[lossy], rel=0.1)
        assert injected[other] == 0
        assert said[other] == 0
        assert flow["one_way"] is None


async def test_a_call_with_media_one_way_only_is_flagged(tmp_path: Path) -> None:
    async with call_over(tmp_path, NEVER, 1) as (caller, admin, near, _):

        async def flow() -> dict[str, Any]:
            return next(iter(await admin.flows()), {})

        seen = await until(flow, lambda flow: flow.get("one_way") is not None, "the flow is flagged")
        assert seen["one_way"] == "client"
        assert seen["packets_out"] > 0, "checks are answered"
        assert near.up.media >= 100
        assert caller.call.counts(0.0).audio_received == 0
