/** The page's side of the model's thread: a call is a promise. */
import { PageError } from "./errors.js";

export class ModelThread {
  constructor() {
    this.waiting = new Map();
    this.nCalls = 0;
    this.worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    this.worker.onmessage = ({ data }) => this.take(data);
    this.worker.onerror = (event) => this.fail(event.message || "the model's thread could not be started");
  }

  /** Ask for a task of worker.js; onProgress is told the share that is done. */
  call(task, args, onProgress = () => {}) {
    const id = ++this.nCalls;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject, onProgress });
      this.worker.postMessage({ id, task, args });
    });
  }

  take({ id, result, error, progress }) {
    const call = this.waiting.get(id);
    if (progress !== undefined) return call.onProgress(progress);
    this.waiting.delete(id);
    return error === undefined ? call.resolve(result) : call.reject(new PageError(error));
  }

  fail(message) {
    for (const { reject } of this.waiting.values()) reject(new PageError(message));
    this.waiting.clear();
  }
}
