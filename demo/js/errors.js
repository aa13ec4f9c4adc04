/** Errors that are shown to the person as they stand: they say what is wrong and what to do. */
export class PageError extends Error {
  constructor(message) {
    super(message);
    this.name = "PageError";
  }
}
