"""Records ``chromium.pcap`` and ``chromium.passwords``: Chromium calls through a relay on this machine.

Run from tests/, with chromium, tcpdump and its rights: ``python -m vectors.captures.make_chromium_call``. The relay
takes 127.0.0.1:3478 and :3479, the transceiver :7000; the key is the published one of ``rtcrelay demo``. Nobody's
address, voice or secret is in the files: the host's address was 192.0.2.2, the microphone is Chromium's fake one, which
beeps.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

from e2e.browser import open_page

from rtcrelay.client.demo.site import DEFAULT_PORTS, Site, SiteOptions

HERE = Path(__file__).parent
FRAMES = 300
CLUSTER = 7


async def record(capture: Path, ports: tuple[int, ...] = DEFAULT_PORTS[:4]) -> str:
    """Records the first `FRAMES` packets of a call, client leg and SPP leg; returns the two ICE passwords by ufrag."""
    with tempfile.TemporaryDirectory() as directory:
        site = Site(Path(directory), SiteOptions(nodes=("a",), cluster=CLUSTER, ports=ports))
        try:
            await site.start()
            public, internal = site.relay.vip[1], site.relay.internal[1]
            command = ["tcpdump", "-i", "lo", "-U", "-c", str(FRAMES), "-w", str(capture)]
            dump = await asyncio.create_subprocess_exec(
                *command, f"udp port {public} or udp port {internal}", stderr=PIPE
            )
            try:
                assert dump.stderr is not None
                await dump.stderr.readline()  # it listens
                return await _call(site.transceivers[0].page, dump)
            finally:
                if dump.returncode is None:
                    dump.terminate()
                    await dump.wait()
        finally:
            await site.stop()


async def _call(url: str, dump: asyncio.subprocess.Process) -> str:
    """Calls until tcpdump has enough; returns what offer and answer say of ufrags and passwords."""
    texts: list[str] = []

    async def keep(response: Any) -> None:
        if response.request.method == "POST":
            texts.extend((response.request.post_data or "", await response.text()))

    async with open_page(url) as call:
        call.page.on("response", keep)
        await call.press("Call")
        await call.until_state("connected")
        await asyncio.wait_for(dump.wait(), 20)
    lines = []
    for text in texts:
        values = dict(re.findall(r"a=ice-(ufrag|pwd):(\S+)", text))
        lines.append(f"{values['ufrag']} {values['pwd']}\n")
    return "".join(lines)


if __name__ == "__main__":
    (HERE / "chromium.passwords").write_text(asyncio.run(record(HERE / "chromium.pcap")))
