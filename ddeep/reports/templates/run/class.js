// One class: its figures, and for each of its filters what it sees and does.
function stageFigures(c) {
  return h("dl", { class: "stages" }, page.stages.map((stage, at) =>
    h("div", { class: stage }, h("dt", {}, stage), h("dd", {}, percent(page.perClass[c].accuracy[at])))));
}

function around(c) {
  const at = chosen.indexOf(c);
  const link = (to, text, label) => h("a", { href: `#class-${to}`, class: "step", "aria-label": `${label}: ${classes[to]}` }, text);
  return h("nav", { class: "around", "aria-label": "Other classes" },
    h("a", { href: "#classes", class: "step" }, "‹ all classes"),
    link(chosen[(at + chosen.length - 1) % chosen.length], "previous", "Previous class"),
    link(chosen[(at + 1) % chosen.length], "next", "Next class"));
}

// The classes that silencing a filter touches most, in percent points.
function silencedBars(j, own = null) {
  if (!hasTable("knockout")) return null;
  const rows = classes.map((_, c) => c).filter((c) => page.perClass[c].images && entry("knockout", c, j));
  if (!rows.length) return h("p", { class: "note" }, "changes no class’s accuracy by an image.");
  rows.sort((a, b) => Math.abs(silenced(b, j)) - Math.abs(silenced(a, j)));
  const shown = rows.slice(0, 10);
  const rest = rows.length - shown.length;
  return [
    bars(shown.map((c) => ({ label: classLink(c), value: silenced(c, j), own: c === own, kind: silenced(c, j) < 0 ? "less" : "more" })), { plus: true }),
    rest ? h("p", { class: "note" }, `and ${rest} more, less`) : null,
  ];
}

function histogram(portrait, own = null) {
  return bars(portrait.classes.slice(0, 8).map(([c, count]) => ({ label: classLink(c), value: count, text: String(count), own: c === own, kind: c === own ? "mine" : "grey" })), { most: portrait.first });
}

function purity(portrait) {
  return portrait.classes.length ? portrait.classes[0][1] / portrait.first : NaN;
}

const sameImages = (some, others) => some.every((one) => (pictures ? others.includes(one) : others.some(([index]) => index === one[0])));

function fact(name, ...value) {
  return h("div", {}, h("dt", {}, name), h("dd", {}, value));
}

function filterOfClass(c, j, rank) {
  const row = page.perClass[c];
  const pair = page.pairs?.rows[c]?.[rank];
  const portrait = portraitOf.get(j);
  const others = users.get(j).filter((other) => other !== c);
  const facts = [
    hasTable("contribution") ? fact(term("share", "share"), h("b", {}, `${number(share(c, j), 1, true)} %`), " ", h("i", { class: "meter", "aria-hidden": "true" }, h("b", { class: share(c, j) < 0 ? "less" : "more", style: `width:${Math.min(100, Math.abs(share(c, j))).toFixed(1)}%` }))) : null,
    hasTable("contribution") ? fact(h("span", {}, "mean ", term("wr", "W·r")), number(entry("contribution", c, j), 3, true)) : null,
    page.map ? fact(h("span", {}, "mean ", term("response", "response")), number(hasTable("response") ? entry("response", c, j) : sample?.typical[c][rank], 3)) : null,
    fact(term("score", "score"), number(row.scores[rank], Number.isInteger(row.scores[rank]) ? 0 : 3), page.scored ? ` of ${many(page.scored[c], "train image", "train images")}` : ""),
    fact("also used by", others.length ? others.slice(0, 4).map((other, i) => [i ? ", " : "", classLink(other)]) : "no other class", others.length > 4 ? ` and ${others.length - 4} more` : ""),
  ];
  const density = pair && unpacked(page.pairs.densities);
  const bins = pair ? page.pairs.densities.shape[2] : 0;
  const curve = (which) => density.subarray((2 * pair.density + which) * bins, (2 * pair.density + which + 1) * bins);
  return h("section", { class: "filter", id: `class-${c}-filter-${j}` },
    h("div", { class: "about" }, h("h2", {}, filterLink(j, "filter")), naming(j), h("dl", {}, facts)),
    h("div", { class: "sights" },
      pair ? [h("h3", {}, "Images of this class"), tilesOf(pair.own),
        h("h3", {}, "Of other classes: near misses"), tilesOf(pair.near),
        portrait && !sameImages(portrait.top, pair.own) ? [h("h3", {}, "Of all images"), tilesOf(portrait.top)] : h("p", { class: "note" }, "Of all images, those of this class are its strongest.")] : h("p", { class: "note" }, "Its images are not at hand.")),
    portrait ? h("div", { class: "charts" },
      h("div", {}, h("h3", {}, "Classes of its 100 strongest images"), histogram(portrait, c), h("p", { class: "note" }, term("purity", "purity"), ` ${percent(100 * purity(portrait), 0)}`)),
      pair ? h("div", {}, h("h3", {}, "Responses"), densities(curve(0), curve(1), portrait.range[0], portrait.range[1], classes[c])) : null,
      hasTable("knockout") ? h("div", {}, h("h3", {}, term("silenced", "Silenced"), ", it changes (points)"), silencedBars(j, c)) : null) : null);
}

function classPage(c, scrollTo) {
  const row = page.perClass[c];
  const taken = (page.changes || []).filter(([own]) => own === c).slice(0, 4);
  const view = [
    around(c),
    h("p", { class: "over" }, `class ${c} · ${many(row.images, "test image", "test images")}`),
    h("h1", { tabindex: "-1" }, classes[c]),
    stageFigures(c),
    row.interval ? h("p", { class: "note" }, `${final} against full: `, lostText(c), " points, on the same images.") : null,
    taken.length ? h("p", { class: "note" }, "Mistakes that changed most: ", taken.map(([, p, before, after], i) => [i ? ", " : "", classLink(p), ` ${before} → ${after}`]), ".") : null,
    contributionSum(c),
    row.filters.map((j, rank) => filterOfClass(c, j, rank)),
  ];
  showView(view, scrollTo);
}

function contributionSum(c) {
  if (!hasTable("contribution")) return null;
  const own = page.perClass[c].filters.reduce((sum, j) => sum + Math.abs(share(c, j)), 0);
  return h("p", { class: "note" }, `Its ${page.perClass[c].filters.length} filters make up `, h("b", {}, `${number(own, 1)} %`), " of the magnitude that all ", page.filters.toLocaleString("en"), " filters of the layer give to its logit: their ", term("share", "share"), ".");
}
