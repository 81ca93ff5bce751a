"""The answer names several ingresses, and the one that Chromium took dies: Chromium goes on by another by itself."""

from __future__ import annotations

from pathlib import Path

from .browser import open_page, requires_chromium
from .test_ice_restart import CALL, RECEIVED
from .tiers import Plan, tiers
from .waiting import until

pytestmark = requires_chromium

REMOTE = """async () => {
  const stats = await window.restart.peer.getStats();
  const transport = [...stats.values()].find(each => each.type == "transport" && each.selectedCandidatePairId);
  return stats.get(stats.get(transport.selectedCandidatePairId).remoteCandidateId).port;
}"""


async def test_a_call_of_chromium_outlives_its_ingress(tmp_path: Path) -> None:
    async with tiers(tmp_path, Plan(vips=3)) as world, open_page(f"http://127.0.0.1:{world.http}/") as browser:
        page, ports = browser.page, [ingress.public[1] for ingress in world.ingresses]
        await page.evaluate(CALL, world.url)
        before = await until(lambda: page.evaluate(RECEIVED), lambda seen: seen["packets"] >= 100, "audio")
        taken = await page.evaluate(REMOTE)
        assert taken in ports
        await world.ingresses[ports.index(taken)].daemon.kill()
        other = await until(lambda: page.evaluate(REMOTE), lambda port: port != taken, "another pair", 30.0)
        assert other in ports
        count = before["packets"] + 250  # more than the five seconds for which a dead path may look alive
        after = await until(lambda: page.evaluate(RECEIVED), lambda seen: seen["packets"] >= count, "audio", 30.0)
        assert after["state"] == "connected"
        stats = await world.transceiver_admin.stats()
        assert stats.count("sessions_created") == stats.count("dtls_connected") == 1, "the same call"
