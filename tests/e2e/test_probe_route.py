"""``rtcrelay probe route`` and probe ufrags against real processes: who answers, who does not, and nothing stays."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from rtcrelay.client.demo.site import Site
from rtcrelay.config.text import format_address


async def rtcrelay(*args: str) -> tuple[int, str, str]:
    """(status, stdout, stderr) of a command line."""
    command = [sys.executable, "-m", "rtcrelay", *args]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def probed(site: Site, *args: str, command: str = "route") -> tuple[int, dict[str, Any]]:
    quick = ("-c", "2", "-i", "20ms", "-W", "300ms", "--json")
    status, out, err = await rtcrelay("probe", command, format_address(site.relay.vip), *quick, *args)
    assert out, err
    row: dict[str, Any] = json.loads(out)
    return status, row


def to(site: Site, number: int = 0, cluster: str = "1") -> tuple[str, ...]:
    return ("--endpoint", format_address(site.transceivers[number].media), "--cluster", cluster)


async def test_a_route_is_probed_hop_by_hop_and_nothing_stays(site: Site) -> None:
    for number in (0, 1):
        status, row = await probed(site, *to(site, number))
        assert (status, row["works"]) == (0, True)
        assert [(hop["hop"], hop["answers"], hop["received"]) for hop in row["hops"]] == [
            ("relay", True, 2),
            ("transceiver", True, 2),
        ]
        assert row["inner_rtt_ms"] is not None
        stats = await site.transceivers[number].admin.stats()
        assert stats.count("probes_answered") == 2
        assert stats.count("sessions_created") == 0
    assert await site.relay.admin.flows() == []
    relay = await site.relay.admin.stats()
    assert relay.count("claims_opened") == 0


async def test_the_configured_key_file_is_used(site: Site, tmp_path: Path) -> None:
    keys = ("--key-file", str(tmp_path / "relay.keys.toml"))
    status, row = await probed(site, *to(site), *keys)
    assert (status, row["key_id"]) == (0, 0)
    status, summary = await probed(site, *to(site), *keys, command="stun")
    assert (status, summary["received"]) == (0, 2)


async def test_a_transceiver_that_is_not_there_is_told_from_a_relay_that_is_not(site: Site) -> None:
    status, row = await probed(site, *to(site, cluster="2"))
    assert (status, row["works"], [hop["answers"] for hop in row["hops"]]) == (1, False, [True, False])
    assert row["verdict"].startswith("the relay answers, and no transceiver at 127.0.0.1:")
    await site.relay.daemon.kill()
    status, row = await probed(site, *to(site))
    assert (status, [hop["answers"] for hop in row["hops"]]) == (1, [False, False])
    assert row["verdict"] == f"no relay answers at {row['relay']} (ICMP from 127.0.0.1: connection refused)"
    assert len(row["hints"]) == 2


async def test_a_probe_with_a_wrong_signature_is_not_answered(site: Site) -> None:
    status, row = await probed(site, *to(site), "--bad", "integrity", command="stun")
    assert (status, row["received"], row["unanswered"]) == (1, 0, 2)


async def test_a_person_sees_both_hops_and_where_to_look(site: Site) -> None:
    vip = format_address(site.relay.vip)
    status, out, err = await rtcrelay("probe", "route", vip, *to(site), "-c1")
    assert (status, err) == (0, "")
    head, relay, transceiver, inner, verdict = out.splitlines()
    assert head.split()[:3] == ["HOP", "WHERE", "ANSWERED"]
    assert relay.startswith("relay        ")
    assert "1 of 1" in transceiver
    assert inner.startswith("relay to transceiver and back: about ")
    assert verdict == "the route works: the relay passes it on, and the transceiver has key 0"
    assert max(map(len, out.splitlines())) <= 80
    status, out, err = await rtcrelay("probe", "route", vip, *to(site, cluster="2"), "-c1", "-W100ms")
    assert (status, len(err.splitlines())) == (1, 2)
    assert all(line.startswith("hint: the ") for line in err.splitlines())
