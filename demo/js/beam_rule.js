/**
 * The rule of the captioner's beam search for one clip: tinyclap/decoding/rule.py. Which beams go on, which captions are
 * stored, and when it ends; the scores come from outside.
 */
const DONE = 1000; // what a beam's score loses when it has ended: its continuations are then never the best

export class BeamRule {
  /** endId ends a caption; beam beams go on; a caption has at most maxWords words, its end counted. */
  constructor(endId, beam = 3, maxWords = 20) {
    [this.endId, this.beam, this.maxWords] = [endId, beam, maxWords];
    this.sequences = [[]];
    this.stored = [];
    this.nSaid = 0;
  }

  /**
   * Take the best continuations of a step.
   * @param {number[]} scores - of k beams, best first
   * @param {number[]} places - the beam before times nVocabulary, plus the word
   * @param {number} nVocabulary
   * @returns {?{rows: number[], lastIds: number[], penalties: number[]}} what is asked next; null when it is over
   */
  follow(scores, places, nVocabulary) {
    this.nSaid += 1;
    const isLast = this.nSaid === this.maxWords;
    const rows = places.map((place) => Math.floor(place / nVocabulary));
    const lastIds = places.map((place) => place % nVocabulary);
    this.sequences = rows.map((row, index) => [...this.sequences[row], lastIds[index]]);
    const ended = lastIds.map((word) => isLast || word === this.endId);
    ended.forEach((isOver, index) => {
      const words = this.sequences[index];
      if (isOver) this.stored.push({ score: scores[index] / words.length, words });
    });
    if (isLast || this.stored.length === this.beam) return null;
    return { rows, lastIds, penalties: ended.map((isOver) => (isOver ? DONE : 0)) };
  }

  /** Words of the best stored caption, the earlier one of two equals. */
  best() {
    return this.stored.reduce((best, one) => (one.score > best.score ? one : best)).words;
  }
}
