/** A clip as a WAV file of 16 bits, for the player of what the microphone heard. */
const HEADER_BYTES = 44;

/** {samples in [-1, 1], rateHz} → Blob. */
export function encodeWav({ samples, rateHz }) {
  const view = new DataView(new ArrayBuffer(HEADER_BYTES + 2 * samples.length));
  const put = (at, word) => [...word].forEach((letter, place) => view.setUint8(at + place, letter.charCodeAt(0)));
  put(0, "RIFF");
  view.setUint32(4, view.byteLength - 8, true);
  put(8, "WAVEfmt ");
  [[16, 16, 4], [20, 1, 2], [22, 1, 2], [24, rateHz, 4], [28, 2 * rateHz, 4], [32, 2, 2], [34, 16, 2]].forEach(
    ([at, value, nBytes]) => (nBytes === 4 ? view.setUint32(at, value, true) : view.setUint16(at, value, true)),
  );
  put(36, "data");
  view.setUint32(40, 2 * samples.length, true);
  samples.forEach((value, index) => {
    view.setInt16(HEADER_BYTES + 2 * index, Math.max(-32768, Math.min(32767, Math.round(32768 * value))), true);
  });
  return new Blob([view], { type: "audio/wav" });
}
