"use strict";
// Shared by the scripts that follow: the data, elements, amounts with units, the card, the copy buttons.
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const SCALES = {
  count: [["", 1], ["K", 1e3], ["M", 1e6], ["G", 1e9]],
  bytes: [["B", 1], ["KB", 1e3], ["MB", 1e6]],
  time: [["us", 1], ["ms", 1e3], ["s", 1e6]],
  score: [["%", 0.01]],
  share: [["%", 0.01]],
  nats: [["nats", 1]],
  ratio: [["", 1]],
};

function made(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}
const element = (tag, attributes, ...children) => made(document.createElement(tag), attributes, children);
const drawn = (tag, attributes, ...children) =>
  made(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

// The largest unit that leaves at least one, as tflite_export.budget has it.
function scaleOf(kind, value) {
  const fitting = SCALES[kind].filter(([, scale]) => value >= scale);
  return fitting.length ? fitting[fitting.length - 1] : SCALES[kind][0];
}
function amount(kind, value, digits = 3) {
  const [unit, scale] = scaleOf(kind, value);
  return `${Number((value / scale).toPrecision(digits))} ${unit}`.trim();
}
const percent = (share) => (100 * share).toFixed(1);
const interval = ([score, low, high]) => `${percent(score)} % [${percent(low)}, ${percent(high)}]`;
// How a value is written, by the kind of its figure: counts, bytes and times scale.
const WRITE = {
  words: (v) => v,
  score: interval,
  share: (v) => `${percent(v)} %`,
  nats: (v) => `${v.toFixed(3)} nats`,
  ratio: (v) => v.toFixed(3),
  // A value for each stage but the last, three of a share: itself and its interval.
  deferral: (v) => [0, 3].filter((i) => i < v.length && v[i] !== null).map((i) => interval(v.slice(i, i + 3))).join(", "),
  thresholds: (v) => v.filter((t) => t !== null).map((t) => String(Number(t.toPrecision(4)))).join(", "),
};
const written = (kind, value) => (WRITE[kind] ? WRITE[kind](value) : amount(kind, value, 4));
const figureNamed = new Map(data.figures.map((figure) => [figure.name, figure]));
// The value that a figure has of a point and its file in a precision; undefined where it has none.
const valueOf = (figure, p, precision) => (figure.of === "file" ? p.files[precision] : p.figures)?.[figure.name];

const card = byId("card");
function showCard(node, title, note, rows) {
  const list = element("dl");
  for (const [name, value, source] of rows) {
    if (value === null || value === undefined || value === "") continue;
    list.append(element("dt", {}, name), element("dd", {}, value, source ? element("small", {}, ` ${source}`) : null));
  }
  card.replaceChildren(element("h4", {}, title), element("p", {}, note), list);
  card.hidden = false;
  const at = node.getBoundingClientRect(), size = card.getBoundingClientRect(), gap = 12;
  const wide = document.documentElement.clientWidth, high = window.innerHeight;
  let left = Math.max(8, Math.min(at.left + gap, wide - size.width - 8)), top = at.bottom + gap;
  if (top + size.height > high - 8 && at.top - gap - size.height > 0) top = at.top - gap - size.height;
  if (top + size.height > high - 8) {
    // Neither below nor above: beside it, where there is room, rather than over it.
    top = Math.max(8, high - size.height - 8);
    if (at.left - gap - size.width > 0) left = at.left - gap - size.width;
    else if (at.right + gap + size.width < wide) left = at.right + gap;
    else top = at.bottom + gap;
  }
  card.style.left = `${left + window.scrollX}px`;
  card.style.top = `${top + window.scrollY}px`;
}
const hideCard = () => { card.hidden = true; };
document.addEventListener("keydown", (event) => { if (event.key === "Escape") hideCard(); });

for (const code of document.querySelectorAll("code.copy")) {
  const button = element("button", { type: "button", class: "copier" }, "copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "copied";
    } catch {
      // A page from disk may have no clipboard: select the words instead.
      getSelection().selectAllChildren(code);
      button.textContent = "selected";
    }
    setTimeout(() => { button.textContent = "copy"; }, 1500);
  });
  code.after(button);
}
for (const section of document.querySelectorAll(".scripted")) section.hidden = false;
