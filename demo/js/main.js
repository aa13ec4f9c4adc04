/** The page: what a person does, what the model's thread is asked, and what is shown. */
import { drawBars, percent } from "./bars.js";
import { decodeFile } from "./decode.js";
import { ModelThread } from "./model_thread.js";
import { keepOffline } from "./offline.js";
import { drawMel, drawWaveform } from "./pictures.js";
import { Recorder } from "./recorder.js";
import { encodeWav } from "./wav_writer.js";

const LIVE_WINDOW_S = 2;
const LIVE_EVERY_MS = 500;
const OWN = "own";
const at = (id) => document.getElementById(id);
const thread = new ModelThread();
let offered = null;
let recorder = null;

function say(text, isFault = false) {
  at("status").textContent = text;
  at("status").classList.toggle("fault", isFault);
}

/** Do something that may fail; what is wrong is shown. */
async function tried(work, note = say) {
  try {
    return await work();
  } catch (error) {
    note(error.message, true);
    return null;
  }
}

function noteWords(text, isFault = false) {
  at("words-note").textContent = text;
  at("words-note").classList.toggle("fault", isFault);
}

function show({ best }) {
  if (!best) return;
  const { label, share, score } = best[0];
  at("said").textContent = `${label} (${share === null ? score.toFixed(3) : percent(share)})`;
  drawBars(at("bars"), best);
}

async function open() {
  offered = await thread.call("open");
  const banks = offered.banks.map(({ title, file }) => new Option(title, file));
  if (offered.labels.length) banks.push(new Option(`The model's own ${offered.labels.length} words`, "compiled"));
  if (offered.hasText) banks.unshift(new Option("Your own words", OWN));
  at("bank").replaceChildren(...banks);
  at("examples").replaceChildren("Or try:", ...offered.examples.map(exampleButton));
  at("caption-row").hidden = !offered.hasCaptioner;
  at("about-model").textContent = `${offered.name}: ${offered.embedDim} dimensions, ${offered.engine}.`;
  await choose();
  say("Ready.");
  document.documentElement.dataset.model = "ready";
}

function exampleButton({ title, file }) {
  const button = Object.assign(document.createElement("button"), { type: "button", textContent: title });
  button.addEventListener("click", () => tried(async () => {
    const answer = await fetch(file);
    await takeFile(new File([await answer.blob()], `${title} (made up)`));
  }));
  return button;
}

function chosen() {
  const value = at("bank").value;
  const names = at("own").value.split(/[,\n]/).map((name) => name.trim()).filter((name) => name);
  if (value === OWN) return { kind: "own", names };
  return value === "compiled" ? { kind: value } : { kind: "ready", file: value };
}

async function choose(choice = chosen()) {
  const isOwn = choice.kind === "own";
  for (const id of ["own", "own-label", "apply"]) at(id).hidden = !isOwn;
  noteWords("Reading the words …");
  document.documentElement.dataset.words = "busy";
  const result = await tried(() => thread.call("choose", choice), noteWords);
  document.documentElement.dataset.words = result ? "ready" : "fault";
  if (!result) return;
  noteWords(`${result.nLabels} words.`);
  show(result);
}

async function take(clip, name) {
  document.documentElement.dataset.clip = "busy";
  at("pictures").hidden = false;
  at("describe").disabled = true;
  at("caption").textContent = "";
  drawWaveform(at("waveform"), clip.samples);
  const seconds = clip.samples.length / clip.rateHz;
  const shape = `${seconds.toFixed(2)} s, ${clip.rateHz} Hz, ${clip.nChannels} channel(s)`;
  at("about").textContent = `${name}: ${shape}, ${clip.coding}`;
  const begin = performance.now();
  const result = await thread.call("analyse", clip, (share) => say(`Listening … ${percent(share)}`));
  at("mel").hidden = !result.picture;
  if (result.picture) drawMel(at("mel"), result.picture);
  show(result);
  at("describe").disabled = false;
  say(`Heard ${seconds.toFixed(1)} s in ${((performance.now() - begin) / 1000).toFixed(2)} s.`);
  document.documentElement.dataset.clip = "ready";
}

async function takeFile(file) {
  if (!file) return;
  await tried(async () => {
    say(`Reading ${file.name} …`);
    const clip = await decodeFile(await file.arrayBuffer());
    play(file);
    await take(clip, file.name);
  });
}

function play(blob) {
  URL.revokeObjectURL(at("player").src);
  at("player").src = URL.createObjectURL(blob);
}

async function toggleMicrophone() {
  const button = at("microphone");
  if (recorder) return stopMicrophone();
  recorder = new Recorder();
  await recorder.start((level) => {
    at("level").firstElementChild.style.width = `${Math.min(100, 300 * level)}%`;
    at("level").setAttribute("aria-valuenow", Math.min(100, Math.round(300 * level)));
  }).catch((error) => {
    recorder = null;
    throw error;
  });
  button.setAttribute("aria-pressed", "true");
  button.textContent = "Stop, and keep the last 30 s";
  at("level").hidden = false;
  say(`Listening: the last ${LIVE_WINDOW_S} s, twice a second.`);
  follow(recorder);
}

/** Name the last seconds again and again, until this recorder is stopped. */
async function follow(listening) {
  while (recorder === listening) {
    if (listening.nSamples) await tried(async () => show(await thread.call("hear", listening.last(LIVE_WINDOW_S))));
    await new Promise((resolve) => setTimeout(resolve, LIVE_EVERY_MS));
  }
}

async function stopMicrophone() {
  const stopped = recorder;
  recorder = null;
  at("microphone").setAttribute("aria-pressed", "false");
  at("microphone").textContent = "Listen to the microphone";
  at("level").hidden = true;
  const clip = { ...stopped.last(stopped.keepS), coding: "microphone", nChannels: 1 };
  await stopped.stop();
  if (clip.samples.length === 0) return say("The microphone gave no sound.", true);
  play(encodeWav(clip));
  return take(clip, "Microphone");
}

/** The file of an input, which then forgets it: the same file chosen again is a choice, too. */
function chosenFile(input) {
  const [file] = input.files;
  input.value = "";
  return file;
}

function onDrop(event) {
  event.preventDefault();
  at("drop").classList.remove("over");
  takeFile(event.dataTransfer.files[0]);
}

document.addEventListener("dragover", (event) => {
  event.preventDefault();
  at("drop").classList.add("over");
});
document.addEventListener("dragleave", () => at("drop").classList.remove("over"));
document.addEventListener("drop", onDrop);
at("file").addEventListener("change", ({ target }) => takeFile(chosenFile(target)));
at("microphone").addEventListener("click", () => tried(toggleMicrophone));
at("bank").addEventListener("change", () => choose());
at("apply").addEventListener("click", () => choose());
at("bank-file").addEventListener("change", async ({ target }) => {
  const file = chosenFile(target);
  if (file) await choose({ kind: "file", name: file.name, bytes: await file.arrayBuffer() });
});
at("describe").addEventListener("click", () => tried(async () => {
  at("caption").textContent = "…";
  at("caption").textContent = await thread.call("caption");
}, (message) => (at("caption").textContent = message)));

await tried(open);
await keepOffline((text) => (at("about-model").textContent += ` ${text}`));
