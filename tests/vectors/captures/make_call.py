"""Records ``call.pcap`` and ``call.passwords``: a stock aiortc client calls through a relay on this machine.

Run from tests/, with tcpdump and its rights: ``python -m vectors.captures.make_call``. The relay takes 127.0.0.1:3478
and :3479, the transceiver :7000; the key is the published one of ``rtcrelay demo``. Nobody's address,
voice or secret is in the files: the host's address was 192.0.2.2, the voice is the test sentence of the package.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
from asyncio.subprocess import PIPE
from pathlib import Path

from e2e.aiortc_caller import aiortc_call

from rtcrelay.client.demo.site import DEFAULT_PORTS, Site, SiteOptions

HERE = Path(__file__).parent
FRAMES = 120


async def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        site = Site(Path(directory), SiteOptions(nodes=("a",), cluster=7, ports=DEFAULT_PORTS[:4]))
        try:
            await site.start()
            command = ["tcpdump", "-i", "lo", "-U", "-c", str(FRAMES), "-w", str(HERE / "call.pcap")]
            dump = await asyncio.create_subprocess_exec(*command, "udp port 3478 or udp port 3479", stderr=PIPE)
            try:
                assert dump.stderr is not None
                await dump.stderr.readline()  # it listens
                async with aiortc_call(site.transceivers[0].url) as call:
                    await call.until_frames(50)
                    local = call.peer.localDescription.sdp
                    answer = call.peer.remoteDescription.sdp
                await asyncio.wait_for(dump.wait(), 5)
            finally:
                if dump.returncode is None:
                    dump.terminate()
        finally:
            await site.stop()
    passwords = {}
    for text in (local, answer):
        values = dict(line[2:].split(":", 1) for line in text.splitlines() if re.match("a=ice-(ufrag|pwd):", line))
        passwords[values["ice-ufrag"]] = values["ice-pwd"]
    (HERE / "call.passwords").write_text("".join(f"{ufrag} {password}\n" for ufrag, password in passwords.items()))


if __name__ == "__main__":
    asyncio.run(main())
