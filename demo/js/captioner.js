/** An exported captioner in the browser: tinyclap/runtime/captioner.py on onnxruntime-web. */
import { BeamRule } from "./beam_rule.js";
import { fetchJson, floats, openGraph, wholes } from "./engine.js";
import { PageError } from "./errors.js";
import { resample } from "./sinc.js";
import { cutWindows } from "./windows.js";

export class Captioner {
  /** Open an exported captioner by its address, which ends in "/". */
  static async open(folder) {
    const config = await fetchJson(`${folder}config.json`);
    if (config.resampler !== "sinc") throw new PageError(`resampler "${config.resampler}" is not in the browser`);
    const { words } = await fetchJson(`${folder}vocabulary.json`);
    const { fp32, memory, step } = config.graphs;
    const graphs = await Promise.all([fp32, memory, step].map((name) => openGraph(folder + name)));
    return new Captioner(config, words, graphs);
  }

  constructor(config, words, [frames, memory, step]) {
    Object.assign(this, { config, words, frames, memory, step });
  }

  /** Describe a clip {samples, rateHz} in words. */
  async caption(clip, beam = this.config.decoding.beam) {
    const wav = resample(clip.samples, clip.rateHz, this.config.sample_rate_hz);
    const heard = await this.hear(cutWindows(wav, this.config.sample_rate_hz, this.config.window));
    const ids = await this.search(heard, beam, this.config.decoding.max_words);
    return this.decode(ids);
  }

  /** What the decoder asks of the frames of a clip's pieces: tensors in the order of the memory graph's outputs. */
  async hear(pieces) {
    const parts = [];
    let width = 0;
    for (const piece of pieces) {
      const { data, dims } = Object.values(await this.frames.run({ wavs: floats(piece, [1, piece.length]) }))[0];
      width = dims[2];
      parts.push(data.slice(0, width * countingFrames(piece.length, dims[1], this.config.frames)));
    }
    const frames = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
    parts.reduce((at, part) => (frames.set(part, at), at + part.length), 0);
    const nFrames = frames.length / width;
    const given = { frames: floats(frames, [1, nFrames, width]), n_frames: wholes([nFrames], [1]) };
    const results = await this.memory.run(given);
    return this.memory.outputNames.slice(1).map((name) => results[name]);
  }

  /** Ids of the best caption, word by word. */
  async search(heard, beam, maxWords) {
    const { n_words: nWords, n_layers: nLayers, n_heads: nHeads, width, pad_id: padId } = this.config.decoder;
    const names = this.step.inputNames.filter((name) => /^(said_|asked_|told_|bias_)/.test(name));
    const rule = new BeamRule(this.config.decoder.end_id, beam, maxWords);
    const ranks = wholes([...Array(beam).keys()], [beam]);
    const fixed = { banned: floats(new Float32Array(nWords), [nWords]), ranks };
    let [rows, lastIds, running, masks] = [[0], [this.config.decoder.start_id], [0], [[0]]];
    let said = Array.from({ length: 2 * nLayers }, () => floats([], [1, nHeads, 0, width / nHeads]));
    for (;;) {
      const given = [...said, ...heard];
      const results = await this.step.run({
        ...fixed,
        ...Object.fromEntries(names.map((name, index) => [name, given[index]])),
        last_ids: wholes(lastIds, [1, lastIds.length]),
        rows: wholes(rows, [rows.length]),
        running: floats(running, [1, running.length]),
        word_mask: floats(masks.flat(), [masks.length, 1, 1, masks[0].length]),
      });
      const [scores, places, ...saidNow] = this.step.outputNames.map((name) => results[name]);
      const next = rule.follow(Array.from(scores.data), Array.from(places.data, Number), nWords);
      if (next === null) return rule.best();
      said = saidNow;
      running = next.penalties.map((penalty, index) => Math.fround(scores.data[index] - penalty));
      masks = next.rows.map((row, index) => [...masks[row], next.lastIds[index] === padId ? -Infinity : 0]);
      [rows, lastIds] = [next.rows, next.lastIds];
    }
  }

  decode(ids) {
    const { start_id: startId, end_id: endId, pad_id: padId } = this.config.decoder;
    const end = ids.indexOf(endId);
    const said = end < 0 ? ids : ids.slice(0, end);
    return said.filter((id) => id !== startId && id !== padId).map((id) => this.words[id]).join(" ");
  }
}

/** How many of an encoder's frames count; arguments as in Python's `n_valid`. */
export function countingFrames(nSamples, nFrames, { n_dropped, hop_length, mel_frames_each }) {
  if (mel_frames_each == null) return nFrames;
  const nMel = Math.floor((nSamples - n_dropped) / hop_length) + 1;
  return Math.min(Math.max(Math.floor(nMel / mel_frames_each), 1), nFrames);
}
