/**
 * Exact reader of WAV files: PCM of 8, 16, 24 and 32 bits, floats of 32 and 64, any rate, any number of channels.
 * The browser's own decoder would change the rate; this one gives what libsndfile gives, sample for sample.
 */
import { PageError } from "./errors.js";

const PCM = 1;
const FLOAT = 3;
const EXTENSIBLE = 0xfffe;
const HEADER_BYTES = 12;

/** Whether bytes begin as a WAV file does (RIFF, or RF64 for more than 4 GB). */
export function isWav(buffer) {
  if (buffer.byteLength < HEADER_BYTES) return false;
  const view = new DataView(buffer);
  return ["RIFF", "RF64"].includes(name(view, 0)) && name(view, 8) === "WAVE";
}

/**
 * Read a WAV file as mono.
 * @param {ArrayBuffer} buffer - the whole file
 * @returns {{samples: Float32Array, rateHz: number, coding: string, nChannels: number}} samples in [-1, 1] for PCM:
 *   the mean of the channels.
 * @throws {PageError} not a WAV file, a coding that is not PCM or float, cut short, or without samples.
 */
export function readWav(buffer) {
  if (!isWav(buffer)) throw new PageError("not a WAV file");
  const view = new DataView(buffer);
  const chunks = findChunks(view);
  if (!chunks.fmt || !chunks.data) throw new PageError("the WAV file has no format or no data chunk; save it again");
  const format = readFormat(view, chunks.fmt);
  const nFrames = Math.floor(chunks.data.size / (format.nChannels * format.nBytes));
  if (nFrames === 0) throw new PageError("the recording has no samples");
  const samples = meanOfChannels(view, chunks.data.start, nFrames, format);
  if (!samples.every(Number.isFinite)) throw new PageError("the recording has NaN or infinite samples");
  const coding = `${format.isFloat ? "float" : "PCM"} ${8 * format.nBytes} bit`;
  return { samples, rateHz: format.rateHz, coding, nChannels: format.nChannels };
}

function name(view, offset) {
  return String.fromCharCode(...[0, 1, 2, 3].map((place) => view.getUint8(offset + place)));
}

/** Places of the chunks "fmt " and "data". A stream's data chunk states no true length: it runs to the end. */
function findChunks(view) {
  const found = {};
  const isLong = name(view, 0) === "RF64";
  for (let offset = HEADER_BYTES; offset + 8 <= view.byteLength; ) {
    const kind = name(view, offset).trim();
    const stated = view.getUint32(offset + 4, true);
    const start = offset + 8;
    const left = view.byteLength - start;
    const isStream = stated >= 0x7fffffff - 36 || (kind === "data" && stated === 0);
    if (kind === "data" && stated > left && !isStream && !isLong) {
      throw new PageError(`the WAV file is cut short: ${left} of ${stated} bytes of audio are there; fetch it again`);
    }
    const size = Math.min(kind === "data" && isStream ? left : stated, left);
    found[kind] = { start, size };
    if (kind === "data") break;
    offset = start + size + (size % 2); // chunks begin at even places
  }
  return found;
}

function readFormat(view, { start, size }) {
  if (size < 16) throw new PageError("the format chunk of the WAV file is cut short; save it again");
  const tag = view.getUint16(start, true);
  const code = tag === EXTENSIBLE && size >= 26 ? view.getUint16(start + 24, true) : tag;
  const nChannels = view.getUint16(start + 2, true);
  const rateHz = view.getUint32(start + 4, true);
  const nBytes = view.getUint16(start + 14, true) / 8;
  const isFloat = code === FLOAT;
  if (!(isFloat ? [4, 8] : code === PCM ? [1, 2, 3, 4] : []).includes(nBytes)) {
    throw new PageError(`WAV coding ${code} with ${8 * nBytes} bits is not read here; save it as PCM`);
  }
  if (nChannels < 1 || rateHz < 1) throw new PageError("the WAV file states no channels or no sample rate");
  return { nChannels, rateHz, nBytes, isFloat };
}

function meanOfChannels(view, start, nFrames, { nChannels, nBytes, isFloat }) {
  const read = reader(view, nBytes, isFloat);
  const samples = new Float32Array(nFrames);
  for (let frame = 0, offset = start; frame < nFrames; frame++) {
    let sum = 0;
    for (let channel = 0; channel < nChannels; channel++, offset += nBytes) sum += Math.fround(read(offset));
    samples[frame] = sum / nChannels;
  }
  return samples;
}

/** From the place of a sample to its value: PCM is scaled by its full range, and 8 bits have their zero at 128. */
function reader(view, nBytes, isFloat) {
  if (isFloat) return nBytes === 4 ? (at) => view.getFloat32(at, true) : (at) => view.getFloat64(at, true);
  if (nBytes === 1) return (at) => (view.getUint8(at) - 128) / 128;
  if (nBytes === 2) return (at) => view.getInt16(at, true) / 32768;
  if (nBytes === 4) return (at) => view.getInt32(at, true) / 2147483648;
  return (at) => (view.getInt16(at + 1, true) * 256 + view.getUint8(at)) / 8388608;
}
