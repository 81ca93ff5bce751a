"""A transceiver in front of the parrot's WebSocket, and a page that was written for OpenAI's WebRTC interface."""

from __future__ import annotations

import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from rtcrelay.audio.opus import Decoder
from rtcrelay.client.demo.processes import Daemon, free_ports
from rtcrelay.client.speech import SPEECH_FILE
from rtcrelay.keys import generate, write_key_file
from rtcrelay.rtc.ogg import read_opus_packets

PAGE = """<!doctype html><meta charset="utf-8"><title>call</title><script>
// As OpenAI's guide to its realtime interface over WebRTC has it, but for the base URL and the notes that it takes.
window.notes = [];
window.note = (what, more) => window.notes.push({ at: performance.now(), what, ...more });
window.call = async (base, key) => {
  const pc = (window.pc = new RTCPeerConnection());
  const audioElement = document.createElement("audio");
  audioElement.autoplay = true;
  pc.ontrack = (e) => (audioElement.srcObject = e.streams[0]);
  const ms = await navigator.mediaDevices.getUserMedia({ audio: true });
  pc.addTrack(ms.getTracks()[0]);
  const dc = (window.dc = pc.createDataChannel("oai-events"));
  dc.addEventListener("message", (e) => note("event", { event: JSON.parse(e.data) }));
  dc.addEventListener("open", () => note("open"));
  pc.addEventListener("connectionstatechange", () => note(pc.connectionState));
  const offer = await pc.createOffer();
  await pc.setLocalDescription(offer);
  const sdpResponse = await fetch(`${base}/v1/realtime/calls`, {
    method: "POST",
    body: offer.sdp,
    headers: { Authorization: `Bearer ${key}`, "Content-Type": "application/sdp" },
  });
  const answer = { type: "answer", sdp: await sdpResponse.text() };
  if (window.port) answer.sdp = answer.sdp.replace(/127\\.0\\.0\\.1 [0-9]+ typ/g, `127.0.0.1 ${port} typ`);
  await pc.setRemoteDescription(answer);
  note("answered");
  window.place = sdpResponse.headers.get("Location");
};
window.energy = async () => {
  let total = 0;
  for (const report of (await pc.getStats()).values())
    if (report.type === "inbound-rtp") total = report.totalAudioEnergy ?? 0;
  return total;
};
setInterval(async () => window.pc?.remoteDescription && note("energy", { energy: await energy() }), 50);
</script>"""


@dataclass(frozen=True)
class VoiceService:
    """The processes, ready."""

    transceiver: Daemon
    parrot: Daemon
    base: str
    """URL of signaling."""
    page: str
    """URL of the page, on another origin."""
    admin: Path
    direct: tuple[str, int]
    """Where media goes without a relay."""


@asynccontextmanager
async def voice_service(
    directory: Path, *options: str, backend: str = "ws://{}/v1/realtime"
) -> AsyncIterator[VoiceService]:
    """The parrot, a transceiver that answers with it, and a web server with the page."""
    speaking, http, media, direct, pages = free_ports(5)
    keys, admin = directory / "keys.toml", directory / "admin.sock"
    write_key_file(keys, generate())
    parrot = Daemon("parrot", ["parrot", "--http", f"127.0.0.1:{speaking}"], directory)
    arguments = ["transceiver", "--key-file", str(keys), "--http", f"127.0.0.1:{http}", "--admin", str(admin)]
    arguments += [
        "--media",
        f"127.0.0.1:{media}",
        "--direct",
        f"127.0.0.1:{direct}",
        "--ingress",
        f"127.0.0.1:{direct}",
    ]
    arguments += ["--cors-origin", f"http://127.0.0.1:{pages}", "--node", "voice"]
    arguments += ["--backend", backend.format(f"127.0.0.1:{speaking}"), *options]
    transceiver = Daemon("transceiver", arguments, directory)

    async def page(_: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")

    app = web.Application()
    app.router.add_get("/", page)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", pages).start()
    try:
        await parrot.start()
        await transceiver.start()
        base = f"http://127.0.0.1:{http}"
        yield VoiceService(transceiver, parrot, base, f"http://127.0.0.1:{pages}/", admin, ("127.0.0.1", direct))
    finally:
        await transceiver.stop()
        await parrot.stop()
        await runner.cleanup()


def write_microphone(path: Path, *parts: float | tuple[float, float]) -> None:
    """A WAV file: seconds of silence, or (from, to) in seconds of the recorded voice, one after the other."""
    rate = 48_000
    decoder = Decoder(48_000)
    voice = b"".join(decoder.decode(payload) for payload in read_opus_packets(SPEECH_FILE))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        for part in parts:
            if isinstance(part, tuple):
                file.writeframes(voice[int(part[0] * rate) * 2 : int(part[1] * rate) * 2])
            else:
                file.writeframes(bytes(int(part * rate) * 2))
