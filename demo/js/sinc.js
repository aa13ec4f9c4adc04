/**
 * The resampler of tinyclap/audio/sinc.py: bandlimited interpolation by a windowed sinc, so that a clip sounds the same to
 * the model here as in Python. Weights are worked out in float32 there, times in units of a block: here as well.
 */
const ZERO_CROSSINGS = 6; // of the sinc on each side that the Hann window keeps
const ROLLOFF = 0.99; // cut-off as a share of the lower Nyquist frequency
const MAX_KERNEL_SIZE = 8e6; // beyond this, Python works weights out in float64 as they are used
const f32 = Math.fround;

/**
 * Change the rate of a waveform.
 * @param {Float32Array} wav - (T,) at fromHz
 * @param {number} fromHz - a whole number above zero
 * @param {number} toHz - likewise
 * @returns {Float32Array} ceil(T · toHz / fromHz) samples
 */
export function resample(wav, fromHz, toHz) {
  if (fromHz === toHz || wav.length === 0) return wav;
  const divisor = commonDivisor(fromHz, toHz);
  const nFrom = fromHz / divisor;
  const nTo = toHz / divisor;
  const nOut = Math.ceil((wav.length * nTo) / nFrom);
  const halfWidth = Math.ceil((ZERO_CROSSINGS * nFrom) / (ROLLOFF * Math.min(nFrom, nTo)));
  const isLarge = nTo * (nFrom + 2 * halfWidth) > MAX_KERNEL_SIZE;
  const phases = isLarge ? directPhases(nFrom, nTo, halfWidth) : blockPhases(nFrom, nTo, halfWidth);
  const out = new Float32Array(nOut);
  for (let index = 0; index < nOut; index++) {
    const { first, weights } = phases(index);
    const begin = Math.max(0, -first);
    const end = Math.min(weights.length, wav.length - first);
    let sum = 0;
    for (let tap = begin; tap < end; tap++) sum += wav[first + tap] * weights[tap];
    out[index] = sum;
  }
  return out;
}

export function commonDivisor(a, b) {
  return b === 0 ? a : commonDivisor(b, a % b);
}

/** Weights of every output of a block of nTo, kept; those that the window cuts off are left out. */
function blockPhases(nFrom, nTo, halfWidth) {
  const kept = Array.from({ length: nTo }, (_, phase) => phaseWeights(phase, nFrom, nTo, halfWidth));
  return (index) => {
    const { offset, weights } = kept[index % nTo];
    return { first: Math.floor(index / nTo) * nFrom + offset, weights };
  };
}

function phaseWeights(phase, nFrom, nTo, halfWidth) {
  const lower = f32(ROLLOFF * Math.min(nFrom, nTo));
  const pi = f32(Math.PI);
  const scale = f32(lower / nFrom);
  const output = f32(f32(-phase) / f32(nTo));
  const weights = [];
  let offset = null;
  for (let input = -halfWidth; input < nFrom + halfWidth; input++) {
    const x = f32(f32(output + f32(f32(input) / f32(nFrom))) * lower);
    if (Math.abs(x) >= ZERO_CROSSINGS) continue;
    offset ??= input;
    const window = f32(f32(Math.cos(f32(f32(f32(x * pi) / ZERO_CROSSINGS) / 2))) ** 2);
    const angle = f32(x * pi);
    const sinc = angle === 0 ? 1 : f32(f32(Math.sin(angle)) / angle);
    weights.push(f32(f32(sinc * window) * scale));
  }
  return { offset, weights: Float32Array.from(weights) };
}

/** Weights of each output as it comes, for rates with a small common divisor. */
function directPhases(nFrom, nTo, halfWidth) {
  const cutoff = (ROLLOFF * Math.min(nFrom, nTo)) / nFrom;
  const weights = new Float32Array(2 * halfWidth + 2);
  return (index) => {
    const place = index * nFrom;
    const fraction = (place % nTo) / nTo;
    for (let tap = 0; tap < weights.length; tap++) {
      const x = Math.max(-ZERO_CROSSINGS, Math.min(ZERO_CROSSINGS, (tap - halfWidth - fraction) * cutoff));
      const angle = Math.PI * x;
      const sinc = angle === 0 ? 1 : Math.sin(angle) / angle;
      weights[tap] = cutoff * sinc * Math.cos(angle / (2 * ZERO_CROSSINGS)) ** 2;
    }
    return { first: Math.floor(place / nTo) - halfWidth, weights };
  };
}
