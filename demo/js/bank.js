/** Compiled label banks (.npz or .json): words with their vectors, for one model alone. */
import { PageError } from "./errors.js";
import { rowsOf } from "./maths.js";
import { readNpz } from "./npz.js";

const FORMAT = 1;
const OWN_TAGS = "none: the network's own tags"; // tinyclap/text/bank.py

/**
 * Read a bank.
 * @param {string} name - of the file: its ending says how it is written
 * @param {ArrayBuffer} bytes
 * @param {AudioModel} model - the one that it must fit
 * @returns {Promise<[string[], Float32Array[], boolean]>} labels, a vector for each, and whether these are of texts
 * @throws {PageError} no bank, or one of another model
 */
export async function readBank(name, bytes, model) {
  const { facts, labels, vectors } = name.endsWith(".json") ? fromJson(name, bytes) : await fromNpz(name, bytes);
  if (facts.format !== FORMAT) throw new PageError(`${name} is a bank of another format; compile it again`);
  const known = [facts.model_sha256, facts.weights_sha256].filter((sha256) => sha256 && model.sha256s.includes(sha256));
  if (known.length === 0) {
    throw new PageError(`${name} was compiled for ${facts.model}, and this page runs another model; compile it again`);
  }
  return [labels, vectors, facts.text_identity?.name !== OWN_TAGS];
}

function fromJson(name, bytes) {
  let facts;
  try {
    facts = JSON.parse(new TextDecoder().decode(bytes));
  } catch (error) {
    throw new PageError(`${name} is not readable as JSON (${error.message})`);
  }
  if (!facts.labels || !facts.vectors) throw new PageError(`${name} is no label bank`);
  return { facts, labels: facts.labels, vectors: facts.vectors.map((row) => Float32Array.from(row)) };
}

async function fromNpz(name, bytes) {
  const { about, labels, vectors } = await readNpz(bytes);
  if (!about || !labels || !vectors) throw new PageError(`${name} is no label bank`);
  return { facts: JSON.parse(about.data[0]), labels: labels.data, vectors: rowsOf(vectors) };
}
