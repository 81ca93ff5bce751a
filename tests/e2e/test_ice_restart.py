"""Chromium restarts ICE by PATCH, as on a change of network: media goes on, on one DTLS connection."""

from __future__ import annotations

from rtcrelay.client.demo.site import Site

from .browser import open_page, requires_chromium
from .waiting import until

pytestmark = requires_chromium

CALL = """async url => {
  const peer = new RTCPeerConnection({ iceServers: [] });
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  for (const track of stream.getTracks()) peer.addTrack(track, stream);
  peer.createDataChannel("echo");
  await peer.setLocalDescription();
  const response = await fetch(url, {
    method: "POST", headers: { "Content-Type": "application/sdp" }, body: peer.localDescription.sdp });
  await peer.setRemoteDescription({ type: "answer", sdp: await response.text() });
  window.restart = { peer, session: response.headers.get("Location"), etag: response.headers.get("ETag") };
}"""

PICK = """
  const pick = (sdp, name) => sdp.match(new RegExp("^a=" + name + ":(\\\\S+)", "m"))[1];
  const fragment = (sdp, candidates) => ["a=ice-ufrag:" + pick(sdp, "ice-ufrag"), "a=ice-pwd:" + pick(sdp, "ice-pwd"),
    "m=audio 9 UDP/TLS/RTP/SAVPF 0", "a=mid:" + pick(sdp, "mid"), ...candidates].join("\\r\\n") + "\\r\\n";
  const send = (if_match, body) => fetch(window.restart.session, { method: "PATCH", body, headers: {
    "Content-Type": "application/trickle-ice-sdpfrag", "If-Match": if_match } });
"""

TRICKLE = (
    """async () => {
  const { peer, etag } = window.restart;"""
    + PICK
    + """
  const sdp = peer.localDescription.sdp;
  const response = await send(etag, fragment(sdp, [...sdp.matchAll(/^a=candidate:.*$/mg)].map(line => line[0])));
  return response.status;
}"""
)

RESTART = (
    """async () => {
  const { peer } = window.restart;"""
    + PICK
    + """
  await peer.setLocalDescription(await peer.createOffer({ iceRestart: true }));
  const response = await send("*", fragment(peer.localDescription.sdp, []));
  const answer = await response.text();
  if (response.status != 200) return { status: response.status, answer };
  const sdp = peer.remoteDescription.sdp
    .replace(/^a=ice-ufrag:.*$/mg, "a=ice-ufrag:" + pick(answer, "ice-ufrag"))
    .replace(/^a=ice-pwd:.*$/mg, "a=ice-pwd:" + pick(answer, "ice-pwd"));
  await peer.setRemoteDescription({ type: "answer", sdp });
  return { status: response.status, etag: response.headers.get("ETag"), ufrag: pick(answer, "ice-ufrag") };
}"""
)

RECEIVED = """async () => {
  let seen = { packets: 0, lost: 0, state: window.restart.peer.connectionState };
  for (const each of (await window.restart.peer.getStats()).values())
    if (each.type == "inbound-rtp") seen = { ...seen, packets: each.packetsReceived, lost: each.packetsLost };
  return seen;
}"""


async def test_an_ice_restart_of_chromium_costs_no_call(site: Site) -> None:
    node = site.transceivers[0]
    async with open_page(node.page) as browser:
        page = browser.page
        await page.evaluate(CALL, node.url)
        await until(lambda: page.evaluate(RECEIVED), lambda seen: seen["packets"] >= 50, "audio")
        assert await page.evaluate(TRICKLE) == 204
        (before,) = await node.admin.sessions()

        restarted = await page.evaluate(RESTART)
        assert restarted["status"] == 200, restarted
        assert restarted["etag"] != await page.evaluate("window.restart.etag")
        assert restarted["ufrag"] != before["ufrag"]

        async def session() -> dict[str, object]:
            (row,) = await node.admin.sessions()
            return dict(row)

        # Chromium restarts on a new socket: the session follows it there.
        await until(
            session, lambda row: row["client"] != before["client"] and bool(row["path_validated"]), "the new socket"
        )
        heard = await page.evaluate(RECEIVED)
        after = await until(
            lambda: page.evaluate(RECEIVED), lambda seen: seen["packets"] >= heard["packets"] + 150, "audio goes on"
        )
        assert after["state"] == "connected"
        assert after["lost"] <= 5
        stats = await node.admin.stats()
        assert stats.count("ice_restarts") == 1
        assert stats.count("sessions_created") == stats.count("dtls_connected") == 1
        assert stats.count("validations_answered") >= 1
        assert (await session())["ufrag"] == restarted["ufrag"]
