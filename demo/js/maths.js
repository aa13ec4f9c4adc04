/** The few sums that scores are made of, on rows of Float32Array. */

export function dot(a, b) {
  let sum = 0;
  for (let index = 0; index < a.length; index++) sum += a[index] * b[index];
  return sum;
}

/** A row divided by its length; a row of zeros stays one. */
export function unit(row) {
  const length = Math.max(Math.sqrt(dot(row, row)), 1e-12);
  return row.map((value) => value / length);
}

export function meanRow(rows) {
  const mean = new Float32Array(rows[0].length);
  for (const row of rows) row.forEach((value, index) => (mean[index] += value));
  return mean.map((value) => value / rows.length);
}

export function sigmoid(row) {
  return row.map((value) => 0.5 * (1 + Math.tanh(0.5 * value)));
}

/** Softmax of numbers at a temperature. */
export function softmax(values, temperature = 1) {
  const greatest = values.reduce((best, value) => Math.max(best, value), -Infinity);
  const powers = Array.from(values, (value) => Math.exp((value - greatest) / temperature));
  const total = powers.reduce((sum, power) => sum + power, 0);
  return powers.map((power) => power / total);
}

/** How well each vector of N labels fits a row, as tinyclap's `score` has it: kind is "cosine", "dot" or "sqrt_dot". */
export function scores(row, vectors, kind) {
  if (kind === "cosine") return vectors.map((vector) => dot(unit(row), unit(vector)));
  const heard = kind === "sqrt_dot" ? row.map((value) => Math.sqrt(Math.max(value, 0))) : row;
  return vectors.map((vector) => dot(heard, vector));
}

/** Rows of a flat array (N · D): list of Float32Array. */
export function rowsOf({ shape, data }) {
  const [nRows, width] = shape;
  return Array.from({ length: nRows }, (_, row) => Float32Array.from(data.subarray(row * width, (row + 1) * width)));
}
