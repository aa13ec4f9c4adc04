/** A file that a person gives, as a mono clip at the file's own rate. */
import { PageError } from "./errors.js";
import { statedRateHz } from "./stated_rate.js";
import { isWav, readWav } from "./wav.js";

const UNSTATED_HZ = 48000; // where a format says nothing that is read here, the browser resamples to this

/**
 * Decode a recording.
 * @param {ArrayBuffer} buffer - the whole file
 * @returns {Promise<{samples: Float32Array, rateHz: number, coding: string, nChannels: number}>}
 * @throws {PageError} neither a WAV file nor anything that the browser decodes
 */
export async function decodeFile(buffer) {
  if (buffer.byteLength === 0) throw new PageError("the file is empty");
  if (isWav(buffer)) return readWav(buffer);
  const rateHz = statedRateHz(buffer) ?? UNSTATED_HZ;
  const context = new OfflineAudioContext(1, 1, rateHz); // the decoder resamples to the rate of its context
  const decoded = await context.decodeAudioData(buffer.slice(0)).catch(() => {
    throw new PageError("this browser cannot decode the file; convert it to WAV: ffmpeg -i FILE sound.wav");
  });
  const channels = Array.from({ length: decoded.numberOfChannels }, (_, index) => decoded.getChannelData(index));
  const samples = channels[0].map((_, at) => channels.reduce((sum, channel) => sum + channel[at], 0) / channels.length);
  if (samples.length === 0) throw new PageError("the recording has no samples");
  return { samples, rateHz: decoded.sampleRate, coding: "decoded by the browser", nChannels: channels.length };
}
