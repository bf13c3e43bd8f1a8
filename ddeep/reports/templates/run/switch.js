// The board: a sample of test images, a head, and filters that can be switched off for all classes or for one.
const FIRST_IMAGES = 60;
const board = { stage: null, scope: null, image: null, off: new Off(), only: "mistakes", shown: FIRST_IMAGES };

// A change is drawn at once; the focus stays where it was.
board.toggle = (j, off, c = null) => {
  board.off.set(j, off, board.scope === null ? null : board.scope);
  const active = document.activeElement?.dataset?.switch;
  board.draw();
  if (active) document.querySelector(`[data-switch="${active}"]`)?.focus();
};

board.draw = () => {
  $("explained").replaceChildren(...explained(board));
  drawScore();
  drawOff();
  if ($("all-filters").open) drawAllFilters();
};

board.open = (image) => {
  board.image = image;
  drawSample();
  board.draw();
};

function drawScore() {
  board.told = callAll(board.stage, board.off);
  const now = judged(board.told);
  const plain = judged(callAll(board.stage, null));
  const change = now.right - plain.right;
  $("score").replaceChildren(
    h("b", {}, `${now.right} of ${size}`), " right in the sample",
    board.off.none ? "" : h("span", { class: change < 0 ? "worse" : change > 0 ? "better" : "" }, ` (${number(change, 0, true) || "0"})`),
    " · ", term("estimate", "estimate for the test split"), " ", h("b", {}, percent(now.estimate)),
    board.off.none ? "" : ` (all on ${percent(plain.estimate)})`);
}

function drawOff() {
  const off = board.off.list();
  $("off").replaceChildren(
    ...(off.length ? [h("span", { class: "note" }, "Off:"), ...off.slice(0, 30).map(([j, c]) => {
      const button = h("button", { type: "button", class: "chip", "aria-label": `Switch filter ${j} on again` }, labelOf(j), c === null ? "" : ` for ${classes[c]}`, " ×");
      button.addEventListener("click", () => { board.off.set(j, false, c); board.draw(); });
      return button;
    }), off.length > 30 ? h("span", { class: "note" }, `and ${off.length - 30} more`) : "", h("button", { type: "button", onclick: () => { board.off.clear(); board.draw(); } }, "all on")]
      : [h("span", { class: "note" }, "All filters are on.")]));
}

function wantedImages() {
  const told = sample.told[final] || sample.told.full;
  const images = Array.from({ length: size }, (_, i) => i);
  if (board.only === "mistakes") return images.filter((i) => told[i] !== sample.labels[i] || sample.told.full[i] !== sample.labels[i]);
  if (board.only === "all") return images;
  return images.filter((i) => String(sample.labels[i]) === board.only);
}

function drawSample() {
  const images = wantedImages();
  const told = sample.told[final] || sample.told.full;
  const items = images.slice(0, board.shown).map((i) => {
    const wrong = told[i] !== sample.labels[i];
    const text = `test:${sample.indices[i]}, ${classes[sample.labels[i]]}${wrong ? `, called ${classes[told[i]]}` : ""}`;
    const picture = lookedAt(i, 56);
    const button = h("button", { type: "button", class: wrong ? "wrong" : "right", "aria-pressed": String(i === board.image), title: text, "aria-label": text, "data-sample": i },
      picture ? [picture] : h("span", {}, wrong ? `${classes[sample.labels[i]]} → ${classes[told[i]]}` : classes[sample.labels[i]]));
    button.addEventListener("click", () => {
      board.open(i);
      document.querySelector(`[data-sample="${i}"]`)?.focus();
    });
    return button;
  });
  const rest = images.length - board.shown;
  const more = rest > 0 ? [h("button", { type: "button", class: "more", onclick: () => { board.shown += FIRST_IMAGES; drawSample(); } }, `${rest} more`)] : [];
  $("sample").replaceChildren(...items, ...more);
  $("sample").classList.toggle("words", !pictures);
}

function drawAllFilters() {
  const filters = [...users.keys()].sort((a, b) => a - b);
  $("filter-chips").replaceChildren(...filters.map((j) => {
    const off = board.scope === null ? board.off.all.has(j) : board.off.has(board.scope, j);
    const button = h("button", { type: "button", class: "chip", "aria-pressed": String(!off), "data-switch": `any:${j}` }, labelOf(j));
    button.addEventListener("click", () => board.toggle(j, !off));
    return button;
  }));
}

function select(id, label, options, onchange) {
  const element = h("select", { id }, options.map(([value, text]) => h("option", { value }, text)));
  element.addEventListener("change", () => onchange(element.value));
  return h("label", {}, label, " ", element);
}

function switchboard() {
  const stages = Object.keys(heads);
  board.stage = stages.includes(final) ? final : stages[stages.length - 1];
  const present = [...new Set(sample.labels)].sort((a, b) => a - b);
  const allFilters = h("details", { id: "all-filters", class: "fold" }, h("summary", {}, `All ${users.size} selected filters`), h("div", { id: "filter-chips", class: "chips" }));
  allFilters.addEventListener("toggle", () => { if (allFilters.open) drawAllFilters(); });
  $("switchboard").append(
    h("p", { id: "score", class: "score", role: "status" }),
    h("div", { class: "controls" },
      select("head", "head", stages.map((stage) => [stage, stage]), (value) => { board.stage = value; board.draw(); }),
      select("scope", "switching", [["", "for all classes"], ...chosen.map((c) => [c, `for ${classes[c]} alone`])], (value) => { board.scope = value === "" ? null : Number(value); board.draw(); }),
      h("div", { id: "off", class: "chips" })),
    h("div", { class: "board" },
      h("div", { class: "images" },
        select("only", "images", [["mistakes", "called wrongly"], ["all", `all ${size} of the sample`], ...present.map((c) => [c, classes[c]])], (value) => { board.only = value; board.shown = FIRST_IMAGES; drawSample(); }),
        h("div", { id: "sample", role: "group", "aria-label": "Images of the sample" })),
      h("div", { id: "explained" })),
    allFilters);
  $("head").value = board.stage;
  const wrong = wantedImages();
  if (!wrong.length) { board.only = "all"; $("only").value = "all"; }
  board.open(wrong[0] ?? 0);
}
