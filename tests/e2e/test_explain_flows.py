"""``flows list`` of a relay that runs, and ``explain`` with it: what would become of a packet there, now?"""

from __future__ import annotations

from pathlib import Path

from rtcrelay.client.caller import calling
from rtcrelay.client.demo.site import Site
from rtcrelay.config.text import format_address

from .test_probe_route import rtcrelay

RTP = "8060" + "00" * 30


async def test_a_packet_of_a_running_call_is_explained_with_the_flows_of_its_relay(site: Site, tmp_path: Path) -> None:
    node = site.transceivers[0]
    relay = (
        *("-l", format_address(site.relay.vip), "--internal", format_address(site.relay.internal), "--cluster", "1"),
        *("--key-file", str(tmp_path / "relay.keys.toml"), "--transceivers", "127.0.0.1/32"),
    )
    flows = tmp_path / "flows.jsonl"
    async with calling(node.url) as caller:
        await caller.until_talking()
        status, out, err = await rtcrelay("flows", "list", "-A", str(site.relay.admin.socket), "-o", "jsonl")
        assert (status, len(out.splitlines())) == (0, 1), err
        assert caller.local is not None
        source = format_address(caller.local)
    flows.write_text(out)
    status, out, err = await rtcrelay("explain", RTP, "--from", source, *relay)
    assert (status, "dropped: no_route" in out) == (1, True), err
    status, out, err = await rtcrelay("explain", RTP, "--from", source, *relay, "--flows", str(flows))
    assert (status, err.splitlines()[0]) == (0, "1 claims of 1 paths taken over")
    assert f"forwarded to {format_address(node.media)} by its path" in out
