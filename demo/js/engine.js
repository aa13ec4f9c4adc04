/** onnxruntime-web behind one call: a graph is fetched and opened once, typed arrays go in, typed arrays come out. */
import * as ort from "../ort/ort.wasm.min.mjs";

import { PageError } from "./errors.js";

const MOST_THREADS = 4;

ort.env.wasm.wasmPaths = new URL("../ort/", import.meta.url).href;
// threads need shared memory, which browsers give to pages that are isolated from others alone
ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(MOST_THREADS, navigator.hardwareConcurrency || 1) : 1;
ort.env.logLevel = "error";

export const engineName = `onnxruntime-web ${ort.env.versions.web}, ${ort.env.wasm.numThreads} thread(s)`;

/** A tensor of float32 from numbers, of the given shape. */
export function floats(data, shape) {
  return new ort.Tensor("float32", data instanceof Float32Array ? data : Float32Array.from(data), shape);
}

/** A tensor of int64 from whole numbers, of the given shape. */
export function wholes(data, shape) {
  return new ort.Tensor("int64", BigInt64Array.from(data, BigInt), shape);
}

/** A file of the page, as bytes; a message that says which one is missing. */
export async function fetchBytes(url) {
  const answer = await fetch(url).catch(() => null);
  if (!answer?.ok) throw new PageError(`${url} cannot be fetched; load the page once with the network on`);
  return answer.arrayBuffer();
}

/** A file of the page, as JSON. */
export async function fetchJson(url) {
  return JSON.parse(new TextDecoder().decode(await fetchBytes(url)));
}

/**
 * Open an ONNX graph.
 * @param {string} url
 * @returns {Promise<{inputNames: string[], outputNames: string[], run: function(Object): Promise<Object>}>} run maps
 *   tensors by input name to tensors by output name.
 */
export async function openGraph(url) {
  const bytes = new Uint8Array(await fetchBytes(url));
  const session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
  return {
    inputNames: session.inputNames,
    outputNames: session.outputNames,
    run: (feeds) => session.run(feeds),
  };
}
