// A line that the person opened: it holds the microphone and makes a new call when one dies. No DOM.
//
// States: ready, microphone, signaling, connecting, connected, interrupted, waiting (for the next call), ended,
// failed. Nobody is called after `hangUp`, and after a first call that failed only if the server asked for it.

import { Call } from "./call.js";

const FIRST_DELAY_MS = 500;
// A server that comes back has us again within this time.
const LONGEST_DELAY_MS = 5_000;
const LONGEST_RETRY_AFTER_MS = 60_000;
// About eight minutes of calling in vain: the microphone should not stay open for ever.
const MOST_ATTEMPTS = 100;
// A call that lasted so long was a good one: the next delay is short again.
const GOOD_CALL_MS = 10_000;

export const LIVE = ["microphone", "signaling", "connecting", "connected", "interrupted", "waiting"];

export class Line {
  // `on` has what a Call reports, and onState(state, end): `end` says why, in states waiting, ended and failed.
  constructor(url, on) {
    this.url = url;
    this.on = on;
    this.state = "ready";
    this.call = null;
    this.stream = null;
    this.#reset();
  }

  get isLive() {
    return LIVE.includes(this.state);
  }

  // `openStream` gives a MediaStream or throws { kind, detail }; it is asked once, new calls speak with the same.
  async open(token, openStream) {
    if (this.isLive) return;
    this.#reset();
    this.token = token;
    const turn = ++this.turn;
    this.#show("microphone");
    try {
      const stream = await openStream();
      if (turn !== this.turn) return void stop(stream);
      this.stream = stream;
    } catch (cause) {
      if (turn === this.turn) this.#close("failed", cause.kind ? cause : { kind: "defect", detail: cause.message });
      return;
    }
    for (const track of this.stream.getAudioTracks()) track.onended = () => this.#onMicrophoneGone(turn);
    this.#dial();
  }

  hangUp() {
    if (this.isLive) this.#close("ended", { kind: "hung_up", detail: "" });
  }

  // The network is back, or the person is: no need to sit out the delay.
  hurry() {
    if (this.state === "waiting" && !this.isAsked) this.#dialAgain();
  }

  #reset() {
    this.turn ??= 0;
    this.redials = 0;        // calls made by themselves since the person called
    this.attempts = 0;       // of them, since the last good call
    this.everConnected = false;
    this.connectedAt = null; // of this call
    this.nextCallAt = null;  // performance.now() of the next call, while waiting
    this.isAsked = false;    // the server named the delay itself
  }

  #dial() {
    const call = this.call = new Call(this.stream, {
      url: this.url,
      token: this.token,
      ...this.on,
      onState: (state) => { if (call === this.call) this.#onCallState(state); },
      onEnd: (end) => { if (call === this.call) this.#onCallEnd(end); },
    });
    call.start();
  }

  #onCallState(state) {
    if (state === "connected") {
      this.everConnected = true;
      this.connectedAt ??= performance.now();
    }
    if (state !== this.state) this.#show(state);
  }

  #onCallEnd(end) {
    this.call = null;
    const lasted = this.connectedAt === null ? 0 : performance.now() - this.connectedAt;
    this.connectedAt = null;
    if (lasted > GOOD_CALL_MS) this.attempts = 0;
    if (end.kind === "hung_up_there") return void this.#close("ended", end);
    if (!end.again || !(this.everConnected || end.kind === "full")) return void this.#close("failed", end);
    if (this.attempts >= MOST_ATTEMPTS) return void this.#close("failed", { kind: "gave_up", detail: end.kind });
    this.#wait(end);
  }

  #wait(end) {
    const delay = delayMs(this.attempts, end.retryAfterSeconds);
    this.isAsked = end.retryAfterSeconds !== null;
    this.nextCallAt = performance.now() + delay;
    this.timer = setTimeout(() => this.#dialAgain(), delay);
    this.#show("waiting", end);
  }

  #dialAgain() {
    clearTimeout(this.timer);
    this.nextCallAt = null;
    this.attempts++;
    this.redials++;
    this.#dial();
  }

  #onMicrophoneGone(turn) {
    if (turn === this.turn && this.isLive) this.#close("failed", { kind: "mic_gone", detail: "" });
  }

  #close(state, end) {
    this.turn++;
    clearTimeout(this.timer);
    this.nextCallAt = this.connectedAt = null;
    const call = this.call;
    this.call = null;   // its end is not news any more
    call?.hangUp();
    stop(this.stream);
    this.stream = null;
    this.#show(state, end);
  }

  #show(state, end = null) {
    this.state = state;
    this.on.onState(state, end);
  }
}

// Doubled from time to time, and never twice the same: pages that lost one server must not come back as one crowd.
export function delayMs(attempts, retryAfterSeconds, random = Math.random()) {
  const own = Math.min(FIRST_DELAY_MS * 2 ** attempts, LONGEST_DELAY_MS) * (0.5 + 0.5 * random);
  if (retryAfterSeconds === null || retryAfterSeconds === undefined) return own;
  return Math.min(retryAfterSeconds * 1000, LONGEST_RETRY_AFTER_MS) + own;
}

function stop(stream) {
  stream?.getTracks().forEach((track) => { track.onended = null; track.stop(); });
}
