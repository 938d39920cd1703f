// Score against cost: the axes that there are, the marks, the chord, the card of a point.
const X_AXES = [
  { key: "macs", label: "MACs of one image", kind: "count", of: (p) => p.macs, source: data.sources.macs },
  { key: "params", label: "parameters", kind: "count", of: (p) => p.params, source: data.sources.params },
  ...[["latency", "latency of one image", "time"], ["ram", "arena", "bytes"], ["flash", "flash", "bytes"]].map(
    ([key, label, kind]) => ({ key, label, kind, of: (p, f) => (f ? f[key] : null), source: data.sources[key] })),
  ...[...new Set(data.measurements.map(originOf))].map((origin) => {
    const m = data.measurements.find((m) => originOf(m) === origin);
    const of = (p, f, precision) => measured.get(`${p.name}/${precision}/${origin}`) ?? null;
    const source = `${data.kinds[m.kind]} by ${m.tool}`;
    return { key: origin, label: `${m.device}: ${m.figure}`, kind: data.units[m.figure], of, source };
  }),
];
const Y_AXES = [
  { key: "score", label: `${data.metric}, % of test images; bars: 95 % interval`, scale: 100, of: (p, f) => f || p.keras },
  { key: "kl", label: `${data.loss.join(" ")}, nats (${data.ran}); lower is better`, scale: 1,
    of: (p) => ({ score: p.keras.kl, low: p.keras.kl, high: p.keras.kl }) },
  { key: "agreement", label: `same answer as the large anchor, % (${data.ran})`, scale: 100,
    of: (p) => ({ score: p.keras.agreement, low: p.keras.agreement, high: p.keras.agreement }) },
].filter((axis) => data.points.some((p) => axis.of(p, null).score !== null));
const PRECISIONS = [...new Set(data.points.flatMap((p) => Object.keys(p.files)))].sort();
const standingClass = (p) => (p.kind === "stitched" ? (p.shipped ? "shipped" : "dominated") : p.kind);
const SHAPES = {
  anchor: () => drawn("rect", { class: "shape", x: -6, y: -6, width: 12, height: 12 }),
  control: () => drawn("path", { class: "shape", d: "M-5-5L5 5M-5 5L5-5" }),
  shipped: () => drawn("circle", { class: "shape", r: 6 }),
  dominated: () => drawn("circle", { class: "shape", r: 5 }),
};
let picked = null; // the point and precision that the budget chooses

function ticks(low, high, count) {
  const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) found.push(Number((i * step).toPrecision(12)));
  return found;
}

function pointCard(node, p, f, precision) {
  const kl = p.keras.kl === null ? "" : `, ${data.loss[0]} ${p.keras.kl.toFixed(3)} nats`;
  const file = f ? [
    [data.metric, interval(f), `${precision}, ${data.sources.score}`],
    ["rank split", `${percent(f.rank)} %`, data.sources.rank_score],
    ["flash", amount("bytes", f.flash, 4), data.sources.flash],
    ["arena", amount("bytes", f.ram, 4), data.sources.ram],
    ["latency", amount("time", f.latency, 4), `building host, median; ${f.tool}`],
  ] : [];
  const devices = data.measurements.filter((m) => m.point === p.name && m.precision === precision).map((m) =>
    [m.figure, amount(data.units[m.figure], m.value, 4), `${m.device}, ${data.kinds[m.kind]} by ${m.tool}`]);
  showCard(node.querySelector(".shape"), p.name, p.standing + (p.reason ? `: ${p.reason}` : "") + (f ? "" : "; no file"), [
    ["route", p.route, p.rung ? `rung: ${p.rung}` : ""],
    ...file,
    [data.ran, interval(p.keras) + kl, "test split"],
    ["MACs", amount("count", p.macs, 4), data.sources.macs],
    ["params", amount("count", p.params, 4), p.unshared ? `${p.unshared.toLocaleString("en")} of them its own` : ""],
    ...devices,
  ]);
}

// The points with their places on both axes, and what lies too far off to be shown among them.
function placed(x, y, precision) {
  const found = data.points.map((p) => {
    const f = p.files[precision];
    const s = y.of(p, f);
    return { p, f, x: x.of(p, f, precision), y: s.score * y.scale, low: s.low * y.scale, high: s.high * y.scale,
      hollow: y.key === "score" && !f, known: s.score !== null };
  }).filter((m) => m.known && m.x !== null);
  // What is shipped sets the scale, and others stretch it to no more than twice that: a random front would press
  // everything flat.
  const shipped = found.filter((m) => m.p.shipped), family = shipped.length ? shipped : found;
  const least = Math.min(...family.map((m) => m.low)), most = Math.max(...family.map((m) => m.high));
  const reach = most - least || 1;
  const near = found.filter((m) => m.low >= least - reach && m.high <= most + reach);
  const low = Math.min(least, ...near.map((m) => m.low)), high = Math.max(most, ...near.map((m) => m.high));
  const margin = 0.08 * (high - low || 1), range = [low - margin, high + margin];
  const off = found.filter((m) => m.y < range[0] || m.y > range[1]);
  return { shown: found.filter((m) => !off.includes(m)), off, range };
}

function frame(canvas, box, sx, sy, xs, range, axes) {
  const [unit, scale] = scaleOf(axes.x.kind, xs[1]);
  for (const value of ticks(range[0], range[1], 6)) {
    canvas.append(drawn("line", { class: "grid", x1: box.left, x2: box.right, y1: sy(value), y2: sy(value) }),
      drawn("text", { x: box.left - 8, y: sy(value) + 4, "text-anchor": "end" }, String(value)));
  }
  for (const value of ticks(xs[0] / scale, xs[1] / scale, Math.max(3, Math.floor((box.right - box.left) / 90)))) {
    canvas.append(drawn("line", { class: "grid", x1: sx(value * scale), x2: sx(value * scale), y1: box.top, y2: box.bottom }),
      drawn("text", { x: sx(value * scale), y: box.bottom + 18, "text-anchor": "middle" }, String(value)));
  }
  const words = `${axes.x.label}${unit ? `, ${unit}` : ""}`;
  canvas.append(drawn("text", { x: (box.left + box.right) / 2, y: box.bottom + 38, "text-anchor": "middle" }, words));
}

// Names where they cover neither a mark nor each other; the others are told by the card.
function label(canvas, marks, box, chord) {
  const taken = marks.map((m) => [m.cx - 7, m.cy - 7, m.cx + 7, m.cy + 7]);
  for (let i = 0; chord && i <= 100; i++) {
    const at = (i / 100) * (chord.length - 1), left = Math.min(chord.length - 2, Math.floor(at));
    const [x, y] = [0, 1].map((axis) => chord[left][axis] + (at - left) * (chord[left + 1][axis] - chord[left][axis]));
    taken.push([x - 1, y - 1, x + 1, y + 1]);
  }
  const order = ["anchor", "shipped", "control", "dominated"];
  for (const m of [...marks].sort((a, b) => order.indexOf(a.standing) - order.indexOf(b.standing))) {
    const wide = 6.7 * m.p.name.length;
    for (const [x, y] of [[10, -8], [10, 16], [-10 - wide, -8], [-10 - wide, 16], [-wide / 2, -13], [-wide / 2, 23],
      [12, 4], [-12 - wide, 4]]) {
      const spot = [m.cx + x, m.cy + y - 10, m.cx + x + wide, m.cy + y + 3];
      const inside = spot[0] >= box.left && spot[2] <= box.right + 8 && spot[1] >= box.top && spot[3] <= box.bottom;
      if (!inside || taken.some((t) => spot[0] < t[2] && spot[2] > t[0] && spot[1] < t[3] && spot[3] > t[1])) continue;
      taken.push(spot);
      canvas.append(drawn("text", { class: "name", x: m.cx + x, y: m.cy + y }, m.p.name));
      break;
    }
  }
}

function mark(m, precision, box, sy) {
  const clip = (y) => Math.max(box.top, Math.min(box.bottom, sy(y)));
  const chosen = picked && picked.name === m.p.name && picked.precision === precision;
  const node = drawn("g", {
    class: `mark ${m.standing}${m.hollow ? " hollow" : ""}${chosen ? " picked" : ""}`,
    transform: `translate(${m.cx} ${m.cy})`, tabindex: 0, role: "img", "data-point": m.p.name,
    "aria-label": `${m.p.name}, ${m.p.standing}, ${data.metric} ${interval(m.f || m.p.keras)}`,
  }, drawn("line", { class: "bar", y1: clip(m.low) - m.cy, y2: clip(m.high) - m.cy }),
    drawn("circle", { class: "ring", r: 10 }), drawn("circle", { r: 14, fill: "transparent" }), SHAPES[m.standing]());
  for (const event of ["mouseenter", "focus", "click"])
    node.addEventListener(event, () => pointCard(node, m.p, m.f, precision));
  for (const event of ["mouseleave", "blur"]) node.addEventListener(event, hideCard);
  return node;
}

function drawPlot() {
  const axes = { x: X_AXES[byId("x-axis").value], y: Y_AXES[byId("y-axis").value] };
  const precision = byId("precision").value, holder = byId("plot");
  const wide = Math.max(280, holder.clientWidth || 700), high = Math.round(Math.max(300, Math.min(470, wide * 0.62)));
  const box = { left: 44, right: wide - 14, top: 12, bottom: high - 48 };
  const { shown, off, range } = placed(axes.x, axes.y, precision);
  const canvas = drawn("svg", { viewBox: `0 0 ${wide} ${high}`, width: wide, height: high, role: "group",
    "aria-label": `${axes.y.label} against ${axes.x.label}` });
  hideCard();
  holder.replaceChildren(element("div", { class: "note" }, axes.y.label), canvas, legend(shown, axes.y.key === "score"));
  if (!shown.length) {
    canvas.remove();
    byId("plot-note").textContent = `No ${precision} file has this figure; choose other files or another axis.`;
    return;
  }
  const least = Math.min(...shown.map((m) => m.x)), most = Math.max(...shown.map((m) => m.x));
  const pad = 0.06 * (most - least || most || 1), xs = [Math.max(0, least - pad), most + pad];
  const sx = (v) => box.left + ((v - xs[0]) / (xs[1] - xs[0])) * (box.right - box.left);
  const sy = (v) => box.bottom - ((v - range[0]) / (range[1] - range[0])) * (box.bottom - box.top);
  frame(canvas, box, sx, sy, xs, range, axes);
  const ends = shown.filter((m) => m.p.kind === "anchor").sort((a, b) => a.x - b.x);
  const chord = ends.length > 1 && axes.y.key === "score" ? ends.map((m) => [sx(m.x), sy(m.y)]) : null;
  if (chord) canvas.append(drawn("path", { class: "chord", d: `M${chord.join("L")}` }));
  const marks = shown.map((m) => ({ ...m, cx: sx(m.x), cy: sy(m.y), standing: standingClass(m.p) }));
  // Along the axis, so that the tab key goes from left to right.
  for (const m of [...marks].sort((a, b) => a.x - b.x)) canvas.append(mark(m, precision, box, sy));
  label(canvas, marks, box, chord);
  const away = off.map((m) => `${m.p.name} ${m.y.toPrecision(3)}`).join(", ");
  byId("plot-note").textContent = `Across: ${axes.x.source}. ` + (axes.y.key === "score"
    ? `Up: filled marks are ${precision} files, ${data.sources.score}` + (shown.some((m) => m.hollow)
      ? `; hollow ones and controls have no file and were ${data.sources.keras}. ` : ". ") : "")
    + (away ? `Off the axis: ${away}.` : "");
}

function legend(shown, withChord) {
  const words = { anchor: "anchor", shipped: "shipped", dominated: "dominated", control: "control" };
  const list = element("ul", { class: "legend" });
  for (const [standing, word] of Object.entries(words)) {
    const such = shown.filter((m) => standingClass(m.p) === standing);
    if (!such.length) continue;
    const hollow = such.every((m) => m.hollow) ? " hollow" : "";
    const icon = drawn("svg", { width: 14, height: 14, viewBox: "-8 -8 16 16", "aria-hidden": "true" },
      drawn("g", { class: `mark ${standing}${hollow}` }, SHAPES[standing]()));
    list.append(element("li", {}, icon, word));
  }
  const dash = drawn("svg", { width: 22, height: 14, viewBox: "0 0 22 14", "aria-hidden": "true" },
    drawn("path", { class: "chord", d: "M0 7H22" }));
  if (withChord) list.append(element("li", {}, dash, "chord between the anchors"));
  return list;
}

for (const [id, names] of [["x-axis", X_AXES.map((a) => a.label)], ["y-axis", Y_AXES.map((a) => a.label.split(/[,;]/)[0])]]) {
  names.forEach((name, index) => byId(id).append(element("option", { value: index }, name)));
}
for (const name of PRECISIONS) byId("precision").append(element("option", { value: name }, name));
for (const id of ["x-axis", "y-axis", "precision"]) byId(id).addEventListener("change", drawPlot);
let drawnWidth = 0;
new ResizeObserver(([entry]) => {
  if (Math.abs(entry.contentRect.width - drawnWidth) < 2) return;
  drawnWidth = entry.contentRect.width;
  drawPlot();
}).observe(byId("plot"));
