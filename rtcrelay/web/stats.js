// What getStats says about a call, as one small sample a second. No DOM.

// `reports` is an RTCStatsReport, `before` the last sample of the same call or null. Ratios are from 0 to 1;
// null: not known. Loss is that of the time since `before`.
export function readSample(reports, before) {
  const all = [...reports.values()];
  const audio = (type) => all.find((report) => report.type === type && report.kind === "audio");
  const inbound = audio("inbound-rtp");
  const outbound = audio("outbound-rtp");
  const theirs = audio("remote-inbound-rtp");   // from the server's receiver reports, if it sends any
  const pair = selectedPair(all);
  const remote = all.find((report) => report.id === pair?.remoteCandidateId);
  const transport = all.find((report) => report.type === "transport");
  const packetsReceived = inbound?.packetsReceived ?? 0;
  const packetsLost = inbound?.packetsLost ?? 0;
  // Grows with everything that comes, answers to ICE's checks included; its value means nothing else.
  const arrivals = packetsReceived + (transport?.packetsReceived ?? 0) + (pair?.responsesReceived ?? 0);
  const heard = before === null || arrivals !== before.arrivals;   // else the browser repeats old figures
  return {
    at: performance.now(),
    remote: remote ? address(remote) : null,
    remoteType: remote?.candidateType ?? null,
    arrivals,
    heard,
    roundTripMs: !heard ? null : milliseconds(pair?.currentRoundTripTime ?? theirs?.roundTripTime),
    jitterMs: heard && packetsReceived ? milliseconds(inbound.jitter) : null,
    lossBack: lossSince(before, packetsReceived, packetsLost),
    lossThere: (heard ? theirs?.fractionLost : null) ?? null,
    packetsSent: outbound?.packetsSent ?? 0,
    packetsReceived,
    packetsLost,
    totalAudioEnergy: inbound?.totalAudioEnergy ?? 0,
  };
}

function selectedPair(all) {
  const chosen = all.find((report) => report.type === "transport")?.selectedCandidatePairId;
  const pairs = all.filter((report) => report.type === "candidate-pair");
  // Firefox has no transport report.
  return pairs.find((pair) => pair.id === chosen) ?? pairs.find((pair) => pair.selected || pair.nominated);
}

function lossSince(before, received, lost) {
  if (before === null) return null;
  const more = Math.max(0, lost - before.packetsLost);   // a packet that comes late after all takes one back
  const expected = received - before.packetsReceived + more;
  return expected > 0 ? more / expected : null;
}

function milliseconds(seconds) {
  return seconds === undefined || seconds === null ? null : seconds * 1000;
}

function address({ address, port }) {
  return address?.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}
