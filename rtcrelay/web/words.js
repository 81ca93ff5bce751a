// Every sentence the page says about a call.

const STATES = {
  ready: "Ready.",
  microphone: "Asking for the microphone …",
  signaling: "Calling …",
  connecting: "Answered. Connecting the media …",
  connected: "Connected: say something, it comes back.",
  interrupted: "Nothing arrives at the moment. Waiting …",
  ended: "The call has ended.",
  failed: "The call failed.",
};

const ENDS = {
  hung_up: "",
  hung_up_there: "The other side hung up.",
  goodbye: "The server ended the call.",
  lost: "Nothing came from the server any more.",
  dtls_closed: "The server closed the connection.",
  dtls_failed: "The path works, but the encryption (DTLS) was not set up.",
  ice_failed: "The server answered, but no media came through: is the relay's UDP port reachable from here?",
  wrong_token: "The server wants another token.",
  full: "The server takes no calls at the moment: it is full, or about to stop.",
  unreachable: "The server cannot be reached.",
  no_answer: "The server did not answer within 10 seconds.",
  refused: "The server refused:",
  bad_answer: "The server's answer makes no sense to this browser:",
  gave_up: "The server did not come back. Call again when it is there.",
  mic_refused: "The microphone was refused: allow it for this page in the browser's address bar, and call again.",
  mic_dismissed: "The question for the microphone was closed: call again and allow it.",
  mic_refused_by_system:
    "The operating system keeps the microphone from this browser: allow it in the system's privacy settings.",
  mic_missing: "There is no microphone: connect one, or send a test tone.",
  mic_in_use: "The microphone is in use by another program: close that, and call again.",
  mic_insecure:
    "This page has no microphone, because it did not come over https://. Open it with https://, or send a test tone.",
  mic_unsupported: "This browser gives no microphone to pages.",
  mic_failed: "The microphone does not start:",
  mic_gone: "The microphone was taken away: connect it, and call again.",
  defect: "A defect of this page:",
};

// The server's or the browser's own words help with these.
const WITH_DETAIL = new Set(["refused", "bad_answer", "mic_failed", "defect"]);

const REASONS = {
  shutdown: "it stops",
  silent: "it heard nothing from us",
  too_long: "it had lasted as long as the server allows",
  idle: "nobody had said anything for as long as the server waits",
  backend_lost: "the service that answers was lost",
  operator: "an operator ended the call",
};

// What happens now. `end` is why, in the states waiting, ended and failed.
export function describe(state, end) {
  if (state === "waiting") return `${explain(end)} Calling again by itself.`;
  return [STATES[state], end ? explain(end) : ""].filter(Boolean).join(" ");
}

function explain({ kind, detail }) {
  const words = ENDS[kind] ?? `(${kind})`;
  if (REASONS[detail]) return words.replace(/\.$/, `: ${REASONS[detail]}.`);
  return WITH_DETAIL.has(kind) ? `${words} ${detail}.` : words;
}

// What a backend says on the data channel: the parrot tells its turns, an echo returns what it was sent.
export function tell(data) {
  let turn = null;
  try {
    turn = JSON.parse(data);
  } catch { /* no JSON: an echo */ }
  const seconds = () => `${(turn.played_ms / 1000).toFixed(1)} s`;
  switch (turn?.type) {
    case "started": return "the parrot hears you";
    case "stopped": return "the parrot says it back";
    case "played": return `the parrot has said all of it, ${seconds()}`;
    case "interrupted": return `you interrupted the parrot after ${seconds()}`;
    default: return "echoes";
  }
}

export function ms(value) {
  return value === null ? "–" : `${value.toFixed(value < 10 && !Number.isInteger(value) ? 1 : 0)} ms`;
}

export function percent(ratio) {
  return ratio === null ? "–" : `${(ratio * 100).toFixed(ratio < 0.1 && !Number.isInteger(ratio * 100) ? 1 : 0)} %`;
}
