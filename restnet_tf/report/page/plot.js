// Figures against each other along the axes that there are, the marks, the chord, the card of a point.
const axesOf = (axis) => data.figures.filter((figure) => figure.axis === axis);
const ended = (figure, end) => `${figure.label}${end ? `, ${end}` : ""}`;
// What every point has comes first.
const X_AXES = axesOf("across").filter((axis) => data.points.some((p) => [...Object.keys(p.files), ""].some((f) =>
  valueOf(axis, p, f) !== undefined))).sort((a, b) => (a.of === "file") - (b.of === "file"));
const standIn = (axis, p) => (axis.standIn ? p.figures[axis.standIn] : undefined);
const hundredfold = (axis) => (axis.kind === "score" || axis.kind === "share" ? 100 : 1);
// What a mark stands at: its value, as its file has it or in its stead the network, with an interval where it has one.
function heightOf(axis, p, precision) {
  const own = valueOf(axis, p, precision), value = own ?? standIn(axis, p);
  if (value === undefined) return null;
  const [y, low, high] = (Array.isArray(value) ? value : [value, value, value]).map((v) => v * hundredfold(axis));
  return { y, low, high, hollow: own === undefined };
}
const PRECISIONS = [...new Set(data.points.flatMap((p) => Object.keys(p.files)))].sort();
const Y_AXES = axesOf("up").filter((axis) => data.points.some((p) => [...PRECISIONS, ""].some((f) => heightOf(axis, p, f))));
const SHAPES = {
  anchor: () => drawn("rect", { class: "shape", x: -6, y: -6, width: 12, height: 12 }),
  control: () => drawn("path", { class: "shape", d: "M-5-5L5 5M-5 5L5-5" }),
  cascade: () => drawn("path", { class: "shape", d: "M0-8L8 0L0 8L-8 0Z" }),
  shipped: () => drawn("circle", { class: "shape", r: 6 }),
  dominated: () => drawn("circle", { class: "shape", r: 5 }),
};
// A point's standing and the reason for it, on the front of a precision where it was decided there.
const frontOf = (p, precision) => p.fronts[precision] ?? p;
let picked = null; // the point and precision that the budget chooses

function ticks(low, high, count) {
  const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw);
  const marks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) marks.push(Number((i * step).toPrecision(12)));
  return marks;
}

function pointCard(node, p, precision) {
  const rows = data.figures.filter((figure) => figure.card).map((figure) => {
    const value = valueOf(figure, p, precision);
    const file = figure.of === "file" ? `${precision}, ` : "";
    return [figure.label, value === undefined ? null : written(figure.kind, value), figure.source && `${file}${figure.source}`];
  });
  const { standing, reason } = frontOf(p, precision);
  const note = standing + (reason ? `: ${reason}` : "") + (p.files[precision] ? "" : "; no file");
  showCard(node.querySelector(".shape"), p.name, note, rows);
}

// The points with their places on both axes, and what lies too far off to be shown among them.
function placed(x, y, precision) {
  const across = (p) => [valueOf(x, p, precision)].flat()[0]; // of a score without its interval
  const all = data.points.map((p) => ({ p, standing: frontOf(p, precision).standing, x: across(p), ...heightOf(y, p, precision) }))
    .filter((m) => m.y !== undefined && m.x !== undefined);
  // What is shipped sets the scale, and others stretch it to no more than twice that: a random front would press
  // everything flat.
  const shipped = all.filter((m) => m.p.shipped), family = shipped.length ? shipped : all;
  const least = Math.min(...family.map((m) => m.low)), most = Math.max(...family.map((m) => m.high));
  const reach = most - least || 1;
  const near = all.filter((m) => m.low >= least - reach && m.high <= most + reach);
  const low = Math.min(least, ...near.map((m) => m.low)), high = Math.max(most, ...near.map((m) => m.high));
  const margin = 0.08 * (high - low || 1), range = [low - margin, high + margin];
  const off = all.filter((m) => m.y < range[0] || m.y > range[1]);
  return { shown: all.filter((m) => !off.includes(m)), off, range };
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
  const middle = { x: (box.left + box.right) / 2, y: box.bottom + 38, "text-anchor": "middle" };
  canvas.append(drawn("text", middle, ended(axes.x, unit)));
}

// Names where they cover neither a mark nor each other; the others are told by the card.
function label(canvas, marks, box, chord) {
  const taken = marks.map((m) => [m.cx - 7, m.cy - 7, m.cx + 7, m.cy + 7]);
  for (let i = 0; chord && i <= 100; i++) {
    const at = (i / 100) * (chord.length - 1), left = Math.min(chord.length - 2, Math.floor(at));
    const [x, y] = [0, 1].map((axis) => chord[left][axis] + (at - left) * (chord[left + 1][axis] - chord[left][axis]));
    taken.push([x - 1, y - 1, x + 1, y + 1]);
  }
  const order = ["anchor", "cascade", "shipped", "control", "dominated"];
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

const colourOf = (p) => CASCADES.find((c) => c.point === p.name)?.colour;
const dialClass = (p) => (colourOf(p) === undefined ? "" : ` dial${colourOf(p)}`);
// A cascade's values along the dial of its file on both axes; none where either has no such figure.
function curveOf(c, axes, precision) {
  const xs = alongOf(axes.x, c, precision), ys = alongOf(axes.y, c, precision);
  return xs && ys ? xs.map((x, i) => [x, hundredfold(axes.y) * [ys[i]].flat()[0]]) : [];
}

// The other positions that were chosen, where the file's own curve has that cost.
function notchesOf(c, axis, curve) {
  return c.notches.slice(0, -1).map((notch) => notch[axis.name]).flatMap((x) => {
    const after = curve.findIndex(([cost]) => cost >= x), [x1, y1] = curve[after] || [], [x0, y0] = curve[after - 1] || [];
    return after > 0 ? [[x, y0 + ((x - x0) / (x1 - x0 || 1)) * (y1 - y0)]] : [];
  });
}

// Dials as curves, and what was chosen on them.
function drawCurves(canvas, axes, precision, sx, sy, range) {
  const clip = (y) => Math.max(range[0], Math.min(range[1], y));
  for (const c of CASCADES) {
    const curve = curveOf(c, axes, precision);
    if (!curve.length) continue;
    const way = curve.map(([x, y]) => [sx(x), sy(clip(y))]);
    canvas.append(drawn("path", { class: `curve dial${c.colour}`, d: `M${way.join("L")}` }));
    for (const [x, y] of notchesOf(c, axes.x, curve)) canvas.append(drawn("path",
      { class: `notch dial${c.colour}`, d: "M0-5L5 0L0 5L-5 0Z", transform: `translate(${sx(x)} ${sy(clip(y))})` }));
  }
}

// Where the slider has turned the dial that it is of.
function drawTurned(canvas, axes, precision, sx, sy, range) {
  const c = CASCADES[dialed()], curve = c ? curveOf(c, axes, precision) : [];
  if (!curve.length || turnedTo(c, precision) === c.files[precision].at) return;
  const [x, y] = curve[turnedTo(c, precision)];
  const cy = sy(Math.max(range[0], Math.min(range[1], y)));
  canvas.append(drawn("circle", { class: `turned dial${c.colour}`, cx: sx(x), cy, r: 6, "data-turned": c.point }));
}

// From the mean of a cascade to its worst case, which the mark's own axis may name.
function drawWorst(canvas, m, axis, precision, sx) {
  const worst = figureNamed.get(axis.worst), value = worst && valueOf(worst, m.p, precision);
  if (m.standing !== "cascade" || value === undefined) return;
  const x = sx(value);
  canvas.append(drawn("path", { class: `worst${dialClass(m.p)}`, d: `M${m.cx} ${m.cy}H${x}` }),
    drawn("path", { class: `worst end${dialClass(m.p)}`, d: `M${x} ${m.cy - 5}V${m.cy + 5}` }));
}

function mark(m, y, precision, box, sy) {
  const clip = (y) => Math.max(box.top, Math.min(box.bottom, sy(y)));
  const chosen = picked && picked.point === m.p.name && picked.precision === precision;
  const node = drawn("g", {
    class: `mark ${m.standing}${dialClass(m.p)}${m.hollow ? " hollow" : ""}${chosen ? " picked" : ""}`,
    transform: `translate(${m.cx} ${m.cy})`, tabindex: 0, role: "img", "data-point": m.p.name,
    "aria-label": `${m.p.name}, ${m.standing}, ${y.label} ${written(y.kind, valueOf(y, m.p, precision) ?? standIn(y, m.p))}`,
  }, drawn("line", { class: "bar", y1: clip(m.low) - m.cy, y2: clip(m.high) - m.cy }),
    drawn("circle", { class: "ring", r: 10 }), drawn("circle", { r: 14, fill: "transparent" }), SHAPES[m.standing]());
  node.addEventListener("click", () => chooseCascade(m.p.name));
  for (const event of ["mouseenter", "focus", "click"])
    node.addEventListener(event, () => pointCard(node, m.p, precision));
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
  const heading = element("div", { class: "note" }, ended(axes.y, axes.y.note));
  // The anchors' scores are what a chord joins, as points between them have theirs in its unit.
  const ends = axes.y.kind === "score" ? shown.filter((m) => m.standing === "anchor").sort((a, b) => a.x - b.x) : [];
  holder.replaceChildren(heading, canvas, legend(shown, ends.length > 1));
  if (!shown.length) {
    canvas.remove();
    byId("plot-note").textContent = `No ${precision} file has this figure; choose other files or another axis.`;
    return;
  }
  const ahead = CASCADES.flatMap((c) => curveOf(c, axes, precision).map(([x]) => x));
  const least = Math.min(...shown.map((m) => m.x), ...ahead), most = Math.max(...shown.map((m) => m.x), ...ahead);
  const pad = 0.06 * (most - least || most || 1), xs = [Math.max(0, least - pad), most + pad];
  const sx = (v) => box.left + ((v - xs[0]) / (xs[1] - xs[0])) * (box.right - box.left);
  const sy = (v) => box.bottom - ((v - range[0]) / (range[1] - range[0])) * (box.bottom - box.top);
  frame(canvas, box, sx, sy, xs, range, axes);
  const chord = ends.length > 1 ? ends.map((m) => [sx(m.x), sy(m.y)]) : null;
  if (chord) canvas.append(drawn("path", { class: "chord", d: `M${chord.join("L")}` }));
  const marks = shown.map((m) => ({ ...m, cx: sx(m.x), cy: sy(m.y) }));
  for (const m of marks) drawWorst(canvas, m, axes.x, precision, sx);
  drawCurves(canvas, axes, precision, sx, sy, range);
  // Along the axis, so that the tab key goes from left to right.
  for (const m of [...marks].sort((a, b) => a.x - b.x)) canvas.append(mark(m, axes.y, precision, box, sy));
  label(canvas, marks, box, chord);
  drawTurned(canvas, axes, precision, sx, sy, range);
  const away = off.map((m) => `${m.p.name} ${m.y.toPrecision(3)}`).join(", ");
  const hollow = shown.some((m) => m.hollow)
    ? `; hollow ones and controls have no file: ${figureNamed.get(axes.y.standIn).source}. ` : ". ";
  const curves = canvas.querySelector(".curve") ? "A curve is a cascade as its dial is turned. " : "";
  const worst = canvas.querySelector(".worst") ? "A dotted line leads to the worst case. " : "";
  byId("plot-note").textContent = `Across: ${axes.x.source}. ${curves}${worst}`
    + (axes.y.standIn ? `Up: filled marks are ${precision} files, ${axes.y.source}${hollow}` : `Up: ${axes.y.source}. `)
    + (away ? `Off the axis: ${away}.` : "");
}

function legend(shown, withChord) {
  const words = { anchor: "anchor", cascade: "cascade", shipped: "shipped", dominated: "dominated", control: "control" };
  const list = element("ul", { class: "legend" });
  for (const [standing, word] of Object.entries(words)) {
    const such = shown.filter((m) => m.standing === standing);
    if (!such.length) continue;
    const hollow = such.every((m) => m.hollow) ? " hollow" : "";
    const icon = drawn("svg", { width: 14, height: 14, viewBox: "-8 -8 16 16", "aria-hidden": "true" },
      drawn("g", { class: `mark ${standing}${hollow}${dialClass(such[0].p)}` }, SHAPES[standing]()));
    list.append(element("li", {}, icon, word));
  }
  const dash = drawn("svg", { width: 22, height: 14, viewBox: "0 0 22 14", "aria-hidden": "true" },
    drawn("path", { class: "chord", d: "M0 7H22" }));
  if (withChord) list.append(element("li", {}, dash, "chord between the anchors"));
  return list;
}

for (const [id, axes] of [["x-axis", X_AXES], ["y-axis", Y_AXES]])
  axes.forEach((axis, index) => byId(id).append(element("option", { value: index }, axis.label)));
for (const name of PRECISIONS) byId("precision").append(element("option", { value: name }, name));
for (const id of ["x-axis", "y-axis", "precision"]) byId(id).addEventListener("change", drawPlot);
let drawnWidth = 0;
new ResizeObserver(([entry]) => {
  if (Math.abs(entry.contentRect.width - drawnWidth) < 2) return;
  drawnWidth = entry.contentRect.width;
  drawPlot();
}).observe(byId("plot"));
