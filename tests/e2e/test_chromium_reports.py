"""Loss, jitter and round trip over a lossy path: what our side counts is what Chromium's `getStats` says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rtcrelay.client.demo.admin import Admin
from rtcrelay.client.demo.processes import Daemon, free_ports
from rtcrelay.keys import generate, write_key_file

from .browser import open_page, requires_chromium
from .lossy_path import LossyPath, lossy_path
from .waiting import until

if TYPE_CHECKING:
    from playwright.async_api import Page

pytestmark = [*requires_chromium, pytest.mark.timeout(120)]

LOSE_EVERY = 33
"""3 %, both ways."""
DELAY_SECONDS = 0.04
JITTER_SECONDS = 0.008
"""Each way, media by so much more or less: large enough that 5 % of a round trip and of the jitter are something."""
PACKETS = 1000
"""20 s, in which 30 are lost."""
TOLERANCE = 0.05

CALL = """async ([url, port]) => {
  const peer = window.peer = new RTCPeerConnection();
  const stream = await navigator.mediaDevices.getUserMedia({audio: true});
  window.sender = peer.addTrack(stream.getAudioTracks()[0], stream);
  window.channel = peer.createDataChannel("stats");
  window.messages = [];
  window.channel.onmessage = event => window.messages.push(JSON.parse(event.data));
  await peer.setLocalDescription(await peer.createOffer());
  const response = await fetch(url, {
    method: "POST", headers: {"Content-Type": "application/sdp"}, body: peer.localDescription.sdp});
  const lines = (await response.text()).split("\\r\\n");
  const kept = lines.filter(line => !line.startsWith("a=candidate:") || line.includes(" " + port + " typ"));
  await peer.setRemoteDescription({type: "answer", sdp: kept.join("\\r\\n")});
}"""
STATS = """async () => {
  const found = {};
  for (const report of (await window.peer.getStats()).values())
    if (report.kind === "audio" || report.type === "candidate-pair" && report.nominated) found[report.type] = report;
  return found;
}"""
HUSH = """async () => {
  const parameters = window.sender.getParameters();
  parameters.encodings[0].active = false;
  await window.sender.setParameters(parameters);
}"""


class Lab:
    """A transceiver process behind a lossy path."""

    def __init__(self, url: str, path: LossyPath, admin: Admin) -> None:
        self.url, self.path, self.admin = url, path, admin

    async def session(self) -> dict[str, Any]:
        """What `/v1/sessions` says of the only one."""
        (session,) = await self.admin.sessions()
        return session


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    media, http, direct = free_ports(3)
    key_file = tmp_path / "keys.toml"
    write_key_file(key_file, generate())
    async with lossy_path(
        ("127.0.0.1", direct), lose_every=LOSE_EVERY, delay_seconds=DELAY_SECONDS, jitter_seconds=JITTER_SECONDS
    ) as path:
        arguments = ["transceiver", "--key-file", str(key_file), "--admin", str(tmp_path / "admin.sock")]
        arguments += ["--media", f"127.0.0.1:{media}", "--http", f"127.0.0.1:{http}"]
        arguments += ["--direct", f"127.0.0.1:{direct}", "--ingress", f"{path.address[0]}:{path.address[1]}"]
        daemon = Daemon("lab", arguments, tmp_path)
        await daemon.start()
        try:
            yield Lab(f"http://127.0.0.1:{http}", path, Admin(tmp_path / "admin.sock"))
        finally:
            await daemon.stop()


def near(ours: float, theirs: float, least: float = 0.0) -> bool:
    """Within 5 % of each other, or ``least`` where that is less than what counting can resolve."""
    return abs(ours - theirs) <= max(least, TOLERANCE * abs(theirs))


@dataclass
class Trips:
    """Round trips in milliseconds, each once."""

    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)

    async def look(self, lab: Lab, page: Page) -> None:
        """Adds what is new."""
        ours = (await lab.session())["round_trip_ms"]
        theirs = (await page.evaluate(STATS)).get("remote-inbound-rtp", {}).get("roundTripTime")
        if ours is not None and ours not in self.ours:
            self.ours.append(ours)
        if theirs is not None and 1000 * theirs not in self.theirs:
            self.theirs.append(1000 * theirs)


async def speak_and_settle(lab: Lab, page: Page, trips: Trips) -> tuple[dict[str, Any], dict[str, Any]]:
    """A call of 20 s; then no more audio, until both sides have reported everything. Returns (ours, Chromium's)."""
    await page.evaluate(CALL, [f"{lab.url}/whip", lab.path.address[1]])

    async def spoken() -> int:
        await trips.look(lab, page)
        await asyncio.sleep(0.3)
        return lab.path.up.media

    await until(lambda: lab.admin.sessions(), bool, "a session", 20.0)
    await until(spoken, lambda count: count >= PACKETS, f"{PACKETS} packets of audio", 45)
    await page.evaluate(HUSH)

    async def both() -> tuple[dict[str, Any], dict[str, Any]]:
        return await lab.session(), await page.evaluate(STATS)

    def is_settled(seen: tuple[dict[str, Any], dict[str, Any]]) -> bool:
        ours, theirs = seen
        told = theirs.get("remote-inbound-rtp", {})
        # A report of before the last packets may have the same loss; the one after them has the same jitter, too.
        is_last = near(ours["jitter_in_ms"], 1000 * told.get("jitter", 0.0))
        same_loss = told.get("packetsLost") == ours["rtp_lost_in"]
        return bool(is_last and same_loss and ours["rtp_lost_out"] == theirs["inbound-rtp"]["packetsLost"])

    # Chromium's own reports come every 2.5 to 7.5 s.
    await asyncio.sleep(1.0)
    return await until(both, is_settled, "the same loss on both sides", 20)


async def test_loss_jitter_and_round_trip_agree_with_chromium(lab: Lab) -> None:
    async with open_page(lab.url) as opened:
        page = opened.page
        trips = Trips()
        ours, theirs = await speak_and_settle(lab, page, trips)
        outbound, remote = theirs["outbound-rtp"], theirs["remote-inbound-rtp"]
        inbound, path = theirs["inbound-rtp"], lab.path
        # What the client sent: everything that did not come was lost on the way, and nothing else.
        assert near(ours["rtp_packets_in"] + ours["rtp_lost_in"], outbound["packetsSent"])
        assert near(ours["rtp_lost_in"], path.up.lost, 1)
        assert near(ours["rtp_lost_in"], remote["packetsLost"])
        assert near(ours["rtp_bytes_in"] * (1 + path.up.lost / path.up.media), outbound["bytesSent"])
        # What the client received.
        assert near(ours["rtp_packets_out"], inbound["packetsReceived"] + inbound["packetsLost"], 1)
        assert near(ours["rtp_lost_out"], inbound["packetsLost"])
        assert near(ours["rtp_lost_out"], path.down.lost, 1)
        # Jitter: what Chromium was told is our figure; its own comes in whole milliseconds.
        assert near(ours["jitter_in_ms"], 1000 * remote["jitter"])
        assert near(ours["jitter_out_ms"], 1000 * inbound["jitter"], 0.5)
        assert ours["jitter_in_ms"] > 1000 * JITTER_SECONDS / 2
        # Round trip: each side measures its own, at other times; the least of several is the path's, whatever load
        # the machine has.
        assert 2000 * DELAY_SECONDS <= min(trips.ours) <= 2000 * DELAY_SECONDS + 20
        assert near(min(trips.ours), min(trips.theirs))


async def test_a_channel_labelled_stats_tells_the_client_the_same(lab: Lab) -> None:
    async with open_page(lab.url) as opened:
        page = opened.page
        await page.evaluate(CALL, [f"{lab.url}/whip", lab.path.address[1]])

        async def messages() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = await page.evaluate("window.messages")
            return found

        seen = await until(messages, lambda found: len(found) >= 5, "five messages", 20)
        ages = [message["age_s"] for message in seen]
        assert all(0.8 < b - a < 1.3 for a, b in pairwise(ages))
        session = await lab.session()
        assert seen[-1]["type"] == "stats"
        assert seen[-1]["session"] == session["id"]
        assert 0 < seen[-1]["rtp_packets_in"] <= session["rtp_packets_in"]
