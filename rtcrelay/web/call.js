// One call: an offer to the server, an RTCPeerConnection through the relay, and how it ended. No DOM.
//
// The owner hears `onState(state)` (signaling, connecting, connected, interrupted) and `onEnd(end)` exactly once.
// An end is { kind, detail, again, retryAfterSeconds }: `again` says that another call may work better.

import { readSample } from "./stats.js";

const HUNG_UP = new Set(["deleted", "operator", "backend_ended", "idle"]);
const SAMPLE_MS = 1000;
const ANSWER_MS = 10_000;
const CONNECT_MS = 10_000;
// Chromium says "disconnected" some seconds after the last packet, and may find another path by itself then.
const DISCONNECTED_MS = 3_000;
// Samples in which nothing at all arrived, not even an answer to ICE's own checks (one every 2.5 s).
// A voice that breaks off is missed sooner than one that was not there.
const SILENT_SAMPLES = { interrupted: 3, dead: 5, deadInMidVoice: 4 };
const VOICE_PACKETS = 10;   // of 50 in a second

export class Call {
  constructor(stream, { url, token, onState, onEnd, onAnswer, onTrack, onSample, onMessage, onChannel }) {
    Object.assign(this, { stream, url, token, onState, onEnd, onAnswer, onTrack, onSample, onMessage, onChannel });
    this.peer = null;
    this.channel = null;
    this.session = null;       // URL of the session at the server
    this.sample = null;        // the last one
    this.wasConnected = false;
    this.over = false;
    this.silentSamples = 0;
    this.voice = [0, 0];       // packets in the last two seconds in which anything came
    this.timers = new Set();
  }

  async start() {
    try {
      this.onState("signaling");
      const peer = this.peer = new RTCPeerConnection({ iceServers: [], bundlePolicy: "max-bundle" });
      for (const track of this.stream.getAudioTracks()) peer.addTrack(track, this.stream);
      peer.ontrack = (event) => this.onTrack(event.streams[0] ?? new MediaStream([event.track]));
      peer.onconnectionstatechange = () => this.#onConnection(peer.connectionState);
      this.#openChannel();
      // No candidate is waited for: the server learns our address from our first check.
      await peer.setLocalDescription();
      const answer = await this.#post(peer.localDescription.sdp);
      if (this.over) return void this.#forget(answer.session);
      this.session = answer.session;
      this.onAnswer(answer);
      this.onState("connecting");
      await peer.setRemoteDescription({ type: "answer", sdp: answer.sdp }).catch((cause) => {
        throw ending("bad_answer", cause.message, true);
      });
      this.#watchDtls();
      this.#later(CONNECT_MS, () => this.wasConnected || this.end(this.#whatFailed()));
      this.timers.add(setInterval(() => this.readStats().catch(() => {}), SAMPLE_MS));
    } catch (cause) {
      this.end(cause instanceof Error ? ending("defect", cause.message) : cause);
    }
  }

  hangUp() {
    this.end(ending("hung_up"));
  }

  end(end) {
    if (this.over) return;
    this.over = true;
    for (const timer of this.timers) clearInterval(timer);
    const { peer, session } = this;
    // First the session, then the goodbye on the media path: a session that has heard it is not there to be deleted.
    this.#forget(session).finally(() => peer?.close());
    this.onEnd({ ...end, wasConnected: this.wasConnected });
  }

  async readStats() {
    if (this.over || !this.peer) return this.sample;
    const before = this.sample;
    const sample = readSample(await this.peer.getStats(), before);
    if (this.over) return this.sample;
    this.sample = sample;
    // A person who asks between two ticks must not make the silence look longer.
    if (before === null || sample.at - before.at > SAMPLE_MS / 2) this.#listen(before, sample);
    return sample;
  }

  // -- signaling

  #headers() {
    return this.token ? { Authorization: `Bearer ${this.token}` } : {};
  }

  async #post(sdp) {
    const headers = { "Content-Type": "application/sdp", ...this.#headers() };
    const signal = AbortSignal.timeout(ANSWER_MS);
    let response, body;
    try {
      response = await fetch(this.url, { method: "POST", body: sdp, headers, signal });
      body = await response.text();
    } catch (cause) {
      throw ending(cause.name === "TimeoutError" ? "no_answer" : "unreachable", "", true);
    }
    if (response.status !== 201) throw refusal(response, body);
    const location = response.headers.get("Location");
    return {
      sdp: body,
      session: location && new URL(location, response.url).href,
      node: response.headers.get("X-Rtcrelay-Node"),
    };
  }

  async #forget(session) {
    // keepalive: the request outlives the page when a tab is closed in mid-call.
    if (session) await fetch(session, { method: "DELETE", headers: this.#headers(), keepalive: true }).catch(() => {});
  }

  // -- the media path

  #onConnection(state) {
    if (this.over) return;
    clearTimeout(this.disconnected);
    if (state === "connected") this.#onConnected();
    else if (state === "failed") this.end(this.#whatFailed());
    else if (state === "closed") this.end(ending("dtls_closed", "", true));
    else if (state === "disconnected" && this.wasConnected) {
      this.onState("interrupted");
      this.disconnected = this.#later(DISCONNECTED_MS, () => this.end(ending("lost", "", true)));
    }
  }

  #onConnected() {
    this.wasConnected = true;
    this.onState("connected");
  }

  #watchDtls() {
    const dtls = this.peer.getSenders()[0]?.transport;
    if (!dtls) return;
    dtls.onstatechange = () => {
      if (dtls.state === "closed") this.end(ending("dtls_closed", "", true));
      else if (dtls.state === "failed") this.end(ending("dtls_failed", "", true));
    };
  }

  #whatFailed() {
    if (this.wasConnected) return ending("lost", "", true);
    const iceWorks = ["connected", "completed"].includes(this.peer.iceConnectionState);
    return ending(iceWorks ? "dtls_failed" : "ice_failed", "", true);
  }

  #listen(before, sample) {
    this.onSample(sample);
    this.silentSamples = sample.heard ? 0 : this.silentSamples + 1;
    if (sample.heard) {
      const packets = sample.packetsReceived - (before?.packetsReceived ?? 0);
      this.voice = [packets, this.voice[0]];   // the last second may have been cut short
    }
    const dead = Math.max(...this.voice) >= VOICE_PACKETS ? SILENT_SAMPLES.deadInMidVoice : SILENT_SAMPLES.dead;
    if (!this.wasConnected || this.peer.connectionState !== "connected") return;
    if (sample.heard) this.onState("connected");
    else if (this.silentSamples >= dead) this.end(ending("lost", "", true));
    else if (this.silentSamples >= SILENT_SAMPLES.interrupted) this.onState("interrupted");
  }

  // -- the data channel

  #openChannel() {
    const channel = this.channel = this.peer.createDataChannel("echo");
    channel.onopen = () => { this.onChannel("open"); channel.send("hello"); };
    channel.onmessage = ({ data }) => {
      const goodbye = readGoodbye(data);
      if (goodbye) this.end(goodbye);
      else this.onMessage(data);
    };
    channel.onclose = () => this.over || this.onChannel("closed");
  }

  #later(milliseconds, act) {
    const timer = setTimeout(() => { this.timers.delete(timer); if (!this.over) act(); }, milliseconds);
    this.timers.add(timer);
    return timer;
  }
}

function ending(kind, detail = "", again = false, retryAfterSeconds = null) {
  return { kind, detail, again, retryAfterSeconds };
}

function refusal(response, body) {
  const detail = problemDetail(body) || `${response.status} ${response.statusText}`.trim();
  if (response.status === 401 || response.status === 403) return ending("wrong_token", detail);
  if (response.status !== 503) return ending("refused", detail, response.status >= 500);
  return ending("full", detail, true, readRetryAfter(response.headers.get("Retry-After")));
}

// A closing server says so here: the browser itself notices only seconds later.
function readGoodbye(data) {
  const message = typeof data === "string" ? readJson(data) : null;
  if (message?.type !== "closing") return null;
  const reason = String(message.reason ?? "");
  // The backend has hung up, or somebody wants this session gone: then it is over.
  if (HUNG_UP.has(reason)) return ending("hung_up_there", reason);
  return ending("goodbye", reason, true);
}

// Seconds, or a date (RFC 9110 section 10.2.3); null: the server names no time.
function readRetryAfter(text) {
  if (text === null) return null;
  const seconds = /^\d+$/.test(text.trim()) ? Number(text) : (Date.parse(text) - Date.now()) / 1000;
  return Number.isFinite(seconds) ? Math.max(0, seconds) : null;
}

function problemDetail(body) {
  const problem = readJson(body);
  return typeof problem?.detail === "string" ? problem.detail : "";
}

function readJson(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
