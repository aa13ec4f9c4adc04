/**
 * The sample rate that the header of a FLAC, Ogg, MP3 or MPEG-4 file states. The browser's decoder changes every file
 * to one rate; asked for the file's own, it changes nothing, and the model hears what it hears in Python.
 */
const MP3_RATES = { 3: [44100, 48000, 32000], 2: [22050, 24000, 16000], 0: [11025, 12000, 8000] };
const OPUS_HZ = 48000; // Opus is always decoded at this rate

/** Sample rate in Hz of a file (ArrayBuffer), or null where the format is another one or says nothing. */
export function statedRateHz(buffer) {
  const bytes = new Uint8Array(buffer);
  const start = text(bytes, 0, 4);
  if (start === "fLaC") return (bytes[18] << 12) | (bytes[19] << 4) | (bytes[20] >> 4);
  if (start === "OggS") return oggRate(bytes);
  if (text(bytes, 4, 4) === "ftyp") return mp4Rate(bytes);
  return mp3Rate(bytes, start.startsWith("ID3") ? 10 + tagSize(bytes) : 0);
}

function text(bytes, from, length) {
  return String.fromCharCode(...bytes.subarray(from, from + length));
}

function find(bytes, word, from, to) {
  for (let at = from; at <= Math.min(to, bytes.length) - word.length; at++) {
    if (text(bytes, at, word.length) === word) return at;
  }
  return -1;
}

function oggRate(bytes) {
  if (find(bytes, "OpusHead", 0, 200) >= 0) return OPUS_HZ;
  const at = find(bytes, "\x01vorbis", 0, 200);
  return at < 0 ? null : new DataView(bytes.buffer).getUint32(at + 12, true);
}

/** The timescale of the first sound track, which is its rate in nearly all files. */
function mp4Rate(bytes) {
  for (let at = find(bytes, "mdhd", 0, bytes.length); at >= 0; at = find(bytes, "mdhd", at + 4, bytes.length)) {
    const view = new DataView(bytes.buffer);
    const rate = view.getUint32(at + (bytes[at + 4] === 1 ? 24 : 16));
    if (rate >= 8000 && rate <= 96000 && find(bytes, "soun", at, at + 100) >= 0) return rate;
  }
  return null;
}

/** ID3 states its length in four bytes of seven bits. */
function tagSize(bytes) {
  return (bytes[6] << 21) | (bytes[7] << 14) | (bytes[8] << 7) | bytes[9];
}

function mp3Rate(bytes, from) {
  for (let at = from; at < Math.min(bytes.length - 3, from + 65536); at++) {
    if (bytes[at] !== 0xff || (bytes[at + 1] & 0xe0) !== 0xe0) continue;
    const [version, layer, rate] = [(bytes[at + 1] >> 3) & 3, (bytes[at + 1] >> 1) & 3, (bytes[at + 2] >> 2) & 3];
    if (version !== 1 && layer !== 0 && rate !== 3 && bytes[at + 2] >> 4 !== 15) return MP3_RATES[version][rate];
  }
  return null;
}
