/** The list of likeliest words. */
const SHOWN = 8;

/** Show labels {label, score, share}, best first; the exact numbers are kept as data attributes. */
export function drawBars(list, best) {
  const most = Math.max(...best.map(({ score }) => score), 1e-9);
  list.replaceChildren(...best.slice(0, SHOWN).map(({ label, score, share }) => {
    const row = document.createElement("li");
    const part = share ?? Math.max(0, score / most);
    row.style.setProperty("--part", `${(100 * part).toFixed(1)}%`);
    Object.assign(row.dataset, { label, score, ...(share === null ? {} : { share }) });
    row.append(cell("name", label), cell("number", share === null ? score.toFixed(3) : percent(share)));
    row.title = `score ${score.toFixed(4)}`;
    return row;
  }));
}

/** A share in [0, 1] as text; neither certainty nor impossibility is claimed by rounding. */
export function percent(share) {
  if (share < 0.0005) return "< 0.1 %";
  if (share > 0.995 && share < 1) return "> 99 %";
  return `${(100 * share).toFixed(share >= 0.0995 ? 0 : 1)} %`;
}

function cell(kind, text) {
  const part = document.createElement("span");
  part.className = kind;
  part.textContent = text;
  return part;
}
