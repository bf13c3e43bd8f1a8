// The mistakes that changed most, each with the images of the sample that show it.
const MOST_SHOWN = 14, MOST_PICTURES = 4;

function imagesOf(own, called) {
  if (!sample) return [];
  const at = (stage, i) => (sample.told[stage] || sample.told.full)[i];
  const found = Array.from({ length: size }, (_, i) => i).filter((i) => sample.labels[i] === own && (at("full", i) === called || at(final, i) === called));
  // Those that changed come first.
  return found.sort((a, b) => (at("full", a) === at(final, a)) - (at("full", b) === at(final, b)) || a - b);
}

function mistakes() {
  const rows = page.changes.slice(0, MOST_SHOWN).map(([own, called, before, after]) => {
    const change = after - before;
    const images = imagesOf(own, called).slice(0, MOST_PICTURES).map((i) => {
      const text = `test:${sample.indices[i]}, ${classes[own]}: why?`;
      return h("a", { href: `#image-${sample.indices[i]}`, title: text, "aria-label": text }, lookedAt(i, 40) || `test:${sample.indices[i]}`);
    });
    return h("tr", {},
      h("th", { scope: "row" }, classLink(own), " called ", classLink(called)),
      h("td", { class: "n" }, String(before)), h("td", { class: "n" }, String(after)),
      h("td", { class: `n ${change > 0 ? "worse" : "better"}` }, change > 0 ? "▲ " : "▼ ", number(change, 0, true)),
      h("td", { class: "seen" }, images));
  });
  if (!rows.length) { $("changes").append(h("p", { class: "note" }, "No mistake has become more or less frequent.")); return; }
  $("changes").append(h("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": "Mistakes that changed most" },
    h("table", { class: "sortable", id: "changed" },
      h("caption", {}, "Mistakes that changed most, in images of the test split. An image opens in the switch, with both classes taken apart."),
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "true class, and what it was called"), h("th", { scope: "col", class: "n" }, "full"), h("th", { scope: "col", class: "n" }, final), h("th", { scope: "col", class: "n" }, "change"), h("th", { scope: "col", class: "unsorted" }, "images of the sample"))),
      h("tbody", {}, rows))));
}
