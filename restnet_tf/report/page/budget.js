// The point that a budget selects, by the rule of benchmarks/select.py.
const LIMITS = [
  ["macs", "MACs", "count", (p) => p.macs],
  ["flash", "flash", "bytes", (p, f) => f.flash],
  ["ram", "arena (planned)", "bytes", (p, f) => f.ram],
  ["latency", "latency (building host)", "time", (p, f) => f.latency],
];
const STEPS = 300;
// In the record's order: of equals the first is taken, as Python's max takes it.
const CHOICES = data.points.filter((p) => p.shipped).flatMap((p) =>
  Object.entries(p.files).map(([precision, f]) => ({
    name: p.name, precision, p, f, figures: Object.fromEntries(LIMITS.map(([key, , , of]) => [key, of(p, f)])),
  })));

// Terms as {name, limit, text}; a share over the limit for each that is missed.
const missed = (terms, choice) => terms.filter((t) => choice.figures[t.name] > t.limit).map((t) =>
  ({ term: t, share: t.limit ? choice.figures[t.name] / t.limit - 1 : Infinity }));
const better = (a, b) => a.f.rank - b.f.rank || b.p.macs - a.p.macs || b.f.flash - a.f.flash;

function choose(terms) {
  const fitting = CHOICES.filter((c) => !missed(terms, c).length);
  if (fitting.length) return { choice: fitting.reduce((best, c) => (better(c, best) > 0 ? c : best)) };
  const worst = (c) => Math.max(...missed(terms, c).map((m) => m.share));
  const nearest = CHOICES.reduce((best, c) => (worst(c) < worst(best) ? c : best));
  return { nearest, over: missed(terms, nearest) };
}

// A limit as words that the command understands, rounded up, and exactly what those words mean.
function term(name, kind, value) {
  const [unit, scale] = scaleOf(kind, value);
  const power = 10 ** (2 - Math.floor(Math.log10(value / scale)));
  const number = String(Number((Math.ceil((value / scale) * power - 1e-9) / power).toPrecision(6)));
  return { name, text: `${name}<=${number}${unit}`, limit: parseFloat(number) * scale };
}

const sliders = LIMITS.map(([name, label, kind]) => {
  const values = CHOICES.map((c) => c.figures[name]);
  const low = 0.8 * Math.min(...values), high = Math.max(...values);
  const input = element("input", { type: "range", min: 0, max: STEPS, value: STEPS, id: `limit-${name}` });
  const output = element("output", { for: `limit-${name}` });
  byId("sliders").append(element("label", {}, `${label} `, output, input));
  input.addEventListener("input", showChoice);
  // Evenly on a logarithmic scale, as budgets differ by factors; at the right end there is no limit.
  return { input, output, name, kind, high, at: () => low * (high / low) ** (input.value / STEPS) };
});

function showChoice() {
  const terms = [];
  for (const s of sliders) {
    const free = Number(s.input.value) === STEPS;
    if (!free) terms.push(term(s.name, s.kind, s.at()));
    s.output.textContent = free ? "no limit" : terms[terms.length - 1].text.slice(s.name.length).replace("<=", "≤ ");
    s.input.setAttribute("aria-valuetext", s.output.textContent);
  }
  // The command wants a term: one that everything meets.
  const asked = terms.length ? terms : [term("macs", "count", sliders[0].high)];
  byId("choice-command").textContent = `restnet-tf select ${data.run} --budget "${asked.map((t) => t.text).join(", ")}"`;
  const found = choose(terms);
  picked = found.choice || null;
  byId("choice").replaceChildren(...(picked ? chosenWords(picked) : missWords(found)));
  for (const node of document.querySelectorAll("[data-point]")) {
    const same = picked !== null && node.dataset.point === picked.name;
    const precision = node.matches("#files tr, #devices tr") ? node.cells[1].textContent : null;
    node.classList.toggle("picked", same && (precision === null || precision === picked.precision));
  }
  if (picked && byId("precision").value !== picked.precision) byId("precision").value = picked.precision;
  if (byId("plot").firstChild) drawPlot();
}

function chosenWords(c) {
  const figures = LIMITS.map(([key, label, kind]) => `${label} ${amount(kind, c.figures[key])}`);
  return [
    element("p", {}, element("strong", {}, `${c.name} ${c.precision}`)),
    element("p", {}, `${data.metric} ${interval(c.f)} on the test split, ${percent(c.f.rank)} % on the rank split`),
    element("p", {}, figures.join(", ")),
    element("p", { class: "note" }, c.f.path),
  ];
}

function missWords({ nearest, over }) {
  const kinds = Object.fromEntries(LIMITS.map(([key, , kind]) => [key, kind]));
  const words = over.map(({ term: t, share }) =>
    `${t.text} (it has ${amount(kinds[t.name], nearest.figures[t.name])}, ${Math.round(100 * share)}% over)`);
  return [
    element("p", {}, element("strong", {}, "no point meets the budget")),
    element("p", {}, `the nearest, ${nearest.name} ${nearest.precision}, misses ${words.join(", ")}`),
  ];
}

if (CHOICES.length) showChoice();
else byId("budget").hidden = true;
