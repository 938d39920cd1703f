// CKA of all pairs of cuts, with the chosen stitches and what became of every pair.
const STOPS = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]]; // viridis
const pairsAt = new Map();
for (const pair of data.pairs) {
  const key = pair.at.join("/");
  pairsAt.set(key, [...(pairsAt.get(key) || []), pair]);
}

function colour(value) {
  if (value === null) return "none";
  const at = Math.max(0, Math.min(1, value)) * (STOPS.length - 1), low = Math.min(STOPS.length - 2, Math.floor(at));
  return `rgb(${STOPS[low].map((c, i) => Math.round(c + (at - low) * (STOPS[low + 1][i] - c))).join(",")})`;
}

function pairCard(node, row, column) {
  const value = data.cka[row][column];
  const rows = [["CKA", value === null ? "not known" : value.toFixed(3)]];
  for (const pair of pairsAt.get(`${row}/${column}`) || []) {
    const reason = data.reasons[pair.reason];
    const figures = data.pairFigures.map(({ label, kind }, i) =>
      (pair.figures[i] === null ? "" : `${label} ${written(kind, pair.figures[i])}`));
    rows.push([pair.name, `${pair.status}${reason ? `: ${reason}` : ""}`, figures.filter(Boolean).join(", ")]);
  }
  showCard(node, `${data.cuts.large[row]} × ${data.cuts.small[column]}`,
    `${data.anchors.large} (L${row}) and ${data.anchors.small} (S${column})`, rows);
}

function drawHeat() {
  const rows = data.cuts.large.length, columns = data.cuts.small.length;
  const longest = (names) => Math.min(190, 7 * Math.max(...names.map((n) => n.length)) + 12);
  const room = byId("heat").parentElement.clientWidth;
  const left = longest(data.cuts.large), cell = Math.max(16, Math.min(44, Math.floor((room - left - 90) / columns)));
  const high = rows > 40 ? 14 : 18, slope = 0.8, foot = slope * longest(data.cuts.small) + 12;
  const wide = left + cell * columns + 90, tall = high * rows + foot;
  const canvas = drawn("svg", { viewBox: `0 0 ${wide} ${tall}`, width: wide, height: tall, tabindex: 0, role: "img",
    "aria-label": `CKA of ${rows} cuts of ${data.anchors.large} and ${columns} cuts of ${data.anchors.small}` });
  const cells = [];
  data.cka.forEach((line, row) => {
    canvas.append(drawn("text", { x: left - 6, y: (row + 0.5) * high + 4, "text-anchor": "end" }, shortened(data.cuts.large[row])));
    cells.push(line.map((value, column) => {
      const node = drawn("rect", { class: "cell", x: left + column * cell, y: row * high, width: cell, height: high,
        fill: colour(value), "data-row": row, "data-column": column });
      canvas.append(node);
      return node;
    }));
  });
  data.cuts.small.forEach((name, column) => {
    const x = left + (column + 0.5) * cell + 4, y = high * rows + 14;
    canvas.append(drawn("text", { x, y, "text-anchor": "end", transform: `rotate(-55 ${x} ${y})` }, shortened(name)));
  });
  const chosen = data.pairs.filter((pair) => pair.status === "chosen");
  for (const { front, at: [row, column] } of chosen) {
    // Where both orders were chosen, their marks stand side by side.
    const both = chosen.filter(({ at }) => at[0] === row && at[1] === column).length > 1;
    const x = left + (column + (both ? (front === "large" ? 0.27 : 0.73) : 0.5)) * cell, y = (row + 0.5) * high, d = front === "large" ? 5 : -5;
    canvas.append(drawn("path", { class: "chosen", d: `M${x - d} ${y - 5.5}L${x + d} ${y}L${x - d} ${y + 5.5}Z` }));
  }
  scaleBar(canvas, left + cell * columns + 18, high * Math.min(rows, 12));
  byId("heat").replaceChildren(canvas);
  listen(canvas, cells, rows, columns);
}

const shortened = (name) => (name.length > 26 ? `…${name.slice(-25)}` : name);

function scaleBar(canvas, x, tall) {
  for (let i = 0; i < 40; i++)
    canvas.append(drawn("rect", { x, y: (i * tall) / 40, width: 12, height: tall / 40 + 0.5, fill: colour(1 - i / 39) }));
  for (const value of [0, 0.5, 1])
    canvas.append(drawn("text", { x: x + 18, y: 10 + (1 - value) * (tall - 10) }, value === 1 ? "1 CKA" : String(value)));
}

function listen(canvas, cells, rows, columns) {
  const cursor = drawn("rect", { class: "cursor", width: 0, height: 0 });
  canvas.append(cursor);
  let at = [0, 0];
  const go = (row, column) => {
    at = [row, column];
    const node = cells[row][column];
    for (const name of ["x", "y", "width", "height"]) cursor.setAttribute(name, node.getAttribute(name));
    pairCard(node, row, column);
  };
  const leave = () => { cursor.setAttribute("width", 0); hideCard(); };
  const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  for (const event of ["mouseover", "click"]) canvas.addEventListener(event, ({ target }) => {
    if (target.dataset.row) go(Number(target.dataset.row), Number(target.dataset.column));
  });
  canvas.addEventListener("mouseleave", leave);
  canvas.addEventListener("blur", leave);
  canvas.addEventListener("focus", () => { if (canvas.matches(":focus-visible")) go(...at); });
  canvas.addEventListener("keydown", (event) => {
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    go(Math.max(0, Math.min(rows - 1, at[0] + move[0])), Math.max(0, Math.min(columns - 1, at[1] + move[1])));
  });
}

if (data.cka.length) drawHeat();
else byId("similarity").hidden = true;
