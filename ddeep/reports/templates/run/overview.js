// Of many classes the whole map on a canvas, a pixel or less a cell, and a brush that chooses what the table shows.
const BRUSH = { rows: 30, columns: 56 };
const brush = { row: 0, column: 0 };

function overviewPlace() {
  const canvas = h("canvas", { id: "overview-map", role: "img", "aria-label": "All classes by all filters; the table below shows the part that is outlined" });
  const slider = (id, label) => {
    const input = h("input", { type: "range", id, min: 0, step: 1 });
    input.addEventListener("input", () => { brush[id === "brush-rows" ? "row" : "column"] = Number(input.value); drawBrush(); });
    return h("label", {}, label, " ", input);
  };
  const follow = (event) => {
    const box = canvas.getBoundingClientRect();
    place(((event.clientY - box.top) / box.height) * chart.rows.length - BRUSH.rows / 2, ((event.clientX - box.left) / box.width) * chart.columns.length - BRUSH.columns / 2);
  };
  canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); follow(event); });
  canvas.addEventListener("pointermove", (event) => { if (event.buttons) follow(event); });
  return h("div", { class: "overview" },
    h("div", { class: "brushed" }, canvas, h("div", { id: "brush", "aria-hidden": "true" })),
    h("div", { class: "controls" }, slider("brush-rows", "classes from"), slider("brush-columns", "filters from"), h("span", { id: "brush-says", role: "status" })));
}

function place(row, column) {
  const within = (value, most) => Math.round(Math.max(0, Math.min(most, value)));
  brush.row = within(row, Math.max(0, chart.rows.length - BRUSH.rows));
  brush.column = within(column, Math.max(0, chart.columns.length - BRUSH.columns));
  drawBrush();
}

// The colours of the levels, as the style sheet has them on this page, light or dark.
function palette() {
  const probe = h("span", { hidden: true });
  document.body.append(probe);
  const colours = [];
  for (let level = -LEVELS; level <= LEVELS; level++) {
    probe.className = level === 0 ? "z" : `${level < 0 ? "n" : "p"}${Math.abs(level)}`;
    colours.push(getComputedStyle(probe).backgroundColor.match(/[\d.]+/g).slice(0, 3).map(Number));
  }
  probe.remove();
  return colours;
}

function drawOverview() {
  const canvas = $("overview-map");
  const [rows, columns] = [chart.rows, chart.columns];
  canvas.width = columns.length;
  canvas.height = rows.length;
  const context = canvas.getContext("2d");
  const picture = context.createImageData(columns.length, rows.length);
  const colours = palette();
  const largest = largestOf(chart.key) || 1;
  rows.forEach((c, y) => columns.forEach((j, x) => {
    const value = figure(chart.key, c, j) || 0;
    // By the square root: a cell is too small here for faint colours.
    const level = Math.round(Math.sign(value) * Math.sqrt(Math.abs(value) / largest) * LEVELS);
    const colour = colours[LEVELS + level], at = 4 * (y * columns.length + x);
    for (let k = 0; k < 3; k++) picture.data[at + k] = colour[k];
    picture.data[at + 3] = 255;
  }));
  context.putImageData(picture, 0, 0);
  place(brush.row, brush.column);
}

function drawBrush() {
  const [rows, columns] = [chart.rows.length, chart.columns.length];
  const part = (value, of) => `${((100 * Math.min(value, of)) / of).toFixed(3)}%`;
  Object.assign($("brush").style, {
    top: part(brush.row, rows), left: part(brush.column, columns), height: part(BRUSH.rows, rows), width: part(BRUSH.columns, columns),
  });
  $("brush-rows").max = Math.max(0, rows - BRUSH.rows);
  $("brush-columns").max = Math.max(0, columns - BRUSH.columns);
  $("brush-rows").value = brush.row;
  $("brush-columns").value = brush.column;
  const shownRows = chart.rows.slice(brush.row, brush.row + BRUSH.rows);
  const shownColumns = chart.columns.slice(brush.column, brush.column + BRUSH.columns);
  $("brush-says").textContent = `${shownRows.length} of ${rows} classes × ${shownColumns.length} of ${columns} filters`;
  showTable(shownRows, shownColumns);
}
