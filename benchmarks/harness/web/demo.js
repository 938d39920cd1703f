// The page: an input, the dial and the budget, the answer and its time.

import { breathe, median, microseconds, resolution, runsFor } from "./clock.js";
import { best, chosen, macs, macsAt, marks, ordered } from "./dial.js";
import { draw, ofFile, ofImage } from "./inputs.js";
import { Entry, compiled, open, release, ways } from "./litert.js";

const SHOWN = 5;
const REPEATS = 9;
const BLINK = 60_000; // microseconds
const at = (id) => document.getElementById(id);
const state = { points: [], models: {}, times: {}, marks: {}, place: 0, source: null, busy: false, again: false };

async function start() {
  const family = await (await fetch("family.json")).json();
  Object.assign(state, { family, points: ordered(family.points), step: resolution() });
  at("title").textContent = document.title = family.run;
  await offerWays();
  state.runtime = await open(at("way").value, "./node_modules/@litertjs/core/wasm/");
  const files = [...new Set(state.points.map((point) => point.file))];
  for (const file of files) state.models[file] = await compiled(await content(file), state.runtime);
  for (const point of state.points) if (point.cascade) state.marks[point.name] = chosen(point);
  at("about").textContent = about(files.length);
  at("place").max = state.points.length - 1;
  listen();
  headings();
  turn(state.points.length - 1);
}

function about(files) {
  const count = state.points.length;
  const points = `${count} operating point${count > 1 ? "s" : ""} in ${files > 1 ? `${files} files` : "one file"}`;
  return `${points}, ${state.family.precision}, by LiteRT.js on the ${at("way").selectedOptions[0].textContent}`;
}

async function content(file) {
  const answer = await fetch(encodeURIComponent(file));
  if (!answer.ok) throw new Error(`${file} is not beside this page (${answer.status})`);
  return new Uint8Array(await answer.arrayBuffer());
}

async function offerWays() {
  const there = await ways();
  // With LiteRT.js 2.5.3 integers answer otherwise there, by up to half of a score, and cascades do not run.
  if (state.family.integers || state.points.some((point) => point.cascade)) delete there.webgpu;
  const wish = new URLSearchParams(location.search).get("way");
  for (const [name, words] of Object.entries(there)) at("way").add(new Option(words, name));
  at("way").value = wish in there ? wish : "wasm";
}

function listen() {
  const { photos } = state.family.input;
  at("camera").hidden = !photos;
  at("choose").textContent = photos ? "Choose an image" : "Choose a file";
  at("file").accept = photos ? "image/*" : ".csv,.txt,.npy";
  at("file").onchange = () => at("file").files[0] && take(at("file").files[0]);
  at("camera").onclick = () => tried(camera);
  at("random").onclick = () => give({ values: () => random(current().shape) });
  at("place").oninput = () => turn(Number(at("place").value));
  at("mark").oninput = () => {
    state.marks[current().name] = Number(at("mark").value);
    turn(state.place);
  };
  at("macs").oninput = at("ms").oninput = budget;
  at("time").onclick = () => tried(timeAll);
  at("way").onchange = () => (location.search = `?way=${at("way").value}`);
}

/** What a file holds, as the source of inputs for whichever point runs. */
async function take(file) {
  await stopCamera();
  return tried(async () => {
    if (!state.family.input.photos) return give(numbers(file));
    const image = await createImageBitmap(file).catch(() => {
      throw new Error(`${file.name} is no image that this browser reads`);
    });
    return give({ values: (shape) => ofImage(image, shape, at("seen")), drawn: true });
  });
}

const numbers = (file) => ({ values: (shape) => ofFile(file, shape) });

async function camera() {
  if (state.stream) return stopCamera();
  if (!navigator.mediaDevices) throw new Error("A browser gives its camera to https and localhost alone; choose an image.");
  state.stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  const video = at("video");
  video.srcObject = state.stream;
  await video.play();
  at("camera").textContent = "Stop";
  state.source = { values: (shape) => ofImage(video, shape, at("seen")), drawn: true };
  while (state.stream) {
    await answer();
    await new Promise((done) => requestAnimationFrame(done));
  }
}

async function stopCamera() {
  state.stream?.getTracks().forEach((track) => track.stop());
  state.stream = null;
  at("camera").textContent = "Camera";
}

function random(shape) {
  const { low, high } = state.family.input;
  return Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => low + (high - low) * Math.random());
}

async function give(source) {
  if (!source.drawn) await stopCamera();
  state.source = source;
  return answer();
}

const current = () => state.points[state.place];

function thresholds(point) {
  return point.cascade ? marks(point)[state.marks[point.name]].thresholds : [];
}

/** Turn to a point, show it and let it answer. */
function turn(place) {
  state.place = place;
  at("place").value = place;
  const point = current();
  at("point").textContent = point.name;
  at("takes").textContent = `${point.name} takes ${point.shape.join(" x ")}${state.family.input.photos ? " pixels" : ""}.`;
  at("mark-label").hidden = !point.cascade;
  if (point.cascade) {
    at("mark").max = marks(point).length - 1;
    at("mark").value = state.marks[point.name];
    at("mark-words").textContent = `goes on below ${thresholds(point).map((value) => value.toFixed(3)).join(", ")}`;
  }
  facts(point);
  rows();
  tried(answer);
}

function facts(point) {
  const mark = point.cascade ? marks(point)[state.marks[point.name]] : null;
  const cost = mark ? macsAt(point, mark) ?? macs(point) : macs(point);
  const entries = [
    ["score on test inputs", percent(point.score)],
    ["on validation inputs, at this mark", mark?.score == null ? null : percent(mark.score)],
    [mark ? "MACs in the mean" : "MACs", millions(cost)],
    ["MACs at worst", mark ? millions(point.macs) : null],
    ["stages", point.cascade?.stages.join(", then ")],
  ];
  const shown = entries.filter(([, words]) => words);
  at("facts").replaceChildren(...shown.flatMap(([title, words]) => [element("dt", title), element("dd", words)]).map(boxed));
}

/** A title and its words stand one above the other in one cell. */
function boxed(item, index, all) {
  if (index % 2) return "";
  const cell = document.createElement("div");
  cell.className = item.textContent;
  cell.append(item, all[index + 1]);
  return cell;
}

/** Run the current point on the current input; a wish that comes meanwhile is met behind it. */
async function answer() {
  if (!state.source) return;
  if (state.busy) {
    state.again = true;
    return;
  }
  state.busy = true;
  try {
    do {
      state.again = false;
      await once(current());
    } while (state.again);
  } finally {
    state.busy = false;
  }
}

async function once(point) {
  const values = await state.source.values(point.shape);
  if (!state.source.drawn) picture(values, point.shape);
  const entry = new Entry(state.models[point.file], point.signature);
  const inputs = entry.inputs(values, thresholds(point));
  try {
    await entry.run(inputs); // the first run of an entry packs its weights
    const took = await briefly(() => entry.run(inputs));
    show(point, await entry.run(inputs), took);
  } finally {
    release(inputs);
  }
}

/** Milliseconds of a run, from as many as take a blink of an eye. */
async function briefly(run) {
  const runs = await runsFor(run, state.step / 5);
  const repeats = [];
  let spent = 0;
  do {
    repeats.push(await microseconds(run, runs));
    spent += repeats.at(-1) * runs;
  } while (spent < BLINK && repeats.length < REPEATS);
  return median(repeats) / 1000;
}

function picture(values, shape) {
  const canvas = at("seen");
  const colours = ["--large", "--stitch", "--small", "--picked"];
  const style = getComputedStyle(document.documentElement);
  canvas.className = shape.length === 2 ? "lines" : "";
  if (state.family.input.photos) drawPhoto(values, shape, canvas);
  else draw(values, shape, canvas, colours.map((name) => style.getPropertyValue(name)));
}

function drawPhoto(values, [height, width, channels], canvas) {
  canvas.width = width;
  canvas.height = height;
  const pen = canvas.getContext("2d");
  const image = pen.createImageData(width, height);
  for (let n = 0; n < width * height; n += 1) {
    const pixel = [0, 1, 2].map((c) => values[n * channels + Math.min(c, channels - 1)]);
    image.data.set([...pixel, 255], 4 * n);
  }
  pen.putImageData(image, 0, 0);
}

function show(point, { scores, stage }, ms) {
  const order = [...scores.keys()].sort((a, b) => scores[b] - scores[a]).slice(0, SHOWN);
  at("answers").replaceChildren(...order.map((n) => line(state.family.labels[n] ?? `class ${n}`, scores[n])));
  const by = point.cascade ? `, answered by stage ${stage + 1}, ${point.cascade.stages[stage]}` : "";
  at("took").textContent = `${point.name}: ${duration(ms)}${by}`;
  at("took").classList.remove("wrong");
}

function line(label, share) {
  const item = document.createElement("li");
  const bar = document.createElement("meter-bar");
  const filled = document.createElement("i");
  filled.style.width = `${100 * Math.max(0, Math.min(1, share))}%`;
  bar.append(filled);
  item.append(element("span", label, "label"), bar, element("span", percent(share), "share"));
  return item;
}

/** Milliseconds of every point here; of a cascade, where all its stages run. */
async function timeAll() {
  await stopCamera();
  at("time").disabled = true;
  try {
    for (const point of state.points) {
      at("verdict").textContent = `Timing ${point.name}…`;
      await breathe();
      state.times[point.name] = await timed(point);
      rows();
    }
  } finally {
    at("time").disabled = false;
  }
  budget();
}

async function timed(point) {
  const entry = new Entry(state.models[point.file], point.signature);
  const inputs = entry.inputs(random(point.shape), entry.worst);
  try {
    const run = () => entry.run(inputs);
    for (let n = 0; n < 3; n += 1) await run();
    const runs = await runsFor(run, state.step);
    const repeats = [];
    for (let n = 0; n < REPEATS; n += 1) repeats.push(await microseconds(run, runs));
    return median(repeats) / 1000;
  } finally {
    release(inputs);
  }
}

function budget() {
  const limit = (id, scale) => (at(id).value === "" ? null : Number(at(id).value) * scale);
  const limits = { macs: limit("macs", 1e6), ms: limit("ms", 1) };
  const untimed = limits.ms !== null && !Object.keys(state.times).length;
  const point = limits.macs === null && limits.ms === null ? null : best(state.points, limits, state.times);
  if (untimed) at("verdict").textContent = "Time every point here first.";
  else if (point) at("verdict").textContent = `Of what fits, ${point.name} scores best.`;
  else at("verdict").textContent = limits.macs === null && limits.ms === null ? "" : nearest(limits);
  if (point) turn(state.points.indexOf(point));
}

function nearest({ macs: most, ms }) {
  const cheapest = state.points[0];
  const words = [most !== null && millions(macs(cheapest)), ms !== null && duration(state.times[cheapest.name])];
  return `No point fits. The cheapest, ${cheapest.name}, takes ${words.filter(Boolean).join(" and ")}.`;
}

function headings() {
  const titles = ["point", "score", "MACs in the mean", "time here"];
  at("head").replaceChildren(...titles.map((title) => element("th", title)));
  const counted = state.points.some((point) => macs(point) !== null);
  at("macs-label").hidden = !counted;
}

function rows() {
  at("points").replaceChildren(...state.points.map(row));
}

function row(point, place) {
  const line = document.createElement("tr");
  const time = state.times[point.name];
  const cells = [point.name, percent(point.score) ?? "", millions(macs(point)) ?? "", time === undefined ? "" : duration(time)];
  line.append(...cells.map((words) => element("td", words)));
  line.setAttribute("aria-selected", place === state.place);
  line.onclick = () => turn(place);
  return line;
}

function element(name, words, kind = "") {
  const made = document.createElement(name);
  made.textContent = words;
  made.className = kind;
  return made;
}

const percent = (share) => (share == null ? null : `${(100 * share).toFixed(1)}\u00a0%`);
const millions = (count) => (count == null ? null : `${(count / 1e6).toPrecision(3)}\u00a0M`);
const duration = (ms) => (ms == null ? "" : ms < 1 ? `${(1000 * ms).toPrecision(3)}\u00a0µs` : `${ms.toPrecision(3)}\u00a0ms`);

/** Tell in one line what went wrong. */
async function tried(work) {
  try {
    return await work();
  } catch (error) {
    at("took").textContent = error.message || String(error);
    at("took").classList.add("wrong");
    return undefined;
  }
}

globalThis.started = start().catch((error) => {
  at("about").textContent = error.message;
  at("about").classList.add("wrong");
});
