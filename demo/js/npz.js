/** Arrays that numpy wrote: .npz (a zip of .npy files, stored or deflated) without a library. */
import { PageError } from "./errors.js";

const END_OF_DIRECTORY = 0x06054b50;
const ENTRY = 0x02014b50;

/**
 * Read an .npz file.
 * @param {ArrayBuffer} buffer
 * @returns {Promise<Object<string, {shape: number[], data: TypedArray|string[]}>>} arrays by name, rows first
 * @throws {PageError} no zip, or an array of a kind that is not read here
 */
export async function readNpz(buffer) {
  const arrays = {};
  for (const entry of directory(new DataView(buffer))) {
    const packed = new Uint8Array(buffer, entry.start, entry.size);
    const bytes = entry.method === 0 ? packed.slice().buffer : await inflate(packed);
    arrays[entry.name.replace(/\.npy$/, "")] = readNpy(bytes);
  }
  return arrays;
}

async function inflate(packed) {
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Response(stream).arrayBuffer();
}

function directory(view) {
  let end = view.byteLength - 22;
  while (end >= 0 && view.getUint32(end, true) !== END_OF_DIRECTORY) end--;
  if (end < 0) throw new PageError("not an .npz file, or cut short");
  const entries = [];
  let at = view.getUint32(end + 16, true);
  for (let left = view.getUint16(end + 10, true); left > 0; left--) {
    if (view.getUint32(at, true) !== ENTRY) throw new PageError("the .npz file is damaged");
    const [nName, nExtra, nComment] = [28, 30, 32].map((place) => view.getUint16(at + place, true));
    const local = view.getUint32(at + 42, true);
    const start = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    const name = new TextDecoder().decode(new Uint8Array(view.buffer, at + 46, nName));
    entries.push({ name, start, size: view.getUint32(at + 20, true), method: view.getUint16(at + 10, true) });
    at += 46 + nName + nExtra + nComment;
  }
  return entries;
}

/** One .npy file: {shape, data}. Text becomes a list of strings, float16 becomes float32, int64 becomes numbers. */
export function readNpy(buffer) {
  const view = new DataView(buffer);
  const isOld = view.getUint8(6) === 1;
  const nHeader = isOld ? view.getUint16(8, true) : view.getUint32(8, true);
  const start = (isOld ? 10 : 12) + nHeader;
  const header = new TextDecoder("latin1").decode(new Uint8Array(buffer, start - nHeader, nHeader));
  const kind = /'descr':\s*'([^']*)'/.exec(header)?.[1];
  const shape = [.../'shape':\s*\(([^)]*)\)/.exec(header)[1].matchAll(/\d+/g)].map(([digits]) => Number(digits));
  if (kind === undefined || header.includes("'fortran_order': True")) {
    throw new PageError("an array of a kind that this page does not read");
  }
  const size = shape.reduce((product, length) => product * length, 1);
  return { shape, data: values(buffer.slice(start), kind, size) };
}

function values(bytes, kind, size) {
  const plain = { "<f4": Float32Array, "<f8": Float64Array, "<i4": Int32Array, "|i1": Int8Array, "|u1": Uint8Array };
  if (kind in plain) return new plain[kind](bytes, 0, size);
  if (kind === "<f2") return Float32Array.from(new Uint16Array(bytes, 0, size), halfToNumber);
  if (kind === "<i8") return Float64Array.from(new BigInt64Array(bytes, 0, size), Number);
  if (kind === "|b1") return new Uint8Array(bytes, 0, size);
  if (kind.startsWith("<U")) return texts(new Uint32Array(bytes), Number(kind.slice(2)), size);
  throw new PageError(`an array of kind ${kind} is not read here`);
}

function texts(codes, width, size) {
  return Array.from({ length: size }, (_, index) => {
    const row = Array.from(codes.subarray(index * width, (index + 1) * width));
    while (row.length && row[row.length - 1] === 0) row.pop();
    return row.map((code) => String.fromCodePoint(code)).join("");
  });
}

function halfToNumber(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
