// Where the sound comes from, and how loud it is. No DOM except the browser's audio.

const FLOOR_DB = -60;

// Throws { kind, detail }; `words.js` has a sentence for each kind.
export async function openMicrophone() {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw { kind: window.isSecureContext ? "mic_unsupported" : "mic_insecure", detail: "" };
  }
  try {
    return await navigator.mediaDevices.getUserMedia({ audio: true });
  } catch (cause) {
    throw { kind: microphoneProblem(cause), detail: cause.name };
  }
}

function microphoneProblem({ name, message }) {
  switch (name) {
    case "NotAllowedError":
      if (/system/i.test(message)) return "mic_refused_by_system";
      return /dismissed/i.test(message) ? "mic_dismissed" : "mic_refused";
    case "SecurityError": return "mic_refused";
    case "NotFoundError":
    case "OverconstrainedError": return "mic_missing";
    case "NotReadableError":   // Chromium, Firefox on Windows
    case "AbortError": return "mic_in_use";
    default: return "mic_failed";
  }
}

// Two beeps a second instead of a voice, for machines without a microphone and pages that get none.
export function openTone(context) {
  const [tone, beat] = [context.createOscillator(), context.createOscillator()];
  const [volume, depth] = [context.createGain(), context.createGain()];
  const out = context.createMediaStreamDestination();
  tone.frequency.value = 440;
  beat.type = "square";
  beat.frequency.value = 2;
  volume.gain.value = 0.1;
  depth.gain.value = 0.1;   // the beat swings the volume between 0 and 0.2
  beat.connect(depth).connect(volume.gain);
  tone.connect(volume).connect(out);
  tone.start();
  beat.start();
  for (const track of out.stream.getTracks()) {
    const stop = track.stop.bind(track);
    track.stop = () => { tone.stop(); beat.stop(); stop(); };
  }
  return out.stream;
}

// How loud a stream is at this moment.
export class Level {
  constructor(context, stream) {
    this.analyser = context.createAnalyser();
    this.analyser.fftSize = 1024;   // 21 ms at 48 kHz: one Opus frame
    this.source = context.createMediaStreamSource(stream);
    this.source.connect(this.analyser);
    this.samples = new Float32Array(this.analyser.fftSize);
  }

  // dB below full scale, RMS, not below -60.
  read() {
    this.analyser.getFloatTimeDomainData(this.samples);
    let sum = 0;
    for (const sample of this.samples) sum += sample * sample;
    const rms = Math.sqrt(sum / this.samples.length);
    return rms > 0 ? Math.max(FLOOR_DB, 20 * Math.log10(rms)) : FLOOR_DB;
  }

  close() {
    this.source.disconnect();
  }
}

// A level as the part of a meter's length that is filled, 0 to 1.
export function fill(db) {
  return Math.min(1, Math.max(0, 1 - db / FLOOR_DB));
}
