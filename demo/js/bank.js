/** Compiled label banks (.npz or .json): words with their vectors, for one model alone. */
import { PageError } from "./errors.js";
import { rowsOf } from "./maths.js";
import { readNpz } from "./npz.js";

/**
 * Read a bank.
 * @param {string} name - of the file: its ending says how it is written
 * @param {ArrayBuffer} bytes
 * @param {AudioModel} model - the one that it must fit
 * @returns {Promise<[string[], Float32Array[]]>} labels, and a vector for each
 * @throws {PageError} no bank, or one of another model
 */
export async function readBank(name, bytes, model) {
  const bank = name.endsWith(".json") ? fromJson(name, bytes) : await fromNpz(name, bytes);
  if (bank.modelSha256 !== model.sha256) {
    throw new PageError(`${name} was compiled for ${bank.model || "another model"}, and this page runs ${model.sha256.slice(0, 12)}…`);
  }
  return [bank.labels, bank.vectors];
}

function fromJson(name, bytes) {
  let content;
  try {
    content = JSON.parse(new TextDecoder().decode(bytes));
  } catch (error) {
    throw new PageError(`${name} is not readable as JSON (${error.message})`);
  }
  const { labels, vectors, model, model_sha256: modelSha256 } = content;
  if (!labels || !vectors) throw new PageError(`${name} is no label bank: it has no labels or no vectors`);
  return { labels, vectors: vectors.map((row) => Float32Array.from(row)), model, modelSha256 };
}

async function fromNpz(name, bytes) {
  const arrays = await readNpz(bytes);
  if (!arrays.labels || !arrays.vectors) throw new PageError(`${name} is no label bank: it has no labels or no vectors`);
  const [model, modelSha256] = ["model", "model_sha256"].map((key) => arrays[key]?.data[0]);
  return { labels: arrays.labels.data, vectors: rowsOf(arrays.vectors), model, modelSha256 };
}
