/**
 * BERT's uncased tokenizer: words, and words in pieces where they are not in the vocabulary.
 * Source: Devlin et al., "BERT" (2019); the same rules as tinyclap/text/word_pieces.py.
 */
const LONGEST_WORD = 100; // characters; a longer word is unknown as a whole
const SPECIAL = /(\[CLS\]|\[SEP\]|\[PAD\]|\[UNK\]|\[MASK\])/;
const IDEOGRAPHS = new RegExp(
  "[\\u3400-\\u4dbf\\u4e00-\\u9fff\\uf900-\\ufaff\\u{20000}-\\u{2a6df}\\u{2a700}-\\u{2b73f}\\u{2b740}-\\u{2b81f}" +
    "\\u{2b920}-\\u{2ceaf}\\u{2f800}-\\u{2fa1f}]",
  "gu",
);
const PUNCTUATION = /[\p{P}!-/:-@[-`{-~]/gu;

export class WordPieces {
  /** vocabulary: one piece a line, its number that of the line. maxTokens: of a text, [CLS] and [SEP] counted. */
  constructor(vocabulary, maxTokens = 512) {
    this.ids = new Map(vocabulary.replace(/\n$/, "").split("\n").map((piece, index) => [piece, index]));
    [this.maxTokens, this.padId] = [maxTokens, this.ids.get("[PAD]")];
  }

  /** Numbers of the pieces of a text, between [CLS] and [SEP]. */
  encode(text) {
    const pieces = text.split(SPECIAL).flatMap((part) => {
      // a special piece that is written out in a text is taken for itself
      if (SPECIAL.test(part) && this.ids.has(part)) return [this.ids.get(part)];
      return wordsAndSigns(part).flatMap((word) => this.pieces(word));
    });
    return [this.ids.get("[CLS]"), ...pieces.slice(0, this.maxTokens - 2), this.ids.get("[SEP]")];
  }

  /** The longest piece from the left, again and again; one unknown piece where that comes to an end. */
  pieces(word) {
    const letters = Array.from(word);
    const unknown = [this.ids.get("[UNK]")];
    if (letters.length > LONGEST_WORD) return unknown;
    const found = [];
    for (let start = 0; start < letters.length; ) {
      let end = letters.length;
      const piece = () => (start ? "##" : "") + letters.slice(start, end).join("");
      while (end > start && !this.ids.has(piece())) end--;
      if (end === start) return unknown;
      found.push(this.ids.get(piece()));
      start = end;
    }
    return found;
  }
}

/** Words and signs of a text: lower case, accents off, every sign and ideograph a word of its own. */
export function wordsAndSigns(text) {
  return text
    .replace(/[\t\n\r]/g, " ")
    .replace(/[\p{Cc}\p{Cf}\p{Co}\ufffd]/gu, "")
    .replace(/\s/g, " ")
    .replace(IDEOGRAPHS, " $& ")
    .normalize("NFD")
    .replace(/\p{Mn}/gu, "")
    .toLowerCase()
    .replace(PUNCTUATION, " $& ")
    .split(" ")
    .filter((word) => word);
}
