/** The two pictures of a clip: its waveform, and its log-mel columns. */
const COLOURS = [[4, 5, 20], [62, 15, 96], [150, 35, 105], [222, 73, 70], [250, 150, 40], [252, 240, 160]];

/** Draw the extremes of a waveform (T,) column by column. */
export function drawWaveform(canvas, samples) {
  const { width, height } = canvas;
  const pen = canvas.getContext("2d");
  pen.clearRect(0, 0, width, height);
  pen.fillStyle = "#7db4ff";
  for (let x = 0; x < width; x++) {
    const first = Math.floor((x * samples.length) / width);
    const last = Math.max(first + 1, Math.floor(((x + 1) * samples.length) / width));
    let [low, high] = [Infinity, -Infinity];
    for (let index = first; index < last && index < samples.length; index++) {
      low = Math.min(low, samples[index]);
      high = Math.max(high, samples[index]);
    }
    if (low > high) continue;
    pen.fillRect(x, ((1 - high) * height) / 2, 1, Math.max(1, ((high - low) * height) / 2));
  }
}

/** Draw log-mel columns: time to the right, low pitch at the bottom, bright where it is loud. */
export function drawMel(canvas, { columns, nBands }) {
  const image = new ImageData(columns.length, nBands);
  const [low, high] = quantiles(columns);
  columns.forEach((column, x) => column.forEach((value, band) => {
    const rgb = colour((value - low) / (high - low || 1));
    image.data.set([...rgb, 255], 4 * ((nBands - 1 - band) * columns.length + x));
  }));
  [canvas.width, canvas.height] = [columns.length, nBands];
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** Levels that nearly all values lie between: one loud click must not darken all else. */
function quantiles(columns) {
  const values = Float32Array.from(columns.flatMap((column) => Array.from(column))).sort();
  return [0.05, 0.995].map((share) => values[Math.floor(share * (values.length - 1))]);
}

function colour(share) {
  const place = Math.max(0, Math.min(1, share)) * (COLOURS.length - 1);
  const index = Math.min(Math.floor(place), COLOURS.length - 2);
  return COLOURS[index].map((from, part) => from + (place - index) * (COLOURS[index + 1][part] - from));
}
