"""A call of Chromium's that keeps a diary: when it heard something, and through which ingress."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

CALL: Final = """async ({ url, equal }) => {
  const peer = new RTCPeerConnection({ iceServers: [], bundlePolicy: "max-bundle" });
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  for (const track of stream.getTracks()) peer.addTrack(track, stream);
  peer.createDataChannel("echo");
  await peer.setLocalDescription();
  const response = await fetch(url, {
    method: "POST", headers: { "Content-Type": "application/sdp" }, body: peer.localDescription.sdp });
  let sdp = await response.text();
  if (equal) {
    const priority = sdp.match(/^a=candidate:\\d+ 1 udp (\\d+) /m)[1];
    sdp = sdp.replace(/^a=candidate:\\d+ 1 udp \\d+ /mg, `a=candidate:1 1 udp ${priority} `);
  }
  const diary = { began: performance.now(), states: [], heard: [], pairs: [] };
  window.call = { peer, diary, session: response.headers.get("Location") };
  const at = () => performance.now() - diary.began;
  peer.onconnectionstatechange = () => diary.states.push([at(), peer.connectionState]);
  await peer.setRemoteDescription({ type: "answer", sdp });
  let packets = 0, pair = null;
  const look = async () => {
    const stats = await peer.getStats();
    const all = [...stats.values()];
    const inbound = all.find(each => each.type == "inbound-rtp");
    if (inbound && inbound.packetsReceived > packets) {
      packets = inbound.packetsReceived;
      diary.heard.push([at(), packets]);
    }
    const transport = all.find(each => each.type == "transport" && each.selectedCandidatePairId);
    const selected = transport && stats.get(transport.selectedCandidatePairId);
    const remote = selected && stats.get(selected.remoteCandidateId);
    if (remote && remote.port != pair) diary.pairs.push([at(), pair = remote.port]);
    window.call.timer = setTimeout(look, 20);
  };
  look();
}"""
DIARY: Final = "() => ({ now: performance.now() - window.call.diary.began, ...window.call.diary })"
PAIRS: Final = """async () => {
  const stats = await window.call.peer.getStats();
  return [...stats.values()].filter(each => each.type == "candidate-pair").map(each => ({
    port: stats.get(each.remoteCandidateId).port, state: each.state, nominated: each.nominated,
    checks: each.requestsSent, answers: each.responsesReceived, consents: each.consentRequestsSent }));
}"""
END: Final = """async () => {
  clearTimeout(window.call.timer);
  window.call.peer.close();
  await fetch(window.call.session, { method: "DELETE" });
}"""


@dataclass(frozen=True)
class Diary:
    """Times in milliseconds since the answer was there."""

    now: float
    states: list[tuple[float, str]]
    heard: list[tuple[float, int]]
    """When more voice had come, and how many packets by then; looked at every 20 to 70 ms."""
    pairs: list[tuple[float, int]]
    """When another pair was selected, and the port of its ingress."""

    @classmethod
    def read(cls, content: dict[str, Any]) -> Diary:
        """Out of what the page says."""
        states, heard, pairs = ([(at, what) for at, what in content[key]] for key in ("states", "heard", "pairs"))
        return cls(content["now"], states, heard, pairs)

    @property
    def first_heard_ms(self) -> float | None:
        """When the first voice came."""
        return self.heard[0][0] if self.heard else None

    @property
    def selected(self) -> int | None:
        """The port of the ingress that media goes through."""
        return self.pairs[-1][1] if self.pairs else None

    def gap_after(self, moment: float) -> float | None:
        """The longest time without voice from just before a moment on; None if none came after it."""
        times = [at for at, _ in self.heard]
        around = [at for at in times if at <= moment][-1:] + [at for at in times if at > moment]
        if not around or around[-1] <= moment:
            return None
        return max(after - before for before, after in pairwise(around))
