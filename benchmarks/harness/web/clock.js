// Times on clocks that browsers cut: many runs between two readings, divided.

const READINGS = 8;
const STEPS = 100; // a repeat lasts so many steps of the clock, so that a step is 1 % of it at most
const MOST_RUNS = 4096;

/** The step of performance.now(), in milliseconds: the least of several changes. */
export function resolution() {
  let least = Infinity;
  for (let n = 0; n < READINGS; n += 1) {
    const start = performance.now();
    let now = start;
    while (now === start) now = performance.now();
    least = Math.min(least, now - start);
  }
  return least;
}

/** How many runs one repeat needs to last long enough for that step. */
export async function runsFor(run, step) {
  for (let runs = 1; ; runs *= 2) {
    const took = await milliseconds(run, runs);
    if (took >= STEPS * step || runs >= MOST_RUNS) return runs;
  }
}

/** Microseconds of one run, in the mean of so many. */
export async function microseconds(run, runs) {
  return (1000 * (await milliseconds(run, runs))) / runs;
}

/** The middle of numbers. */
export function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

/** Let the page draw, and take what was pressed. */
export function breathe() {
  return new Promise((done) => setTimeout(done));
}

async function milliseconds(run, runs) {
  const start = performance.now();
  for (let n = 0; n < runs; n += 1) await run();
  return performance.now() - start;
}
