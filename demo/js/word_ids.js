/** Whole words as numbers, by a vocabulary or by their hash: tinyclap/text/word_ids.py. */
const UNKNOWN = 1;
const N_SPECIAL = 2; // padding and the unknown word
const WORD = /[\p{L}\p{Nl}\p{No}]+/gu;

export class WordIds {
  /** words: known ones, one a line; null: every word is known by its hash, of nBuckets. */
  constructor(words, maxTokens = 32, nBuckets = 4096) {
    const known = words?.split(/\r?\n/) ?? [];
    Object.assign(this, { maxTokens, nBuckets: words === null ? nBuckets : null, padId: 0 });
    this.ids = new Map(known.map((word, index) => [word, index + N_SPECIAL]));
  }

  /** Numbers of the words of a text; a text without any word is one unknown word. */
  encode(text) {
    const ids = (text.toLowerCase().match(WORD) ?? []).map((word) => this.idOf(word)).slice(0, this.maxTokens);
    return ids.length ? ids : [UNKNOWN];
  }

  idOf(word) {
    if (this.nBuckets === null) return this.ids.get(word) ?? UNKNOWN;
    return N_SPECIAL + (crc32(new TextEncoder().encode(word)) % this.nBuckets);
  }
}

/** CRC-32 of bytes, bit by bit: words are short. */
export function crc32(bytes) {
  let sum = 0xffffffff;
  for (const byte of bytes) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit++) sum = (sum >>> 1) ^ (sum & 1 ? 0xedb88320 : 0);
  }
  return (sum ^ 0xffffffff) >>> 0;
}
