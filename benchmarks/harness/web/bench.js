// Times every file of a run in this browser, and hands the figures to the computer that serves the page.

import { breathe, median, microseconds, resolution, runsFor } from "./clock.js";
import { Entry, compiled, open, release, ways } from "./litert.js";

const at = (id) => document.getElementById(id);

async function start() {
  const bench = await (await fetch("bench.json")).json();
  const count = bench.files.length;
  at("about").textContent = `${count} file${count > 1 ? "s" : ""}, ${bench.repeats} repeats each, by LiteRT.js ${bench.version}.`;
  at("files").replaceChildren(...bench.files.map(({ name }) => row(name)));
  for (const [name, words] of Object.entries(await ways())) at("way").add(new Option(words, name));
  at("name").value = device();
  at("measure").disabled = false;
  at("measure").onclick = () => (globalThis.measured = measure(bench));
}

async function measure(bench) {
  for (const id of ["measure", "name", "way"]) at(id).disabled = true;
  const lock = await navigator.wakeLock?.request("screen").catch(() => null);
  try {
    const runtime = await open(at("way").value, "./modules/core/wasm/");
    const about = { device: at("name").value, agent: navigator.userAgent.slice(0, 400), ...runtime };
    const step = resolution();
    for (const [place, file] of bench.files.entries()) {
      say(place, "measuring");
      await breathe();
      await send(place, { ...about, clock_us: 1000 * step, file: place, ...(await figures(place, file, bench, runtime, step)) });
    }
    at("state").textContent = "Done. You may close this page.";
  } catch (error) {
    at("state").textContent = `${error.message || error} Reload the page to try again.`;
    at("state").classList.add("wrong");
  } finally {
    await lock?.release();
  }
}

/** Scores of the examples and the time of a run; or why this browser cannot run the file. */
async function figures(place, file, bench, runtime, step) {
  try {
    const model = await compiled(await bytes(`${place}.tflite`), runtime);
    try {
      return await timed(new Entry(model, file.signature), await examples(place, file), file, bench, step, place);
    } finally {
      model.delete();
    }
  } catch (error) {
    return { error: String(error.message || error).slice(0, 300) || "unknown" };
  }
}

async function timed(entry, inputs, file, bench, step, place) {
  const scores = [];
  for (const values of inputs) {
    const given = entry.inputs(values, file.thresholds);
    scores.push([...(await entry.run(given)).scores]);
    release(given);
  }
  const given = entry.inputs(inputs[0], entry.worst);
  const run = () => entry.run(given);
  for (let n = 0; n < bench.warmups; n += 1) await run();
  const runs = await runsFor(run, step);
  const repeats = [];
  for (let n = 0; n < bench.repeats; n += 1) {
    repeats.push(await microseconds(run, runs));
    if (n % 10 === 9) await breathe();
  }
  release(given);
  tell(place, repeats);
  return { runs, repeats_us: repeats, scores };
}

async function examples(place, { shape, examples: count }) {
  const values = new Float32Array((await bytes(`${place}.inputs`)).buffer);
  const size = shape.reduce((a, b) => a * b, 1);
  return Array.from({ length: count }, (_, n) => values.subarray(n * size, (n + 1) * size));
}

async function bytes(name) {
  const answer = await fetch(name);
  if (!answer.ok) throw new Error("The computer that serves this page does not answer any more.");
  return new Uint8Array(await answer.arrayBuffer());
}

async function send(place, figures) {
  const answer = await fetch("figures", { method: "POST", body: JSON.stringify(figures) });
  if (answer.ok) return say(place, "kept");
  const why = (await answer.text()) || `refused (${answer.status})`;
  say(place, why);
  if (answer.status !== 422) throw new Error(why);
  return undefined;
}

/** What this device is called where nobody says otherwise. */
function device() {
  const agent = navigator.userAgent;
  const system = /Android|iPhone|iPad|Mac OS X|Windows|CrOS|Linux/.exec(agent)?.[0] ?? "device";
  const browser = /Firefox|Edg|SamsungBrowser|Chrome|Safari/.exec(agent)?.[0] ?? "browser";
  return `${browser}-${system}`.toLowerCase().replace(/[^a-z0-9]+/g, "-");
}

function row(name) {
  const line = document.createElement("tr");
  for (const words of [name, "", "", "waits"]) line.append(Object.assign(document.createElement("td"), { textContent: words }));
  return line;
}

function say(place, words) {
  at("files").rows[place].cells[3].textContent = words;
}

function tell(place, repeats) {
  const { cells } = at("files").rows[place];
  const middle = median(repeats);
  cells[1].textContent = middle < 1000 ? `${middle.toPrecision(3)}\u00a0µs` : `${(middle / 1000).toPrecision(3)}\u00a0ms`;
  const away = median(repeats.map((took) => Math.abs(took - middle)));
  cells[2].textContent = `±\u00a0${((100 * away) / middle).toFixed(1)}\u00a0%`;
}

globalThis.started = start().catch((error) => {
  at("about").textContent = error.message;
  at("about").classList.add("wrong");
});
