// Wires the page to the line: what the person does, and what the person sees.

import { Line } from "./line.js";
import { SAMPLES, Strip } from "./plot.js";
import { Level, fill, openMicrophone, openTone } from "./sound.js";
import { describe, ms, percent, tell } from "./words.js";

const $ = (id) => document.getElementById(id);
const TOKEN = "rtcrelay-token";
const METER_MS = 250;   // how often meters move when the person wants little motion, and are told to screen readers
const CALM = matchMedia("(prefers-reduced-motion: reduce)");

// Tests and curious people read window.rtcrelay.
const view = window.rtcrelay = {
  state: "ready", end: null, redials: 0, node: null, session: null, answer: null,
  said: [], echoes: [], samples: [], stats: null, levels: { sent: null, back: null },
  get peer() { return line.call?.peer ?? null; },
  get channel() { return line.call?.channel ?? null; },
  readStats: async () => (await line.call?.readStats()) ?? view.stats,
};

let context = null;
const levels = { sent: null, back: null };
let newCall = false;

const strips = [
  new Strip($("round-trip-plot"), { name: "Round trip", series: [(s) => s.roundTripMs], least: 10, unit: ms }),
  new Strip($("jitter-plot"), { name: "Jitter of what comes back", series: [(s) => s.jitterMs], least: 10, unit: ms }),
  new Strip($("loss-plot"), {
    name: "Lost packets, there and back", series: [(s) => s.lossThere, (s) => s.lossBack], least: 0.05, unit: percent,
  }),
];

// Relative: behind a proxy the page may live under a path.
const line = new Line(new URL("whip", document.baseURI).href, {
  onState: show,
  onAnswer: ({ node, session, sdp }) => {
    Object.assign(view, { node, session, answer: sdp, echoes: [] });
    $("answered-by").textContent = node ?? "(the server does not say)";
    newCall = true;
  },
  onTrack: hear,
  onSample: plot,
  onChannel: (state) => { $("channel").textContent = state; },
  onMessage: (data) => {
    view.echoes = [...view.echoes.slice(-99), data];
    $("channel").textContent = tell(data);
  },
});

function show(state, end) {
  Object.assign(view, { state, end, redials: line.redials });
  const words = describe(state, end);
  // Said once: the same words again would be read aloud again.
  if ($("status").textContent !== words) {
    $("status").textContent = words;
    view.said = [...view.said.slice(-99), words];
  }
  Object.assign(document.body.dataset, { state, live: line.isLive });
  $("call").textContent = line.isLive ? "Hang up" : "Call";
  $("token").readOnly = line.isLive;
  $("tone").disabled = line.isLive;
  $("redials").textContent = line.redials;
  if (!line.isLive) silence();
  if (state === "failed" && end.kind === "wrong_token") $("token").focus();
  countDown();
}

// Beside the status, which would otherwise be read aloud every second.
function countDown() {
  const left = line.nextCallAt === null ? null : Math.max(0, Math.ceil((line.nextCallAt - performance.now()) / 1000));
  $("countdown").textContent = left === null ? "" : `Call ${line.redials + 1} by itself in ${left} s`;
  if (left !== null) setTimeout(countDown, 250);
}

async function open() {
  // In the click itself, or the browser keeps it silent.
  context ??= new AudioContext();
  context.resume().catch(() => {});
  for (const id of ["answered-by", "remote", "packets", "channel"]) $(id).textContent = "–";
  Object.assign(view, { node: null, session: null, answer: null, echoes: [], samples: [], stats: null });
  strips.forEach((strip) => strip.draw([]));
  const token = $("token").value.trim();
  remember(token);
  await line.open(token, async () => {
    const stream = $("tone").checked ? openTone(context) : await openMicrophone();
    listen("sent", stream);
    return stream;
  });
}

// -- figures

const UNKNOWN = { roundTripMs: null, jitterMs: null, lossThere: null, lossBack: null };

function plot(sample) {
  view.stats = sample;
  fillUp(sample.at);
  keep({ ...sample, isNewCall: newCall && view.samples.length > 0 });
  newCall = false;
  strips.forEach((strip) => strip.draw(view.samples));
  $("remote").textContent = sample.remote ?? "–";
  const { packetsReceived, packetsSent, packetsLost } = sample;
  $("packets").textContent = `${packetsReceived} of ${packetsSent} sent; ${packetsLost} lost on the way back`;
}

// A second without a sample is a gap in the plot, or the time between two calls would not be seen.
function fillUp(now) {
  for (let last = view.samples.at(-1); last && now - last.at > 1500; last = view.samples.at(-1)) {
    keep({ ...UNKNOWN, at: last.at + 1000 });
  }
}

function keep(sample) {
  view.samples = [...view.samples.slice(1 - SAMPLES), sample];
}

setInterval(() => {
  if (!line.isLive || line.state === "connected") return;
  fillUp(performance.now());
  strips.forEach((strip) => strip.draw(view.samples));
}, 1000);

// -- sound

function hear(stream) {
  const audio = $("back");
  audio.srcObject = stream;
  // Where the browser wants another click before it plays, its own controls ask for it.
  audio.play().then(
    () => { audio.controls = false; },
    (cause) => { audio.controls = cause.name === "NotAllowedError"; },
  );
  listen("back", stream);
}

function listen(which, stream) {
  levels[which]?.close();
  levels[which] = new Level(context, stream);
  move();
}

function silence() {
  for (const which of ["sent", "back"]) {
    levels[which]?.close();
    levels[which] = null;
    meter(which, null);
    tellLevel(which, null);
  }
  $("back").srcObject = null;
  $("back").controls = false;
}

let moving = false;
let toldAt = 0;
const loudest = { sent: null, back: null };   // since it was told last

function move() {
  if (moving || !(levels.sent || levels.back)) return;
  moving = true;
  const step = (now) => {
    moving = false;
    const tell = now - toldAt > METER_MS;
    if (tell) toldAt = now;
    for (const which of ["sent", "back"]) {
      if (!levels[which]) continue;
      const db = levels[which].read();
      loudest[which] = Math.max(loudest[which] ?? db, db);
      meter(which, db);
      if (!tell) continue;
      tellLevel(which, loudest[which]);
      loudest[which] = null;
    }
    move();
  };
  if (CALM.matches) setTimeout(() => step(performance.now()), METER_MS);
  else requestAnimationFrame(step);
}

function meter(which, db) {
  view.levels[which] = db;
  $(`${which}-level`).firstElementChild.style.transform = `scaleX(${db === null ? 0 : fill(db)})`;
}

// In figures, and only a few times a second: for the eye and for screen readers.
function tellLevel(which, db) {
  const element = $(`${which}-level`);
  const words = db === null ? "no sound" : `${Math.round(db)} dB`;
  element.setAttribute("aria-valuenow", Math.round(db ?? -60));
  element.setAttribute("aria-valuetext", words);
  $(`${which}-value`).textContent = db === null ? "–" : words;
}

// -- the token, for this tab only

function remember(token) {
  try {
    if (token) sessionStorage.setItem(TOKEN, token);
    else sessionStorage.removeItem(TOKEN);
  } catch { /* a browser without storage: the person types it again */ }
}

function recall() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    remember(given);
    // Not left in the address bar, where a screenshot would show it.
    history.replaceState(null, "", location.pathname + location.search);
  }
  try {
    $("token").value = given ?? sessionStorage.getItem(TOKEN) ?? "";
  } catch {
    $("token").value = given ?? "";
  }
}

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (line.isLive) line.hangUp();
  else open();
});
addEventListener("pagehide", () => line.hangUp());
addEventListener("online", () => line.hurry());
document.addEventListener("visibilitychange", () => { if (!document.hidden) line.hurry(); });
$("insecure").hidden = window.isSecureContext;
recall();
silence();
strips.forEach((strip) => strip.draw([]));
show("ready", null);
