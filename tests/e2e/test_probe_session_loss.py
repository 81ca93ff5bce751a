"""The session probe's figures are what happened to the packets: as the path that lost and delayed them counted."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from rtcrelay.client.demo.processes import Daemon, free_ports, stop_all
from rtcrelay.keys import generate, write_key_file

from .lossy_path import Leg, lossy_path
from .test_probe_session import probed

LOSE_EVERY, DELAY_SECONDS = 10, 0.02


def loss_of(leg: Leg) -> float:
    return 100 * leg.lost / leg.media


async def test_loss_each_way_and_round_trips_are_those_of_the_path(tmp_path: Path) -> None:
    public, internal, media, http = free_ports(4)
    write_key_file(tmp_path / "keys.toml", generate())
    keys = ("--key-file", str(tmp_path / "keys.toml"))
    async with AsyncExitStack() as stack:
        relay = ["relay", "-l", f"127.0.0.1:{public}", "--internal", f"127.0.0.1:{internal}", *keys]
        relay += ["--transceivers", f"127.0.0.1/32:{media}", "--admin", str(tmp_path / "relay.sock")]
        path = await stack.enter_async_context(
            lossy_path(("127.0.0.1", public), lose_every=LOSE_EVERY, delay_seconds=DELAY_SECONDS)
        )
        transceiver = ["transceiver", "--media", f"127.0.0.1:{media}", "--http", f"127.0.0.1:{http}", *keys]
        transceiver += ["--ingress", f"127.0.0.1:{path.address[1]}", "--drain-timeout", "0s"]
        transceiver += ["--admin", str(tmp_path / "transceiver.sock")]
        daemons = (Daemon("relay", relay, tmp_path), Daemon("transceiver", transceiver, tmp_path))
        stack.push_async_callback(stop_all, daemons)
        for daemon in daemons:
            await daemon.start()
        status, row, err = await probed(f"http://127.0.0.1:{http}/whip", "--seconds", "6")
    assert (status, err) == (0, "")
    found = row["media"]
    assert found["received_loss_percent"] == pytest.approx(loss_of(path.down), abs=2)
    assert found["sent_loss_percent"] == pytest.approx(loss_of(path.up), abs=2)
    assert found["sent_lost"] > 0
    for name in ("echo_rtt_p50_ms", "stun_rtt_ms", "rtcp_rtt_ms"):
        assert 2000 * DELAY_SECONDS - 2 <= found[name] < 2000 * DELAY_SECONDS + 200, name
    steps = {step["name"]: step["took_ms"] for step in row["steps"]}
    assert steps["ice"] >= 2000 * DELAY_SECONDS - 1
    # Two round trips of DTLS, and the first audio comes at once.
    assert steps["dtls"] >= 2000 * DELAY_SECONDS - 1
