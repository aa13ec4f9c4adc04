/** From words to the vectors that sounds are compared with: tinyclap/runtime/text_side.py on onnxruntime-web. */
import { fetchBytes, openGraph, wholes } from "./engine.js";
import { PageError } from "./errors.js";
import { dot, meanRow, rowsOf, softmax, unit } from "./maths.js";
import { readNpz } from "./npz.js";
import { WordIds } from "./word_ids.js";
import { WordPieces } from "./word_pieces.js";

const BATCH_SIZE = 32;

export class TextSide {
  /** Open the text side of an exported folder; about is config.json's "text". */
  static async open(folder, about) {
    if (!["embedding", "tag_space"].includes(about.kind)) throw new PageError(`a text side of the kind ${about.kind}`);
    const graph = await openGraph(folder + about.graph);
    const tokenizer = await openTokenizer(folder, about);
    const space = about.kind === "embedding" ? null : await readNpz(await fetchBytes(folder + about.tag_space));
    return new TextSide(about, graph, tokenizer, space && new TagSpace(space, about));
  }

  constructor(about, graph, tokenizer, space) {
    Object.assign(this, { about, graph, tokenizer, space, kept: new Map() });
  }

  /** Vectors of class names, by the model's own templates: list of Float32Array. */
  async embedNames(names) {
    const prompts = names.map((name) => this.about.templates.map((template) => fill(template, name)));
    await this.embedTexts(prompts.flat());
    const sentences = prompts.map((of) => unit(meanRow(of.map((text) => this.kept.get(text)))));
    const rows = this.space ? sentences.map((row) => this.space.rowOf(row)) : sentences;
    return this.about.kept == null ? rows : rows.map((row) => this.keptDims(row));
  }

  /** Embed the texts that are not kept yet, those of about one length together. */
  async embedTexts(texts) {
    const fresh = [...new Set(texts)].filter((text) => !this.kept.has(text));
    const tokens = fresh.map((text) => ({ text, ids: this.tokenizer.encode(text) }));
    tokens.sort((a, b) => a.ids.length - b.ids.length);
    for (let first = 0; first < tokens.length; first += BATCH_SIZE) {
      const part = tokens.slice(first, first + BATCH_SIZE);
      const results = await this.graph.run(padded(part.map(({ ids }) => ids), this.tokenizer.padId));
      rowsOf(shaped(results[this.graph.outputNames[0]])).forEach((row, index) => this.kept.set(part[index].text, row));
    }
  }

  keptDims(row) {
    const some = Float32Array.from(this.about.kept, (place) => row[place]);
    return this.space ? some : unit(some);
  }
}

/** Sentences as soft choices among a tagger's labels; arrays of tag_space.npz. */
class TagSpace {
  constructor({ readings, owners, prior }, { temperature, prior_floor: floor }) {
    [this.readings, this.owners, this.temperature] = [rowsOf(readings), Array.from(owners.data, Number), temperature];
    this.nTags = this.owners[this.owners.length - 1] + 1;
    const priors = Array.from(prior.data, Number);
    const weight = (tag) => (priors.length ? 1 / Math.sqrt(priors[tag] + floor) : 1);
    this.weights = Array.from({ length: this.nTags }, (_, tag) => weight(tag));
  }

  /** Unit vector of a sentence (E,) → (K,): probabilities of tags over √(prior + floor). */
  rowOf(sentence) {
    const best = new Array(this.nTags).fill(-Infinity);
    this.readings.forEach((reading, index) => {
      best[this.owners[index]] = Math.max(best[this.owners[index]], dot(sentence, reading));
    });
    return Float32Array.from(softmax(best, this.temperature), (share, tag) => share * this.weights[tag]);
  }
}

async function openTokenizer(folder, about) {
  if (about.tokenizer === "hashed words") return new WordIds(null, about.max_tokens, about.n_buckets);
  const vocabulary = new TextDecoder().decode(await fetchBytes(folder + about.vocabulary));
  if (about.tokenizer === "words") return new WordIds(vocabulary.replace(/\n$/, ""), about.max_tokens);
  if (about.tokenizer === "wordpiece") return new WordPieces(vocabulary, about.max_tokens);
  throw new PageError(`a tokenizer of the kind "${about.tokenizer}" is not in this page`);
}

/** What a text graph takes: ids and their mask (N, L), filled to one length. */
function padded(rows, padId) {
  const length = Math.max(...rows.map((row) => row.length));
  const filled = (row, value, rest) => Array.from({ length }, (_, place) => (place < row.length ? value(place) : rest));
  const shape = [rows.length, length];
  return {
    input_ids: wholes(rows.flatMap((row) => filled(row, (place) => row[place], padId)), shape),
    attention_mask: wholes(rows.flatMap((row) => filled(row, () => 1, 0)), shape),
  };
}

function shaped({ data, dims }) {
  return { data, shape: dims };
}

/** A class name in a template, as a person would write it. */
function fill(template, name) {
  return template.replace("{}", () => name.replace(/[_/]/g, " "));
}
