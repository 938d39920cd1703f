// LiteRT.js, and the entry points of a file as functions of numbers.

import { Tensor, loadAndCompile, loadLiteRt } from "@litertjs/core";

/** The ways to run that this browser has: by name, what people call them. */
export async function ways() {
  const there = { wasm: "processor (WASM)" };
  if (globalThis.crossOriginIsolated && threads() > 1) there.threads = `processor, ${threads()} threads (WASM)`;
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  if (adapter) there.webgpu = "graphics (WebGPU)";
  return there;
}

/** Load the runtime for a way; `folder` is where its wasm files lie. Once a page. */
export async function open(way, folder) {
  quiet();
  await loadLiteRt(folder, { threads: way === "threads" });
  const accelerator = way === "webgpu" ? "webgpu" : "wasm";
  return { accelerator, threads: way === "threads" ? threads() : 1 };
}

/** A file, compiled; raises `Error` where the graphics processor would leave a part of it to the other one. */
export async function compiled(content, runtime) {
  const { accelerator, threads: numThreads } = runtime;
  const part = new Error("WebGPU does not take the whole file; let it run on the processor.");
  const model = await loadAndCompile(content, { accelerator, cpuOptions: { numThreads } }).catch((error) => {
    throw accelerator === "webgpu" ? part : error;
  });
  if (accelerator !== "webgpu" || model.isFullyAccelerated) return model;
  model.delete();
  throw part;
}

/** One entry point of a compiled file. */
export class Entry {
  constructor(model, key) {
    this.signature = model.signatures[key];
    this.details = this.signature.getInputDetails();
  }

  /** Thresholds at which every stage of a cascade runs; nothing for what is none. */
  get worst() {
    return this.details.filter((detail) => detail.name !== "image").map(() => 2);
  }

  /** What it takes, to be given to `run` any number of times; release it behind that. */
  inputs(values, thresholds = []) {
    const inputs = {};
    for (const { name, shape } of this.details) {
      const given = name === "image" ? values : [thresholds[Number(name.split("_")[1]) - 1]];
      inputs[name] = new Tensor(Float32Array.from(given), Array.from(shape));
    }
    return inputs;
  }

  /** Scores, and the stage of a cascade that answered. */
  async run(inputs) {
    const outputs = await this.signature.run(inputs);
    const scores = await outputs.scores.data();
    const stage = outputs.stage ? (await outputs.stage.data())[0] : 0;
    const answer = { scores: Float32Array.from(scores), stage };
    release(outputs);
    return answer;
  }
}

/** Tensors lie in memory that nobody else clears. */
export function release(tensors) {
  for (const tensor of Object.values(tensors)) if (!tensor.deleted) tensor.delete();
}

function threads() {
  return Math.min(4, navigator.hardwareConcurrency || 1);
}

/** The runtime tells of its own doings as errors, and of a missing graphics adapter, which is none. */
function quiet() {
  for (const kind of ["error", "warn"]) {
    const say = console[kind];
    console[kind] = (...words) => {
      if (!/^(INFO|WARNING):|default WebGPU device/.test(String(words[0]))) say(...words);
    };
  }
}
