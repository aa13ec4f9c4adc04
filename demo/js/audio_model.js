/** An exported student or tagger in the browser: tinyclap/runtime/audio_model.py on onnxruntime-web. */
import { fetchBytes, fetchJson, floats, openGraph } from "./engine.js";
import { meanRow, rowsOf, scores, sigmoid, unit } from "./maths.js";
import { readNpz } from "./npz.js";
import { resample } from "./sinc.js";
import { cutWindows } from "./windows.js";
import { PageError } from "./errors.js";

const MEL_PIECE_S = 10; // the picture is made piece by piece, so that an hour takes no more memory than this
const MOST_COLUMNS = 1200;

export class AudioModel {
  /** Open an exported folder by its address, which ends in "/". */
  static async open(folder) {
    const config = await fetchJson(`${folder}config.json`);
    if (config.resampler !== "sinc") throw new PageError(`resampler "${config.resampler}" is not in the browser`);
    const model = new AudioModel(folder, config);
    model.graph = await openGraph(folder + config.graphs.fp32);
    const { labels, tags } = await fetchJson(`${folder}labels.json`);
    [model.labels, model.tags] = [labels, tags];
    model.labelRows = [];
    if (labels.length) {
      const arrays = await readNpz(await fetchBytes(`${folder}label_vectors.npz`));
      model.labelRows = rowsOf(arrays.vectors);
    }
    return model;
  }

  constructor(folder, config) {
    [this.folder, this.config, this.rateHz] = [folder, config, config.sample_rate_hz];
  }

  /** By what label banks know the model: SHA-256 of its graph, and of the weights that it was made of. */
  get sha256s() {
    return [this.config.files[this.config.graphs.fp32], this.config.provenance.weights_sha256].filter(Boolean);
  }

  /** The clip at the model's own rate: Float32Array. */
  atOwnRate({ samples, rateHz }) {
    return resample(samples, rateHz, this.rateHz);
  }

  /**
   * What is compared with labels, of one clip at the model's rate: the mean over its windows.
   * @param {Float32Array} wav
   * @param {function(number): void} onProgress - is told the share that is done
   * @returns {Promise<Float32Array>} (D,)
   */
  async embed(wav, onProgress = () => {}) {
    const windows = cutWindows(wav, this.rateHz, this.config.window);
    const found = {};
    for (const [index, window] of windows.entries()) {
      for (const [name, row] of Object.entries(await this.outputs(window))) {
        (found[name] ??= []).push(this.normalises(name) ? unit(row) : row);
      }
      onProgress((index + 1) / windows.length);
    }
    const means = Object.entries(found).map(([name, rows]) => [name, this.mean(name, rows)]);
    return this.compared(Object.fromEntries(means));
  }

  /** Every output of one window: rows by name. */
  async outputs(window) {
    const results = await this.graph.run({ wavs: floats(window, [1, window.length]) });
    return Object.fromEntries(Object.entries(results).map(([name, tensor]) => [name, tensor.data]));
  }

  normalises(name) {
    return this.config.outputs[name].normalise;
  }

  mean(name, rows) {
    return this.normalises(name) ? unit(meanRow(rows)) : meanRow(rows);
  }

  /** A tagger is compared by its probabilities, any other model by its embedding. */
  compared({ embedding, logits }) {
    return this.tags.length && logits ? sigmoid(logits) : embedding;
  }

  /** Scores of an embedding with label vectors: N numbers, of config.score's kind. */
  scores(row, vectors) {
    return scores(row, vectors, this.config.score);
  }

  /** Log-mel of a clip, thinned to a picture: {columns: Float32Array[], nBands}, or null without a front end. */
  async picture(wav) {
    if (!this.config.graphs.front_end) return null;
    this.frontEnd ??= await openGraph(this.folder + this.config.graphs.front_end);
    const piece = MEL_PIECE_S * this.rateHz;
    const nPieces = Math.ceil(wav.length / piece);
    const columns = [];
    for (let start = 0; start < wav.length; start += piece) {
      const part = cutWindows(wav.subarray(start, start + piece), this.rateHz, {
        ...this.config.window, window_s: MEL_PIECE_S, short: "native", min_s: 0.2,
      })[0];
      const mel = Object.values(await this.frontEnd.run({ wavs: floats(part, [1, part.length]) }))[0];
      columns.push(...thinned(mel, Math.ceil(MOST_COLUMNS / nPieces)));
    }
    return { columns, nBands: columns[0].length };
  }
}

/** Frames (1, F, M) as at most `most` columns of M bands, neighbours averaged. */
function thinned({ data, dims }, most) {
  const [nFrames, nBands] = dims.slice(-2);
  const step = Math.max(1, Math.ceil(nFrames / most));
  const columns = [];
  for (let first = 0; first < nFrames; first += step) {
    const frames = [];
    for (let frame = first; frame < Math.min(first + step, nFrames); frame++) {
      frames.push(data.slice(frame * nBands, (frame + 1) * nBands));
    }
    columns.push(meanRow(frames));
  }
  return columns;
}
