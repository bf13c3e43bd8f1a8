// One filter, once for all classes.
const QUANTILES = ["around the 75th percentile", "around the median", "around the 25th percentile"];

function filterPage(j) {
  const portrait = portraitOf.get(j);
  const who = users.get(j) || [];
  const quantiles = portrait.quantiles.map((shown, i) =>
    h("div", {}, h("h3", {}, QUANTILES[i] ?? (portrait.silent ? "no response" : "the least response")), tilesOf(shown, 60)));
  const byClass = (name, digits, plus) => {
    const rows = classes.map((_, c) => c).filter((c) => page.perClass[c].images);
    rows.sort((a, b) => Math.abs(entry(name, b, j)) - Math.abs(entry(name, a, j)));
    return bars(rows.slice(0, 12).map((c) => ({ label: classLink(c), value: entry(name, c, j), own: who.includes(c) })), { digits, plus });
  };
  showView([
    h("nav", { class: "around", "aria-label": "Back" }, h("a", { href: "#map", class: "step" }, "‹ the map"), who.length ? h("a", { href: `#class-${who[0]}-filter-${j}`, class: "step" }, `in ${classes[who[0]]}`) : null),
    h("p", { class: "over" }, `filter ${j} of ${page.filters.toLocaleString("en")} · layer ${page.layer}`),
    h("h1", { tabindex: "-1" }, "Filter ", String(j), h("span", { class: "given", "data-named": j }, nameOf(j))),
    h("p", { class: "name-line" }, naming(j), h("span", { class: "note" }, " kept in this browser; “Export names” saves them for ", h("code", {}, "ddeep report --names"))),
    h("dl", { class: "stages" },
      h("div", {}, h("dt", {}, term("purity", "purity")), h("dd", {}, percent(100 * purity(portrait), 0))),
      h("div", {}, h("dt", {}, "used by"), h("dd", {}, String(who.length), h("small", {}, ` of ${chosen.length} classes`))),
      h("div", {}, h("dt", {}, "no response to"), h("dd", {}, percent(100 * portrait.silent, 1), h("small", {}, " of train images")))),
    who.length ? h("p", {}, "Used by ", who.slice(0, 40).map((c, i) => [i ? ", " : "", h("a", { href: `#class-${c}-filter-${j}` }, classes[c])]), who.length > 40 ? ` and ${who.length - 40} more` : "", ".") : h("p", { class: "note" }, "No class has selected it."),
    h("section", { class: "filter wide" },
      h("h2", {}, "What it responds to"),
      h("h3", {}, "most of all"), tilesOf(portrait.top),
      h("div", { class: "quantiles" }, quantiles),
      page.looked < page.trained ? h("p", { class: "note" }, `Percentiles, classes and correlations are of ${page.looked.toLocaleString("en")} of ${page.trained.toLocaleString("en")} train images, an even part.`) : null),
    h("section", { class: "charts" },
      h("div", {}, h("h3", {}, "Classes of its 100 strongest images"), histogram(portrait)),
      hasTable("response") ? h("div", {}, h("h3", {}, "Mean ", term("response", "response"), " by class"), byClass("response", 2)) : null,
      hasTable("contribution") ? h("div", {}, h("h3", {}, "Mean ", term("wr", "W·r"), " to each class"), byClass("contribution", 2, true)) : null,
      hasTable("knockout") ? h("div", {}, h("h3", {}, term("silenced", "Silenced"), ", it changes (points)"), silencedBars(j)) : null,
      h("div", {}, h("h3", {}, "Filters that respond ", term("alike", "alike")), bars(portrait.alike.map(([other, r]) => ({ label: filterLink(other), value: r })), { digits: 2, most: 1, plus: true }))),
  ]);
}
