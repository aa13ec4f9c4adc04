/** The model's thread: every call comes as {id, task, args} and is answered by {id, result} or {id, error}. */
import { AudioModel } from "./audio_model.js";
import { readBank } from "./bank.js";
import { Captioner } from "./captioner.js";
import { engineName, fetchBytes, fetchJson } from "./engine.js";
import { PageError } from "./errors.js";
import { softmax } from "./maths.js";
import { TextSide } from "./text_side.js";

const base = new URL("../", import.meta.url).href;
const kept = { clip: null, row: null, labels: [], vectors: [], ofTexts: true };
let contents;
let model;
let text;
let known; // what is compiled, word → vector: the model's own words, and those that the page begins with
let captioner;

const tasks = {
  /** Open the model; what the page may offer. */
  async open() {
    contents = await fetchJson(`${base}contents.json`);
    model = await AudioModel.open(base + contents.model);
    const { start, banks, examples, name } = contents;
    const [words, rows] = start ? await readBank(start, await fetchBytes(base + start), model) : [[], []];
    known = [[model.labels, model.labelRows], [words, rows]].map(rowOfWord);
    const { labels, config } = model;
    const has = { hasText: "text" in config, hasCaptioner: Boolean(contents.captioner) };
    return { name, banks, examples, labels, ...has, engine: engineName, embedDim: config.embed_dim };
  },

  /** Take a clip {samples, rateHz}, mono: embed it and draw it. */
  async analyse(clip, progress) {
    kept.clip = clip;
    const wav = model.atOwnRate(clip);
    kept.row = await model.embed(wav, progress);
    return { picture: await model.picture(wav), ...named() };
  },

  /** Take the last seconds of a stream: embedded alone, and not kept. */
  async hear(clip) {
    return named(await model.embed(model.atOwnRate(clip)));
  },

  /** Choose labels: {kind: "compiled"}, {kind: "ready", file}, {kind: "file", name, bytes} or {kind: "own", names}. */
  async choose(choice) {
    [kept.labels, kept.vectors, kept.ofTexts = true] = await labelVectors(choice);
    return { nLabels: kept.labels.length, ...named() };
  },

  /** Describe the kept clip in words. */
  async caption() {
    captioner ??= await Captioner.open(base + contents.captioner);
    return captioner.caption(kept.clip);
  },
};

function rowOfWord([words, rows]) {
  return new Map(words.map((word, index) => [word, rows[index]]));
}

async function labelVectors(choice) {
  if (choice.kind === "compiled") return [model.labels, model.labelRows];
  if (choice.kind === "ready") return readBank(choice.file, await fetchBytes(base + choice.file), model);
  if (choice.kind === "file") return readBank(choice.name, choice.bytes, model);
  if (choice.names.length === 0) throw new PageError("give at least one word");
  const compiled = known.find((words) => choice.names.every((name) => words.has(name)));
  if (compiled) return [choice.names, choice.names.map((name) => compiled.get(name))];
  if (!("text" in model.config)) {
    throw new PageError(`this model has no text side, so it takes its own words alone: ${model.labels.join(", ")}`);
  }
  text ??= await TextSide.open(model.folder, model.config.text);
  return [choice.names, await text.embedNames(choice.names)];
}

/** Labels with scores, and shares that add up to 1 where a temperature was fitted to such labels; best first. */
function named(row = kept.row) {
  if (row === null || kept.labels.length === 0) return { best: null };
  const scores = model.scores(row, kept.vectors);
  const temperature = kept.ofTexts ? model.config.calibration?.temperature : undefined;
  const shares = temperature ? softmax(scores, temperature) : scores.map(() => null);
  const best = kept.labels.map((label, index) => ({ label, score: scores[index], share: shares[index] }));
  return { best: best.sort((a, b) => b.score - a.score) };
}

let last = Promise.resolve(); // one task at a time: a graph cannot be run twice at once

self.onmessage = ({ data: { id, task, args } }) => {
  last = last.then(() => answer(id, task, args));
};

async function answer(id, task, args) {
  const progress = (share) => self.postMessage({ id, progress: share });
  try {
    self.postMessage({ id, result: await tasks[task](args, progress) });
  } catch (error) {
    self.postMessage({ id, error: error instanceof PageError ? error.message : `${task}: ${error.message ?? error}` });
  }
}
