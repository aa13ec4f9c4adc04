/** Where a clip is cut into windows: the rules of tinyclap/audio/windows.py. */
const TAIL_TOLERANCE = 0.05; // a tail shorter than this part of a window is not worth a window of its own

/** Python's round: halves go to the even neighbour. */
export function roundHalfEven(value) {
  const low = Math.floor(value);
  const rest = value - low;
  if (rest !== 0.5) return Math.round(value);
  return low % 2 === 0 ? low : low + 1;
}

/** First sample of each window of a clip of nSamples at rateHz; policy is config.json's "window". */
export function windowStarts(nSamples, rateHz, policy) {
  const window = roundHalfEven(policy.window_s * rateHz);
  const hop = policy.hop_s == null ? window : roundHalfEven(policy.hop_s * rateHz);
  const last = nSamples - window;
  if (last <= TAIL_TOLERANCE * window) return [0];
  const starts = [];
  for (let start = 0; start <= last; start += hop) starts.push(start);
  if (last - starts[starts.length - 1] > TAIL_TOLERANCE * window) starts.push(last);
  return starts;
}

/** Samples in each window: more than the clip has where it is made longer. */
export function windowLength(nSamples, rateHz, policy) {
  const window = roundHalfEven(policy.window_s * rateHz);
  if (nSamples >= window || policy.short !== "native") return window;
  return Math.max(nSamples, Math.min(window, roundHalfEven(policy.min_s * rateHz)));
}

/**
 * The windows of one clip.
 * @param {Float32Array} wav - (T,)
 * @param {number} rateHz
 * @param {{window_s: number, short: "tile"|"pad"|"native", hop_s: ?number, min_s: number}} policy
 * @returns {Float32Array[]} at least one, all of one length
 */
export function cutWindows(wav, rateHz, policy) {
  const length = windowLength(wav.length, rateHz, policy);
  if (wav.length < length) {
    const row = new Float32Array(length);
    for (let index = 0; index < length; index += wav.length) {
      row.set(wav.subarray(0, Math.min(wav.length, length - index)), index);
      if (policy.short === "pad") break;
    }
    return [row];
  }
  return windowStarts(wav.length, rateHz, policy).map((start) => wav.subarray(start, start + length));
}
