// A cascade's dial: turned by a slider, it says what thresholds would give; the plot shows where that lies.
const CASCADES = data.cascades;
const turns = new Map(); // by cascade and precision, where its slider stands
const dialed = () => Number(byId("cascade").value || 0);
// The values of a figure along the dial of a cascade's file.
const alongOf = (figure, c, precision) => c.files[precision]?.figures[figure.name];
const turnedTo = (c, precision) => turns.get(`${c.point} ${precision}`) ?? c.files[precision].at;
// The precision that is chosen above, or the first that the cascade has a file in.
const dialPrecision = (c) => (c.files[byId("precision").value] ? byId("precision").value : Object.keys(c.files)[0]);

function placeWords(at, dial) {
  if (at === dial.at) return "as chosen on the rank split";
  if (at === 0) return "the first stage answers all that it can";
  if (at === dial.length - 1) return "all that can go on do";
  return at < dial.at ? "fewer go on than chosen" : "more go on than chosen";
}

function showDial() {
  const c = CASCADES[dialed()], precision = dialPrecision(c), dial = c.files[precision], at = turnedTo(c, precision);
  const p = data.points.find((point) => point.name === c.point), input = byId("dial-at"), list = byId("dial-figures");
  input.max = dial.length - 1;
  input.value = at;
  list.replaceChildren();
  for (const figure of data.figures) {
    const values = dial.figures[figure.name];
    if (!values || values[at] === null) continue;
    const worst = figureNamed.get(figure.worst), most = worst && valueOf(worst, p, precision);
    const note = most === undefined ? figure.source : `at worst ${written(worst.kind, most)}`;
    list.append(element("div", { "data-kind": figure.kind, "data-figure": figure.name }, element("dt", {}, figure.label),
      element("dd", {}, written(figure.kind, values[at]), element("small", {}, note))));
  }
  byId("dial-place").textContent = `${precision}: ${placeWords(at, dial)}`;
  input.setAttribute("aria-valuetext", placeWords(at, dial));
}

function turn(at) {
  const c = CASCADES[dialed()];
  turns.set(`${c.point} ${dialPrecision(c)}`, at);
  redial();
}

function redial() {
  showDial();
  drawPlot();
}

// The dial where a budget wants it.
function dialTo({ point, precision, at }) {
  const index = CASCADES.findIndex((c) => c.point === point);
  if (index < 0 || at === null) return;
  byId("cascade").value = index;
  turns.set(`${point} ${precision}`, at);
}

function chooseCascade(name) {
  const index = CASCADES.findIndex((c) => c.point === name);
  if (index < 0 || index === dialed()) return;
  byId("cascade").value = index;
  redial();
}

if (CASCADES.length) {
  CASCADES.forEach((c, index) => byId("cascade").append(element("option", { value: index }, c.point)));
  byId("dial-at").addEventListener("input", (event) => turn(Number(event.target.value)));
  byId("dial-chosen").addEventListener("click", () => turn(CASCADES[dialed()].files[dialPrecision(CASCADES[dialed()])].at));
  byId("cascade").addEventListener("change", redial);
  byId("precision").addEventListener("change", showDial);
  showDial();
} else byId("dial").hidden = true;
