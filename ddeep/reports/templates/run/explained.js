// Two logits of one image taken apart, each filter with its switch.
const DIGITS = 3;

// A picture of an image of the sample, or of a dropped one, with or without a filter's activity.
function lookedAt(image, side, j = null) {
  if (typeof image !== "number") {
    const canvas = canvasOf(side, j === null ? image.name : `${image.name}, with the activity of filter ${j}`);
    canvas.redraw = () => draw(canvas, image.picture, [0, 0], image.picture.naturalWidth, j === null ? null : image.mapOf(j), image.grid);
    canvas.redraw();
    return canvas;
  }
  const at = pictures ? sample.images_at[image] : -1;
  if (at === undefined || at < 0) return null;
  const tile = j === null ? -1 : tileAt.get(`${at}:${j}`) ?? -1;
  return pictureOf(at, side, j === null ? describe(at) : `${describe(at)}, with the activity of filter ${j}`, mapOf(tile));
}

// What a class's own images give a filter on average; null for filters that are not its own.
function typicalOf(c, j) {
  const rank = page.perClass[c].filters.indexOf(j);
  return rank < 0 ? null : sample.typical[c][rank];
}

function partRow(board, c, part, shown, largest) {
  const toggle = h("input", { type: "checkbox", role: "switch", "data-switch": `${c}:${part.filter}`, "aria-label": `Filter ${part.filter} for ${board.scope === null ? "all classes" : classes[board.scope]}` });
  toggle.checked = !part.off;
  toggle.disabled = board.scope !== null && board.scope !== c;
  toggle.addEventListener("change", () => board.toggle(part.filter, !toggle.checked, c));
  const width = (50 * Math.abs(part.value)) / largest;
  const typical = typicalOf(c, part.filter);
  const picture = lookedAt(board.image, 40, part.filter);
  return h("li", { class: part.off ? "off" : null },
    h("span", { class: "toggle" }, toggle), h("span", { class: "sight" }, picture), h("span", { class: "label" }, filterLink(part.filter)),
    h("span", { class: "n response" }, number(part.response, 2), h("small", {}, typical === null ? "" : ` of ${number(typical, 2)}`)),
    h("i", { "aria-hidden": "true" }, h("b", { class: part.value < 0 ? "less" : "more", style: `left:${part.value < 0 ? 50 - width : 50}%;width:${width.toFixed(2)}%` })),
    h("span", { class: "n value" }, part.off ? "off" : number(shown, DIGITS, true)));
}

const MOST_PARTS = 40; // of a head that sees all filters, those that give or take most

function logitColumn(board, c, word, responses) {
  const parts = partsOf(board.stage, responses, c, board.off);
  const live = parts.terms.filter((one) => !one.off);
  const [rounded, logit] = addingUp([...live.map((one) => one.value), parts.bias], parts.logit, DIGITS);
  const shown = new Map(live.map((one, i) => [one.filter, rounded[i]]));
  const most = [...parts.terms].sort((a, b) => Math.abs(b.value) - Math.abs(a.value)).slice(0, MOST_PARTS);
  const visible = parts.terms.filter((one) => most.includes(one));
  const hidden = parts.terms.filter((one) => !most.includes(one));
  const rest = hidden.filter((one) => !one.off).reduce((sum, one) => sum + Math.round(shown.get(one.filter) * 1000), 0) / 1000;
  const largest = Math.max(1e-9, ...parts.terms.map((one) => Math.abs(one.value)));
  return h("div", { class: "logit", "data-class": c },
    h("h3", {}, h("span", { class: "kind" }, word), " ", classLink(c)),
    h("p", { class: "heads" }, h("span", {}, "response"), h("span", {}, term("typical", "typical")), h("span", {}, "W·r")),
    h("ul", { class: "parts" }, visible.map((part) => partRow(board, c, part, shown.get(part.filter), largest)),
      hidden.length ? h("li", { class: "sum" }, h("span", { class: "label" }, `${hidden.length} others`), h("span", { class: "n value" }, number(rest, DIGITS, true))) : null,
      h("li", { class: "sum" }, h("span", { class: "label" }, "bias"), h("span", { class: "n value" }, number(rounded[rounded.length - 1], DIGITS, true))),
      h("li", { class: "sum whole" }, h("span", { class: "label" }, "logit"), h("span", { class: "n value" }, number(logit, DIGITS)))));
}

// What the image is called, how sure, and the two classes between which it is decided.
function explained(board) {
  const responses = responsesOf(board.image, board.stage);
  const logits = logitsOf(board.stage, responses, board.off);
  const shares = probabilitiesOf(logits);
  const order = ranked(logits);
  const told = order[0];
  const own = typeof board.image === "number" ? sample.labels[board.image] : null;
  const other = own !== null && own !== told ? own : order[1];
  const before = best(logitsOf(board.stage, responses, null));
  const name = typeof board.image === "number" ? (pictures && sample.images_at[board.image] >= 0 ? pictures.names[sample.images_at[board.image]] : `test:${sample.indices[board.image]}`) : board.image.name;
  const rows = order.slice(0, 5);
  if (!rows.includes(other)) rows.push(other);
  const head = h("div", { class: "called" },
    lookedAt(board.image, 132),
    h("div", {},
      h("p", { class: "over" }, name),
      h("p", { class: "says", "aria-live": "polite" }, "called ", h("b", { class: own === null ? "" : told === own ? "right" : "wrong" }, classes[told]),
        own === null ? "" : told === own ? ", rightly" : [", but it is ", h("b", {}, classes[own])],
        told !== before ? [" – with all filters on ", h("b", {}, classes[before])] : ""),
      h("p", { class: "note" }, `probability ${number(100 * shares[told], 1)} %, ${number(logits[told] - logits[order[1]], 2)} ahead of ${classes[order[1]]}`)),
    h("div", { class: "odds" }, bars(rows.map((c) => ({ label: classes[c], value: shares[c], text: `${number(logits[c], 2)} · ${number(100 * shares[c], 1)} %`, kind: c === own ? "mine" : "grey" })), { most: 1 })));
  return [head, h("div", { class: "logits" }, logitColumn(board, told, "called", responses), logitColumn(board, other, own !== null && own === other ? "true" : "next", responses))];
}
