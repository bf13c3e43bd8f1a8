// The heat map of classes by filters as a table: one figure at a time, in any order, the cell in words above it.
const LEVELS = 24;
const MOST_CELLS = 12000, MOST_ROWS = 100;
const FIGURES = {
  contribution: { name: "mean W·r", digits: 2 },
  knockout: { name: "silenced, points", digits: 1, plus: true, value: silenced },
  response: { name: "mean response", digits: 2 },
};
const figure = (key, c, j) => (FIGURES[key].value ? FIGURES[key].value(c, j) : entry(key, c, j));
const figures = () => Object.keys(FIGURES).filter(hasTable);

function shadeOf(value, largest) {
  if (Number.isNaN(value)) return "";
  const level = Math.round((Math.abs(value) / (largest || 1)) * LEVELS);
  return level === 0 ? "z" : `${value < 0 ? "n" : "p"}${level}`;
}

const COLUMN_ORDERS = {
  group: () => [...users.keys(), ...page.map.columns.filter((j) => !users.has(j))].filter((j) => columnOf.has(j)),
  alike: () => page.map.alike.filters.map((at) => page.map.columns[at]),
  index: () => [...page.map.columns],
  users: () => [...page.map.columns].sort((a, b) => (users.get(b)?.length || 0) - (users.get(a)?.length || 0) || a - b),
};
const ROW_ORDERS = {
  index: () => [...chosen],
  alike: () => page.map.alike.classes.filter((c) => chosen.includes(c)),
  name: () => [...chosen].sort(ORDERS.name),
  lost: () => [...chosen].sort(ORDERS.lost),
};

const chart = { key: null, rows: [], columns: [], largest: {} };

function largestOf(key) {
  if (chart.largest[key] === undefined) {
    let most = 0;
    for (const c of chosen) for (const j of page.map.columns) most = Math.max(most, Math.abs(figure(key, c, j)) || 0);
    chart.largest[key] = most;
  }
  return chart.largest[key];
}

function tell(c, j) {
  const parts = figures().map((key) => `${FIGURES[key].name} ${number(figure(key, c, j), FIGURES[key].digits, FIGURES[key].plus) || "–"}`);
  const who = users.get(j) || [];
  const names = who.slice(0, 5).map((one) => classes[one]).join(", ") + (who.length > 5 ? ` and ${who.length - 5} more` : "");
  $("readout").replaceChildren(h("b", {}, `${classes[c]} × filter ${labelOf(j)}`), ` ${parts.join(" · ")} · ${who.length ? `used by ${names}` : "no class uses it"}`);
}

function heatTable(rows, columns) {
  const largest = largestOf(chart.key);
  const { digits, plus } = FIGURES[chart.key];
  const head = h("tr", {}, h("th", { scope: "col", class: "corner" }, "filter"), columns.map((j) =>
    h("th", { scope: "col", class: users.get(j)?.length > 1 ? "c shared" : "c" }, portraitOf.has(j) ? h("a", { href: `#filter-${j}`, tabindex: "-1" }, String(j)) : h("span", {}, String(j)))));
  const body = rows.map((c) => {
    const own = new Set(page.perClass[c].filters);
    return h("tr", {}, h("th", { scope: "row" }, h("a", { href: `#class-${c}` }, classes[c])), columns.map((j) => {
      const value = figure(chart.key, c, j);
      return h("td", { class: `${shadeOf(value, largest)}${own.has(j) ? " own" : ""}`, "data-c": c, "data-j": j }, number(value, digits, plus));
    }));
  });
  return h("table", { class: "heat", role: "grid", id: "heat-table", "aria-label": `${FIGURES[chart.key].name}, classes by filters` }, h("thead", {}, head), h("tbody", {}, body));
}

const MOVES = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

function openCell(cell) {
  const { c, j } = cell.dataset;
  location.hash = page.perClass[c].filters.includes(Number(j)) ? `#class-${c}-filter-${j}` : portraitOf.has(Number(j)) ? `#filter-${j}` : `#class-${c}`;
}

function move(event) {
  const cell = event.target;
  if (cell.tagName !== "TD") return;
  if (event.key === "Enter") { event.preventDefault(); openCell(cell); return; }
  if (!MOVES[event.key]) return;
  event.preventDefault();
  const [down, right] = MOVES[event.key];
  const next = cell.closest("table").tBodies[0].rows[cell.parentNode.rowIndex - 1 + down]?.cells[cell.cellIndex + right];
  if (next?.tagName !== "TD") return;
  cell.removeAttribute("tabindex");
  next.tabIndex = 0;
  next.focus();
}

function showTable(rows, columns) {
  const table = heatTable(rows, columns);
  const first = table.querySelector("td");
  if (first) first.tabIndex = 0;
  for (const kind of ["pointerover", "focusin"]) {
    table.addEventListener(kind, (event) => { if (event.target.tagName === "TD") tell(Number(event.target.dataset.c), Number(event.target.dataset.j)); });
  }
  table.addEventListener("keydown", move);
  table.addEventListener("dblclick", (event) => { if (event.target.tagName === "TD") openCell(event.target); });
  $("heat-place").replaceChildren(table);
}

function scaleOf() {
  const largest = largestOf(chart.key);
  const signed = chosen.some((c) => page.map.columns.some((j) => figure(chart.key, c, j) < 0));
  const most = number(largest, FIGURES[chart.key].digits);
  return h("p", { class: "scale", "aria-hidden": "true" }, h("span", {}, signed ? `−${most}` : "0"), h("i", { class: signed ? "signed" : null }), h("span", {}, most));
}

function drawMap() {
  chart.rows = ROW_ORDERS[$("order-rows").value]();
  chart.columns = COLUMN_ORDERS[$("order-columns").value]().filter((j) => !$("only-selected").checked || users.has(j));
  all("[data-heat]").forEach((tab) => tab.setAttribute("aria-pressed", String(tab.dataset.heat === chart.key)));
  $("heat-scale").replaceChildren(scaleOf());
  if (isLarge()) drawOverview();
  else showTable(chart.rows, chart.columns);
}

const isLarge = () => chosen.length > MOST_ROWS || chosen.length * page.map.columns.length > MOST_CELLS;

function heatMap() {
  const tabs = figures().map((key) => h("button", { type: "button", "data-heat": key, onclick: () => { chart.key = key; drawMap(); } }, FIGURES[key].name));
  chart.key = figures()[0];
  const only = h("input", { type: "checkbox", id: "only-selected" });
  const orders = [
    select("order-columns", "filters by", [["group", "the class that selects them"], ["alike", "likeness"], ["index", "number"], ["users", "how many classes use them"]], drawMap),
    select("order-rows", "classes by", [["index", "number"], ["alike", "likeness"], ["name", "name"], ["lost", "what is lost"]], drawMap),
    h("label", {}, only, " selected filters only"),
  ];
  only.addEventListener("change", drawMap);
  $("heat-map").append(
    h("div", { class: "controls" }, h("span", { class: "tabs", role: "group", "aria-label": "What the colour shows" }, tabs), orders),
    h("p", { class: "readout", id: "readout", role: "status" }, "Point at a cell, or move through the cells with the arrow keys; Enter opens it."),
    ...(isLarge() ? [overviewPlace()] : []),
    h("div", { class: "scroll", id: "heat-place", role: "region", tabindex: "0", "aria-label": "Classes by filters" }),
    h("div", { id: "heat-scale" }));
  drawMap();
  if (isLarge()) new MutationObserver(drawMap).observe(root, { attributeFilter: ["data-theme"] }); // a canvas keeps its colours
}
