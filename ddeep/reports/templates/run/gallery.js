// A card a class: found, sorted, and some at first.
const AT_FIRST = 24;

function bestTile(c, rank) {
  const pair = page.pairs?.rows[c]?.[rank];
  return pictures && pair?.own.length ? pair.own[0] : null;
}

// What a class has lost, its interval, and whether that is for the better.
function lostText(c) {
  const { lost, interval } = page.perClass[c];
  if (lost === null || lost === undefined) return null;
  const kind = !interval || interval[0] * interval[1] <= 0 ? "even" : lost > 0 ? "worse" : "better";
  if (!lost && interval && !interval[0] && !interval[1]) return h("span", { class: "lost" }, "nothing lost");
  const ends = interval ? ` [${number(-interval[1], 1)}, ${number(-interval[0], 1)}]` : "";
  return h("span", { class: `lost ${kind}` }, `${number(-lost, 1, true)}${ends}`);
}

function card(c) {
  const row = page.perClass[c];
  const thumbs = row.filters.slice(0, 10).map((j, rank) => {
    const tile = bestTile(c, rank);
    const label = h("span", {}, h("span", { class: "number" }, String(j)), h("span", { class: "given", "data-named": j }, nameOf(j)));
    const inside = tile === null ? [label] : [pictureOf(tileImage[tile], 52, `filter ${j} on ${describe(tileImage[tile])}`, mapOf(tile)), label];
    return h("li", {}, h("a", { href: `#class-${c}-filter-${j}`, class: tile === null ? "chip" : "thumb" }, inside));
  });
  const more = row.filters.length > 10 ? h("li", { class: "note" }, `and ${row.filters.length - 10} more`) : null;
  return h("article", { class: "card", "data-index": c },
    h("h3", {}, h("a", { href: `#class-${c}` }, classes[c])),
    h("p", { class: "figures" }, h("b", {}, percent(row.accuracy[last])), " ", lostText(c), h("small", {}, ` of ${many(row.images, "image", "images")}`)),
    h("ul", { class: "thumbs" }, thumbs, more));
}

const ORDERS = {
  index: (a, b) => a - b,
  name: (a, b) => classes[a].localeCompare(classes[b], undefined, { numeric: true }),
  accuracy: (a, b) => (page.perClass[a].accuracy[last] ?? 101) - (page.perClass[b].accuracy[last] ?? 101) || a - b,
  lost: (a, b) => (page.perClass[b].lost ?? -101) - (page.perClass[a].lost ?? -101) || a - b,
};

function matches(c, words) {
  const name = classes[c].toLowerCase();
  return words.every((word) => name.includes(word) || page.perClass[c].filters.some((j) => String(j) === word || nameOf(j).toLowerCase().includes(word)));
}

function gallery() {
  let shown = AT_FIRST;
  const show = () => {
    const words = $("find").value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    const found = chosen.filter((c) => matches(c, words)).sort(ORDERS[$("sort").value]);
    $("gallery").replaceChildren(...found.slice(0, shown).map(card));
    const rest = found.length - shown;
    $("more").hidden = rest <= 0;
    $("more").textContent = `Show ${Math.min(rest, 4 * AT_FIRST)} more of ${found.length}`;
    $("gallery-count").textContent = words.length ? `${many(found.length, "class", "classes")} found` : many(found.length, "class", "classes");
  };
  const anew = () => { shown = AT_FIRST; show(); };
  $("find").addEventListener("input", anew);
  $("sort").addEventListener("change", anew);
  $("more").addEventListener("click", () => {
    const first = shown;
    shown += 4 * AT_FIRST;
    show();
    $("gallery").children[first]?.querySelector("a")?.focus();
  });
  $("lit")?.addEventListener("change", redrawAll);
  show();
}

// The classes beside the verdict, and why they are shown.
function examples() {
  const cards = page.examples.map(([c, why]) => {
    const row = page.perClass[c];
    const j = row.filters[0];
    const bare = final === "decomposed" ? -1 : page.stages.indexOf("decomposed");
    const own = pictures ? page.pairs?.rows[c]?.[0]?.own.slice(0, 3) || [] : [];
    return h("article", { class: "example" },
      h("p", { class: "why" }, why),
      h("h2", {}, h("a", { href: `#class-${c}` }, classes[c])),
      h("p", { class: "figures" }, h("b", {}, percent(row.accuracy[last])), " ", lostText(c), bare < 0 ? null : h("small", { class: "bare" }, `decomposed ${percent(row.accuracy[bare])}`)),
      own.length ? h("div", { class: "trio" }, own.map((tile) => pictureOf(tileImage[tile], 84, `filter ${j} on ${describe(tileImage[tile])}`, mapOf(tile)))) : null,
      h("p", { class: "note" }, "best ", filterLink(j, "filter")));
  });
  $("examples").append(...cards, h("p", { class: "note rule" },
    `Chosen by rule, not by eye: of all classes the one that ${page.examples.map(([, why]) => why).join(", the one that ").replaceAll("one that in the middle", "one in the middle").replaceAll("one that most", "most").replaceAll("one that least", "least")}${pictures ? "; shown are the three train images of the class to which its best filter responds most" : ""}.`));
}
