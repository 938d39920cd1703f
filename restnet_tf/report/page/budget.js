// The point that a budget selects. The rule is points/select.py's, which puts the files in order: the best first.
const { terms: TERMS, choices: CHOICES } = data.budget;
const STEPS = 300;
const meets = (limits, choice) => limits.every((t) => choice.figures[t.name] <= t.limit);

// Of limits as {name, limit, text}, those that a file misses, by what share of the limit.
const missed = (limits, choice) => limits.filter((t) => choice.figures[t.name] > t.limit).map((t) =>
  ({ term: t, share: t.limit ? choice.figures[t.name] / t.limit - 1 : Infinity }));

function choose(limits, choices = CHOICES) {
  const choice = choices.find((c) => meets(limits, c));
  if (choice) return { choice };
  const worst = (c) => Math.max(...missed(limits, c).map((m) => m.share));
  const nearest = choices.reduce((best, c) => (worst(c) < worst(best) ? c : best));
  return { nearest, over: missed(limits, nearest) };
}

// A limit as words that the command understands, rounded up, and exactly what those words mean.
function limitOf({ name, kind }, value) {
  const [unit, scale] = scaleOf(kind, value);
  const power = 10 ** (2 - Math.floor(Math.log10(value / scale)));
  const number = String(Number((Math.ceil((value / scale) * power - 1e-9) / power).toPrecision(6)));
  return { name, text: `${name}<=${number}${unit}`, words: `≤ ${number}${unit}`, limit: parseFloat(number) * scale };
}

const sliders = TERMS.map((term) => {
  const values = CHOICES.map((c) => c.figures[term.name]);
  const low = 0.8 * Math.min(...values), high = Math.max(...values);
  const input = element("input", { type: "range", min: 0, max: STEPS, value: STEPS, id: `limit-${term.name}` });
  const output = element("output", { for: `limit-${term.name}` });
  byId("sliders").append(element("label", {}, `${term.label} `, output, input));
  input.addEventListener("input", showChoice);
  // Evenly on a logarithmic scale, as budgets differ by factors; at the right end there is no limit.
  return { input, output, term, high, at: () => low * (high / low) ** (input.value / STEPS) };
});

function showChoice() {
  const limits = [];
  for (const s of sliders) {
    const free = Number(s.input.value) === STEPS;
    if (!free) limits.push(limitOf(s.term, s.at()));
    s.output.textContent = free ? "no limit" : limits[limits.length - 1].words;
    s.input.setAttribute("aria-valuetext", s.output.textContent);
  }
  // The command wants a term: one that everything meets.
  const told = limits.length ? limits : [limitOf(sliders[0].term, sliders[0].high)];
  byId("choice-command").textContent = `restnet-tf select ${data.run} --budget "${told.map((t) => t.text).join(", ")}"`;
  const outcome = choose(limits);
  picked = outcome.choice || null;
  byId("choice").replaceChildren(...(picked ? chosenWords(picked) : missWords(outcome)));
  for (const node of document.querySelectorAll("[data-point]")) {
    const { point, precision } = node.dataset;
    const same = picked !== null && point === picked.point;
    node.classList.toggle("picked", same && (precision === undefined || precision === picked.precision));
  }
  if (picked && byId("precision").value !== picked.precision) byId("precision").value = picked.precision;
  if (picked) dialTo(picked);
  if (CASCADES.length) showDial();
  if (byId("plot").firstChild) drawPlot();
}

function chosenWords(c) {
  const figures = TERMS.map(({ name, label, kind }) => `${label} ${amount(kind, c.figures[name])}`);
  return [
    element("p", {}, element("strong", {}, `${c.point} ${c.precision}`)),
    element("p", {}, c.told),
    element("p", {}, figures.join(", ")),
    element("p", { class: "note" }, c.path),
  ];
}

function missWords({ nearest, over }) {
  const kinds = Object.fromEntries(TERMS.map(({ name, kind }) => [name, kind]));
  const words = over.map(({ term, share }) =>
    `${term.text} (it has ${amount(kinds[term.name], nearest.figures[term.name])}, ${Math.round(100 * share)}% over)`);
  return [
    element("p", {}, element("strong", {}, "no point meets the budget")),
    element("p", {}, `the nearest, ${nearest.point} ${nearest.precision}, misses ${words.join(", ")}`),
  ];
}

if (CHOICES.length) showChoice();
else byId("budget").hidden = true;
